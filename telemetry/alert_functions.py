"""What the functions of an alert's expression make of series f64[step], null where an element is not there.

Source: https://prometheus.io/docs/prometheus/latest/querying/functions/; delta is extrapolated as `extrapolatedRate` of promql/functions.go
does for a gauge.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

SAMPLES_APART: Final = 1.1
"""A range's end is extrapolated to where it is no more than this many usual distances away from a sample."""


def calendar(name: str, *, at: pl.Series) -> pl.Series:
    """Part of the time in UTC; Sunday is 0, as in Prometheus."""
    parts = {
        "minute": at.dt.minute(),
        "hour": at.dt.hour(),
        "day_of_week": at.dt.weekday() % 7,
        "day_of_month": at.dt.day(),
        "month": at.dt.month(),
    }
    return parts[name].cast(pl.Float64)


def over_time(name: str, told: pl.Series, *, window: int, seconds: float, share: float) -> pl.Series:
    """One series' samples of the last `window` steps as one value; null where there are none.

    Args:
        name: of the function.
        told: the samples.
        window: steps of the range.
        seconds: of the range, for rate.
        share: of quantile_over_time.
    """
    if name == "rate":
        return told.rolling_sum(window, min_samples=1) / seconds
    if name == "quantile_over_time":
        return told.rolling_quantile(share, interpolation="linear", window_size=window, min_samples=1)
    return _ROLLED[name](told, window)


def _samples(told: pl.Series, window: int) -> pl.Series:
    """How many there are, null where there is none."""
    there = told.is_not_null().cast(pl.Float64).rolling_sum(window, min_samples=1)
    return pl.select(pl.when(there > 0.5).then(there)).to_series()


def _changes(told: pl.Series, window: int) -> pl.Series:
    """How often a sample differs from the one before it, both being in the range: a change counts for as long as the one before is."""
    row = pl.int_range(told.len(), eager=True)
    before = pl.select(pl.when(told.is_not_null()).then(row)).to_series().forward_fill().shift(1)
    changed = (told != told.forward_fill().shift(1)).fill_null(False)
    reach = pl.select(pl.when(changed).then(before)).to_series()
    frame = pl.DataFrame({"row": row, "reach": reach})
    ends = frame.filter(pl.col("reach").is_not_null()).with_columns(pl.col("reach") + window)
    marks = np.zeros(told.len() + window + 1)
    np.add.at(marks, ends["row"].to_numpy(), 1.0)
    np.add.at(marks, np.maximum(ends["reach"].to_numpy(), ends["row"].to_numpy()), -1.0)
    return pl.select(pl.when(_samples(told, window).is_not_null()).then(pl.Series(np.cumsum(marks)[: told.len()]))).to_series()


def _delta(told: pl.Series, window: int) -> pl.Series:
    """Last less first, extrapolated to the ends of the range where samples come near enough to them; null below two samples."""
    row = pl.int_range(told.len(), eager=True)
    placed = pl.select(pl.when(told.is_not_null()).then(row)).to_series().cast(pl.Float64)
    first, last = placed.rolling_min(window, min_samples=1), placed.rolling_max(window, min_samples=1)
    count = placed.is_not_null().cast(pl.Float64).rolling_sum(window, min_samples=1)
    start, end = (told.gather(each.cast(pl.UInt32)) for each in (first, last))
    sampled, usual = last - first, (last - first) / (count - 1)
    before, after = first - (row - window), row - last
    frame = pl.DataFrame({"sampled": sampled, "usual": usual, "before": before, "after": after, "rise": end - start, "count": count})
    near = [
        pl.when(pl.col(side) < SAMPLES_APART * pl.col("usual")).then(side).otherwise(pl.col("usual") / 2) for side in ("before", "after")
    ]
    whole = (pl.col("sampled") + near[0] + near[1]) / pl.col("sampled")
    return frame.select(pl.when(pl.col("count") > 1.5).then(pl.col("rise") * whole)).to_series()


_ROLLED: Final[Mapping[str, Callable[[pl.Series, int], pl.Series]]] = {
    "avg_over_time": lambda told, window: told.rolling_mean(window, min_samples=1),
    "min_over_time": lambda told, window: told.rolling_min(window, min_samples=1),
    "max_over_time": lambda told, window: told.rolling_max(window, min_samples=1),
    "sum_over_time": lambda told, window: told.rolling_sum(window, min_samples=1),
    "increase": lambda told, window: told.rolling_sum(window, min_samples=1),
    "stddev_over_time": lambda told, window: told.rolling_std(window, min_samples=1, ddof=0),
    "last_over_time": lambda told, window: told.forward_fill(window - 1),
    "count_over_time": _samples,
    "present_over_time": lambda told, window: _samples(told, window) * 0.0 + 1.0,
    "changes": _changes,
    "delta": _delta,
}


def together(op: str, series: list[pl.Series], *, share: float) -> pl.Series:
    """Several elements as one, null where none of them is there."""
    frame = pl.DataFrame({str(number): told for number, told in enumerate(series)})
    every = pl.all()
    count = pl.sum_horizontal(every.is_not_null().cast(pl.Float64))
    total = pl.sum_horizontal(every)
    match op:
        case "sum":
            found = total
        case "avg":
            found = total / count
        case "min":
            found = pl.min_horizontal(every)
        case "max":
            found = pl.max_horizontal(every)
        case "count":
            found = count
        case "group":
            found = pl.lit(1.0)
        case "stddev":
            mean = frame.select(total / count).to_series()
            found = (pl.sum_horizontal((every - mean).pow(2)) / count).sqrt()
        case _:
            values = np.sort(frame.fill_null(math.nan).to_numpy(), axis=1)
            return _quantile(values, there=frame.select(count).to_series(), share=share)
    return frame.select(pl.when(count > 0.5).then(found)).to_series()


def _quantile(values: NDArray[np.float64], *, there: pl.Series, share: float) -> pl.Series:
    """Linear between the two nearest ranks of each row's first `there` values, as Prometheus does it."""
    n = there.to_numpy()
    if not 0 <= share <= 1 or not values.size:
        return pl.select(pl.when(there > 0.5).then(math.copysign(math.inf, share))).to_series()
    rank = share * np.maximum(n - 1, 0)
    low = np.floor(rank).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(n - 1, 0).astype(np.int64))
    rows = np.arange(len(values))
    found = values[rows, low] * (1 - (rank - low)) + values[rows, high] * (rank - low)
    return pl.select(pl.when(there > 0.5).then(pl.Series(found))).to_series()
