"""Thresholds: how large a forecast's error must be, for this entity and target, to be an anomaly. Learned on the calibrate part.

All of it is in units of SIGMA, the entity's own training deviation, so that what was learned on some entities can be lent to another:

    SD          of (entity, target, lead): the usual size of the forecast's error, as a share of SIGMA
    z           of (entity, target, minute): root mean square over the leads of error / (SIGMA * SD)
    THRESHOLD   of (entity, target): the z above which a minute is anomalous
    COUNT       minutes it was learned on; 0 marks a threshold that is borrowed (medians over the entities that have their own)

The width of the band around a forecast is therefore THRESHOLD * SD * SIGMA, in the target's own unit. By method:

    conformal   the z that is exceeded at the promised rate: first of each entity, moved towards that of the others (`serving.shrinkage`);
                then all of a target by one factor, so that over all entities together the promised share of the minutes lies above the
                bars that the other half of the calibrate part gives; not so where thresholds are tracked (`serving.tracking`): what the
                factor foresees of drift they answer when it comes, and a bar that was raised for it falls but slowly
    tail        the same z by a fitted law of extreme values, entity by entity, moved likewise; for rates that no calibrate part can show
    sigma       so many usual errors
    mean_sd     the mean of z and so many of its deviations more, moved likewise
    best_f1     the conformal ones, all of a target by one factor, at which labelled minutes are told best; without labels, conformal
"""

from collections.abc import Iterable
from dataclasses import dataclass
from logging import getLogger
from typing import Final, assert_never

import polars as pl

from serving import tails
from serving.budget import Spent, spend
from serving.lending import complete
from serving.shrinkage import FIRST, LENDS, SECOND, shrunk
from serving.surprise import ERROR, SLOW_STEPS, Z, errors, joint, scales
from telemetry.schema import AT, COUNT, ENTITY, LABEL, LEAD, NEWCOMER, TARGET, THRESHOLD, THRESHOLDS, conform
from telemetry.sections import Thresholds

SECONDS_PER_WEEK: Final = 7 * 24 * 3600
DAY_SECONDS: Final = 24 * 3600

LEAST_THRESHOLD: Final = 1.0
"""An error of the usual size is no anomaly, however quiet the calibrate part was."""
KEPT: Final = 2
"""How many times as many of the greatest z are kept as the tail, or the promised rate, asks for: no entity has just its share of them."""
BARS: Final = (THRESHOLD, FIRST, SECOND)
_FACTOR: Final = "__factor__"
_log = getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What a calibrate part says.

    Attributes:
        thresholds: THRESHOLDS of every entity, target and lead.
        spent: what became of the operator's budget; null where there is none.
        halves: THRESHOLDS as the older and as the newer half of the minutes alone has them, which the other half did not teach.
    """

    thresholds: pl.DataFrame
    spent: Spent | None
    halves: tuple[pl.DataFrame, pl.DataFrame]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What is kept of some entities' calibrate part.

    Attributes:
        sds: `entity, target, lead, sd`.
        bars: as `shrunk` asks for them.
        peaks: `entity, target, at, z, label, first`: the greatest unlabelled z of each entity and target, and all labelled ones; FIRST
            where a z is of the older half of its entity's and target's minutes.
    """

    sds: pl.DataFrame
    bars: pl.DataFrame
    peaks: pl.DataFrame


def promised_rate(policy: Thresholds, *, cadence_seconds: int) -> float:
    """The share of the steps of an entity and target that is promised to lie above its threshold."""
    return policy.false_alarms_per_week * cadence_seconds / SECONDS_PER_WEEK


def calibrate(forecasts: pl.DataFrame | Iterable[pl.DataFrame], *, policy: Thresholds, cadence_seconds: int) -> pl.DataFrame:
    """THRESHOLDS of every entity, target and lead in `forecasts`; see `calibrated`."""
    return calibrated(forecasts, policy=policy, cadence_seconds=cadence_seconds).thresholds


def calibrated(forecasts: pl.DataFrame | Iterable[pl.DataFrame], *, policy: Thresholds, cadence_seconds: int) -> Calibrated:
    """THRESHOLDS, and what became of the operator's budget.

    Args:
        forecasts: FORECASTS of the calibrate part, in one frame or in several of whole entities (`forecasts.tell_each`). Labelled rows
            teach nothing but `best_f1`. A newcomer with a day of its own learns from that: the model forecasts it worse than the others,
            and it is its own errors that tell how much worse. With less than a day it borrows from the others.
        policy: the method, its promise, and the budget, if any: all thresholds are then moved by one factor more.
        cadence_seconds: length of a step.

    Raises:
        ValueError: an entity is in several frames.
    """
    entities: list[str] = []
    seen = []
    for frame in (forecasts,) if isinstance(forecasts, pl.DataFrame) else forecasts:
        entities += frame.get_column(ENTITY).unique().to_list()
        seen.append(_see(frame, policy=policy, cadence_seconds=cadence_seconds))
    if len(set(entities)) < len(entities):
        raise ValueError("an entity's rows are spread over several frames; give calibrate whole entities")
    if not any(each.bars.height for each in seen):
        none = pl.DataFrame(schema=THRESHOLDS)
        return Calibrated(thresholds=none, spent=None, halves=(none, none))
    peaks = pl.concat([each.peaks for each in seen])
    bars = _levelled(shrunk(pl.concat([each.bars for each in seen])), peaks=peaks, policy=policy, cadence_seconds=cadence_seconds)
    bars = _floored(bars)
    spent = None
    if policy.budget is not None:
        spent = spend(policy.budget, peaks=peaks, bars=bars, policy=policy, cadence_seconds=cadence_seconds, least=LEAST_THRESHOLD)
        bars = _floored(bars.with_columns(pl.col(*BARS) * spent.factor))
    sds = pl.concat([each.sds for each in seen])

    def told(bar: str) -> pl.DataFrame:
        own = bars.select(ENTITY, TARGET, pl.coalesce(bar, THRESHOLD).alias(THRESHOLD), COUNT)
        return complete(conform(sds.join(own, on=[ENTITY, TARGET]), THRESHOLDS, name="thresholds"), entities=entities)

    return Calibrated(thresholds=told(THRESHOLD), spent=spent, halves=(told(FIRST), told(SECOND)))


def _floored(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_columns(pl.col(*BARS).clip(lower_bound=LEAST_THRESHOLD))


def _see(forecasts: pl.DataFrame, *, policy: Thresholds, cadence_seconds: int) -> _Seen:
    """What is kept of the entities that have rows to learn from."""
    known = errors(forecasts).filter(pl.col(ERROR).is_not_null())
    series = (ENTITY, TARGET, LEAD)
    enough = (~pl.col(LABEL)).sum().over(series) >= DAY_SECONDS // cadence_seconds
    taken = known.filter(~pl.col(NEWCOMER) | enough)
    sds = scales(taken.filter(~pl.col(LABEL)))
    z = joint(taken, thresholds=sds).filter(pl.col(Z).is_not_null()).select(ENTITY, TARGET, AT, NEWCOMER, LABEL, Z)
    early = (pl.int_range(pl.len()) * 2 < pl.len()).over(ENTITY, TARGET).alias(FIRST)
    normal = z.filter(~_knows_of_labels(policy)).sort(AT).with_columns(early).sort(Z, descending=True, maintain_order=True)
    rate = promised_rate(policy, cadence_seconds=cadence_seconds)
    kept = (pl.len() * min(1.0, KEPT * max(rate, tails.TAIL_SHARE))).ceil().clip(lower_bound=tails.LEAST_TAIL)
    highest = normal.filter((pl.int_range(pl.len()) < kept).over(ENTITY, TARGET))
    peaks = pl.concat([highest, z.filter(LABEL).with_columns(pl.lit(None, dtype=pl.Boolean).alias(FIRST))]).drop(NEWCOMER)
    return _Seen(sds=sds, bars=_bars(normal, bar=_bar(policy, rate=rate)), peaks=peaks)


def _knows_of_labels(policy: Thresholds) -> pl.Expr:
    """A labelled minute, and those so soon after one that the slow surprise still holds its errors, or that what opens there is told as the
    labelled incident, open again: the network, which has read of it, is off for a while, and a few such minutes would set everybody's bars.
    """
    steps = max(SLOW_STEPS, policy.close_minutes + policy.reopen_minutes)
    return (pl.col(LABEL).cast(pl.Int8).rolling_max(steps, min_samples=1).over(ENTITY, TARGET, order_by=AT) > 0).alias(LABEL)


def _bars(normal: pl.DataFrame, *, bar: pl.Expr) -> pl.DataFrame:
    """What `shrunk` asks for, of unlabelled minutes from the greatest z to the least."""
    series = (ENTITY, TARGET)
    count, lends = pl.len().cast(pl.Int64).alias(COUNT), (~pl.col(NEWCOMER).any()).alias(LENDS)
    bars = normal.group_by(series, maintain_order=True).agg(bar.alias(THRESHOLD), count, lends)
    for name, half in ((FIRST, pl.col(FIRST)), (SECOND, ~pl.col(FIRST))):
        told = normal.filter(half).group_by(series, maintain_order=True).agg(bar.alias(name))
        bars = bars.join(told, on=series, how="left", maintain_order="left")
    return bars


def _bar(policy: Thresholds, *, rate: float) -> pl.Expr:
    """The threshold of one group of z, positive."""
    match policy.method:
        case "conformal" | "best_f1":
            bar = tails.conformal(rate=rate)
        case "tail":
            bar = tails.fitted(rate=rate)
        case "sigma":
            bar = pl.lit(policy.sigmas)
        case "mean_sd":
            bar = pl.col(Z).mean() + policy.sigmas * pl.col(Z).std().fill_null(0.0)
        case _:
            assert_never(policy.method)
    return bar.clip(lower_bound=LEAST_THRESHOLD)


def _levelled(bars: pl.DataFrame, *, peaks: pl.DataFrame, policy: Thresholds, cadence_seconds: int) -> pl.DataFrame:
    """`bars` of each target moved by one factor: to the promised share of all its minutes, or to where labels are told best."""
    if policy.method not in ("conformal", "best_f1") or (policy.track and policy.method == "conformal"):
        return bars
    factor = _to_the_promise(bars, peaks=peaks, rate=promised_rate(policy, cadence_seconds=cadence_seconds))
    level = _times(bars, factor)
    if policy.method == "conformal":
        return level
    labelled = peaks.filter(pl.col(LABEL).any().over(ENTITY, TARGET))
    if labelled.is_empty():
        _log.warning("no minute of the calibrate part is labelled: the thresholds are conformal, not of the best F1")
        return level
    return _times(level, _to_the_labels(level, peaks=labelled))


def _to_the_promise(bars: pl.DataFrame, *, peaks: pl.DataFrame, rate: float) -> pl.DataFrame:
    """`target, factor`: the conformal quantile of z / bar over all entities of a target (Lei et al., Distribution-Free Predictive Inference
    for Regression, 2018, sec. 5.2: scores that are divided by each one's own scale), the bar being that of the other half of the minutes
    (Vovk, Cross-conformal predictors, Annals of Mathematics and Artificial Intelligence 74, 2015).

    A bar is never exceeded by more than its share of the minutes that it was learned on. What one half of the time says of the other has
    in it what bars of few minutes miss, and how the telemetry drifts; too few of them to show the rate lower no bar. Bars on the floor are
    left out: their minutes are quieter than promised, and nobody else shall be louder for it.
    """
    asked = bars.filter(LENDS) if bars.get_column(LENDS).any() else bars
    floored = pl.min_horizontal(THRESHOLD, FIRST, SECOND) <= LEAST_THRESHOLD
    asked = asked.filter(~floored, pl.col(FIRST).is_not_null(), pl.col(SECOND).is_not_null())
    whole = asked.with_columns(pl.col(COUNT).sum().over(TARGET))
    halves = [
        _over_bars(whole.with_columns(pl.col(bar).alias(THRESHOLD)), peaks=peaks.filter(~pl.col(LABEL), pl.col(FIRST) == older))
        for bar, older in ((SECOND, True), (FIRST, False))
    ]
    pooled = pl.concat(halves).sort(Z, descending=True)
    told = tails.conformal(rate=rate, count=pl.col(COUNT).first())
    shown = pl.col(COUNT).first() * rate >= 1
    factor = pl.when(shown).then(told).otherwise(pl.max_horizontal(told, pl.lit(1.0)))
    return pooled.group_by(TARGET, maintain_order=True).agg(factor.alias(_FACTOR))


def _to_the_labels(bars: pl.DataFrame, *, peaks: pl.DataFrame) -> pl.DataFrame:
    """`target, factor`: that of the greatest F1 of labelled minutes, of those with `peaks`."""
    hit = pl.col(LABEL).cum_sum()
    f1 = 2 * hit / (pl.int_range(1, pl.len() + 1) + pl.col(LABEL).sum())
    best, next_ = pl.col(Z).get(f1.arg_max()), pl.col(Z).get((f1.arg_max() + 1).clip(upper_bound=pl.len() - 1))
    return _over_bars(bars, peaks=peaks).group_by(TARGET, maintain_order=True).agg(((best + next_) / 2).alias(_FACTOR))


def _over_bars(bars: pl.DataFrame, *, peaks: pl.DataFrame) -> pl.DataFrame:
    """`peaks` with z as a multiple of the bar, the greatest first, and COUNT."""
    told = peaks.join(bars.select(ENTITY, TARGET, THRESHOLD, COUNT), on=[ENTITY, TARGET])
    return told.with_columns(pl.col(Z) / pl.col(THRESHOLD)).sort(Z, descending=True)


def _times(bars: pl.DataFrame, factor: pl.DataFrame) -> pl.DataFrame:
    moved = pl.col(*BARS) * pl.col(_FACTOR).fill_null(1.0)
    return bars.join(factor, on=TARGET, how="left", maintain_order="left").with_columns(moved).drop(_FACTOR)
