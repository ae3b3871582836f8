"""Tracking: thresholds that keep their promise while the telemetry drifts, whatever it does.

    log threshold(t + 1) = log threshold(t) + step * (anomalous(t) - rate)

This is adaptive conformal inference (Gibbs and Candes, Adaptive Conformal Inference Under Distribution Shift, NeurIPS 2021), on the scale
of the score itself (Angelopoulos, Candes and Tibshirani, Conformal PID Control for Time Series Prediction, NeurIPS 2023, prop. 1). Over T
steps the realised share lies within (log of the range of z + step) / (step * T) of the promised one, and nothing is asked of the telemetry.

A threshold at t knows only minutes before t. A labelled minute moves nothing: what operators have called an incident was no false alarm.
The price is told by the same formula: what lasts and is not labelled is forgiven after log(z / threshold) / step minutes.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.surprise import Z
from telemetry.schema import AT, ENTITY, LABEL, SURPRISE, TARGET, THRESHOLD, Schema, conform

OFFSET: Final = "offset"
OFFSETS: Final[Schema] = {ENTITY: pl.String, TARGET: pl.String, OFFSET: pl.Float64}
"""How far each threshold is from the one that was learned, as a natural logarithm."""
LEAST_Z: Final = 1e-9
_SERIES: Final = "__series__"


def tracked(z: pl.DataFrame, *, rate: float, step: float, least: float, begin: pl.DataFrame | None = None) -> pl.DataFrame:
    """`z` with the THRESHOLD of each row as it was at that minute; the same rows in the same order.

    It is a recursion, so there is a loop: over the steps of time, for all series of a step together.

    Args:
        z: `entity, target, at, label, z, threshold`, the last as it was learned; a row without z moves nothing.
        rate: the promised share of anomalous steps.
        step: what one more anomalous minute raises the logarithm by.
        least: no threshold is lower.
        begin: OFFSETS before the first step; none by default.
    """
    rows = z.with_row_index().with_columns(pl.struct(ENTITY, TARGET).rank("dense").alias(_SERIES) - 1).sort(AT, _SERIES)
    series = rows.get_column(_SERIES).to_numpy()
    learned = rows.select(pl.col(THRESHOLD).log()).to_series().to_numpy()
    score = rows.select(pl.col(Z).clip(lower_bound=LEAST_Z).log()).to_series().to_numpy()
    moves = rows.select(pl.col(Z).is_not_null() & pl.col(THRESHOLD).is_not_null() & ~pl.col(LABEL)).to_series().to_numpy()
    edges = np.flatnonzero(rows.select((pl.col(AT) != pl.col(AT).shift(1)).fill_null(value=True)).to_series().to_numpy())
    offset = _begin(rows, begin=begin)
    told = np.empty(rows.height)
    floor = np.log(least)
    for low, high in zip(edges, [*edges[1:], rows.height], strict=True):
        who, base = series[low:high], learned[low:high]
        bar = np.maximum(base + offset[who], floor)
        told[low:high] = bar
        offset[who] = np.where(moves[low:high], bar - base + step * ((score[low:high] > bar) - rate), offset[who])
    moved = pl.Series(THRESHOLD, np.exp(told))
    return rows.with_columns(moved).sort("index").drop("index", _SERIES).with_columns(pl.col(THRESHOLD).fill_nan(None))


def _begin(rows: pl.DataFrame, *, begin: pl.DataFrame | None) -> NDArray[np.float64]:
    """f64[series]."""
    series = rows.select(ENTITY, TARGET, _SERIES).unique().sort(_SERIES)
    if begin is None:
        return np.zeros(series.height)
    told = series.join(conform(begin, OFFSETS, name="offsets"), on=[ENTITY, TARGET], how="left", maintain_order="left")
    return told.get_column(OFFSET).fill_null(0.0).to_numpy().copy()


def offsets(past: pl.DataFrame, *, thresholds: pl.DataFrame, rate: float, step: float, least: float) -> pl.DataFrame:
    """OFFSETS after the minutes of `past`, which were judged by tracked thresholds from the first of them on.

    What was anomalous says all: each such minute has raised the threshold by `step`, every minute has lowered it by `step * rate`, and the
    floor is where a falling sum is turned back (a reflected sum is the sum less its lowest excursion below the floor).

    Args:
        past: `entity, target, at, label, surprise`; surprise = z / the threshold of that minute.
        thresholds: `entity, target, threshold`, as they were learned.
        rate: as of `tracked`.
        step: as of `tracked`.
        least: as of `tracked`.
    """
    moves = pl.when(pl.col(SURPRISE).is_not_null() & ~pl.col(LABEL)).then(step * ((pl.col(SURPRISE) > 1) - rate)).otherwise(0.0)
    total = pl.col(OFFSET).cum_sum()
    floor = (least / pl.col(THRESHOLD)).log()
    reflected = total.last() + (floor - total).max().clip(lower_bound=0.0)
    judged = past.select(ENTITY, TARGET, AT, LABEL, SURPRISE)
    known = judged.join(thresholds.select(ENTITY, TARGET, THRESHOLD).unique(), on=[ENTITY, TARGET])
    told = known.sort(AT).with_columns(moves.alias(OFFSET)).group_by(ENTITY, TARGET).agg(reflected.alias(OFFSET)).sort(ENTITY, TARGET)
    return conform(told, OFFSETS, name="offsets")
