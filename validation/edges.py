"""Errors of arithmetic by their edge: from one hour to the next a level is what the error makes of the hours just before, and stays so.

Days drift, weeks differ, and a factor of 8 drowns in that where it is looked for from day to day. Across an edge nothing of this matters:
six hours are held against the six hours before, but for what the last days let expect of the hours of a day. By how much these differ where
nothing happens is known from the series itself: that is its noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from validation.forms import Hours, arrange, median
from validation.profile import Profile
from validation.shifts import LEAST_DAYS, PAST_DAYS, midnight

Floats = NDArray[np.float64]

SIDE: Final = 6
"""Hours before an edge, and after it; the hour itself holds both."""
LEAST: Final = 3
"""Of them must tell something."""
STEP: Final = 0.1
"""The least edge that is looked at, in logarithms; or `NOISES` times the noise, if that is more."""
NOISES: Final = 3.0
SURE: Final = 8.0
"""Noises by which an edge must stand out where nothing but its size names it."""
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
    """

    entity: str
    parameter: str
    start: datetime
    end: datetime | None
    size: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Steps:
    """All series hour by hour, f64[series, hour], in logarithms.

    Attributes:
        level: what is told.
        rhythm: f64[series, day, 24], what the days before let expect of the hours of a day, but for its level.
        size: by how much the hours after each differ from the hours before it.
        noise: f64[series].
    """

    level: Floats
    rhythm: Floats
    size: Floats
    noise: Floats

    def residual(self, series: int, *, hour: int, hours: slice) -> Floats:
        """The level of hours without the rhythm that was known at `hour`."""
        places = np.arange(hours.start, hours.stop)
        residual: Floats = self.level[series, places] - self.rhythm[series, hour // 24][places % 24]
        return residual


def find(profile: Profile) -> tuple[Edge, ...]:
    """All levels that begin with an edge, sorted by entity, parameter and start. What they are is not told here."""
    hours = arrange(profile)
    if not hours.entities:
        return ()
    steps = _steps(hours)
    return tuple(edge for series in range(len(steps.level)) for edge in _edges(hours, steps=steps, series=series))


def _steps(hours: Hours) -> _Steps:
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
        if not len(here):
            continue
        usual = median(np.moveaxis(shape[here, max(0, day - PAST_DAYS) : day], 1, 2))
        rhythm[here, day] = usual
        around = flat[here, (day - 1) * 24 : (day + 2) * 24] - np.tile(usual, 3)
        windows = sliding_window_view(around, SIDE, axis=1)
        middle = np.where(np.isfinite(windows).sum(axis=2) >= LEAST, median(windows), np.nan)
        today = slice(day * 24, (day + 1) * 24)
        size[here, today] = middle[:, 25:49] - middle[:, 24 - SIDE : 48 - SIDE]
    noise = 1.4826 * median(np.abs(size))
    return _Steps(
        level=level.reshape(series, -1), rhythm=rhythm, size=size, noise=np.where(np.isfinite(noise), np.maximum(noise, QUIET), np.inf)
    )  # fmt: skip


def _candidates(steps: _Steps, *, series: int) -> NDArray[np.intp]:
    """The hours whose step is larger than any near it, and than chance."""
    size = np.nan_to_num(np.abs(steps.size[series]))
    if not np.isfinite(steps.noise[series]) or not (size >= max(STEP, NOISES * steps.noise[series])).any():
        return np.empty(0, dtype=np.intp)
    around = sliding_window_view(np.pad(size, SIDE), 2 * SIDE + 1).max(axis=1)
    places = np.flatnonzero((size >= max(STEP, NOISES * steps.noise[series])) & (size == around))
    sharp = np.array([_sharpest(steps, series=series, hour=int(place)) for place in places], dtype=np.intp)
    return sharp[np.diff(sharp, prepend=-SIDE) >= SIDE]


def _sharpest(steps: _Steps, *, series: int, hour: int) -> int:
    """Of the hours around a large step, the one with the steadiest level on both sides."""
    hours = steps.level.shape[1]
    near = np.arange(max(SIDE, hour - SIDE + 1), min(hours - 1, hour + SIDE))
    near = near[np.abs(steps.size[series, near]) >= HALF * abs(steps.size[series, hour])]
    sides = [(slice(one - SIDE, one), slice(one + 1, min(one + 1 + SIDE, hours))) for one in near]
    spreads = [sum(_spread(steps.residual(series, hour=hour, hours=side)) for side in both) for both in sides]
    return int(near[np.argmin(spreads)]) if len(near) else hour


def _spread(level: Floats) -> float:
    told = level[np.isfinite(level)]
    return float(np.abs(told - np.median(told)).mean()) if len(told) >= LEAST else np.inf


def _edges(hours: Hours, *, steps: _Steps, series: int) -> Iterator[Edge]:
    entity, parameter = divmod(series, len(hours.parameters))
    candidates = _candidates(steps, series=series)
    for hour in candidates:
        stop = _stop(steps, series=series, hour=int(hour), candidates=candidates)
        if _stays(steps, series=series, hour=int(hour), stop=stop):
            yield Edge(
                entity=hours.entities[entity],
                parameter=hours.parameters[parameter],
                start=midnight(hours.first_day) + timedelta(hours=int(hour)),
                end=None if stop is None else midnight(hours.first_day) + timedelta(hours=stop),
                size=float(steps.size[series, hour]),
            )


def _stop(steps: _Steps, *, series: int, hour: int, candidates: NDArray[np.intp]) -> int | None:
    """The next step that goes the same way back; null where there is none."""
    there = steps.size[series, hour]
    later = candidates[candidates > hour]
    back = np.abs(steps.size[series, later] + there) <= max(BACK * abs(there), NOISES * steps.noise[series])
    return int(later[back][0]) if back.any() else None


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
