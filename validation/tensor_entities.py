"""What a panel says of its entities beside their telemetry, held against the contract: the calendar that each follows, and its attributes.

Calendars are made anew from the clock alone, with the zones' own tables; nothing of the code that made the panel's is used.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.contract import Contract
from telemetry.panel import CALENDAR, HOLIDAYS, Panel
from telemetry.schema import COUNT, ENTITY, KIND, PARAMETER
from validation import tensor_clock
from validation.tensor_causes import Flags, Floats

Row = dict[str, Any]  # Any: a row of `tensor_profile.TENSORS`
Period = Callable[[Flags], Row]
"""`start` and `end` of the steps that are marked."""

CALENDAR_KIND: Final = "calendar"
FOLLOWER_KIND: Final = "calendar followed"
ATTRIBUTES_KIND: Final = "attributes"
EXACT: Final = 1e-5
QUARTER_HOUR_US: Final = 900_000_000
"""Clocks jump at full quarters of an hour, UTC, and at no other instant."""
_UTC: Final = ("UTC", "")
_Place = tuple[str, str]


def place_name(place: _Place) -> str:
    """For a person.

    >>> place_name(("Europe/Berlin", "DE-BY")), place_name(("UTC", ""))
    ('Europe/Berlin (DE-BY)', 'UTC')
    """
    zone, country = place
    return f"{zone} ({country})" if country else zone


def calendars(panel: Panel, *, contract: Contract, cohorts: Mapping[str, str], period: Period) -> list[Row]:
    """A row for each column of each calendar that is followed, and one for each entity that follows one of another place."""
    wanted = [_place_of(value, contract=contract) for value in _values(panel.entities, contract.calendar.by, contract, cohorts)]
    columns = max(panel.calendar.shape[-1], len(CALENDAR) + len(HOLIDAYS) * contract.calendar.has_holidays)
    declared = sorted(set(wanted))

    @cache
    def expected(place: _Place) -> Floats:
        return expected_calendar(panel, place=place, columns=columns)

    told: list[Row] = []
    for number, found in enumerate(panel.calendar):
        actual = np.full((panel.steps, columns), np.nan)
        actual[:, : found.shape[1]] = found
        followers = [e for e in range(len(panel.entities)) if panel.clock[e] == number]
        if not followers:
            continue
        usual = [place for place, _ in Counter(wanted[e] for e in followers).most_common()]
        order = [*usual, *(place for place in declared if place not in usual)]
        place = next((each for each in order if not _unlike(actual, expected(each)).any()), usual[0])
        told += _of_columns(panel, actual, place=place, expected=expected(place), period=period)
        for e in followers:
            if wanted[e] == place:
                continue
            off = np.asarray(_unlike(expected(place), expected(wanted[e])).any(axis=1))
            if off.any():
                told.append(
                    {
                        KIND: FOLLOWER_KIND,
                        ENTITY: panel.entities[e],
                        **period(off),
                        "unlike_grid": int(off.sum()),
                        "of": place_name(place),
                        "place": place_name(wanted[e]),
                    }
                )
    return told


def _of_columns(panel: Panel, actual: Floats, *, place: _Place, expected: Floats, period: Period) -> list[Row]:
    unlike: Flags = _unlike(actual, expected)
    turning = slice(len(CALENDAR))
    hours = ""
    if unlike[:, turning].any():
        hours = tensor_clock.zone(
            actual[:, turning],
            right=expected[:, turning],
            expected=lambda ahead: expected_calendar(panel, ahead_minutes=ahead),
        )
    names = (*CALENDAR, *HOLIDAYS, *(f"column {c}" for c in range(len(CALENDAR) + len(HOLIDAYS), actual.shape[1])))
    return [
        {
            KIND: CALENDAR_KIND,
            PARAMETER: names[c],
            **period(unlike[:, c] if unlike[:, c].any() else ~unlike[:, c]),
            "not_finite": int((~np.isfinite(actual[:, c])).sum()),
            "unlike_grid": int(unlike[:, c].sum()),
            "of": hours if c < len(CALENDAR) else "",
            "place": place_name(place),
            "lowest": float(np.nan_to_num(actual[:, c]).min()),
            "highest": float(np.nan_to_num(actual[:, c]).max()),
        }
        for c in range(actual.shape[1])
    ]


def _unlike(found: Floats, expected: Floats) -> Flags:
    return np.asarray(~(np.abs(found - expected) <= EXACT))


def _place_of(value: str | None, *, contract: Contract) -> _Place:
    told = contract.calendar
    return told.zones.get(value or "", told.zone), told.countries.get(value or "", told.country or "")


def _values(names: tuple[str, ...], key: str | None, contract: Contract, cohorts: Mapping[str, str]) -> list[str | None]:
    """What each entity has for a key."""
    if key is None:
        return [None] * len(names)
    keys = contract.entity.keys
    if key not in keys:
        return [cohorts.get(name) for name in names]
    if len(keys) == 1:
        return list(names)
    told = [dict(zip(keys, name.split("/"), strict=False)) if name.count("/") == len(keys) - 1 else {} for name in names]
    return [of.get(key) for of in told]


def expected_calendar(panel: Panel, *, place: _Place = _UTC, columns: int = len(CALENDAR), ahead_minutes: int = 0) -> Floats:
    """f64[T, columns]: sine and cosine of the shares of hour, day, week and month that are gone, then the holidays, by the clock alone."""
    zone, country = place
    start_us = panel.start_us + ahead_minutes * 60_000_000
    at = start_us + np.arange(panel.steps) * (panel.cadence_seconds * 1_000_000)
    local = (at + offsets_us(at, zone=zone)).astype("datetime64[us]")
    day, month = local.astype("datetime64[D]"), local.astype("datetime64[M]")
    minute = (local - local.astype("datetime64[h]")) // np.timedelta64(1, "m") / 60
    of_day = (local - day) // np.timedelta64(1, "m") / 1440
    weekday = (day.astype(np.int64) + 3) % 7 / 7  # 1970-01-01 was a Thursday; the week begins on Monday
    length = (month + np.timedelta64(1, "M")).astype("datetime64[D]") - month.astype("datetime64[D]")
    turn = 2 * np.pi * np.stack([minute, of_day, weekday, (day - month.astype("datetime64[D]")) / length], axis=1)
    told = np.zeros((panel.steps, columns))
    told[:, : len(CALENDAR)] = np.stack([np.sin(turn), np.cos(turn)], axis=-1).reshape(panel.steps, -1)
    for index, days in enumerate((0, 1, -1)[: columns - len(CALENDAR)]):
        told[:, len(CALENDAR) + index] = np.isin(day + np.timedelta64(days, "D"), _free(country, day=day))
    return told


def offsets_us(at: NDArray[np.int64], *, zone: str) -> NDArray[np.int64]:
    """How far the zone's clocks are ahead of UTC at each instant."""
    if zone == "UTC":
        return np.zeros_like(at)
    quarters, place = np.unique(at // QUARTER_HOUR_US, return_inverse=True)
    clock, epoch = ZoneInfo(zone), datetime(1970, 1, 1, tzinfo=UTC)
    instants = (epoch + timedelta(microseconds=int(quarter) * QUARTER_HOUR_US) for quarter in quarters)
    ahead = [instant.astimezone(clock).utcoffset() or timedelta() for instant in instants]
    return np.array([each // timedelta(microseconds=1) for each in ahead], dtype=np.int64)[place]


def _free(country: str, *, day: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The public holidays of a country in and around these days."""
    if not country:
        return np.array([], dtype="datetime64[D]")
    from holidays import country_holidays  # it takes a tenth of a second, and few contracts name a country

    first, last = (each.astype(object) for each in (day.min(), day.max()))
    one, (name, _, part) = timedelta(days=1), country.partition("-")
    years: list[int] = list(range((first - one).year, (last + one).year + 1))
    told: list[date] = list(country_holidays(name, subdiv=part or None, years=years))
    return np.array(told, dtype="datetime64[D]")


def attributes(panel: Panel, *, contract: Contract, scales: pl.DataFrame, cohorts: Mapping[str, str], whole: Row) -> list[Row]:
    """A row for each entity, where the contract declares attributes: how many are not what it says, and which."""
    if not (contract.attributes.one_hot or contract.attributes.facts):
        return []
    seen = tuple(scales.filter(pl.col(COUNT) > 0).get_column(ENTITY).unique().to_list())
    everyone = (*panel.entities, *seen)
    expected: dict[str, list[float]] = {}
    for key in contract.attributes.one_hot:
        expected |= _flags(key, _values(everyone, key, contract, cohorts), entities=len(panel.entities))
    for name, fact in contract.attributes.facts.items():
        told = [None if key is None else fact.values.get(key) for key in _values(everyone, fact.by, contract, cohorts)]
        if fact.words is None:
            expected[name] = _standard([value for value in told if not isinstance(value, str)], entities=len(panel.entities))
        else:
            expected |= _flags(name, [None if value is None else str(value) for value in told], entities=len(panel.entities))
    found = {name: panel.static[:, s] for s, name in enumerate(panel.attributes)}
    nothing = np.full(len(panel.entities), np.nan)
    names = list(dict.fromkeys((*expected, *found)))
    off = np.array([~(np.abs(found.get(name, nothing) - np.asarray(expected.get(name, nothing))) <= EXACT) for name in names])
    return [
        {
            KIND: ATTRIBUTES_KIND,
            ENTITY: entity,
            **whole,
            "unlike_grid": int(off[:, e].sum()),
            "of": ", ".join(name for name, wrong in zip(names, off[:, e], strict=True) if wrong),
        }
        for e, entity in enumerate(panel.entities)
    ]


def _flags(name: str, values: list[str | None], *, entities: int) -> dict[str, list[float]]:
    known = sorted({value for value in values[entities:] if value is not None})
    return {f"{name}={word}": [float(value == word) for value in values[:entities]] for word in known}


def _standard(values: list[float | None], *, entities: int) -> list[float]:
    known = np.array([value for value in values[entities:] if value is not None])
    mean, deviation = (known.mean(), known.std() or 1.0) if known.size else (0.0, 1.0)
    return [0.0 if value is None else float((value - mean) / deviation) for value in values[:entities]]
