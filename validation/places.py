"""Rows of a grid -> which of them are which hour or day of which entity, and when they are.

A grid is sorted by entity and time, so that a period is a stretch of rows; where it is not, rows are put in order first. Everything is read
a block of rows at a time: no column is copied as a whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.schema import AT, ENTITY, OBSERVED

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
BLOCK: Final = 1 << 17
"""Rows that are in hand at once: their values of one parameter fit into a processor's cache."""
NO_STEP: Final = int(np.iinfo(np.int64).max)
_NEVER: Final = int(np.iinfo(np.int64).min)
_PERIODS_END: Final = 1 << 33
"""Twice as many hours as a 64-bit time in microseconds may have, so that entity and hour make one number."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """Which rows of a grid are which period of which entity.

    Attributes:
        entities: their names, as they come.
        entity: i64[period], the place of the name; periods are sorted by it and by time.
        period: i64[period], since 1970-01-01 UTC.
        first: i64[period], where its rows begin, in `order`.
        rows: i64[period], how many there are.
        order: i64[row], the rows of the grid, period by period; null where they lie so.
    """

    entities: pl.Series
    entity: Integers
    period: Integers
    first: Integers
    rows: Integers
    order: Integers | None

    @property
    def begin(self) -> Integers:
        """i64[entity], where its periods begin."""
        return np.flatnonzero(np.diff(self.entity, prepend=-1))

    @property
    def by_name(self) -> Integers:
        """i64[period], the periods by the entities' names and by time."""
        rank = np.argsort(self.entities.arg_sort().to_numpy())
        return np.argsort(rank[self.entity], kind="stable")

    def placed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Columns of the grid in `order`."""
        return rows if self.order is None else rows[self.order]

    def blocks(self) -> list[slice]:
        """The periods, one after the other, in blocks of about `BLOCK` rows."""
        cuts = np.unique(np.searchsorted(self.first, np.arange(0, self.rows.sum(), BLOCK), side="right") - 1).tolist()
        return [slice(begin, end) for begin, end in pairwise([*cuts, len(self.first)])]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clock:
    """When the rows of each period are; microseconds.

    Attributes:
        oldest: i64[period], since 1970-01-01 UTC.
        newest: i64[period], as `oldest`.
        step: i64[period], the least one from the row before, of the same entity, to one of the period; `NO_STEP` where there is none.
    """

    oldest: Integers
    newest: Integers
    step: Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """When the observed rows of each period are; microseconds.

    Attributes:
        rows: i64[period], how many.
        oldest: i64[period], since 1970-01-01 UTC; of no meaning where there is none.
        newest: i64[period], as `oldest`.
    """

    rows: Integers
    oldest: Integers
    newest: Integers


def place(grid: pl.DataFrame, *, every_us: int = HOUR_US) -> Places:
    """The periods of `grid`, each of `every_us`, whatever the order of its rows. A row without a time belongs to none."""
    runs = grid.get_column(ENTITY).rle().struct
    names, rows = runs.field("value"), runs.field("len").cast(pl.Int64).to_numpy()
    entities = names.unique(maintain_order=True)
    numbered = entities.to_frame(ENTITY).with_row_index("place")
    number = names.to_frame(ENTITY).join(numbered, on=ENTITY, how="left", nulls_equal=True, maintain_order="left").get_column("place")
    begin = np.cumsum(rows) - rows
    first, period = _changes(grid.get_column(AT), begin=begin, every_us=every_us)
    entity = number.cast(pl.Int64).to_numpy()[np.searchsorted(begin, first, side="right") - 1]
    places = Places(entities=entities, entity=entity, period=period, first=first, rows=np.diff(first, append=len(grid)), order=None)
    key, never = entity * _PERIODS_END + period, _NEVER // every_us
    return places if (key[1:] > key[:-1]).all() and (period != never).all() else _ordered(places, never=never)


def _changes(at: pl.Series, *, begin: Integers, every_us: int) -> tuple[Integers, Integers]:
    """i64[some] each: the rows with which a period begins, those of `begin` among them; and which period that is."""
    first, period = [begin[:0]], [begin[:0]]
    before = 0
    for row in range(0, len(at), BLOCK):
        of_row = at[row : row + BLOCK].dt.epoch("us").fill_null(_NEVER).to_numpy() // every_us
        new = np.diff(of_row, prepend=before) != 0
        new[begin[slice(*np.searchsorted(begin, [row, row + BLOCK]))] - row] = True
        changed = np.flatnonzero(new)
        first.append(changed + row)
        period.append(of_row[changed])
        before = int(of_row[-1])
    return np.concatenate(first), np.concatenate(period)


def _ordered(places: Places, *, never: int) -> Places:
    """Periods that lie in no order put in order, each of them once; without the period `never`."""
    by_time = np.lexsort((places.period, places.entity))
    by_time = by_time[places.period[by_time] != never]
    entity, period, rows = places.entity[by_time], places.period[by_time], places.rows[by_time]
    first = np.cumsum(rows) - rows
    order = np.repeat(places.first[by_time] - first, rows) + np.arange(rows.sum())
    new = (np.diff(entity, prepend=-1) != 0) | (np.diff(period, prepend=never) != 0)
    first = first[new]
    rows = np.diff(first, append=len(order))
    return Places(entities=places.entities, entity=entity[new], period=period[new], first=first, rows=rows, order=order)


def clock(grid: pl.DataFrame, *, places: Places) -> Clock:
    """When the rows are; `places` are those of `grid`."""
    oldest, newest, step = (np.empty_like(places.period) for _ in range(3))
    before = 0
    for block, first, rows in _in_blocks(grid, places=places):
        at = rows.get_column(AT).to_numpy()
        steps = np.diff(at, prepend=before)
        new = np.diff(places.entity[block], prepend=places.entity[block.start - 1] if block.start else -1) != 0
        steps[first[new]] = NO_STEP
        oldest[block], newest[block] = np.minimum.reduceat(at, first), np.maximum.reduceat(at, first)
        step[block] = np.minimum.reduceat(steps, first)
        before = int(at[-1])
    return Clock(oldest=oldest, newest=newest, step=step)


def observed(grid: pl.DataFrame, *, places: Places) -> Observed:
    """When the observed rows are; `places` are those of `grid`."""
    oldest, newest, counted = (np.empty_like(places.period) for _ in range(3))
    for block, first, rows in _in_blocks(grid, places=places):
        at, seen = rows.get_column(AT).to_numpy(), rows.get_column(OBSERVED).to_numpy()
        counted[block] = np.add.reduceat(seen, first, dtype=np.int64)
        oldest[block] = np.minimum.reduceat(np.where(seen, at, NO_STEP), first)
        newest[block] = np.maximum.reduceat(np.where(seen, at, _NEVER), first)
    return Observed(rows=counted, oldest=oldest, newest=newest)


def _in_blocks(grid: pl.DataFrame, *, places: Places) -> Iterator[tuple[slice, Integers, pl.DataFrame]]:
    """Some periods, where the rows of each begin, and the rows: time in microseconds, and whether observed."""
    rows = places.placed(grid.select(pl.col(AT).dt.epoch("us"), pl.col(OBSERVED).fill_null(value=False)))
    for block in places.blocks():
        begin = int(places.first[block.start])
        yield block, places.first[block] - begin, rows.slice(begin, int(places.rows[block].sum()))


class RowsOf:
    """The rows of each entity in the order of time: a slice of a grid that is in order, which copies nothing, and any other's looked up.

    Args:
        grid: entity, at, observed and parameters.
        entities: `entity, rows` of all, as its profile tells them.
    """

    def __init__(self, grid: pl.DataFrame, *, entities: pl.DataFrame) -> None:
        self._grid = grid
        self._first: dict[str, tuple[int, int]] = {}
        counts, first = dict(entities.select(ENTITY, "rows").iter_rows()), 0
        while first < grid.height and (entity := grid[ENTITY][first]) not in self._first:
            self._first[entity] = first, counts[entity]
            first += counts[entity]

    def __getitem__(self, entity: str) -> pl.DataFrame:
        if entity in self._first:
            rows = self._grid.slice(*self._first[entity])
            if rows[ENTITY][-1] == entity and (rows[ENTITY] == entity).all() and rows[AT].is_sorted():
                return rows
        return self._grid.filter(pl.col(ENTITY) == entity).sort(AT)
