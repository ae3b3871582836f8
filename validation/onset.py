"""Errors of arithmetic as they begin: three values in a row are enough where the hour before makes them plain.

For telemetry of which no days are known yet, and for the live path. A value is held against the median of those before it. A factor is
believed where the digits confirm it; of values without digits, where they leave everything seen before by far and hit a known factor to
within their noise. What falls to zero is left alone: for minutes an outage looks the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from telemetry.schema import AT, ENTITY, OBSERVED
from validation.digits import DIGITS, digits_of, exact_factor
from validation.forms import LOGARITHM, SIGN, SWAPPED, called
from validation.shifts import CONVERSIONS

Floats = NDArray[np.float64]

BEFORE: Final = 60
"""Steps that a value is held against ..."""
LEAST: Final = 15
"""... and how many of them must tell something."""
AT_ONCE: Final = 3
"""Steps in a row that must say the same."""
NOISES: Final = 4.0
"""How far, in noises, a value may be from what the error makes of those before it."""
CLOSEST: Final = 0.1
"""That distance is never less than this, in logarithms, ..."""
SHARE: Final = 0.25
"""... and never more than this share of the factor's own logarithm."""
MIRRORED: Final = 0.5
"""How far, in logarithms, values of another sign may be from those before, and the last of these too: what passes through zero swings."""
BEYOND: Final = 2.0
"""By what factor values without digits must leave all that was seen before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Onset:
    """Where an error begins.

    Attributes:
        entity: whose.
        parameter: of it.
        cause: as `validation.triage.Diagnosis` tells it.
        start: its first value.
        end: after its last one.
        factor: by which the level has changed; null where no factor tells it.
    """

    entity: str
    parameter: str
    cause: str
    start: datetime
    end: datetime
    factor: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Series:
    """One parameter of one entity: f64[step] each.

    Attributes:
        value: NaN where nothing was told.
        usual: the median of the sizes before; NaN where too few are known.
        noise: in logarithms.
        low: the least size before.
        high: the greatest.
        sign: of all values before; 0 where both are told.
    """

    value: Floats
    usual: Floats
    noise: Floats
    low: Floats
    high: Floats
    sign: Floats

    @property
    def next(self) -> Floats:
        """f64[step, AT_ONCE]: each value and those that follow it; NaN beyond the end."""
        return sliding_window_view(np.concatenate([self.value, np.full(AT_ONCE - 1, np.nan)]), AT_ONCE)

    @property
    def ratio(self) -> Floats:
        """f64[step, AT_ONCE]: how far they are from those before the first of them, in logarithms."""
        with np.errstate(all="ignore"):
            told: Floats = np.log(np.abs(self.next) / self.usual[:, None])
        return told


def find(grid: pl.DataFrame, *, cadence: timedelta) -> tuple[Onset, ...]:
    """The errors that begin in a grid, at most one a series, sorted.

    Args:
        grid: entity, at, observed and parameters, sorted by entity and time; some hours, or at most some days.
        cadence: of its steps.
    """
    parameters = [name for name in grid.columns if name not in (ENTITY, AT, OBSERVED)]
    found = [
        onset
        for (entity,), rows in grid.partition_by(ENTITY, as_dict=True, maintain_order=True).items()
        if rows.height > LEAST + AT_ONCE
        for onset in _of_entity(str(entity), rows=rows, parameters=parameters, cadence=cadence)
    ]
    return tuple(sorted(found, key=lambda each: (each.entity, each.parameter)))


def _of_entity(entity: str, *, rows: pl.DataFrame, parameters: list[str], cadence: timedelta) -> Iterator[Onset]:
    every = {name: _series(rows[name].cast(pl.Float64).to_numpy()) for name in parameters}
    at = rows[AT]
    for name, series in every.items():
        found = _flipped(series) or _multiplied(series) or _logarithm(series) or _swapped(name, every=every)
        if found is not None:
            cause, first, last, factor = found
            yield Onset(entity=entity, parameter=name, cause=cause, start=at[first], end=at[last] + cadence, factor=factor)


Found = tuple[str, int, int, float | None]


def _series(value: Floats) -> _Series:
    size = np.abs(np.where(value == 0, np.nan, value))
    padded = np.concatenate([np.full(BEFORE, np.nan), size])[:-1]
    windows = sliding_window_view(padded, BEFORE)
    known = np.isfinite(windows).sum(axis=1) >= LEAST
    usual, noise, low, high = (np.full(len(value), np.nan) for _ in range(4))
    sign = np.zeros(len(value))
    if known.any():
        usual[known] = np.nanmedian(windows[known], axis=1)
        noise[known] = 1.4826 * np.nanmedian(np.abs(np.log(windows[known] / usual[known, None])), axis=1)
        first = np.flatnonzero(known)[0]
        low[first:], high[first:] = (
            run[first - 1 : -1] if first else run[:0] for run in (np.fmin.accumulate(size), np.fmax.accumulate(size))
        )
        signs = sliding_window_view(np.concatenate([np.full(BEFORE, np.nan), np.sign(np.where(value == 0, np.nan, value))])[:-1], BEFORE)
        sign[known] = np.where(np.nanmin(signs[known], axis=1) == np.nanmax(signs[known], axis=1), np.nanmax(signs[known], axis=1), 0.0)
    return _Series(value=value, usual=usual, noise=noise, low=low, high=high, sign=sign)


def _first(fits: NDArray[np.bool_]) -> int | None:
    """The first step from which on all of bool[step, AT_ONCE] fit."""
    found = np.flatnonzero(fits.all(axis=1))
    return int(found[0]) if len(found) else None


def _near(series: _Series, *, size: float) -> Floats:
    """f64[step, 1]: how near values must come to what an error of that size, in logarithms, makes of those before."""
    near: Floats = np.minimum(np.maximum(CLOSEST, NOISES * series.noise), SHARE * abs(size))[:, None]
    return near


def _flipped(series: _Series) -> Found | None:
    with np.errstate(all="ignore"):
        other = series.sign[:, None] * np.sign(series.next) < 0
        steady = np.abs(np.log(np.abs(np.concatenate([[np.nan], series.value[:-1]])) / series.usual)) <= MIRRORED
        first = _first(other & steady[:, None] & (np.abs(series.ratio) <= MIRRORED))
    if first is None:
        return None
    return SIGN, first, _last(np.sign(series.value[first:]) == np.sign(series.value[first]), first=first), None


def _multiplied(series: _Series) -> Found | None:
    ratio = series.ratio
    if not (np.abs(ratio) >= np.log(min(CONVERSIONS)) * (1 - SHARE)).any():
        return None
    for factor in sorted({told for size in CONVERSIONS for told in (size, 1 / size)}, key=lambda told: abs(np.log(told))):
        size = float(np.log(factor))
        first = _first(np.abs(ratio - size) <= _near(series, size=size))
        if first is None:
            continue
        with np.errstate(all="ignore"):
            away = np.log(np.abs(series.value[first:]) / series.usual[first])
        last = _last(np.abs(away - size) <= abs(size) / 2, first=first)
        before, after = _known(series.value[:first]), _known(series.value[first : last + 1])
        if digits_of(before) is not None:
            exact = exact_factor(before, after, near=factor)
            if exact is not None:
                return called(exact), first, last, exact
        elif _left(series, first=first, up=factor > 1):
            return called(factor), first, last, factor
    return None


def _left(series: _Series, *, first: int, up: bool) -> bool:
    """Whether the values have left all that was seen before by far."""
    told = np.abs(series.value[first : first + AT_ONCE])
    bound = series.high[first] * BEYOND if up else series.low[first] / BEYOND
    return bool((told > bound).all() if up else (told < bound).all())


def _logarithm(series: _Series) -> Found | None:
    """Of values with digits only: a logarithm has none."""
    with np.errstate(all="ignore"):
        made = np.log1p(series.usual)
        fits = np.abs(np.log(series.next / made[:, None])) <= np.maximum(CLOSEST, NOISES * series.noise / np.maximum(made, 1.0))[:, None]
        first = _first(fits & (np.abs(series.ratio) >= 2 * CLOSEST))
    if first is None:
        return None
    before, after = _known(series.value[:first]), _known(series.value[first : first + AT_ONCE])
    if digits_of(before) is None or digits_of(after) is not None:
        return None
    return (
        LOGARITHM,
        first,
        _last(np.abs(series.value[first:] / made[first]) < np.sqrt(series.usual[first] / made[first]), first=first),
        None,
    )


def _swapped(name: str, *, every: dict[str, _Series]) -> Found | None:
    """Of parameters with different digits only: in an incident two may well come to tell what the other one used to."""
    own = every[name]
    for other, theirs in every.items():
        if other != name:
            here, there = _told_by(own, usual=theirs), _told_by(theirs, usual=own)
            away = np.abs(own.ratio) >= np.maximum(2 * CLOSEST, NOISES * own.noise)[:, None]
            first = _first(here & there & away)
            if first is not None and _exchanged(own, theirs, first=first):
                with np.errstate(all="ignore"):
                    closer = np.abs(np.log(np.abs(own.value[first:]) / theirs.usual[first]))
                    closer = closer < np.abs(np.log(np.abs(own.value[first:]) / own.usual[first]))
                return f"{SWAPPED} {other}", first, _last(closer, first=first), None
    return None


def _told_by(series: _Series, *, usual: _Series) -> NDArray[np.bool_]:
    """bool[step, AT_ONCE]: whether values are what another series usually tells."""
    with np.errstate(all="ignore"):
        near = np.abs(np.log(np.abs(series.next) / usual.usual[:, None])) <= np.maximum(CLOSEST, NOISES * usual.noise)[:, None]
    return np.asarray(near & (np.sign(series.next) == usual.sign[:, None]))


def _exchanged(own: _Series, theirs: _Series, *, first: int) -> bool:
    """Whether each has the digits that the other one had, where these are not the same."""
    had, has = ([_count(each.value[part]) for each in (own, theirs)] for part in (slice(first), slice(first, first + AT_ONCE)))
    coarse, fine = (0, 1) if had[0] < had[1] else (1, 0)
    return had[0] != had[1] and has[coarse] > had[coarse] and has[fine] <= had[coarse]


def _count(values: Floats) -> int:
    """How many digits values have; where they have none, more than any."""
    digits = digits_of(_known(values))
    return DIGITS + 1 if digits is None else digits


def _last(fits: NDArray[np.bool_], *, first: int) -> int:
    """The last step that fits, counted from `first`."""
    return first + max(int(np.flatnonzero(fits)[-1]) if fits.any() else 0, AT_ONCE - 1)


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]
