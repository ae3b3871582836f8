"""Errors of arithmetic by their edge: from one hour to the next a level is what the error makes of the hours just before, and stays so.

Days drift, weeks differ, and a factor of 8 drowns in that where it is looked for from day to day. Across an edge nothing of this matters:
six hours are held against the six hours before, but for what the last days let expect of the hours of a day. By how much these differ where
nothing happens is known from the series itself: that is its noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from validation.forms import Hours, median
from validation.shifts import LEAST_DAYS, PAST_DAYS, midnight

Floats = NDArray[np.float64]
Suspicion = Literal["any", "logarithm"]

SIDE: Final = 6
"""Hours before an edge, and after it; the hour itself holds both."""
LEAST: Final = 3
"""Of them must tell something."""
STEP: Final = 0.55
"""The least edge that is looked at, in logarithms: short of 2, by which no error changes less; or `NOISES` times the noise, if more."""
SMALL_STEP: Final = 0.1
"""The least of degrees, which a confusion moves by less, and of series whose values are below `FEW`: of these a logarithm does."""
FEW: Final = 3.0
FACTOR: Final = 1.6
"""An edge that is larger may be a factor: they begin at 8, and digits confirm one that is seen too small by as much as 2.5 / 8."""
CROSSED: Final = 0.7
"""How far, as a share, the edge of another parameter may differ from one the other way, for the two to be an exchange."""
COMPRESSED: Final = 0.25
"""How far an edge may be from what a logarithm would make of the hours before."""
BESIDE: Final = 2
"""Hours from an edge, in which the other one of an exchange is looked for."""
SAMPLED: Final = 10
"""Days by which the noise is told."""
NOISES: Final = 3.0
QUIET: Final = 0.01
"""The least noise that is believed."""
STAYS: Final = 48
"""Hours for which the level must stay, and `LEAST_STAYS` where the data end before."""
LEAST_STAYS: Final = 12
HALF: Final = 0.5
"""Of an edge must be left, on average, while it lasts ..."""
TWICE: Final = 1.6
"""... and no more than so many times of it."""
BACK: Final = 0.3
"""How far, as a share, the way back may differ from the way there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A level that has changed from one hour to the next, and stays.

    Attributes:
        entity: whose.
        parameter: of it.
        start: the hour in which it begins.
        end: the hour in which it ends; null where the data end first.
        size: by how much the level has changed, in logarithms.
        suspicion: what may have been done.
    """

    entity: str
    parameter: str
    start: datetime
    end: datetime | None
    size: float
    suspicion: Suspicion = "any"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Steps:
    """All series hour by hour, f64[series, hour], in logarithms.

    Attributes:
        level: what is told.
        whole: bool[series, hour], whether that are whole numbers alone.
        rhythm: f64[series, day, 24], what the days before let expect of the hours of a day, but for its level.
        size: by how much the hours after each differ from the hours before it.
        noise: f64[series].
        least: f64[series], the least step that is looked at.
        degrees: bool[series], of what is told in degrees.
        each: how many series an entity has.
    """

    level: Floats
    whole: NDArray[np.bool_]
    rhythm: Floats
    size: Floats
    noise: Floats
    least: Floats
    degrees: NDArray[np.bool_]
    each: int

    def residual(self, series: int, *, hour: int, hours: slice) -> Floats:
        """The level of hours without the rhythm that was known at `hour`."""
        places = np.arange(hours.start, hours.stop)
        residual: Floats = self.level[series, places] - self.rhythm[series, hour // 24][places % 24]
        return residual


def find(hours: Hours, *, temperatures: frozenset[str]) -> tuple[Edge, ...]:
    """All levels that begin with an edge large enough for an error, sorted by entity, parameter and start. What they are is not told here.

    Args:
        hours: of a grid.
        temperatures: the parameters that are told in degrees.
    """
    if not hours.entities:
        return ()
    steps = _steps(hours, temperatures=temperatures)
    return tuple(edge for series in range(len(steps.level)) for edge in _edges(hours, steps=steps, series=series))


def _steps(hours: Hours, *, temperatures: frozenset[str]) -> _Steps:
    with np.errstate(all="ignore"):
        level = np.log(np.abs(hours.level.reshape(-1, *hours.level.shape[2:])))
    level[~np.isfinite(level)] = np.nan
    series, days, _ = level.shape
    shape = level - median(level)[:, :, None]
    rhythm = np.full(level.shape, np.nan)
    size = np.full((series, days * 24), np.nan)
    flat = np.concatenate([level.reshape(series, -1), np.full((series, 24), np.nan)], axis=1)
    for day in range(LEAST_DAYS, days):
        here = np.flatnonzero(np.isfinite(level[:, day]).any(axis=1))
        if len(here):
            rhythm[here, day] = median(np.moveaxis(shape[here, max(0, day - PAST_DAYS) : day], 1, 2))
    sampled = set(np.linspace(LEAST_DAYS, days - 1, min(SAMPLED, days - LEAST_DAYS)).astype(int).tolist()) if days > LEAST_DAYS else set()
    for day in sorted(sampled):
        size[:, day * 24 : (day + 1) * 24] = _of_day(flat, rhythm=rhythm[:, day], day=day)
    noise = 1.4826 * median(np.abs(size))
    noise = np.where(np.isfinite(noise), np.maximum(noise, QUIET), np.inf)
    degrees = np.tile([name in temperatures for name in hours.parameters], len(hours.entities))
    small = degrees | (median(flat) <= np.log(FEW))
    least = np.maximum(np.where(small, SMALL_STEP, STEP), NOISES * noise)
    for day in sorted(set(range(LEAST_DAYS, days)) - sampled):
        around = flat[:, (day - 1) * 24 : (day + 2) * 24] - np.tile(rhythm[:, day], 3)
        with np.errstate(all="ignore"):
            moved = np.flatnonzero(np.fmax.reduce(around, axis=1) - np.fmin.reduce(around, axis=1) >= least)  # no step is larger
        size[moved, day * 24 : (day + 1) * 24] = _of_day(flat[moved], rhythm=rhythm[moved, day], day=day)
    return _Steps(
        level=level.reshape(series, -1),
        whole=hours.whole.reshape(series, -1),
        rhythm=rhythm,
        size=size,
        noise=noise,
        least=least,
        degrees=degrees,
        each=len(hours.parameters),
    )


def _of_day(flat: Floats, *, rhythm: Floats, day: int) -> Floats:
    """f64[series, 24]: by how much the hours after each of a day differ from the hours before it."""
    around = flat[:, (day - 1) * 24 : (day + 2) * 24] - np.tile(rhythm, 3)
    windows = sliding_window_view(around, SIDE, axis=1)
    middle = np.where(np.isfinite(windows).sum(axis=2) >= LEAST, median(windows), np.nan)
    told: Floats = middle[:, 25:49] - middle[:, 24 - SIDE : 48 - SIDE]
    return told


def _peaks(steps: _Steps, *, series: int) -> NDArray[np.intp]:
    """The hours whose step is larger than any near it, and than chance."""
    size = np.nan_to_num(np.abs(steps.size[series]))
    large = np.flatnonzero(size >= steps.least[series])
    around = np.pad(size, SIDE)[large[:, None] + np.arange(2 * SIDE + 1)]
    return np.asarray(large[size[large] == around.max(axis=1, initial=0)])


def _may_be(steps: _Steps, *, series: int, hour: int) -> Suspicion | None:
    """What a step is large enough for, or fits; null where it is no error."""
    size = steps.size[series, hour]
    if abs(size) >= FACTOR or steps.degrees[series]:
        return "any"
    first = series - series % steps.each
    others = steps.size[first : first + steps.each, max(0, hour - BESIDE) : hour + BESIDE + 1]
    opposite = -others / size
    if ((opposite >= 1 - CROSSED) & (opposite <= 1 + CROSSED)).any():
        return "any"
    before = steps.level[series, max(0, hour - SIDE) : hour]
    before = np.sort(before[np.isfinite(before)])
    after = slice(hour + 1, hour + 1 + SIDE)
    if size > 0 or not len(before) or (steps.whole[series, after] & np.isfinite(steps.level[series, after])).any():
        return None  # no logarithm is a whole number
    usual = before[len(before) // 2]
    return "logarithm" if abs(size - np.log(np.log1p(np.exp(usual))) + usual) <= COMPRESSED else None


def _sharpest(steps: _Steps, *, series: int, hour: int) -> int:
    """Of the hours around a large step, the one with the steadiest level on both sides."""
    hours = steps.level.shape[1]
    near = np.arange(max(SIDE, hour - SIDE + 1), min(hours - 1, hour + SIDE))
    near = near[np.abs(steps.size[series, near]) >= HALF * abs(steps.size[series, hour])]
    if not len(near):
        return hour
    first, end = int(near[0]) - SIDE, min(int(near[-1]) + 1 + SIDE, hours)
    residual = steps.residual(series, hour=hour, hours=slice(first, end))
    windows = sliding_window_view(np.concatenate([residual, np.full(SIDE, np.nan)]), SIDE)
    spread = _spread(windows)
    return int(near[np.argmin(spread[near - SIDE - first] + spread[near + 1 - first])])


def _spread(windows: Floats) -> Floats:
    """f64[window]: the mean distance from the median; infinite where too little is told."""
    away = np.abs(windows - median(windows)[:, None])
    count = np.isfinite(away).sum(axis=1)
    return np.where(count >= LEAST, np.nansum(away, axis=1) / np.maximum(count, 1), np.inf)


def _edges(hours: Hours, *, steps: _Steps, series: int) -> Iterator[Edge]:
    entity, parameter = divmod(series, len(hours.parameters))
    peaks = _peaks(steps, series=series)
    suspicions = {int(peak): told for peak in peaks if (told := _may_be(steps, series=series, hour=int(peak))) is not None}
    last = -SIDE
    for peak, suspicion in suspicions.items():
        hour = _sharpest(steps, series=series, hour=peak)
        if hour - last < SIDE:
            continue
        last = hour
        stop = _stop(steps, series=series, hour=hour, peaks=peaks)
        if _stays(steps, series=series, hour=hour, stop=stop):
            yield Edge(
                entity=hours.entities[entity],
                parameter=hours.parameters[parameter],
                start=midnight(hours.first_day) + timedelta(hours=hour),
                end=None if stop is None else midnight(hours.first_day) + timedelta(hours=stop),
                size=float(steps.size[series, hour]),
                suspicion=suspicion,
            )


def _stop(steps: _Steps, *, series: int, hour: int, peaks: NDArray[np.intp]) -> int | None:
    """The next step that goes the same way back; null where there is none."""
    there = steps.size[series, hour]
    later = peaks[peaks >= hour + SIDE]
    back = np.abs(steps.size[series, later] + there) <= max(BACK * abs(there), NOISES * steps.noise[series])
    return _sharpest(steps, series=series, hour=int(later[back][0])) if back.any() else None


def _stays(steps: _Steps, *, series: int, hour: int, stop: int | None) -> bool:
    """Whether the level stays where the step has brought it."""
    until = min(hour + 1 + STAYS, steps.level.shape[1] if stop is None else stop)
    if until - hour - 1 < (STAYS - 1 if stop is not None else LEAST_STAYS):
        return False
    sides = [slice(max(0, hour - STAYS), hour), slice(hour + 1, until)]
    before, after = (steps.residual(series, hour=hour, hours=side) for side in sides)
    if min(np.isfinite(before).sum(), np.isfinite(after).sum()) < LEAST_STAYS:
        return False
    moved = (np.nanmedian(after) - np.nanmedian(before)) / steps.size[series, hour]
    return bool(HALF <= moved <= TWICE)
