"""The alert budget: the one factor on all thresholds at which as many incidents open as an operator can look at.

How often incidents open is counted on the calibrate part, with the very rule that opens them live. Each half of it is judged by the bars
that the other half has taught, as the days to come will be by bars that know nothing of them: minutes break their own bars less often than
new ones do, and a count of theirs would promise too little. An incident over the cut between the halves is one incident. Where the budget
is less than what so short a part can show, the count is extrapolated: it falls about as a power of the factor, as the tails do.

Newcomers are not counted, unless there is nobody else: they are forecast worse than the others and change from week to week, and one of
them would make everybody blind. Their thresholds are moved by the same factor, and what they open comes on top. Only surprises count:
nobody is told less of a silence by a higher threshold.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import polars as pl

from serving.incidents import SILENCE, open_incidents
from serving.shrinkage import FIRST, LENDS, SECOND
from serving.surprise import Z
from telemetry.schema import ACTUAL, AT, COUNT, ENTITY, FORECAST, LABEL, RELEASE, SCORES, SURPRISE, TARGET, THRESHOLD, VERDICT
from telemetry.sections import Budget, Thresholds

SHIFT_HOURS: Final = 8
WEEK_HOURS: Final = 7 * 24
LEAST_FACTOR: Final = 0.25
GREATEST_FACTOR: Final = 64.0
HALVINGS: Final = 14
"""Of that range, on a logarithmic scale: the factor is found to one part in 3000."""
LEAST_SHOWN: Final = 10
MOST_SHOWN: Final = 40
SHOWN_A_DAY: Final = 0.3
"""Fewer incidents, of an entity a day, than this are too few to count by: their number is extrapolated from this many and from `DEEPER`
times as many. Where more open than about one an entity and day they run into each other, and are no power of anything."""
DEEPER: Final = 4
HALVED_HOURS: Final = 2 * 24
"""Of a newcomer with less, one half is the night of the other: it is judged by its whole bar. Who lends has both halves of everything."""
_BAR: Final = "__bar__"
_OLDER: Final = "__older__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A budget, and what the calibrate part makes of it.

    Attributes:
        per: what it is told of: "customer_week" or "shift".
        promised: incidents per that.
        realised: the same as the calibrate part has it, with the factor, each half judged by what the other has taught.
        factor: by which all thresholds are multiplied.
        units: how many customer-weeks, or shifts, were looked at.
        rests_on: incidents that were counted in order to find the factor: it is known no better than 1 / sqrt of that.
        extrapolated: whether the calibrate part is too short to show so few incidents.
        entities: whose incidents were counted.
    """

    per: str
    promised: float
    realised: float
    factor: float
    units: float
    rests_on: int
    extrapolated: bool
    entities: tuple[str, ...]


def spend(budget: Budget, *, peaks: pl.DataFrame, bars: pl.DataFrame, policy: Thresholds, cadence_seconds: int, least: float) -> Spent:
    """The factor at which the budget is spent, and no more.

    Args:
        budget: what the operator can look at.
        peaks: `entity, target, at, z, label, first`, the greatest z of the calibrate part and all labelled ones, which do not count, nor
            are minutes there in which a labelled incident would open again; FIRST where one is of its older half.
        bars: as `serving.shrinkage.shrunk` has them; COUNT tells how long each was watched. Where there is no bar of the other half, the
            whole part's stands in.
        policy: when an incident opens.
        cadence_seconds: length of a step.
        least: no threshold is lower.
    """
    own = bars.filter(LENDS) if bars.get_column(LENDS).any() else bars
    over = _beside_the_other_half(peaks.filter(~pl.col(LABEL)), bars=own, cadence_seconds=cadence_seconds)

    def opened(factor: float) -> int:
        ratio = pl.col(Z) / (pl.col(_BAR) * factor).clip(lower_bound=least)
        return count(over.select(ENTITY, AT, TARGET, ratio.alias(SURPRISE)), policy=policy, cadence_seconds=cadence_seconds)

    units = watched(own, per=budget.per, cadence_seconds=cadence_seconds)
    asked, shown = budget.incidents * units, _shown(own, cadence_seconds=cadence_seconds)
    factor = _where(opened, wanted=max(asked, shown))
    if extrapolated := asked < shown:
        factor *= _further(opened, near=factor, shown=shown, wanted=asked)
    return Spent(
        per=budget.per,
        promised=budget.incidents,
        realised=opened(factor) / units if units else 0.0,
        factor=factor,
        units=units,
        rests_on=round(max(asked, shown)),
        extrapolated=extrapolated,
        entities=tuple(own.get_column(ENTITY).unique().sort()),
    )


def _beside_the_other_half(peaks: pl.DataFrame, *, bars: pl.DataFrame, cadence_seconds: int) -> pl.DataFrame:
    """`peaks` with the bar that knows nothing of them."""
    halved = pl.col(LENDS) | (pl.col(COUNT) * cadence_seconds >= HALVED_HOURS * 3600)
    other = pl.when(halved).then(pl.when(_OLDER).then(SECOND).otherwise(FIRST))
    told = peaks.select(ENTITY, TARGET, AT, Z, pl.col(FIRST).alias(_OLDER)).join(bars, on=[ENTITY, TARGET])
    return told.with_columns(pl.coalesce(other, THRESHOLD).alias(_BAR))


def _shown(bars: pl.DataFrame, *, cadence_seconds: int) -> float:
    """How many incidents are enough to count by."""
    steps = int(bars.group_by(ENTITY).agg(pl.col(COUNT).max()).get_column(COUNT).sum())
    return min(max(SHOWN_A_DAY * steps * cadence_seconds / (24 * 3600), LEAST_SHOWN), MOST_SHOWN)


def count(surprises: pl.DataFrame, *, policy: Thresholds, cadence_seconds: int) -> int:
    """How many incidents `entity, at, target, surprise` open, silences apart; rows that are not above 1 may be left out."""
    rows = surprises.filter(pl.col(SURPRISE) > 1)
    empty = pl.lit(None, dtype=pl.Float64)
    told = rows.with_columns(empty.alias(ACTUAL), empty.alias(FORECAST), pl.lit("").alias(VERDICT), pl.lit("").alias(RELEASE))
    incidents = open_incidents(told.select(list(SCORES)), policy=policy, cadence_seconds=cadence_seconds)
    return incidents.filter(pl.col(TARGET) != SILENCE).height


def watched(bars: pl.DataFrame, *, per: str, cadence_seconds: int) -> float:
    """How many customer-weeks, or shifts, `entity, target, count` stand for; the customer is the first key of the entity."""
    steps = bars.group_by(pl.col(ENTITY).str.split("/").list.first()).agg(pl.col(COUNT).max()).get_column(COUNT)
    weeks = float(steps.sum()) * cadence_seconds / (WEEK_HOURS * 3600)
    shifts = float(pl.Series(steps).max() or 0) * cadence_seconds / (SHIFT_HOURS * 3600)  # type: ignore[arg-type]
    return weeks if per == "customer_week" else shifts


def _where(opened: Callable[[float], int], *, wanted: float) -> float:
    """The least factor at which no more than `wanted` incidents open, by halving."""
    low, high = math.log(LEAST_FACTOR), math.log(GREATEST_FACTOR)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if opened(math.exp(middle)) > wanted else (low, middle)
    return math.exp(high)


def _further(opened: Callable[[float], int], *, near: float, shown: float, wanted: float) -> float:
    """How many times `near`, at which `shown` open, the factor is at which `wanted` incidents open, fewer than that."""
    many, few = opened(before := _where(opened, wanted=shown * DEEPER)), opened(near)
    if not 0 < few < many:
        return 1.0
    fall = math.log(many / few) / math.log(near / before)
    return math.exp(math.log(few / wanted) / fall)
