"""What every parameter of a grid was in every hour of every entity: medians and counts by NumPy, a block of hours at a time.

Most hours have as many steps as there can be: a column is a matrix then, hours below each other and steps beside each other, whose rows are
sorted at once. Hours with fewer steps are filled up with NaN.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.schema import OBSERVED
from validation.places import Places

WORD: Final = 64

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bits = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Told:
    """What the values of each hour say; every array is [parameter, hour].

    Attributes:
        level: f64, the median of what is neither zero nor infinite, without its sign; NaN where there is none of it.
        told: u32, how many values that is.
        whole: whether all values are whole numbers.
        negative: f64, of the values other than zero, the share that is below it; NaN where there is none.
        zero: f64, of the values, the share that is zero; NaN where there is none.
        missing: u32, how many steps have no value.
        missing_while_observed: u32, how many of these were observed.
        lowest: f64, NaN where there is no value.
        highest: f64, as `lowest`.
    """

    level: Floats
    told: NDArray[np.uint32]
    whole: NDArray[np.bool_]
    negative: Floats
    zero: Floats
    missing: NDArray[np.uint32]
    missing_while_observed: NDArray[np.uint32]
    lowest: Floats
    highest: Floats

    @classmethod
    def room(cls, *shape: int) -> "Told":
        """For so many parameters and hours."""
        level, negative, zero, lowest, highest = (np.empty(shape) for _ in range(5))
        told, missing, missing_while_observed = (np.empty(shape, dtype=np.uint32) for _ in range(3))
        return cls(
            level=level,
            told=told,
            whole=np.empty(shape, dtype=np.bool_),
            negative=negative,
            zero=zero,
            missing=missing,
            missing_while_observed=missing_while_observed,
            lowest=lowest,
            highest=highest,
        )


def tell(grid: pl.DataFrame, *, places: Places, parameters: list[str]) -> Told:
    """What `parameters` say in each hour; `places` are those of `grid`."""
    told = Told.room(len(parameters), len(places.period))
    values = places.placed(grid.select(OBSERVED, pl.col(parameters).cast(pl.Float64)))
    with ThreadPoolExecutor(pl.thread_pool_size()) as threads:
        for _ in threads.map(lambda block: _tell_block(values, places=places, block=block, told=told), places.blocks()):
            pass
    return told


def _tell_block(values: pl.DataFrame, *, places: Places, block: slice, told: Told) -> None:
    """Note in `told` what some hours, one after the other, say."""
    rows, first = places.rows[block], places.first[block]
    observed, *parameters = values.slice(int(first[0]), int(rows.sum())).iter_columns()
    seen = observed.fill_null(value=False).to_numpy()
    matrices = [_Matrix.of(hours, first=first - first[0], rows=rows, observed=seen) for hours in _alike(rows)]
    for number, parameter in enumerate(parameters):
        told_by_rows = parameter.to_numpy()
        for matrix in matrices:
            at = number, block.start + matrix.hours
            _note(matrix.fill(told_by_rows), rows=matrix.rows, observed=matrix.observed, told=told, at=at)


def _alike(rows: Integers) -> list[Integers]:
    """The places of hours of which none has more than twice the rows of another."""
    size = np.ceil(np.log2(rows))
    return [np.flatnonzero(size == power) for power in np.unique(size)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Matrix:
    """Hours below each other, their steps beside each other.

    Attributes:
        hours: i64[hour], their places.
        rows: i64[hour], how many steps each has.
        row: i64[hour, step], where its value is; null where all rows lie so.
        beyond: i64[some], the places that are no step.
        observed: u64[hour, some], a bit for each step.
    """

    hours: Integers
    rows: Integers
    row: Integers | None
    beyond: Integers
    observed: Bits

    @classmethod
    def of(cls, hours: Integers, *, first: Integers, rows: Integers, observed: NDArray[np.bool_]) -> "_Matrix":
        """That of some hours of a block."""
        rows = rows[hours]
        step = np.arange(rows.max())
        within = step < rows[:, None]
        row = np.where(within, first[hours, None] + step, 0)
        seen = _bits(observed[row] & within)
        complete = row.size == len(observed) and bool(within.all())
        return cls(hours=hours, rows=rows, row=None if complete else row, beyond=np.flatnonzero(~within), observed=seen)

    def fill(self, values: Floats) -> Floats:
        """f64[hour, step]: the values of a parameter, NaN where there is no step."""
        if self.row is None:
            return values.reshape(len(self.rows), -1)
        filled = values.take(self.row)
        filled.reshape(-1)[self.beyond] = np.nan
        return filled


def _note(values: Floats, *, rows: Integers, observed: Bits, told: Told, at: tuple[int, Integers]) -> None:
    """Note in `told` what f64[hour, step] say; NaN says nothing."""
    unknown = _bits(np.isnan(values))
    known = values.shape[1] - _count(unknown)
    size = np.abs(values)
    size.sort(axis=1)  # zeros, then what tells, then what is infinite, then NaN
    highest = _step(size, known - 1)
    zeros = _count(_bits(size == 0)) if (size[:, 0] == 0).any() else np.zeros_like(known)
    infinite = _count(_bits(np.isinf(size))) if np.isinf(highest).any() else np.zeros_like(known)
    telling = known - zeros - infinite
    low, high = _step(size, zeros + (telling - 1) // 2), _step(size, zeros + telling // 2)
    below = values < 0
    signed = bool(below.any())
    with np.errstate(invalid="ignore", divide="ignore"):
        told.level[at] = np.where(telling > 0, low + (high - low) * 0.5, np.nan)
        told.negative[at] = (_count(_bits(below)) if signed else 0) / (known - zeros)
        told.zero[at] = zeros / known
    told.told[at] = telling
    told.whole[at] = _whole(values)
    told.missing[at] = rows - known
    told.missing_while_observed[at] = _count(unknown & observed)
    told.lowest[at] = np.fmin.reduce(values, axis=1) if signed else size[:, 0]
    told.highest[at] = np.fmax.reduce(values, axis=1) if signed else highest


def _whole(values: Floats) -> NDArray[np.bool_]:
    """bool[hour]: whether there is no fraction among the values. Most fractions show in the first step already."""
    whole: NDArray[np.bool_] = np.isnan(values[:, 0]) | (np.floor(values[:, 0]) == values[:, 0])
    if whole.any():
        left = values[whole]
        whole[whole] = ((np.floor(left) == left) | np.isnan(left)).all(axis=1)
    return whole


def _step(values: Floats, step: Integers) -> Floats:
    """f64[hour]: the value of one step of each, the nearest that there is."""
    return values[np.arange(len(values)), np.clip(step, 0, values.shape[1] - 1)]


def _bits(what: NDArray[np.bool_]) -> Bits:
    """u64[hour, some]: every step is a bit, so that 64 of them are counted at once."""
    hours, steps = what.shape
    padded = np.zeros((hours, -(-steps // WORD) * WORD), dtype=np.bool_)
    padded[:, :steps] = what
    return np.packbits(padded).view(np.uint64).reshape(hours, -1)


def _count(bits: Bits) -> Integers:
    """i64[hour]: how many are set."""
    return np.asarray(np.bitwise_count(bits).sum(axis=1, dtype=np.int64))
