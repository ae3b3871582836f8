"""What was done to the values: from a series that left its past to the error behind it, when it began, and who has it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.schema import AT, ENTITY
from validation import causes, edges, forms, onset, shifts
from validation.causes import DIVIDED, LOOKED_AT, Named
from validation.digits import WIDE, digits_of, exact_factor, lost_remainder
from validation.forms import ALL_ZERO, SWAPPED, Form, called
from validation.profile import HOUR_US, Profile
from validation.shifts import LEAST_DAYS, Shift

Floats = NDArray[np.float64]

SHORT: Final = timedelta(days=LEAST_DAYS + 1)
"""Of an entity with less than this no day can be held against others: there an error is looked for where it begins."""
AT_ONCE: Final = timedelta(hours=1)
"""Beginnings this near to each other have the same reason."""
NEAR_EDGE: Final = timedelta(hours=3)
"""What begins so near to where something else ends is the way back."""
A_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """An error of arithmetic in one series.

    Attributes:
        entity: whose.
        parameter: of it.
        cause: `x1000`, `x1/60`, `integer division by 60`, `logarithm`, `sign`, `swapped with <parameter>`, `degC told as K`; or a factor
            that is no known conversion, such as `x20`.
        known: whether the cause is more than a factor of no meaning.
        start: its first value.
        end: exclusive.
        factor: by which the level has changed; null where no factor tells it.
        together: other parameters of the entity that moved the same way, where they tell of business rather than of a unit.
    """

    entity: str
    parameter: str
    cause: str
    known: bool
    start: datetime
    end: datetime
    factor: float | None
    together: tuple[str, ...] = ()


def diagnose(profile: Profile, *, grid: pl.DataFrame, factor: float, temperatures: frozenset[str] = frozenset()) -> tuple[Diagnosis, ...]:
    """Every series that left its past in a way that an error of arithmetic explains, or by `factor` or more; sorted.

    Args:
        profile: of `grid`.
        grid: looked into again around the beginning of each.
        factor: the least ratio of a day's level to its past that is taken for a change of unit.
        temperatures: the parameters that are told in degrees.
    """
    hours = forms.arrange(profile)
    with ThreadPoolExecutor(max_workers=2) as pool:  # each takes a core
        daily = pool.submit(lambda: (forms.find(hours, temperatures=temperatures), shifts.find(profile, grid=grid, factor=factor)))
        stepped = edges.find(hours, temperatures=temperatures)
        formed, left = daily.result()
    named = causes.named(stepped, grid=grid, entities=profile.entities, cadence=profile.cadence, temperatures=temperatures)
    found = [_of_named(each) for each in named]
    shifted = [_of_shift(shift, grid=grid, formed=formed, cadence=profile.cadence) for shift in left]
    found += [each for each in shifted if not _taken(each, found)]
    short = profile.entities.filter(pl.col("last") - pl.col("first") <= SHORT)
    if short.height:
        rows = grid if short.height == profile.entities.height else grid.filter(pl.col(ENTITY).is_in(short[ENTITY].implode()))
        found += [_of_onset(begun) for begun in onset.find(rows, cadence=profile.cadence)]
    told = {(each.entity, each.parameter) for each in found}
    others = (_of_form(form, grid=grid, cadence=profile.cadence) for form in formed if (form.entity, form.parameter) not in told)
    found += [each for each in others if each is not None]
    kept = [each for each in found if _both(each, among=found) and _begins(each, among=found)]
    return tuple(sorted(kept, key=lambda each: (each.entity, each.parameter, each.start)))


def _taken(diagnosis: Diagnosis, found: Sequence[Diagnosis]) -> bool:
    """Whether an edge has told already what a shift of the same series tells; one that is older and has no name stands."""
    return any(
        (each.entity, each.parameter) == (diagnosis.entity, diagnosis.parameter)
        and each.start < diagnosis.end
        and diagnosis.start <= each.end + A_DAY
        and (diagnosis.known or diagnosis.start >= each.start - A_DAY)
        for each in found
    )


def _both(diagnosis: Diagnosis, *, among: Sequence[Diagnosis]) -> bool:
    """Of swapped columns, whether the other one was swapped with this one."""
    if not diagnosis.cause.startswith(SWAPPED):
        return True
    other = diagnosis.cause.removeprefix(SWAPPED).strip()
    return any(
        (each.entity, each.parameter, each.cause) == (diagnosis.entity, other, f"{SWAPPED} {diagnosis.parameter}")
        and each.start < diagnosis.end
        and each.end > diagnosis.start
        for each in among
    )


def _of_named(each: Named) -> Diagnosis:
    return Diagnosis(
        entity=each.edge.entity,
        parameter=each.edge.parameter,
        cause=each.cause,
        known=True,
        start=each.start,
        end=each.end,
        factor=float(np.exp(each.size)) if each.cause.startswith("x") else None,
    )


def _begins(diagnosis: Diagnosis, *, among: Sequence[Diagnosis]) -> bool:
    """Whether it begins outside of what is told already: neither within another error of the series nor as the way back from it."""
    return not any(
        (each.entity, each.parameter) == (diagnosis.entity, diagnosis.parameter)
        and each.known
        and each.start < diagnosis.start
        and diagnosis.start <= each.end + NEAR_EDGE
        for each in among
    )


def _of_shift(shift: Shift, *, grid: pl.DataFrame, formed: Sequence[Form], cadence: timedelta) -> Diagnosis:
    before, after = _around(grid, entity=shift.entity, parameter=shift.parameter, start=shift.start, end=shift.end)
    same = [form for form in formed if (form.entity, form.parameter) == (shift.entity, shift.parameter)]
    beside = [form for form in same if form.start - LOOKED_AT < shift.end and form.end + LOOKED_AT > shift.start]
    cause = _cause(before, after, factor=shift.factor, beside=beside)
    known, cause = cause is not None, cause or called(shift.factor)
    spans = [_span(form, grid=grid, cadence=cadence) for form in beside if form.cause == cause]
    return Diagnosis(
        entity=shift.entity,
        parameter=shift.parameter,
        cause=cause,
        known=known,
        start=min([shift.start, *(start for start, _ in spans)]),
        end=shift.end,
        factor=shift.factor,
        together=shift.together,
    )


def _cause(before: Floats, after: Floats, *, factor: float, beside: Sequence[Form]) -> str | None:
    """What explains a level that has changed by `factor`; null where nothing known does."""
    exact = [told for near in (factor, _ratio(before, after)) if (told := exact_factor(before, after, near=near)) is not None]
    if exact:
        return called(exact[0])
    confirmed = [form.cause for form in beside if forms.restored_by(form.cause, before, after) == "yes"]
    if confirmed:
        return confirmed[0]
    swapped = [form.cause for form in beside if form.cause.startswith(SWAPPED)]
    if swapped:
        return swapped[0]
    if factor < 1 and (lost := lost_remainder(before, after, near=1 / factor)) is not None:
        return f"{DIVIDED} {lost:.0f}"
    possible = [form for form in beside if forms.restored_by(form.cause, before, after) != "no"]
    others = [form.cause for form in possible if not form.cause.startswith("x")]
    if others:
        return others[0]
    near = [form for form in possible if form.distance <= forms.NEAR]
    return next((form.cause for form in near if abs(np.log(_factor(form) / factor)) <= WIDE), None)


def _ratio(before: Floats, after: Floats) -> float:
    """Of the level after to the one before."""
    levels = [np.abs(side[np.isfinite(side) & (side != 0)]) for side in (before, after)]
    return float(np.median(levels[1]) / np.median(levels[0])) if all(len(level) for level in levels) else 1.0


def _factor(form: Form) -> float:
    """By how much a form has changed the level."""
    with np.errstate(all="ignore"):
        return float(np.exp(np.nanmedian(np.log(np.abs(form.told / form.past)))))


def _around(grid: pl.DataFrame, *, entity: str, parameter: str, start: datetime, end: datetime) -> tuple[Floats, Floats]:
    """The values of a week before the beginning, and of a week after it."""
    rows = grid.filter(pl.col(ENTITY) == entity, pl.col(AT) >= start - LOOKED_AT, pl.col(AT) < start + LOOKED_AT, pl.col(AT) < end)
    value = pl.col(parameter).cast(pl.Float64)
    told = rows.filter(value.is_finite())
    before, after = (told.filter(side).select(value).to_series().to_numpy() for side in (pl.col(AT) < start, pl.col(AT) >= start))
    return before, after


def _of_form(form: Form, *, grid: pl.DataFrame, cadence: timedelta) -> Diagnosis | None:
    """Null where it is a suspicion that the values' digits do not confirm."""
    start, end = _span(form, grid=grid, cadence=cadence)
    before, after = _around(grid, entity=form.entity, parameter=form.parameter, start=start, end=end)
    confirmed = forms.restored_by(form.cause, before, after)
    if confirmed == "no" or (form.weak and confirmed != "yes" and (digits_of(before) is None or digits_of(before) == digits_of(after))):
        return None
    cause: str | None = form.cause
    if form.cause.startswith("x"):
        cause = _cause(before, after, factor=_factor(form), beside=[form])
    if cause is None:
        return None
    return Diagnosis(entity=form.entity, parameter=form.parameter, cause=cause, known=True, start=start, end=end, factor=None)


def _of_onset(begun: onset.Onset) -> Diagnosis:
    return Diagnosis(
        entity=begun.entity,
        parameter=begun.parameter,
        cause=begun.cause,
        known=True,
        start=begun.start,
        end=begun.end,
        factor=begun.factor,
    )


def _span(form: Form, *, grid: pl.DataFrame, cadence: timedelta) -> tuple[datetime, datetime]:
    """The instant from which on, and the one up to which, most values are nearer to what the error makes of the past than to the past."""
    day = timedelta(days=1)
    near = pl.col(AT).is_between(form.start - 2 * day, form.end + day, closed="left")
    value, zero = pl.col(form.parameter), form.cause == ALL_ZERO
    rows = grid.filter(pl.col(ENTITY) == form.entity, near, value.is_finite() & ((value != 0) | zero)).sort(AT)
    hour = (rows[AT].dt.epoch("us") // HOUR_US % 24).to_numpy()
    values = rows[form.parameter].to_numpy()
    closer = values == 0 if zero else _away(values, form.told[hour]) < _away(values, form.past[hour])
    sides = np.where(closer, 1, -1)
    at = rows[AT]
    begin, finish = np.flatnonzero((at < form.start + day).to_numpy()), np.flatnonzero((at >= form.end - day).to_numpy())
    if not len(begin) or not len(finish):
        return form.start, form.end
    first = begin[np.argmax(np.cumsum(sides[begin][::-1])[::-1])]
    last = finish[len(finish) - 1 - np.argmax(np.cumsum(sides[finish])[::-1])]
    return at[int(first)], at[int(last)] + cadence


def _away(values: Floats, expected: Floats) -> Floats:
    """How far values are from what is expected, in logarithms; another sign is as far as can be."""
    with np.errstate(all="ignore"):
        away = np.abs(np.log(np.abs(values) / np.abs(expected)))
    return np.where(np.isfinite(away) & (np.sign(values) == np.sign(expected)), away, 99.0)


def alike(diagnosis: Diagnosis, others: Sequence[Diagnosis]) -> frozenset[str]:
    """The entities that have the same error of the same parameter since the same time, this one included."""
    return frozenset(
        each.entity
        for each in others
        if (each.parameter, each.cause) == (diagnosis.parameter, diagnosis.cause) and abs(each.start - diagnosis.start) <= AT_ONCE
    )


def explained(struck: frozenset[str], *, everyone: Sequence[str], keys: Sequence[str]) -> str:
    """The fewest labels that say who is struck and nobody else.

    Args:
        struck: entities, their keys joined by `/`.
        everyone: all entities.
        keys: what their keys are called.

    >>> everyone = ["acme/eu", "acme/us", "bolt/eu", "bolt/us", "corn/eu"]
    >>> explained(frozenset({"acme/eu", "acme/us"}), everyone=everyone, keys=["customer", "region"])
    'customer acme'
    >>> explained(frozenset({"acme/eu", "bolt/eu", "corn/eu"}), everyone=everyone, keys=["customer", "region"])
    'region eu'
    >>> explained(frozenset({"acme/eu", "bolt/us"}), everyone=everyone, keys=["customer", "region"])
    'acme/eu, bolt/us'
    """
    if len(struck) > 1 and struck == frozenset(everyone):
        return "everyone"
    for place, key in enumerate(keys) if len(struck) > 1 and len(keys) > 1 else ():
        labels = {entity.split("/")[place] for entity in struck}
        if frozenset(entity for entity in everyone if entity.split("/")[place] in labels) == struck and len(labels) < len(struck):
            return f"{key} {', '.join(sorted(labels))}"
    return ", ".join(sorted(struck))
