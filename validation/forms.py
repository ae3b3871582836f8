"""Errors of arithmetic that are no factor: logarithms, other signs, swapped columns, temperatures of another scale.

A parameter is held, hour by hour, against what its own past would be if the error had been made of it. An error is named only where that
explains two days in a row (or the last hours of the data) to within the noise, and the plain past does not: a level that has truly
changed, by whatever factor, follows none of these forms through the hours of a day.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.schema import ENTITY, PARAMETER
from validation.digits import Make, Told, restored
from validation.profile import HOUR, Profile
from validation.shifts import CONVERSIONS, LEAST_DAYS, LEAST_HOURS, PAST_DAYS, TELLING_SHARE, midnight

Floats = NDArray[np.float64]

LOGARITHM: Final = "logarithm"
ALL_ZERO: Final = "integer division, all zero"
SIGN: Final = "sign"
SWAPPED: Final = "swapped with"
AWAY: Final = 0.3
"""Of its past, in logarithms (a factor of 1.35), before a form is taken for the truth; or `AWAY_NOISES` times the noise if that is more."""
AWAY_NOISES: Final = 6.0
WEAK: Final = 0.5
"""From this share of that distance on a form is told as a suspicion, for others to confirm."""
NEAR: Final = 0.08
"""From what a form makes of the past, to be explained by it; or `NEAR_NOISES` times the noise, if that is more."""
NEAR_NOISES: Final = 2.0
CROSSED: Final = 0.2
"""The same for columns that are swapped, where two must fit at once; or `CROSSED_NOISES` times the noise."""
CROSSED_NOISES: Final = 3.0
MIRRORED: Final = 1.5
"""The farthest from its past, in logarithms, that a value of the other sign may be ..."""
MIRRORED_DEGREES: Final = 0.15
"""... and that degrees may be, which go below zero by themselves: they must be below it as far as they were above."""
BETTER: Final = 4.0
"""So many times nearer must the form be than the plain past."""
MOSTLY: Final = 0.9
"""Of the hours."""
EMPTY: Final = 0.75
"""Of an hour's values that are zero: with more of them the hour has no level but zero."""
KELVIN: Final = 273.15
TEMPERATURES: Final = {
    "degC told as K": (1.0, KELVIN),
    "K told as degC": (1.0, -KELVIN),
    "degC told as degF": (1.8, 32.0),
    "degF told as degC": (1 / 1.8, -32 / 1.8),
    "K told as degF": (1.8, 32.0 - 1.8 * KELVIN),
    "degF told as K": (1 / 1.8, KELVIN - 32 / 1.8),
}
"""What becomes of a value of one scale that is told by another: factor and offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """An error of arithmetic in one series.

    Attributes:
        entity: whose.
        parameter: of it.
        cause: what was done: `logarithm`, `sign`, `swapped with <parameter>`, or which temperature was told as which.
        start: midnight of the first day that it explains.
        end: of the last one, exclusive.
        distance: in logarithms, from what it makes of the past, on the day that it explains best.
        weak: whether it is a suspicion only: the plain past is not that far away.
        past: f64[24], what the hours of such a day would be without it.
        told: f64[24], what it makes of them.
    """

    entity: str
    parameter: str
    cause: str
    start: datetime
    end: datetime
    distance: float
    weak: bool
    past: Floats = field(compare=False, repr=False)
    told: Floats = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hours:
    """All series hour by hour.

    Attributes:
        entities: of the first axis.
        parameters: of the second.
        first_day: days since 1970.
        level: f64[entity, parameter, day, 24] with its sign; NaN tells nothing.
        whole: bool of the same shape, whether all values of an hour are whole numbers.
    """

    entities: tuple[str, ...]
    parameters: tuple[str, ...]
    first_day: int
    level: Floats
    whole: NDArray[np.bool_]


def called(factor: float) -> str:
    """A factor in words.

    >>> called(1024.0), called(1 / 3600), called(19.7)
    ('x1024', 'x1/3600', 'x19.7')
    """
    size = factor if factor >= 1 else 1 / factor
    told = f"{size:.0f}" if abs(size - round(size)) < 1e-9 * size else f"{size:.3g}"
    return f"x{told}" if factor >= 1 else f"x1/{told}"


def find(hours: Hours, *, temperatures: frozenset[str] = frozenset()) -> tuple[Form, ...]:
    """All errors of these forms, sorted by entity, parameter and start.

    Args:
        hours: of the grid.
        temperatures: the parameters that are told in degrees: no other has an offset.
    """
    if not hours.entities:
        return ()
    return tuple(sorted(_over_days(hours, temperatures=temperatures), key=lambda form: (form.entity, form.parameter, form.start)))


def arrange(profile: Profile) -> Hours:
    """The hours of `profile` as a dense array."""
    least = max(1.0, TELLING_SHARE * timedelta(hours=1) / profile.cadence)
    rows = profile.hours.filter((pl.col("told") >= least) | (pl.col("zero") >= EMPTY))
    if rows.is_empty():
        return Hours(entities=(), parameters=(), first_day=0, level=np.empty((0, 0, 0, 24)), whole=np.empty((0, 0, 0, 24), dtype=np.bool_))
    entities, parameters = (tuple(rows[name].unique().sort()) for name in (ENTITY, PARAMETER))
    place = [rows[name].cast(pl.Enum(told)).to_physical().to_numpy() for name, told in ((ENTITY, entities), (PARAMETER, parameters))]
    day, hour = np.divmod(rows[HOUR].to_numpy(), 24)
    first_day = int(day.min())
    level = np.full((len(entities), len(parameters), int(day.max()) - first_day + 1, 24), np.nan)
    sign = np.where(rows["negative"].to_numpy() > 0.5, -1.0, 1.0)
    told = rows.select(pl.when(pl.col("zero") < EMPTY).then("level").otherwise(0.0)).to_series()
    level[place[0], place[1], day - first_day, hour] = told.to_numpy() * sign
    whole = np.zeros(level.shape, dtype=np.bool_)
    whole[place[0], place[1], day - first_day, hour] = rows["whole"].to_numpy()
    return Hours(entities=entities, parameters=parameters, first_day=first_day, level=level, whole=whole)


def _over_days(hours: Hours, *, temperatures: frozenset[str]) -> Iterator[Form]:
    """Day by day: what explains each series, and what becomes of its past; the days of an error never become part of it."""
    names = hours.parameters
    level = hours.level.reshape(-1, *hours.level.shape[2:])
    count, days, _ = level.shape
    recent = np.full((count, PAST_DAYS, 24), np.nan)
    accepted = np.zeros(count, dtype=np.int64)
    causes = np.full((count, days), "", dtype=object)
    distance = np.zeros((count, days))
    weak = np.zeros((count, days), dtype=np.bool_)
    past = np.full(level.shape, np.nan)
    degrees = np.tile([name in temperatures for name in names], len(hours.entities))
    for day in range(days):
        today = level[:, day]
        told = np.isfinite(today).sum(axis=1)
        pasts = _pasts(recent, week=_same_weekday(level, causes=causes, day=day))
        known = (accepted >= LEAST_DAYS) & (told >= LEAST_HOURS)
        of_day = _Day(today=today, pasts=pasts, recent=recent, known=known, degrees=degrees, names=names)
        before = causes[:, day - 1] if day else causes[:, 0]
        causes[:, day], distance[:, day], weak[:, day] = _causes(of_day, before=before)
        past[:, day] = pasts[0]
        accept = (told > 0) & (causes[:, day] == "")
        recent[accept] = np.concatenate([recent[accept, 1:], today[accept, None]], axis=1)
        accepted += accept
    for series in np.flatnonzero((causes != "").any(axis=1)):
        known_days = np.flatnonzero(np.isfinite(level[series]).any(axis=1))
        entity, parameter = divmod(int(series), len(names))
        usual = past[entity * len(names) : (entity + 1) * len(names)]
        for cause, first, last in _runs(causes[series, known_days]):
            if last > first or last == len(known_days) - 1:
                run = known_days[first : last + 1]
                yield Form(
                    entity=hours.entities[entity],
                    parameter=names[parameter],
                    cause=cause,
                    start=midnight(hours.first_day + int(run[0])),
                    end=midnight(hours.first_day + int(run[-1]) + 1),
                    distance=float(distance[series, run].min()),
                    weak=bool(weak[series, run].all()),
                    past=usual[parameter, run[0]],
                    told=_made(cause, usual=usual[:, run[0]], names=names, parameter=parameter),
                )


def _runs(causes: NDArray[np.object_]) -> Iterator[tuple[str, int, int]]:
    """Neighbours with the same cause: which, from where and to where."""
    begin = 0
    for place in range(1, len(causes) + 1):
        if place == len(causes) or causes[place] != causes[begin]:
            if causes[begin]:
                yield str(causes[begin]), begin, place - 1
            begin = place


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Day:
    """A day of all series, and what it may be held against.

    Attributes:
        today: f64[series, 24], the parameters of an entity side by side.
        pasts: f64[series, 24] each, what it may be expected to be like.
        recent: f64[series, day, 24], the accepted days before.
        known: bool[series], whether enough is known to judge it.
        degrees: bool[series], whether it is a temperature.
        names: of an entity's parameters.
    """

    today: Floats
    pasts: list[Floats]
    recent: Floats
    known: NDArray[np.bool_]
    degrees: NDArray[np.bool_]
    names: tuple[str, ...]


def _causes(day: _Day, *, before: NDArray[np.object_]) -> tuple[NDArray[np.object_], Floats, NDArray[np.bool_]]:
    """What explains each series' day (empty where its past does, or nothing), how nearly, and whether that is weak.

    What explained the day `before` needs less to go on.
    """
    causes = np.full(len(day.today), "", dtype=object)
    best, weak = np.zeros(len(causes)), np.zeros(len(causes), dtype=np.bool_)
    plain = _distance(day.today, [np.abs(past) for past in day.pasts])
    empty = np.flatnonzero(day.known & (_share(day.today == 0, of=day.today) >= MOSTLY))
    causes[empty[_share(day.recent[empty] == 0, of=day.recent[empty]) <= 1 - MOSTLY]] = ALL_ZERO
    flipped = day.known & (_sign(day.today) * _sign(day.pasts[0]) < 0) & (plain <= np.where(day.degrees, MIRRORED_DEGREES, MIRRORED))
    asked = np.flatnonzero(day.known & (causes == "") & (flipped | (plain >= WEAK * AWAY)))
    noise = _noise(day.recent[asked])
    bar = np.maximum(AWAY, AWAY_NOISES * noise)
    kept = flipped[asked] | (plain[asked] >= WEAK * bar)
    asked, noise, bar = asked[kept], noise[kept], bar[kept]
    if len(asked):
        causes[flipped] = SIGN
        best[asked] = np.where(flipped[asked], MIRRORED, plain[asked] / BETTER)
        today, pasts = day.today[asked], [past[asked] for past in day.pasts]
        near = np.where(flipped[asked], -1.0, np.maximum(NEAR, NEAR_NOISES * noise))
        for cause, made in _makers(degrees=day.degrees[asked]).items():
            distance = _distance(today, [made(past) for past in pasts])
            explains = (distance <= near) & (distance < best[asked])
            causes[asked[explains]], best[asked[explains]] = cause, distance[explains]
        _cross(day, causes=causes, best=best, asked=asked, noise=noise)
        weak[asked] = ~flipped[asked] & (plain[asked] < bar)
        goes_on = asked[~weak[asked] & (causes[asked] == "") & (before[asked] != "")]
        causes[goes_on] = before[goes_on]
    return causes, best, weak


def _cross(day: _Day, *, causes: NDArray[np.object_], best: Floats, asked: NDArray[np.intp], noise: Floats) -> None:
    """Where two parameters of an entity that are away explain each other better than anything else, note that."""
    wide, entity = np.maximum(CROSSED, CROSSED_NOISES * noise), asked // len(day.names)
    for each in np.unique(entity):
        places = np.flatnonzero(entity == each)
        if len(places) < 2:
            continue
        rows = asked[places]
        same = _sign(day.today[rows])[:, None] == _sign(day.pasts[0][rows])[None, :]
        crossed = np.array([_apart(day.today[rows], past[rows]) for past in day.pasts]).min(axis=0)
        fits = same & (crossed <= wide[places][None, :])
        both = fits & fits.T & ~np.eye(len(rows), dtype=np.bool_)
        other = np.where(both, crossed, np.inf).argmin(axis=1)
        nearest = np.where(both, crossed, np.inf).min(axis=1)
        for row in np.flatnonzero(nearest < best[rows]):
            causes[rows[row]] = f"{SWAPPED} {day.names[int(rows[other[row]]) % len(day.names)]}"
            best[rows[row]] = nearest[row]


def _apart(today: Floats, past: Floats) -> Floats:
    """f64[series, series]: how far, in logarithms, each is today from what each usually is; infinite where nothing is known of it."""
    with np.errstate(all="ignore"):
        apart = median(np.abs(np.log(np.abs(today))[:, None, :] - np.log(np.abs(past))[None, :, :]))
    known: Floats = np.where(np.isfinite(apart), apart, np.inf)
    return known


def _makers(*, degrees: NDArray[np.bool_]) -> dict[str, Make]:
    """What each error makes of f64[series, 24]; no number where it cannot have been made."""
    affine = {cause: partial(_affine, degrees=degrees, factor=told[0], offset=told[1]) for cause, told in TEMPERATURES.items()}
    multiplied = {cause: partial(np.multiply, factor) for cause, factor in factors().items()}
    return {LOGARITHM: logarithm, **affine, **multiplied}


def factors() -> dict[str, float]:
    """All conversions and their inverses, by what they are called."""
    return {called(told): told for size in CONVERSIONS for told in (size, 1 / size)}


def _affine(past: Floats, *, degrees: NDArray[np.bool_], factor: float, offset: float) -> Floats:
    return np.where(degrees[:, None], factor * past + offset, np.nan)


def arithmetic(cause: str) -> tuple[Make, Make]:
    """What a factor, a logarithm or another scale of temperature makes of values, and what takes it back."""
    if cause in factors():
        return partial(np.multiply, factors()[cause]), partial(np.multiply, 1 / factors()[cause])
    if cause in TEMPERATURES:
        factor, offset = TEMPERATURES[cause]
        return lambda values: factor * values + offset, lambda values: (values - offset) / factor
    return np.log1p, np.expm1


def restored_by(cause: str, before: Floats, after: Floats) -> Told:
    """Whether values have the digits again that they had before, once the error is undone."""
    if cause not in (LOGARITHM, *TEMPERATURES, *factors()):
        return "unknown"
    do, undo = arithmetic(cause)
    return restored(before, after, do=do, undo=undo)


def logarithm(past: Floats) -> Floats:
    """log(1 + x), of what is above zero."""
    return np.asarray(np.log1p(np.where(past > 0, past, np.nan)))


def _made(cause: str, *, usual: Floats, names: tuple[str, ...], parameter: int) -> Floats:
    """f64[24]: what the error makes of the parameter's usual day, of f64[series, 24] for all."""
    if cause in (SIGN, ALL_ZERO):
        return np.array(usual[parameter]) * (-1.0 if cause == SIGN else 0.0)
    if cause.startswith(SWAPPED):
        return np.array(usual[names.index(cause.removeprefix(SWAPPED).strip())])
    return np.array(_makers(degrees=np.ones(len(names), dtype=np.bool_))[cause](usual)[parameter])


def _pasts(recent: Floats, *, week: Floats) -> list[Floats]:
    """f64[series, 24] each: the usual day, and the same weekday."""
    with np.errstate(all="ignore"):
        return [median(np.moveaxis(recent, 1, 2)), week]


def _same_weekday(level: Floats, *, causes: NDArray[np.object_], day: int) -> Floats:
    """f64[series, 24]: one week before, or two where that day is unknown or in error itself."""
    week = np.full(level[:, 0].shape, np.nan)
    for earlier in (day - 14, day - 7):
        if earlier >= 0:
            usable = np.isfinite(level[:, earlier]) & (causes[:, earlier] == "")[:, None]
            week = np.where(usable, level[:, earlier], week)
    return week


def _noise(recent: Floats) -> Floats:
    """f64[series]: how far, in logarithms, an hour usually is from the same hour of the day before."""
    with np.errstate(all="ignore"):
        steps = np.abs(np.log(np.abs(recent[:, 1:]) / np.abs(recent[:, :-1])))
    noise = median(steps.reshape(len(recent), steps.shape[1] * steps.shape[2]))
    known: Floats = np.where(np.isfinite(noise), noise, np.inf)
    return known


def _distance(today: Floats, expected: list[Floats]) -> Floats:
    """f64[series]: the median over the hours of how far the day is from what is expected, in logarithms, from the nearest of them.

    Infinite where nothing is known of it; signs do not count.
    """
    with np.errstate(all="ignore"):
        each = [median(np.abs(np.log(np.abs(today) / np.where(np.abs(past) > 0, np.abs(past), np.nan)))) for past in expected]
    nearest: Floats = np.array([np.where(np.isfinite(one), one, np.inf) for one in each]).min(axis=0)
    return nearest


def _share(what: NDArray[np.bool_], *, of: Floats) -> Floats:
    """f64[series]: the share of what is known."""
    every = tuple(range(1, of.ndim))
    count = np.isfinite(of).sum(axis=every)
    share: Floats = (what & np.isfinite(of)).sum(axis=every) / np.maximum(count, 1)
    return share


def _sign(level: Floats) -> Floats:
    """f64[series]: the sign of all hours but for one in ten; 0 where both are told."""
    share = _share(level < 0, of=level)
    sign: Floats = np.where(share >= MOSTLY, -1.0, np.where(share <= 1 - MOSTLY, 1.0, 0.0))
    return sign


def median(values: Floats) -> Floats:
    """The median along the last axis of what is not NaN; NaN where nothing is."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=-1)
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    low, high = np.maximum((count - 1) // 2, 0), np.minimum(count // 2, ordered.shape[-1] - 1)
    both = np.take_along_axis(ordered, low, axis=-1) + np.take_along_axis(ordered, high, axis=-1)
    return np.asarray(both[..., 0] / 2)
