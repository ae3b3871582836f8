"""Which parameters of which entities are not believed, since when and until when: their unit broke while they were watched.

A suspension begins with the first wrong value, as `validation.onset` tells it from the values that follow. It ends with the first of
`AT_ONCE` values in a row that are what the wrong ones would be without the error, or where an operator lifts it. Time is cut into blocks
of `BLOCK` steps, and a block is looked at together with the `HISTORY` steps before it and with what was suspended when it began. What is
suspended is therefore a function of the grid and of the lifts, however often and in whatever portions one looks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.jumps import AT_ONCE, BLOCK, LATE, USUAL, candidates
from telemetry.masks import SPANS
from telemetry.schema import (
    AT,
    ENTITY,
    LIFTS,
    OBSERVED,
    PARAMETER,
    RELEASE,
    START,
    SUSPENSIONS,
    TIME,
    conform,
)
from validation import onset

HISTORY: Final = 180
"""Steps before a block that are looked at with it."""
MOST_ROUNDS: Final = 20
"""Errors that are looked for one after the other in one series and block."""
NEAR_SHARE: Final = 1 / 3
"""How near they must be to what the error was made of, as a share of its own size, in logarithms."""
NEAR_MIRRORED: Final = 0.5
"""The same of a sign, in logarithms: it changes no size."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
Floats = NDArray[np.float64]
Steps = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """A row of SUSPENSIONS."""

    entity: str
    parameter: str
    start: datetime
    end: datetime | None
    cause: str
    factor: float | None
    before: float
    after: float
    found_at: datetime
    closed_at: datetime | None

    def at(self, instant: datetime) -> "Suspension":
        """As it was known then."""
        known = self.closed_at is not None and self.closed_at <= instant
        return self if known else replace(self, end=None, closed_at=None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """An entity: i64[step] microseconds and, by parameter, f64[step], NaN where nothing is known."""

    entity: str
    at: Steps
    observed: NDArray[np.bool_]
    value: Mapping[str, Floats]
    cadence: timedelta

    def index(self, instant: datetime) -> int:
        """The first step at or after an instant."""
        return int(np.searchsorted(self.at, (instant - _EPOCH) // _US))

    def time(self, step: int) -> datetime:
        """When a step begins."""
        return _EPOCH + int(self.at[step]) * _US

    def window(self, block: datetime) -> slice:
        """A block and what is known before it, from the first row that was measured on."""
        first, last = self.index(block - HISTORY * self.cadence), self.index(block + BLOCK * self.cadence)
        measured = np.flatnonzero(self.observed[first:last])
        return slice(first + int(measured[0]) if len(measured) else last, last)


@dataclass(slots=True, kw_only=True, eq=False)
class _Watch:
    """What an entity's suspensions become, block after block."""

    rows: _Rows
    lifts: Mapping[str, Sequence[datetime]]
    told: list[Suspension] = field(default_factory=list)

    def look(self, block: datetime, *, candidates: frozenset[str], first: bool) -> None:
        """Close and open what a block closes and opens; `first`: nobody has looked at what was before it."""
        since = block - HISTORY * self.rows.cadence
        held = {each.parameter for each in self.told if each.end is None or each.end > since}
        lifted = {name for name, every in self.lifts.items() if any(since < at < block + BLOCK * self.rows.cadence for at in every)}
        names = sorted((candidates | held | lifted) & self.rows.value.keys())
        if not names:
            return
        window = self.rows.window(block)
        self.told = [self._ended(each, block=block, window=window) if each.end is None else each for each in self.told]
        for within in range(1 + max((len(self._lifted(name, window=window)) for name in names), default=0)):
            hidden = {name: self._hidden(name, window=window, within=within) for name in names}
            self._open(block, window=window, hidden=hidden, first=first)

    def _open(self, block: datetime, *, window: slice, hidden: dict[str, NDArray[np.bool_]], first: bool) -> None:
        """Every error that begins among the values that are not hidden."""
        for each in self.told:
            if each.parameter in hidden:
                hidden[each.parameter] |= self._between(window, since=each.start, until=each.end)
        for _ in range(MOST_ROUNDS):
            found = self._found(window, hidden=hidden, since=None if first else block - LATE * self.rows.cadence)
            if not found:
                return
            for begun in found:
                if begun.parameter not in hidden:
                    hidden[begun.parameter] = self._hidden(begun.parameter, window=window, within=0)
                hides = self._between(window, since=begun.start, until=begun.end)
                told = self._begun(begun, block=block, window=window, hidden=hidden[begun.parameter])
                if told is not None:
                    self.told.append(told)
                    hides |= self._between(window, since=told.start, until=told.end)
                hidden[begun.parameter] = hidden[begun.parameter] | hides

    def _found(self, window: slice, *, hidden: Mapping[str, NDArray[np.bool_]], since: datetime | None) -> tuple[onset.Onset, ...]:
        """What begins among the values that are not hidden, first of those parameters alone: all of them take thrice the time."""
        rows, nothing = self.rows, np.zeros(window.stop - window.start, dtype=np.bool_)
        if window.stop == window.start:
            return ()
        found: tuple[onset.Onset, ...] = ()
        for names in (hidden.keys(), rows.value.keys()):  # the others tell whether it is the entity's business
            values = {name: np.where(hidden.get(name, nothing), np.nan, rows.value[name][window]) for name in names}
            series = {name: pl.Series(name, value, nan_to_null=True) for name, value in values.items()}
            grid = pl.DataFrame({ENTITY: rows.entity, AT: pl.Series(rows.at[window]).cast(TIME), OBSERVED: rows.observed[window], **series})
            found = onset.find(grid, cadence=rows.cadence, since=since)
            if not found:
                break
        return found

    def _begun(self, begun: onset.Onset, *, block: datetime, window: slice, hidden: NDArray[np.bool_]) -> Suspension | None:
        """The suspension; null where no level is known before or after."""
        rows = self.rows
        values, begin = np.where(hidden, np.nan, rows.value[begun.parameter][window]), rows.index(begun.start) - window.start
        wrong = begin + np.flatnonzero(np.isfinite(values[begin:]))[:AT_ONCE]
        usual = values[max(0, begin - USUAL) : begin]
        usual = usual[np.isfinite(usual) & (usual != 0)]
        if not len(wrong) or not len(usual) or not np.median(values[wrong]):
            return None
        found_at = rows.time(window.start + int(wrong[-1])) + rows.cadence
        told = Suspension(
            entity=rows.entity,
            parameter=begun.parameter,
            start=begun.start,
            end=None,
            cause=begun.cause,
            factor=begun.factor,
            before=float(np.median(usual)),
            after=float(np.median(values[wrong])),
            found_at=max(found_at, block + rows.cadence),
            closed_at=None,
        )
        return self._ended(told, block=block, window=window)

    def _ended(self, told: Suspension, *, block: datetime, window: slice) -> Suspension:
        """With its end, if the block has it."""
        rows = self.rows
        returned = _returned(told, rows=rows, window=window, block=block)
        lifts = [at for at in self.lifts.get(told.parameter, ()) if told.start < at < block + BLOCK * rows.cadence]
        ends = [(at, at) for at in lifts] + ([returned] if returned else [])
        if not ends:
            return told
        end, closed_at = min(ends)
        return replace(told, end=end, closed_at=max(closed_at, block + rows.cadence))

    def _lifted(self, name: str, *, window: slice) -> list[int]:
        """The steps within the window at which a parameter was lifted."""
        steps = {self.rows.index(at) for at in self.lifts.get(name, ())}
        return sorted(step for step in steps if window.start < step < window.stop)

    def _hidden(self, name: str, *, window: slice, within: int) -> NDArray[np.bool_]:
        """All but the values between a lift and the next: what came before one is nothing that later values are held against."""
        edges = [window.start, *self._lifted(name, window=window), window.stop]
        steps = np.arange(window.start, window.stop)
        return ~((steps >= edges[within]) & (steps < edges[within + 1])) if within + 1 < len(edges) else np.ones(len(steps), dtype=np.bool_)

    def _between(self, window: slice, *, since: datetime, until: datetime | None) -> NDArray[np.bool_]:
        """bool[step of the window], true from an instant until another."""
        steps = np.arange(window.start, window.stop)
        last = window.stop if until is None else self.rows.index(until)
        return (steps >= self.rows.index(since)) & (steps < last)


def _returned(told: Suspension, *, rows: _Rows, window: slice, block: datetime) -> tuple[datetime, datetime] | None:
    """The first value that is right again, and when that can be told; null if that is not before the end of the block.

    The level of a day has its hours: what is right is told from the wrong values just before, and from what the error made of the right
    ones when it began.
    """
    value = rows.value[told.parameter]
    begin = rows.index(told.start)
    known = max(begin, window.start) + np.flatnonzero(np.isfinite(value[max(begin, window.start) : window.stop]))
    known = known[value[known] != 0]
    made, now = told.after / told.before, rows.index(block)
    near = max(abs(np.log(abs(made))) * NEAR_SHARE, NEAR_MIRRORED if made < 0 else 0.0)
    for place in range(AT_ONCE if begin >= window.start else 0, len(known) - AT_ONCE + 1):
        last = known[place + AT_ONCE - 1]
        if last >= now:
            wrong = value[known[max(0, place - USUAL) : place]]
            right = (float(np.median(wrong)) if place else told.after) / made
            share = value[known[place : place + AT_ONCE]] / right
            if (share > 0).all() and (np.abs(np.log(share)) <= near).all():
                return rows.time(int(known[place])), rows.time(int(last)) + rows.cadence
    return None


def block_of(at: datetime, *, cadence: timedelta) -> datetime:
    """The beginning of the block that holds an instant.

    >>> block_of(datetime(2026, 1, 1, 7, 59, tzinfo=UTC), cadence=timedelta(minutes=1)).hour
    7
    """
    length = BLOCK * cadence
    return _EPOCH + (at - _EPOCH) // length * length


def suspensions(
    grid: pl.DataFrame,
    *,
    begins: Mapping[str, datetime],
    origin: datetime,
    known: pl.DataFrame,
    lifts: pl.DataFrame,
    cadence: timedelta,
    until: datetime,
    release: str,
) -> pl.DataFrame:
    """SUSPENSIONS of some entities, sorted: what was known when their first blocks began, and what those and all later ones tell.

    Args:
        grid: rows of `grid_schema`, complete and sorted, from `HISTORY` steps before the first block on; without impossible values.
        begins: who is looked at, and from which block on (see `block_of`).
        origin: the block that is the first of all: nobody looked before it.
        known: SUSPENSIONS so far; of the entities only what was found before their first block counts.
        lifts: LIFTS.
        cadence: of the grid's steps.
        until: end (exclusive) of what is known.
        release: whose they are.
    """
    found = candidates(grid, begins=begins, origin=origin, cadence=cadence)
    rows = dict(_by_entity(grid, entities=_concerned(found, known=known, lifts=lifts, begins=begins), cadence=cadence))
    before = _suspended(known)
    told: list[Suspension] = []
    for entity, begin in sorted(begins.items()):
        state = [each.at(begin) for each in before.get(entity, ()) if each.found_at <= begin]
        if entity not in rows:
            told += state
            continue
        lifted = lifts.filter(pl.col(ENTITY) == entity).sort(AT)
        by_name = {str(name): every[AT].to_list() for (name,), every in lifted.partition_by(PARAMETER, as_dict=True).items()}
        watch = _Watch(rows=rows[entity], lifts=by_name, told=state)
        block = begin
        while block < until:
            watch.look(block, candidates=found.get((entity, block), frozenset()), first=block == origin)
            block += BLOCK * cadence
        told += watch.told
    frame = pl.DataFrame([_row(each, release=release) for each in told], schema=SUSPENSIONS)
    return conform(frame, SUSPENSIONS, name="suspensions").sort(ENTITY, PARAMETER, START)


def spans(told: pl.DataFrame) -> pl.DataFrame:
    """SPANS of SUSPENSIONS, for `telemetry.masks`."""
    return told.select(list(SPANS))


def _row(told: Suspension, *, release: str) -> dict[str, object]:
    return {name: getattr(told, name) for name in SUSPENSIONS if name != RELEASE} | {RELEASE: release}


def _suspended(known: pl.DataFrame) -> dict[str, list[Suspension]]:
    found: dict[str, list[Suspension]] = {}
    for row in known.drop(RELEASE).sort(ENTITY, PARAMETER, START).iter_rows(named=True):
        found.setdefault(row[ENTITY], []).append(Suspension(**row))
    return found


def _concerned(
    candidates: Mapping[tuple[str, datetime], frozenset[str]], *, known: pl.DataFrame, lifts: pl.DataFrame, begins: Mapping[str, datetime]
) -> set[str]:
    """The entities of which anything can be told."""
    named = {*known[ENTITY].to_list(), *conform(lifts, LIFTS, name="lifts")[ENTITY].to_list()}
    return {entity for entity, _ in candidates} | (named & begins.keys())


def _by_entity(grid: pl.DataFrame, *, entities: set[str], cadence: timedelta) -> Iterator[tuple[str, _Rows]]:
    names = [name for name in grid.columns if name not in (ENTITY, AT, OBSERVED)]
    parts = grid.filter(pl.col(ENTITY).is_in(list(entities))).partition_by(ENTITY, as_dict=True)
    for entity in entities:
        part = parts.get((entity,), grid.clear())
        value = {name: part[name].fill_null(np.nan).to_numpy() for name in names}
        at, observed = part[AT].dt.epoch("us").to_numpy(), part[OBSERVED].to_numpy()
        yield entity, _Rows(entity=entity, at=at, observed=observed, value=value, cadence=cadence)
