"""Changes of unit: a parameter of an entity that from some hour on is a multiple of its own past.

Every hour's level (median of the values that are not zero) is held against the same hour of the day in the entity's own past: the median
over up to 14 accepted days, and the same weekday one or two weeks ago. The rhythms of day and week cancel that way, a day of which little
arrived is compared with what it has, and an incident of three hours moves no more than three of 24 hours.

A day has shifted when its hours are away from the past by the factor asked for, in one direction. It takes two such days
in a row; a single one counts only where the data end and where its factor is one of the known conversions.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.schema import AT, ENTITY, PARAMETER
from validation.profile import HOUR, HOUR_US, Profile

Floats = NDArray[np.float64]

PAST_DAYS: Final = 14
LEAST_DAYS: Final = 3
"""Of past, before a day is judged."""
LEAST_HOURS: Final = 6
"""Of a day: more than an incident lasts, so that a day of few rows is not judged by an incident."""
SHIFTED_HOURS: Final = 0.75
TELLING_SHARE: Final = 0.05
"""Of an hour's steps that must be other than zero for the hour to have a level."""
MIXED: Final = 0.05
"""Of an hour's values and of a series' hours: more that have the other sign are no accident."""
COUNT_FLOOR: Final = 10.0
"""Added to both sides where all values are whole numbers: from 0..3 failures a minute to 20 is a bad day, not a unit. Not added where whole
numbers turn into fractions, which no honest count does."""
ALLOWANCE: Final = 1.1
"""The level of a day is known to some 10 %; bits for bytes are exactly 8."""
HOUR_ALLOWANCE: Final = 1.5
"""The level of a single hour is known less well."""
UNKNOWN_WEEKDAY: Final = 2 / 3
"""Of the distance from recent days, where there is no such weekday to compare with: it takes a factor of 23 where 8 is asked for."""
CONVERSIONS: Final = (1000.0, 1024.0, 60.0, 3600.0, 8.0, 100.0, 1e6)
NEAR: Final = 0.15
"""How far, relatively, a measured factor may be from a conversion to look like it."""
MOVED_TOGETHER: Final = 3
"""So many other parameters of the entity that move the same way tell of its business, not of a unit."""
MOVED_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One parameter of one entity that left its own past."""

    entity: str
    parameter: str
    start: datetime
    end: datetime
    """Exclusive."""
    factor: float
    together: tuple[str, ...]
    """Other parameters of the entity that moved the same way, where they tell of business rather than of a unit; else empty."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Levels:
    """The hourly levels of every series (entity and parameter) as f64[series, day, 24]; NaN, here and nowhere else, is 'tells nothing'."""

    keys: tuple[tuple[str, str], ...]
    first_day: int
    """Days since 1970-01-01 UTC."""
    level: Floats
    whole: NDArray[np.bool_]
    """bool[series, day]: all values of the day are whole numbers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """How far every hour is from its past; logarithms of ratios.

    Attributes:
        away: f64[series, day, 24], cautious: the nearer of recent days and of the same weekday, less where no such weekday is known yet.
        factor: f64[series, day, 24], the plain estimate: from the same weekday, else from recent days.
        step: f64[series, day, 24], the same from the last accepted day alone, which growth or arrival has not left behind.
        past: f64[series, day, 24], the level expected.
        direction: i8[series, day], +1 or -1 where the day has shifted.
        known: bool[series, day], whether the day could be judged.
    """

    away: Floats
    factor: Floats
    step: Floats
    past: Floats
    direction: NDArray[np.int8]
    known: NDArray[np.bool_]


def find(profile: Profile, *, grid: pl.DataFrame, factor: float) -> tuple[Shift, ...]:
    """All changes of unit by `factor` or more, sorted by entity, parameter and start.

    Args:
        profile: of `grid`.
        grid: looked into again only around the day on which a shift begins or ends, for the minute.
        factor: the least ratio of a day's level to its past that is taken for a change of unit.
    """
    levels = arrange(profile)
    if not levels.keys:
        return ()
    bar = float(np.log(factor / ALLOWANCE))
    judged = judge(levels, bar=bar)
    return tuple(_shift(run, levels=levels, judged=judged, grid=grid, cadence=profile.cadence) for run in _runs(judged, bar=bar))


def _shift(run: "_Run", *, levels: Levels, judged: Judged, grid: pl.DataFrame, cadence: timedelta) -> Shift:
    entity, parameter = levels.keys[run.series]
    first, last = levels.first_day + run.first, levels.first_day + run.last
    rows = _rows(grid, entity=entity, parameter=parameter, days=(first - 1, last + 1))
    sides = _sides(rows, past=judged.past[run.series, run.first : run.last + 1], first_day=first, size=run.size)
    start, end = _period(rows, sides=sides, first=first, last=last, cadence=cadence)
    together = _together(levels, judged=judged, run=run)
    return Shift(entity=entity, parameter=parameter, start=start, end=end, factor=float(np.exp(run.size)), together=together)


def conversion(factor: float) -> str | None:
    """The conversion that `factor` looks like, if any.

    >>> conversion(99.7), conversion(0.00101), conversion(1010.0), conversion(20.0)
    ('x100', 'x0.001 (1/1000)', 'x1000 (or x1024)', None)
    """
    size = max(factor, 1 / factor)
    near = min(CONVERSIONS, key=lambda known: abs(np.log(size / known)))
    if abs(np.log(size / near)) > np.log1p(NEAR):
        return None
    told = 1000 if near == 1024 else int(near)
    other = " (or x1024)" if told == 1000 else ""
    return f"x{told}{other}" if factor > 1 else f"x{1 / told:.3g} (1/{told})"


def arrange(profile: Profile) -> Levels:
    """The hours of `profile` as dense arrays. A parameter that takes both signs within an hour has no ratio to its past and is left out."""
    both = pl.col("negative").is_between(MIXED, 1 - MIXED).mean().over(ENTITY, PARAMETER)
    least = max(1.0, TELLING_SHARE * timedelta(hours=1) / profile.cadence)
    hours = profile.hours.filter(both <= MIXED).filter(pl.col("told") >= least)
    keys = hours.select(ENTITY, PARAMETER).unique(maintain_order=True)
    if keys.is_empty():
        return Levels(keys=(), first_day=0, level=np.empty((0, 0, 24)), whole=np.empty((0, 0), dtype=np.bool_))
    series = hours.select(pl.struct(ENTITY, PARAMETER).rle_id()).to_series().to_numpy()
    day, hour = np.divmod(hours.get_column(HOUR).to_numpy(), 24)
    first_day = int(day.min())
    level = np.full((len(keys), int(day.max()) - first_day + 1, 24), np.nan)
    level[series, day - first_day, hour] = hours.get_column("level").to_numpy()
    whole = np.ones(level.shape, dtype=np.bool_)
    whole[series, day - first_day, hour] = hours.get_column("whole").to_numpy()
    return Levels(keys=tuple(keys.iter_rows()), first_day=first_day, level=level, whole=np.asarray(whole.all(axis=2)))


def judge(levels: Levels, *, bar: float) -> Judged:
    """Every day of every series against its past; days that have shifted never become part of the past."""
    series, days, _ = levels.level.shape
    recent = np.full((series, PAST_DAYS, 24), np.nan)
    accepted = np.zeros(series, dtype=np.int64)
    all_whole = np.ones(series, dtype=np.bool_)
    away, factor, step, past = (np.full(levels.level.shape, np.nan) for _ in range(4))
    direction = np.zeros((series, days), dtype=np.int8)
    known = np.zeros((series, days), dtype=np.bool_)
    running = np.zeros(series, dtype=np.int8)
    for day in range(days):
        today = levels.level[:, day]
        past[:, day] = _quantile(np.moveaxis(recent, 1, 2), 0.5)
        floor = np.where(all_whole & levels.whole[:, day], COUNT_FLOOR, 0.0)[:, None]
        week = _same_weekday(levels.level, direction=direction, day=day)
        from_recent = np.log((today + floor) / (past[:, day] + floor))
        from_week = np.log((today + floor) / (week + floor))
        away[:, day] = _cautious(from_recent, from_week, running=running)
        factor[:, day] = np.log(today / np.where(np.isfinite(week), week, past[:, day]))
        step[:, day] = np.log(today / recent[:, -1])
        hours = np.isfinite(away[:, day]).sum(axis=1)
        usual = np.isfinite(past[:, day]).sum(axis=1)
        known[:, day] = (accepted >= LEAST_DAYS) & (hours > 0) & (hours >= np.minimum(LEAST_HOURS, usual))
        up = _shifted(away[:, day], bar=np.where(running > 0, bar / 2, bar))
        down = _shifted(-away[:, day], bar=np.where(running < 0, bar / 2, bar))
        direction[:, day] = known[:, day] * (up - down)
        running = np.where(known[:, day], direction[:, day], running)
        accept = np.isfinite(today).any(axis=1) & (running == 0)
        recent[accept] = np.concatenate([recent[accept, 1:], today[accept, None]], axis=1)
        accepted += accept
        all_whole &= levels.whole[:, day] | ~accept
    return Judged(away=away, factor=factor, step=step, past=past, direction=direction, known=known)


def _shifted(away: Floats, *, bar: Floats) -> NDArray[np.int8]:
    """1 where half of a day's hours lie `bar` upwards of their past, and three of four nearly so. A shift ends half of the way back."""
    most = _quantile(away, 1 - SHIFTED_HOURS) >= bar - np.log(HOUR_ALLOWANCE)
    return np.asarray(most & (_quantile(away, 0.5) >= bar), dtype=np.int8)


def _same_weekday(level: Floats, *, direction: NDArray[np.int8], day: int) -> Floats:
    """f64[series, 24]: one week before, or two where that day is unknown or has shifted itself."""
    week = np.full(level[:, 0].shape, np.nan)
    for before in (day - 14, day - 7):
        if before >= 0:
            usable = np.isfinite(level[:, before]) & (direction[:, before] == 0)[:, None]
            week = np.where(usable, level[:, before], week)
    return week


def _cautious(from_recent: Floats, from_week: Floats, *, running: NDArray[np.int8]) -> Floats:
    """The nearer of both pasts, 0 where they disagree about the direction.

    Where the weekday is not known yet only a part of the distance counts: a first weekend is no change of unit. A shift that is running
    already needs no second witness.
    """
    agree = np.sign(from_recent) == np.sign(from_week)
    nearer = np.where(agree, np.sign(from_recent) * np.minimum(np.abs(from_recent), np.abs(from_week)), 0.0)
    away = np.where(np.isfinite(from_recent) & np.isfinite(from_week), nearer, UNKNOWN_WEEKDAY * from_recent)
    goes_on = (running != 0)[:, None] & (np.sign(from_recent) == running[:, None])
    return np.where(goes_on, from_recent, away)


def _quantile(values: Floats, share: float) -> Floats:
    """The lower quantile along the last axis, of what is not NaN; NaN where nothing is."""
    ordered = np.sort(values, axis=-1)  # NaN last
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    index = np.maximum(np.floor(share * (count - 1)).astype(np.int64), 0)
    return np.asarray(np.take_along_axis(ordered, index, axis=-1)[..., 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Days of one series, first and last inclusive, that have shifted by exp(size)."""

    series: int
    first: int
    last: int
    size: float


def _runs(judged: Judged, *, bar: float) -> Iterator[_Run]:
    """What is sustained: two shifted days in a row; or at the end of the data, by a known conversion, less."""
    for series in range(len(judged.direction)):
        days = np.flatnonzero(judged.known[series])
        direction = judged.direction[series, days]
        edges = np.flatnonzero(np.diff(direction, prepend=0, append=0))
        for begin, stop in itertools.pairwise(edges):
            if direction[begin] != 0:
                first, last = int(days[begin]), int(days[stop - 1])
                run = _Run(series=series, first=first, last=last, size=_size(judged, series=series, first=first, last=last, bar=bar))
                if stop - begin > 1 or (stop == len(days) and conversion(math.exp(run.size))):
                    yield run
        if len(days) > 0 and direction[-1] == 0:
            yield from _tail(judged, series=series, day=int(days[-1]), bar=bar)


def _size(judged: Judged, *, series: int, first: int, last: int, bar: float) -> float:
    """The logarithm of a run's factor: the median over the hours that moved."""
    sign = judged.direction[series, first]
    moved = judged.away[series, first : last + 1] * sign >= bar / 2
    step = judged.step[series, first : first + 2]  # the last accepted day may have shifted in its last hours: those are left out
    return _nearer_to_known(judged.factor[series, first : last + 1][moved], step[step * sign >= bar / 2])


def _nearer_to_known(*estimates: Floats) -> float:
    """The median of the estimate that lies nearest to a known conversion, if one is near; else of the first."""
    medians = [float(np.median(told[np.isfinite(told)])) for told in estimates if np.isfinite(told).any()]
    known = [size for size in medians if conversion(math.exp(size))]
    return min(known, key=lambda size: min(abs(abs(size) - math.log(factor)) for factor in CONVERSIONS), default=medians[0])


def _tail(judged: Judged, *, series: int, day: int, bar: float) -> Iterator[_Run]:
    """A shift that is younger than most of a day, at the end of the data: longer than an incident, and by a known conversion."""
    hours = np.flatnonzero(np.isfinite(judged.away[series, day]))
    away = judged.away[series, day, hours]
    beyond = away * np.sign(away[-1]) >= bar
    length = len(hours) if beyond.all() else int(np.argmin(beyond[::-1]))
    if length >= LEAST_HOURS:
        size = _nearer_to_known(judged.factor[series, day, hours[-length:]], judged.step[series, day, hours[-length:]])
        if conversion(math.exp(size)):
            yield _Run(series=series, first=day, last=day, size=size)


def _rows(grid: pl.DataFrame, *, entity: str, parameter: str, days: tuple[int, int]) -> pl.DataFrame:
    """The telling rows of the days from one to the other, both inclusive: at, value without sign."""
    value = pl.col(parameter)
    within = (pl.col(ENTITY) == entity) & pl.col(AT).is_between(midnight(days[0]), midnight(days[1] + 1), closed="left")
    return grid.filter(within & (value != 0) & value.is_finite()).select(AT, value.abs().alias("value")).sort(AT)


def _sides(rows: pl.DataFrame, *, past: Floats, first_day: int, size: float) -> NDArray[np.int64]:
    """For every row +1 where it lies nearer to the shifted level than to the past one, else -1; 0 where the past tells nothing.

    past: f64[day, 24] from `first_day` on; days before and after are held against the nearest.
    """
    day, hour = np.divmod(rows.get_column(AT).dt.epoch("us").to_numpy() // HOUR_US, 24)
    expected = past[np.clip(day - first_day, 0, len(past) - 1), hour]
    nearer = np.sign(size) * np.log(rows.get_column("value").to_numpy() / expected) >= abs(size) / 2
    return np.where(np.isfinite(expected), np.where(nearer, 1, -1), 0)


def _period(rows: pl.DataFrame, *, sides: NDArray[np.int64], first: int, last: int, cadence: timedelta) -> tuple[datetime, datetime]:
    """The minute after which most rows are shifted, and the one before which they are.

    The start is looked for from the day before the first shifted day to that day's end, the end from the last shifted day to the day after.
    """
    at = rows.get_column(AT)
    begin = np.flatnonzero((at < midnight(first + 1)).to_numpy())
    finish = np.flatnonzero((at >= midnight(last)).to_numpy())
    start = begin[np.argmax(np.cumsum(sides[begin][::-1])[::-1])]
    end = finish[len(finish) - 1 - np.argmax(np.cumsum(sides[finish])[::-1])]
    return at[int(start)], at[int(end)] + cadence


def _together(levels: Levels, *, judged: Judged, run: _Run) -> tuple[str, ...]:
    """Parameters of the same entity that moved the same way, where they are enough to tell of business rather than of a unit."""
    entity = levels.keys[run.series][0]
    others = [index for index, key in enumerate(levels.keys) if key[0] == entity and index != run.series]
    if not others:
        return ()
    factor = judged.factor[others, run.first : run.last + 1].reshape(len(others), -1)
    moved = _quantile(factor * np.sign(run.size), 0.5) >= abs(run.size) / 2
    names = tuple(levels.keys[index][1] for index, away in zip(others, moved, strict=True) if away)
    enough = len(names) >= max(MOVED_TOGETHER, MOVED_SHARE * len(others))
    return names if enough and conversion(math.exp(run.size)) is None else ()


def midnight(day: int) -> datetime:
    """The beginning of a day, counted since 1970-01-01 UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
