"""Thresholds: how large a forecast's error must be, for this entity and target, to be an anomaly. Learned on the calibrate part.

All of it is in units of SIGMA, the entity's own training deviation, so that what was learned on some entities can be lent to another:

    SD          of (entity, target, lead): the usual size of the forecast's error, as a share of SIGMA
    z           of (entity, target, minute): root mean square over the leads of error / (SIGMA * SD)
    THRESHOLD   of (entity, target): the z above which a minute is anomalous
    COUNT       minutes it was learned on; 0 marks a threshold that is borrowed (medians over the entities that have their own)

The width of the band around a forecast is therefore THRESHOLD * SD * SIGMA, in the target's own unit.
"""

from collections.abc import Iterable
from typing import Final

import polars as pl

from serving.surprise import ERROR, Z, errors, joint, scales
from telemetry.schema import (
    COUNT,
    ENTITY,
    LABEL,
    LEAD,
    NEWCOMER,
    SD,
    TARGET,
    THRESHOLD,
    THRESHOLDS,
    conform,
)
from telemetry.sections import Thresholds

SECONDS_PER_WEEK: Final = 7 * 24 * 3600

LEAST_THRESHOLD: Final = 1.0
"""An error of the usual size is no anomaly, however quiet the calibrate part was."""
TAIL_SHARE: Final = 0.02
DAY_SECONDS: Final = 24 * 3600
LEAST_TAIL: Final = 10
"""The tail is extrapolated from this share of the greatest z, but from no fewer than this many (or all, if there are fewer)."""


def calibrate(forecasts: pl.DataFrame | Iterable[pl.DataFrame], *, policy: Thresholds, cadence_seconds: int) -> pl.DataFrame:
    """THRESHOLDS of every entity, target and lead in `forecasts`.

    Args:
        forecasts: FORECASTS of the calibrate part, in one frame or in several of whole entities (`forecasts.tell_each`). Labelled rows
            teach nothing. A newcomer with a day of its own learns from that: the model forecasts it worse than the others, and it is
            its own errors that tell how much worse. With less than a day it borrows from the others.
        policy: the method. "conformal": the threshold that, by exchangeability, is exceeded in `false_alarms_per_week` minutes a week on
            average; where the calibrate part is too short to show that quantile, its tail is extrapolated. "sigma": `sigmas`.
        cadence_seconds: length of a step.
    """
    rate = policy.false_alarms_per_week * cadence_seconds / SECONDS_PER_WEEK
    threshold = pl.lit(policy.sigmas) if policy.method == "sigma" else _conformal(rate=rate)
    entities: list[str] = []
    own = [pl.DataFrame(schema=THRESHOLDS)]
    for frame in (forecasts,) if isinstance(forecasts, pl.DataFrame) else forecasts:
        entities += frame.get_column(ENTITY).unique().to_list()
        own.append(_own(frame, threshold=threshold, day_steps=DAY_SECONDS // cadence_seconds))
    if len(set(entities)) < len(entities):
        raise ValueError("an entity's rows are spread over several frames; give calibrate whole entities")
    return complete(pl.concat(own), entities=entities)


def _own(forecasts: pl.DataFrame, *, threshold: pl.Expr, day_steps: int) -> pl.DataFrame:
    """THRESHOLDS of the entities that have rows to learn from."""
    known = errors(forecasts.filter(~pl.col(LABEL))).filter(pl.col(ERROR).is_not_null())
    learned = known.filter(~pl.col(NEWCOMER) | (pl.len().over(ENTITY, TARGET, LEAD) >= day_steps))
    sds = scales(learned)
    z = joint(learned, thresholds=sds)
    bars = z.group_by(ENTITY, TARGET).agg(threshold.alias(THRESHOLD), pl.len().cast(pl.Int64).alias(COUNT))
    return conform(sds.join(bars, on=[ENTITY, TARGET]), THRESHOLDS, name="thresholds")


def complete(thresholds: pl.DataFrame, *, entities: Iterable[str]) -> pl.DataFrame:
    """`thresholds`, and borrowed ones (COUNT 0) wherever one of `entities` lacks its own: the medians over those who have theirs."""
    own = thresholds.filter(pl.col(COUNT) > 0)
    medians = own.group_by(TARGET, LEAD).agg(pl.col(SD, THRESHOLD).median())
    every = pl.DataFrame({ENTITY: pl.Series(list(entities), dtype=pl.String)}).unique().join(medians, how="cross")
    borrowed = every.join(thresholds, on=[ENTITY, TARGET, LEAD], how="anti").with_columns(pl.lit(0, dtype=pl.Int64).alias(COUNT))
    whole = pl.concat([thresholds, borrowed.select(list(THRESHOLDS))]).sort(ENTITY, TARGET, LEAD)
    return conform(whole, THRESHOLDS, name="thresholds")


def _conformal(*, rate: float) -> pl.Expr:
    """The z that a further minute exceeds with probability `rate`.

    With n calibrate minutes it is the ceil((n + 1) (1 - rate))-th smallest z (Vovk, Gammerman and Shafer, Algorithmic Learning in a
    Random World, 2005, ch. 4). Where that rank is beyond n, the excess over the tail's foot u is taken as exponential with the mean
    that was seen (the Pickands limit with shape 0): u + mean excess * ln(share of the tail / rate), and no less than the greatest z.
    """
    n = pl.len()
    rank = ((n + 1) * (1 - rate)).ceil().cast(pl.Int64)
    falling = pl.col(Z).sort(descending=True, nulls_last=True)
    seen = falling.get((n.cast(pl.Int64) - rank).clip(lower_bound=0))
    tail = pl.max_horizontal((n * TAIL_SHARE).ceil(), pl.min_horizontal(pl.lit(LEAST_TAIL), n)).cast(pl.Int64)
    foot = falling.get(pl.min_horizontal(tail, n.cast(pl.Int64) - 1))
    excess = falling.head(tail).mean() - foot
    beyond = pl.max_horizontal(foot + excess * (tail / n / rate).log(), falling.first())
    return pl.when(rank > n).then(beyond).otherwise(seen).clip(lower_bound=LEAST_THRESHOLD)
