"""Surprise: how far what came is from what was forecast, told in the usual errors of that entity, target and lead.

    error       (actual - forecast) / SIGMA, SIGMA being the entity's own training deviation
    SD          of (entity, target, lead): the usual size of the error
    z           of (entity, target, minute): root mean square over the leads of error / SD, or the slow one where that is greater
    slow        of the last SLOW_STEPS signed errors / SD of lead 1, the smaller of the sums of the older and of the newer half, where both
                have one sign: errors that are small each and lean to one side, as of what sinks slowly or stands still, and that no
                single minute tells. Of a newcomer, and where the network did not see all that came, forecasts lean by themselves, and
                none is told. What lies in one half alone, such as a single burst or an outage that is over, is none

What z is large enough for an anomaly is for `serving.thresholds` to say.
"""

from typing import Final

import polars as pl

from telemetry.schema import ACTUAL, AT, ENTITY, FORECAST, JOINT, LABEL, LEAD, NEWCOMER, SD, SIGMA, STANDSTILL, TARGET

Z: Final = "z"
ERROR: Final = "error"
KEY: Final = "key"

SCALE_QUANTILE: Final = 0.9
NORMAL_SCALE_QUANTILE: Final = 1.6449
"""The 0.9 quantile of |error| over this is the standard deviation if errors are normal. It ignores the worst tenth, where incidents that
nobody labelled hide, and yet sees bursts that a median of |error| is blind to (it is 0 for most counters)."""
LEAST_SD: Final = 0.3
"""Errors below this share of SIGMA are no signal: a constant column wakes up with an error of many SIGMA, not of a few of nothing.

Both were chosen with the labels of 12 public server machines in sight.
"""


SLOW_STEPS: Final = 24
"""On simulated fleets a slow loss of traffic is found with it within about an hour and frozen telemetry within 20 minutes; half as many
find neither."""
SLOW_UNIT: Final = 1.1 * 2 / SLOW_STEPS**0.5
"""Of independent normal errors the slow z then passes as far beyond 4.4 by chance as the error of a single minute does, once in 100,000."""
SLOW_CLIP: Final = 2.5
"""A single error counts for no more than this: the larger ones are told at once, and are not to linger."""
_SIGNED: Final = "__signed__"


def errors(forecasts: pl.DataFrame) -> pl.DataFrame:
    """`forecasts` with the column `error`: actual - forecast, in units of SIGMA; null where the forecast is.

    Rows of STANDSTILL are left out: they are measured by what is known already, and nothing is learned of them.
    """
    actual, forecast, sigma = (pl.col(column).cast(pl.Float64) for column in (ACTUAL, FORECAST, SIGMA))
    return forecasts.filter(pl.col(TARGET) != STANDSTILL).with_columns(((actual - forecast) / sigma).alias(ERROR))


def scales(learned: pl.DataFrame) -> pl.DataFrame:
    """`entity, target, lead, sd`: the usual size of the errors in rows of `errors`, none of which is null."""
    scale = (pl.col(ERROR).abs().quantile(SCALE_QUANTILE, "linear") / NORMAL_SCALE_QUANTILE).clip(lower_bound=LEAST_SD)
    return learned.group_by(ENTITY, TARGET, LEAD).agg(scale.alias(SD))


def joint(rows: pl.DataFrame, *, thresholds: pl.DataFrame, blind: pl.DataFrame | None = None) -> pl.DataFrame:
    """One row per entity, minute and target of `errors`, with `z`; null where no lead has both an error and a scale.

    Of the other columns it keeps NEWCOMER, LABEL and ACTUAL, and FORECAST of lead 1.

    Args:
        rows: of `errors`.
        thresholds: at least `entity, target, lead, sd`.
        blind: `entity, at` of minutes of which the network did not see everything that came; in them nothing adds up.
    """
    scale = pl.col(SD).replace(0.0, None)
    scaled = rows.join(thresholds.select(ENTITY, TARGET, LEAD, SD), on=[ENTITY, TARGET, LEAD], how="left", maintain_order="left")
    of_lead_1 = pl.when(pl.col(LEAD) == 1)
    adds_up = (pl.col(LEAD) == 1) & ~pl.col(NEWCOMER)
    if blind is not None:
        scaled = scaled.join(blind.select(ENTITY, AT, _BLIND=pl.lit(value=True)), on=[ENTITY, AT], how="left", maintain_order="left")
        adds_up &= pl.col("_BLIND").is_null()
    signed = pl.when(adds_up).then(pl.col(ERROR) / scale).alias(_SIGNED)
    return (
        _in_order(scaled)
        .lazy()
        .with_columns((pl.col(ERROR) / scale).pow(2).alias(Z), of_lead_1.then(FORECAST).alias(FORECAST), signed)
        .group_by(KEY, maintain_order=True)
        .agg(
            pl.col(ENTITY, AT, TARGET, NEWCOMER, LABEL, ACTUAL).first(),
            pl.col(FORECAST).max(),
            pl.col(Z).mean().sqrt(),
            pl.col(_SIGNED).max(),
        )
        .with_columns(pl.when(pl.col(Z).is_not_null()).then(pl.max_horizontal(Z, _slow())).alias(Z))
        .drop(KEY, _SIGNED)
        .collect(engine="in-memory")
    )


def _slow() -> pl.Expr:
    """Of an entity and target; null in its first steps, and of the target JOINT, which has no sign."""
    half = SLOW_STEPS // 2
    newer = pl.col(_SIGNED).clip(-SLOW_CLIP, SLOW_CLIP).rolling_sum(half, min_samples=half)
    older = newer.shift(half)
    lean = pl.when(newer * older > 0).then(pl.min_horizontal(newer.abs(), older.abs())).otherwise(newer * older * 0)
    return pl.when(pl.col(TARGET) != JOINT).then(lean.over(ENTITY, TARGET) * SLOW_UNIT)


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` by entity, minute and target, told by one sorted integer: grouping by it takes a quarter of the time of the three columns."""
    seconds = pl.col(AT).dt.epoch("s") - pl.col(AT).dt.epoch("s").min()
    target = _code(rows, column=TARGET)
    key = (_code(rows, column=ENTITY) * (seconds.max() + 1) + seconds) * (target.max() + 1) + target
    keyed = rows.with_columns(key.alias(KEY))
    return keyed.set_sorted(KEY) if keyed.get_column(KEY).is_sorted() else keyed.sort(KEY)


def _code(rows: pl.DataFrame, *, column: str) -> pl.Expr:
    """Every value of `column` as its rank of first appearance."""
    values = rows.get_column(column).unique(maintain_order=True)
    return pl.col(column).cast(pl.Enum(values)).to_physical().cast(pl.Int64)
