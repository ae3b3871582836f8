"""What an edge is taken for: the error of arithmetic that makes of the values just before it what comes just after.

Three witnesses are heard. The digits, which values have again once the right error is undone, and no other. The edge itself: by how much
the level moves from the last values before to the first ones after, over so many of them as tell it best in this series. And the noise,
which a multiplication leaves as it was, and a collapse does not. Two columns are swapped where each tells what the other one did, from
the same instant on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.schema import AT, ENTITY, OBSERVED
from validation.digits import digits_of, exact_factor, lost_remainder, single
from validation.edges import Edge
from validation.forms import LOGARITHM, SWAPPED, TEMPERATURES, arithmetic, called, factors, restored_by
from validation.places import RowsOf

Floats = NDArray[np.float64]

LOOKED_AT: Final = timedelta(days=7)
LOOKED_NEAR: Final = timedelta(hours=2)
LOOKED_AROUND: Final = timedelta(hours=12)
"""Before and after an edge; its hour, for its instant; and that, for the digits of a logarithm."""
AN_HOUR: Final = timedelta(hours=1)
WIDTHS: Final = (2, 6, 24, 72)
"""Values on each side over which an edge may be told."""
NOISES: Final = 3.0
"""How far from what an error makes of it, in noises, an edge may be ..."""
NEAR: Final = (0.03, 0.25)
"""... but at least and at most so far, in logarithms."""
REACHED: Final = 0.4
"""The most for digits to be believed before an exchange: those of the other column may be what an error would leave of these."""
FAR: Final = 0.5
"""The most where the digits confirm the error."""
NOISY: Final = 0.1
"""An edge of a series with more noise is told by the weeks around it too."""
SURE: Final = 8.0
"""Noises by which an edge must stand out where no digits confirm what it is."""
SURE_OF_TWO: Final = 4.0
"""The same for each of two edges that make an exchange."""
CROSSED: Final = 0.7
"""The farthest, in logarithms, that a few values may be from those of the other column."""
LEAST: Final = np.log(2)
"""And so large must it be then: levels change by less every day."""
COMPRESSED: Final = np.log(10)
"""A logarithm must have made a level smaller by so much, in logarithms, where no digits confirm it: many a level falls by less."""
BETTER: Final = 3.0
"""So many times nearer than nothing at all must an error come."""
ALIKE: Final = 2.5
"""By what factor the noise may differ from what the error makes of it."""
TELLING_NOISE: Final = 1e-3
"""Less tells nothing of how alike two noises are."""
SAME: Final = 0.03
"""Two errors this near to each other, in logarithms, are not told apart by an edge."""
MEANT: Final = 4
"""More decimals than this are what is left of binary digits."""
BINARY: Final = frozenset({"x8", "x1/8", "x1024", "x1/1024"})
"""Powers of two, which leave values in single precision there: where there are such before and after, these are likelier."""
DIVIDED: Final = "integer division by"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Named:
    """What an edge is taken for.

    Attributes:
        edge: the edge.
        cause: as `validation.triage.Diagnosis` tells it.
        start: its first value.
        end: exclusive.
        exact: whether the digits confirm it.
        size: by how much the level has changed, in logarithms.
    """

    edge: Edge
    cause: str
    start: datetime
    end: datetime
    exact: bool
    size: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Series:
    """What is told of one parameter: i64[value] microseconds since 1970 and f64[value]."""

    at: NDArray[np.int64]
    value: Floats

    def between(self, start: int, end: int) -> Floats:
        """The values from one instant up to another."""
        first, last = np.searchsorted(self.at, [start, end])
        return self.value[first:last]


class _Every:
    """The parameters of an entity by name, each read when it is asked for."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self._rows = rows
        self._at = rows[AT].dt.epoch("us").to_numpy()
        self._read: dict[str, _Series] = {}

    def __getitem__(self, name: str) -> _Series:
        if name not in self._read:
            self._read[name] = _series(self._rows[name], at=self._at)
        return self._read[name]

    def items(self) -> Iterator[tuple[str, _Series]]:
        """All of them."""
        return ((name, self[name]) for name in self._rows.columns if name not in (ENTITY, AT, OBSERVED))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Step:
    """One parameter before and after an instant.

    Attributes:
        before: f64[value], a week of it.
        after: f64[value], a week, or what lies before its end.
        width: how many of them tell best by how much the level changes.
        noise: how much it changes, in logarithms, where nothing happens.
        counts: whether that is by one more or less of few.
    """

    before: Floats
    after: Floats
    width: int
    noise: float
    counts: bool

    @property
    def levels(self) -> tuple[float, float]:
        """Just before and just after, without sign."""
        return _middle(self.before[-self.width :]), _middle(self.after[: self.width])

    @property
    def size(self) -> float:
        """The change, in logarithms."""
        before, after = self.levels
        return float(np.log(after / before))

    def near(self, noise: float) -> float:
        """How far from what an error makes of it an edge may be."""
        return float(np.clip(NOISES * noise, *NEAR))


def named(
    found: Sequence[Edge], *, grid: pl.DataFrame, entities: pl.DataFrame, cadence: timedelta, temperatures: frozenset[str]
) -> tuple[Named, ...]:
    """The edges that an error of arithmetic explains, each with the one that does it best.

    Args:
        found: edges of `grid`.
        grid: entity, at, observed and parameters.
        entities: as the grid's profile tells them.
        cadence: of its steps.
        temperatures: the parameters that are told in degrees.
    """
    told: list[Named] = []
    rows = RowsOf(grid, entities=entities)
    for entity in dict.fromkeys(edge.entity for edge in found):
        every = _Every(rows[entity])
        of_entity = [edge for edge in found if edge.entity == entity]
        told += [one for edge in of_entity for one in _of_edge(edge, every=every, cadence=cadence, temperatures=temperatures)]
    return tuple(_best(told))


def _best(told: Sequence[Named]) -> Iterator[Named]:
    """Of each series and time an exchange, else what the digits confirm, else the rest; and no way back.

    An exchange comes first: the digits of one column may well be what an error would leave of the other's, but two columns that each come
    to tell at one instant what the other did have no second explanation.
    """
    swaps: list[Named] = []
    for each in told:
        if each.cause.startswith(SWAPPED) and not any(_same(each, one) for one in swaps):
            swaps.append(each)
    exact = [each for each in told if each.exact and not any(_same(each, one) for one in swaps)]
    for each in told:
        if each.cause.startswith(SWAPPED):
            if any(each is one for one in swaps):
                yield each
        elif not any(one is not each and _same(each, one) for one in (swaps if each.exact else [*exact, *swaps])):
            yield each


def _same(one: Named, other: Named) -> bool:
    """Whether two names are for one series at one time."""
    return one.edge.parameter == other.edge.parameter and _overlap(one, other)


def _overlap(one: Named, other: Named) -> bool:
    return one.edge.entity == other.edge.entity and one.start < other.end and other.start < one.end


def _series(told: pl.Series, *, at: NDArray[np.int64]) -> _Series:
    value = told.cast(pl.Float64).to_numpy()
    finite = np.isfinite(value)
    return _Series(at=at, value=value) if finite.all() else _Series(at=at[finite], value=value[finite])


def _of_edge(edge: Edge, *, every: "_Every", cadence: timedelta, temperatures: frozenset[str]) -> Iterator[Named]:
    series = every[edge.parameter]
    if edge.suspicion == "logarithm" and not _digits_of_a_logarithm(series, hour=edge.start):
        return
    start = _instant(series, hour=edge.start, size=edge.size)
    end = int(series.at[-1]) + _us(cadence) if edge.end is None else _instant(series, hour=edge.end, size=-edge.size)
    step = _step(series, start=start, end=end)
    if step is None:
        return
    back = None if edge.end is None else _step(series, start=end, end=int(series.at[-1]) + 1, since=start)
    size = _size(step, back=back)
    cause, exact = _cause(step, size=size, degrees=edge.parameter in temperatures)
    told = partial(Named, edge=edge, start=_time(start), end=_time(end), size=size)
    if cause is not None:
        yield told(cause=cause, exact=exact)
    if abs(step.size) < max(LEAST, SURE_OF_TWO * step.noise):
        return
    other = _exchanged(edge.parameter, every=every, start=start, end=end)
    if other is not None:
        yield told(cause=f"{SWAPPED} {other}", exact=False)
        theirs = Edge(entity=edge.entity, parameter=other, start=edge.start, end=edge.end, size=-size)
        yield Named(edge=theirs, cause=f"{SWAPPED} {edge.parameter}", start=_time(start), end=_time(end), exact=False, size=-size)


def _digits_of_a_logarithm(series: _Series, *, hour: datetime) -> bool:
    """Whether the digits before are there again once a logarithm is undone: nothing else speaks for one that moves a level so little."""
    near = _us(LOOKED_AROUND)
    before, after = series.between(_since(hour) - near, _since(hour)), series.between(_since(hour + AN_HOUR), _since(hour + AN_HOUR) + near)
    return restored_by(LOGARITHM, before[before != 0], after[after != 0]) == "yes"


def _instant(series: _Series, *, hour: datetime, size: float) -> int:
    """The first value after the step that happens within that hour."""
    first, last = np.searchsorted(series.at, [_since(hour - LOOKED_NEAR), _since(hour + AN_HOUR + LOOKED_NEAR)])
    told = np.flatnonzero(series.value[first:last] != 0) + first
    at, level = series.at[told], np.log(np.abs(series.value[told]))
    before, after = level[at < _since(hour)], level[at >= _since(hour + AN_HOUR)]
    if not len(before) or not len(after):
        return _since(hour)
    sides = np.where(np.sign(size) * (level - (np.median(before) + np.median(after)) / 2) > 0, 1, -1)
    return int(at[np.argmax(np.cumsum(sides[::-1])[::-1])])


def _step(series: _Series, *, start: int, end: int, since: int = 0) -> _Step | None:
    """A parameter around an instant; null where too little is known of one side."""
    week = _us(LOOKED_AT)
    before = series.between(max(since, start - week), start)
    after = series.between(start, min(end, start + week))
    before, after = before[before != 0], after[after != 0]
    noises = {width: noise for width in WIDTHS if len(after) >= width and np.isfinite(noise := _noise(before, width=width))}
    if not noises:
        return None
    width = min(noises, key=lambda each: noises[each])
    unit = (
        float(np.log1p(1 / _middle(before))) if digits_of(before) == 0 else 0.0
    )  # the median of small counts stands still, and then jumps
    return _Step(before=before, after=after, width=width, noise=max(noises[width], unit), counts=unit > noises[width])


def _size(step: _Step, *, back: _Step | None) -> float:
    """By how much the level has changed, in logarithms: by the edge, the one back, and where these are noisy by the weeks around too."""
    told = [step.size, *([] if back is None else [-back.size])]
    if step.noise > NOISY:
        told.append(float(np.log(_middle(step.after) / _middle(step.before))))
    return float(np.median(told))


def _noise(values: Floats, *, width: int) -> float:
    """By how much, in logarithms, the level over `width` values usually differs from the one over the `width` before."""
    if len(values) < 4 * width:
        return np.inf
    count = len(values) // width
    level = np.median(np.log(np.abs(values[: count * width])).reshape(count, width), axis=1)
    return float(1.4826 * np.median(np.abs(np.diff(level))))


def _cause(step: _Step, *, size: float, degrees: bool) -> tuple[str | None, bool]:
    """What makes of the values before what comes after, and whether the digits confirm it."""
    before, after = step.before, step.after
    for near in (size, np.log(_middle(after) / _middle(before))):
        if (factor := exact_factor(before, after, near=float(np.exp(near)))) is not None:
            return called(factor), abs(near - np.log(factor)) <= REACHED
    causes = [*factors(), LOGARITHM, *(TEMPERATURES if degrees else ())]
    away = {cause: told for cause in causes if (told := _away(step, cause=cause, size=size)) <= FAR and BETTER * told <= abs(size)}
    digits = {cause: restored_by(cause, before, after) for cause in away}
    confirmed = [cause for cause in away if digits[cause] == "yes"]
    if confirmed:
        return min(confirmed, key=lambda cause: away[cause]), True
    if size < 0 and (lost := lost_remainder(before, after, near=float(np.exp(-size)))) is not None:
        return f"{DIVIDED} {lost:.0f}", True
    likely = [cause for cause in away if digits[cause] != "no" and _explains(step, cause=cause, away=away[cause])]
    if not likely or abs(size) < max(LEAST, SURE * step.noise):
        return None, False
    nearest = min(likely, key=lambda cause: away[cause])
    if nearest in factors() and single(before, after):
        same = [cause for cause in BINARY if abs(np.log(factors()[cause] / factors()[nearest])) <= SAME]
        return (same or [nearest])[0], False
    return nearest, False


def _away(step: _Step, *, cause: str, size: float) -> float:
    """How far the level after is, in logarithms, from what an error makes of the one before."""
    if cause in factors():
        return float(abs(size - np.log(factors()[cause])))
    with np.errstate(all="ignore"):
        made = _made(step.before[-step.width :], cause=cause)
        away = abs(np.log(np.median(made) / np.median(step.after[: step.width])))
    return float(away) if np.isfinite(away) else np.inf


def _explains(step: _Step, *, cause: str, away: float) -> bool:
    """Whether that is within the noise, and the noise what the error makes of it."""
    made = _made(step.before, cause=cause)
    noise = step.noise if cause in factors() else _noise(made, width=step.width)
    if cause == LOGARITHM and abs(step.size) < COMPRESSED:
        return False
    if not away <= step.near(max(noise, step.noise)):
        return False
    told = _noise(step.after, width=step.width)
    if min(noise, told) < TELLING_NOISE or not np.isfinite(told):
        return True
    return bool(abs(np.log(told / noise)) <= np.log(ALIKE))


def _made(values: Floats, *, cause: str) -> Floats:
    with np.errstate(all="ignore"):
        return arithmetic(cause)[0](values)


def _exchanged(name: str, *, every: "_Every", start: int, end: int) -> str | None:
    """The parameter that tells since then what this one told before, and the other way round; null where there is none."""
    own = _step(every[name], start=start, end=end)
    if own is None:
        return None
    best: tuple[float, str] | None = None
    for other, series in every.items():
        likely = other != name and _likely(every[name], series, start=start)
        theirs = _step(series, start=start, end=end) if likely else None
        if theirs is None or np.sign(np.median(own.before)) != np.sign(np.median(theirs.before)):
            continue
        away = max(_crossed(own, theirs), _crossed(theirs, own))
        least = max(LEAST, SURE_OF_TWO * own.noise, SURE_OF_TWO * theirs.noise, BETTER * away)
        if least <= min(abs(own.size), abs(theirs.size)) and (best is None or away < best[0]):
            best = away, other
    return None if best is None else best[1]


def _likely(one: _Series, other: _Series, *, start: int) -> bool:
    """Whether a few values of each around an instant do not speak against an exchange."""
    levels = []
    for series in (one, other):
        place = int(np.searchsorted(series.at, start))
        sides = series.value[max(0, place - WIDTHS[1]) : place], series.value[place : place + WIDTHS[1]]
        if any(not np.any(side) for side in sides):
            return False
        levels += [_middle(side[side != 0]) for side in sides]
    return bool(max(abs(np.log(levels[1] / levels[2])), abs(np.log(levels[3] / levels[0]))) <= CROSSED)


def _crossed(one: _Step, other: _Step) -> float:
    """How far one is, after, from where the other was before; infinite where it is not that within the noise."""
    away = abs(np.log(_middle(one.after[: other.width]) / other.levels[0]))
    noise = _noise(one.after, width=other.width)
    tells = not other.counts and min(noise, other.noise) >= TELLING_NOISE and np.isfinite(noise)
    alike = not tells or abs(np.log(noise / other.noise)) <= np.log(ALIKE)
    alike &= _decimals(one.after) == _decimals(other.before)
    return float(away) if alike and away <= (CROSSED if other.counts else other.near(other.noise)) else np.inf


def _decimals(values: Floats) -> int | None:
    digits = digits_of(values)
    return digits if digits is not None and digits <= MEANT else None


def _middle(values: Floats) -> float:
    return float(np.median(np.abs(values)))


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _since(at: datetime) -> int:
    return _us(at - _EPOCH)


def _time(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
