"""Rows that stand together -> one value for each run of them: their sum, mean, greatest or last, null where nothing was told.

NumPy adds each run by itself and always in the same way. A hash aggregation adds its parts as its threads come along: the last bits
of a sum then depend on what else was summed with it.
"""

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Where runs of rows begin.

    Attributes:
        starts: the first row of each run.
        rows: how many rows there are in all.
    """

    starts: NDArray[np.intp]
    rows: int

    @classmethod
    def of(cls, rows: pl.DataFrame, *, by: tuple[str, ...]) -> Self:
        """The runs of neighbours that are the same in the columns `by`, which hold no null."""
        other = reduce(or_, (pl.col(name) != pl.col(name).shift() for name in by))
        starts = rows.select(other.fill_null(value=True).arg_true()).to_series()
        return cls(starts.to_numpy().astype(np.intp), rows.height)

    @property
    def lengths(self) -> NDArray[np.intp]:
        return np.diff(self.starts, append=self.rows)

    @property
    def single(self) -> bool:
        """Whether every run is one row."""
        return len(self.starts) == self.rows

    def first(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The first row of each run."""
        return rows if self.single else rows.select(pl.all().gather(self.starts))

    def spread(self, told: pl.Series) -> pl.Series:
        """What is told of each run, as told of each of its rows."""
        return told if self.single else told.gather(np.repeat(np.arange(len(self.starts)), self.lengths))

    def total(self, values: pl.Series) -> pl.Series:
        """The sum of each run, taken in the order of its rows."""
        return values if self.single else self._known(np.add.reduceat(values.fill_null(0.0).to_numpy(), self.starts), of=values)

    def mean(self, values: pl.Series) -> pl.Series:
        """The mean over what was told of each run."""
        if self.single:
            return values
        totals = self._known(np.add.reduceat(values.fill_null(0.0).to_numpy(), self.starts), of=values)
        return (totals / pl.Series(self._told(values))).alias(values.name)

    def greatest(self, values: pl.Series) -> pl.Series:
        """The greatest value of each run."""
        if self.single:
            return values
        lowest = -np.inf if values.dtype.is_float() else np.iinfo(np.int64).min
        return self._known(np.maximum.reduceat(values.fill_null(lowest).to_numpy(), self.starts), of=values)

    def last(self, values: pl.Series) -> pl.Series:
        """The last value of each run that was told."""
        if self.single:
            return values
        rows = np.arange(self.rows)
        place = np.where(values.is_not_null().to_numpy(), rows, -1) if values.null_count() else rows
        last = pl.Series(np.maximum.reduceat(place, self.starts))
        return values.gather(last.set(last < 0, None))

    def _told(self, values: pl.Series) -> NDArray[np.int64]:
        """How many values were told of each run."""
        lengths = self.lengths.astype(np.int64)
        if not values.null_count():
            return lengths
        silent = np.searchsorted(self.starts, values.is_null().arg_true().to_numpy(), side="right") - 1
        return lengths - np.bincount(silent, minlength=len(self.starts))

    def _known(self, told: NDArray[np.float64] | NDArray[np.int64], *, of: pl.Series) -> pl.Series:
        found = pl.Series(of.name, told)
        return found.set(pl.Series(self._told(of) == 0), None) if of.null_count() else found
