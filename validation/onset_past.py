"""What each series was like just before each of its steps: its level, its noise, its sign and the grid that its values lie on.

All of it comes from the `LOOK` steps before and from nothing else, so it is the same whatever else is at hand.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.schema import AT, ENTITY, OBSERVED
from validation.digits import ROUNDING

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

BEFORE: Final = 60
"""Steps that a value is held against ..."""
LEAST: Final = 15
"""... and how many of them must tell something other than zero."""
RECENT: Final = 5
"""Steps that tell whether a series is still where it was."""
DAY: Final = timedelta(days=1)
LOOK: Final = (180, 1440)
"""The least and the greatest number of steps in which the least, the greatest and the signs are looked for: those of a day, if between."""
DECIMALS: Final = 6
"""Looked for at most."""
BINARY: Final = 3
"""From so many decimals on values may be 32-bit numbers, whose last digits are eighths and smaller."""
UNITS: Final = (1.0, 1e3, 1e-3)
"""By which values that were stored as 32-bit numbers may have been divided since."""
NO_GRID: Final = -1
MOSTLY: Final = 0.98
"""Of the values before must lie on a grid: some are means of several."""
LARGEST: Final = 1e12
"""In steps of the grid: beyond, every number is near to one."""
STORED: Final = 2e-15
"""Relative distance from a 32-bit number that a few operations leave; by chance not one value in ten million is that near."""
FINEST: Final = 0.03
"""The least noise, in logarithms; or `GRAIN` steps of the grid, if that is more."""
GRAIN: Final = 0.5
GAP: Final = 5
NEVER: Final = np.datetime64("NaT", "us")
CELLS: Final = 3_000_000
"""Values that are worked on at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Some entities side by side: a column a series, the parameters of an entity next to each other.

    Attributes:
        entities: whose.
        parameters: of each.
        at: datetime64[step, entity], counted from each entity's first row, of longer gaps the first `GAP` steps only; UTC.
        value: f64[step, series]; NaN where nothing was told.
        over: i64[series], the last step that is over by the clock of the grid.
    """

    entities: tuple[str, ...]
    parameters: tuple[str, ...]
    at: NDArray[np.datetime64]
    value: Floats
    over: Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Past:
    """What is known of the time before each step, [step, series] each; zeros tell nothing.

    Attributes:
        level: f64, the median of the logarithms of the sizes; NaN where too few are known.
        recent: f64, the same of the last `RECENT` steps.
        noise: f64, in logarithms.
        low: f64, the logarithm of the least size.
        high: f64, of the greatest.
        sign: f64, of all values; 0 where both are told.
        grid: i64, that the values lie on: so many decimals, beyond `DECIMALS` one of `UNITS`, or `NO_GRID`.
    """

    level: Floats
    recent: Floats
    noise: Floats
    low: Floats
    high: Floats
    sign: Floats
    grid: Ints


def blocks(grid: pl.DataFrame, *, cadence: timedelta) -> Iterator[Block]:
    """The entities of a grid, as many at a time as fit.

    Args:
        grid: entity, at, observed and parameters, sorted by entity and time.
        cadence: of its steps.
    """
    parameters = tuple(name for name in grid.columns if name not in (ENTITY, AT, OBSERVED))
    end, step = grid[AT].max(), cadence // timedelta(microseconds=1)
    rows = grid.filter(pl.any_horizontal(pl.col(parameters).is_not_null()))
    if rows.is_empty():
        return
    gap = (pl.col(AT).diff().over(ENTITY).dt.total_microseconds() // step).clip(0, GAP).fill_null(0)
    place = rows.select(ENTITY, AT, step=gap.cum_sum().over(ENTITY))
    spans = place.group_by(ENTITY, maintain_order=True).agg(pl.len(), pl.col("step").last(), pl.col(AT).last())
    over = spans.select(pl.col("step") + ((pl.lit(end) - pl.col(AT)).dt.total_microseconds() // step).clip(0, GAP)).to_series().to_numpy()
    steps, counts = spans["step"].to_numpy() + 1, spans["len"].to_numpy()
    begin = 0
    while begin < len(steps):
        cells = np.maximum.accumulate(steps[begin:]) * np.arange(1, len(steps) - begin + 1) * len(parameters)
        stop = begin + max(1, int((cells <= CELLS).sum()))
        offset, height = int(counts[:begin].sum()), int(counts[begin:stop].sum())
        where = (place["step"].slice(offset, height).to_numpy(), np.repeat(np.arange(stop - begin), counts[begin:stop]))
        at = np.full((int(steps[begin:stop].max()), stop - begin), NEVER, dtype="datetime64[us]")
        at[where] = place[AT].slice(offset, height).dt.replace_time_zone(None).to_numpy()
        value = np.full((*at.shape, len(parameters)), np.nan)
        value[where] = rows.slice(offset, height).select(pl.col(parameters).cast(pl.Float64)).to_numpy()
        yield Block(
            entities=tuple(spans[ENTITY].slice(begin, stop - begin).cast(pl.String)),
            parameters=parameters,
            at=at,
            value=value.reshape(len(value), -1),
            over=np.repeat(over[begin:stop], len(parameters)).astype(np.int64),
        )
        begin = stop


def past(value: Floats, *, cadence: timedelta, first: int = 0) -> Past:
    """What is known before each step of f64[step, series], from the step `first` on: of those before it nothing."""
    begin = max(first - BEFORE, 0)
    look = min(max(DAY // cadence, LOOK[0]), LOOK[1])
    with np.errstate(all="ignore"):
        size = np.log(np.abs(np.where(value == 0, np.nan, value)))
    size = np.where(np.isfinite(size), size, np.nan)
    sizes, near = _frame(size), _frame(size[begin:])
    each = pl.all()
    level, low_side, high_side = (
        _before(near, each.rolling_quantile(share, window_size=BEFORE, min_samples=LEAST, interpolation="linear"), begin=begin)
        for share in (0.5, 0.16, 0.84)
    )
    recent = _before(near, each.rolling_median(RECENT, min_samples=1), begin=begin)
    low = _before(sizes, each.rolling_min(look, min_samples=LEAST))
    high = _before(sizes, each.rolling_max(look, min_samples=LEAST))
    signs = _frame(np.where(np.isfinite(size), np.sign(value), np.nan))
    least, most = (_before(signs, told) for told in (each.rolling_min(look, min_samples=LEAST), each.rolling_max(look, min_samples=LEAST)))
    grid = np.full(value.shape, NO_GRID)
    grid[begin:] = _grids(np.where(np.isfinite(size), value, np.nan)[begin:])
    with np.errstate(all="ignore"):
        grain = np.where((grid >= 0) & (grid <= DECIMALS), GRAIN * 10.0 ** -np.maximum(grid, 0) / np.exp(level), 0.0)
    noise = np.sqrt(np.maximum(FINEST, (high_side - low_side) / 2) ** 2 + grain**2)
    return Past(
        level=level,
        recent=np.where(np.isfinite(recent), recent, level),
        noise=noise,
        low=low,
        high=high,
        sign=np.where(least == most, most, 0.0),
        grid=grid,
    )


def on_grid(value: Floats, *, grid: Ints, slack: Floats | float = 0.0) -> Flags:
    """Whether values lie on the grid given for each; on none all do, and zero on every.

    Args:
        value: what is asked about.
        grid: as of `Past`, of a shape to go with it.
        slack: by how much each value may be off for the arithmetic that it went through.
    """
    decimal, kind = grid <= DECIMALS, np.clip(grid - DECIMALS - 1, 0, len(UNITS) - 1)
    with np.errstate(all="ignore"):
        scale = np.where(decimal, 10.0 ** np.clip(grid, 0, DECIMALS), np.array(UNITS)[kind])
        told = value * scale
        nearest = np.where(decimal, np.round(told), told.astype(np.float32))
        allowed = np.where(decimal, np.minimum(ROUNDING * np.abs(told), 1e-3), STORED * np.abs(told)) + slack * scale
        near = (np.abs(told - nearest) <= allowed) & (np.abs(told) <= LARGEST) & ((nearest != 0) | (value == 0))
    return np.asarray(near | (grid == NO_GRID))


def median(values: Floats) -> Floats:
    """f64[row, 1]: of what is known in each row; NaN where nothing is."""
    ordered = np.sort(values, axis=1)
    count = np.isfinite(ordered).sum(axis=1, keepdims=True)
    middle = [np.take_along_axis(ordered, np.clip(place, 0, values.shape[1] - 1), axis=1) for place in ((count - 1) // 2, count // 2)]
    both: Floats = np.where(count > 0, (middle[0] + middle[1]) / 2, np.nan)
    return both


def _grids(value: Floats) -> Ints:
    """i64[step, series]: the grid of the values before each step."""
    digits = np.full(value.shape, np.nan)
    left = np.flatnonzero(np.isfinite(value))
    for decimals in range(DECIMALS + 1):
        fits = on_grid(value.flat[left], grid=np.array(decimals))
        digits.flat[left[fits]] = decimals
        left = left[~fits]
    digits.flat[left] = DECIMALS + 1
    most = pl.all().rolling_quantile(MOSTLY, window_size=BEFORE, min_samples=LEAST, interpolation="lower")
    usual = _before(_frame(digits), most)
    grid = np.where(usual <= DECIMALS, np.nan_to_num(usual), NO_GRID).astype(np.int64)
    many = usual >= BINARY
    other = np.flatnonzero(many.any(axis=0))
    for kind in range(DECIMALS + len(UNITS), DECIMALS, -1) if len(other) else ():
        fits = np.where(np.isfinite(value[:, other]), on_grid(value[:, other], grid=np.array(kind)), np.nan)
        share = _before(_frame(fits), pl.all().rolling_mean(BEFORE, min_samples=LEAST))
        asked = many[:, other] if kind == DECIMALS + 1 else usual[:, other] > DECIMALS
        grid[:, other] = np.where(asked & (share >= MOSTLY), kind, grid[:, other])
    return grid


def _frame(values: NDArray[Any]) -> pl.DataFrame:
    return pl.from_numpy(np.asfortranarray(values)).fill_nan(None)


def _before(frame: pl.DataFrame, told: pl.Expr, *, begin: int = 0) -> Floats:
    """f64[step, series]: of the steps before each; NaN for those before `begin`, which the frame leaves out."""
    known = frame.select(told.shift(1)).to_numpy().astype(np.float64)
    return np.concatenate([np.full((begin, known.shape[1]), np.nan), known]) if begin else known
