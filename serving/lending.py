"""Lending: what an entity is watched by while it has no thresholds of its own, and how its own minutes take over.

What is lent are medians over those who have their own (COUNT 0 marks it). How much larger a newcomer's z are than those of the others is
learned as they come, by minutes before alone:

    log times = w * log(own quantile / usual quantile), w = n / (n + n0), n own minutes of the last day

and its z are divided by that, and by how little is known of it: exp(1.64 * sd * sqrt(1 - w)), the upper 95 % bound of a lognormal belief
that narrows as minutes come (conjugate normal on the logarithm; Gelman et al., Bayesian Data Analysis, 3rd ed., sec. 2.5). It is believed
only that its z are larger than the others': calm may be the night's. No number rests on more than the `MEMORY` before it, so that live
scoring, which looks back as far, tells the same.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import polars as pl

from serving.shrinkage import believed
from serving.surprise import NORMAL_SCALE_QUANTILE, SCALE_QUANTILE, Z
from telemetry.schema import AT, COUNT, ENTITY, LABEL, LEAD, SD, TARGET, THRESHOLD, THRESHOLDS, conform

EQUAL_MINUTES: Final = 15.0
"""n0: so many own minutes weigh as much as all that is lent."""
DIFFER: Final = 0.5
"""Standard deviation of the logarithm of how many times the others' z those of newcomers are."""
SURE: Final = 1.64
MEMORY: Final = timedelta(days=1)
_OWN: Final = "__own__"
_MINUTES: Final = "__minutes__"
_ROW: Final = "__row__"
_TIMES: Final = "__times__"


def complete(thresholds: pl.DataFrame, *, entities: Iterable[str]) -> pl.DataFrame:
    """`thresholds`, and borrowed ones (COUNT 0) wherever one of `entities` lacks its own: the medians over those who have theirs."""
    own = thresholds.filter(pl.col(COUNT) > 0)
    medians = own.group_by(TARGET, LEAD).agg(pl.col(SD, THRESHOLD).median())
    every = pl.DataFrame({ENTITY: pl.Series(list(entities), dtype=pl.String)}).unique().join(medians, how="cross")
    borrowed = every.join(thresholds, on=[ENTITY, TARGET, LEAD], how="anti").with_columns(pl.lit(0, dtype=pl.Int64).alias(COUNT))
    whole = pl.concat([thresholds, borrowed.select(list(THRESHOLDS))]).sort(ENTITY, TARGET, LEAD)
    return conform(whole, THRESHOLDS, name="thresholds")


def grown(z: pl.DataFrame, *, cadence_seconds: int = 60) -> pl.DataFrame:
    """`z` of those who borrow, divided by how many times the others' z theirs are at that minute; the others' as they were.

    Args:
        z: `entity, at, target, label, z, count` and whatever else; COUNT 0 borrows. Labelled rows, and rows without z, teach nothing.
        cadence_seconds: length of a step.
    """
    numbered = z.with_row_index(_ROW)
    borrow = numbered.filter(pl.col(COUNT) == 0).select(_ROW, ENTITY, AT, TARGET, LABEL, Z).sort(ENTITY, TARGET, AT)
    if borrow.is_empty():
        return z
    size = pl.when(~pl.col(LABEL)).then(Z)
    day = f"{max(cadence_seconds, int(MEMORY.total_seconds()))}s"
    own = size.rolling_quantile_by(AT, window_size=day, quantile=SCALE_QUANTILE, interpolation="linear", min_samples=1, closed="left")
    count = size.is_not_null().cast(pl.Int64).rolling_sum_by(AT, window_size=day, min_samples=1, closed="left")
    minutes = count.fill_null(0) * (cadence_seconds / 60)
    seen = borrow.with_columns(own.over(ENTITY, TARGET).alias(_OWN), minutes.over(ENTITY, TARGET).alias(_MINUTES))
    whole = numbered.join(seen.select(_ROW, _times().alias(_TIMES)), on=_ROW, how="left", maintain_order="left")
    return whole.with_columns(pl.col(Z) / pl.col(_TIMES).fill_null(1.0)).drop(_ROW, _TIMES)


def _times() -> pl.Expr:
    """How many times the others' z."""
    weight = believed(pl.col(_MINUTES), equal=EQUAL_MINUTES)
    larger = (pl.col(_OWN) / NORMAL_SCALE_QUANTILE).clip(lower_bound=1.0).log().fill_null(0.0)
    return (weight * larger + SURE * DIFFER * (1 - weight).sqrt()).exp()
