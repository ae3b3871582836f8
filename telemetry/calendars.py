"""Whose clock an entity lives by: its calendar in its own time zone, with the public holidays of its country.

A calendar is a pure function of the instant, the zone and the country: where clocks jump, so does the local hour, and nothing else.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.contract import Contract
from telemetry.schema import AT, COHORT, ENTITY

log = logging.getLogger(__name__)
SHOWN = 5
"""Names that a log line spells out."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """What a calendar is made for: an IANA zone, and a country as `DE` or `DE-BY`, empty for none."""

    zone: str = "UTC"
    country: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Which calendar each entity follows.

    Attributes:
        places: Z different ones, sorted.
        clock: i32[E], each entity's place among them.
        fallen_back: entities that a table of the contract could have named and does not.
        unused: keys of the contract's tables that no entity has, each with its table: `calendar.zones.acme`.
    """

    places: tuple[Place, ...]
    clock: NDArray[np.int32]
    fallen_back: tuple[str, ...]
    unused: tuple[str, ...]


def follow(names: tuple[str, ...], *, contract: Contract, cohorts: Mapping[str, str] | None = None) -> Followed:
    """The places of entities by the contract's section `calendar`.

    Args:
        names: E entities.
        contract: what is declared.
        cohorts: by entity, as of ENTITIES; needed where the section goes by a cohort that is no key.
    """
    told = contract.calendar
    values = key_values(names, key=told.by, contract=contract, cohorts=cohorts or {}) if told.by else (None,) * len(names)
    places = [
        Place(zone=told.zones.get(value or "", told.zone), country=told.countries.get(value or "", told.country or "")) for value in values
    ]
    distinct = tuple(sorted(set(places)))
    tables = {"zones": told.zones, "countries": told.countries}
    return Followed(
        places=distinct or (Place(zone=told.zone, country=told.country or ""),),
        clock=np.array([distinct.index(place) for place in places], dtype=np.int32),
        fallen_back=tuple(
            name for name, value in zip(names, values, strict=True) if any(table and value not in table for table in tables.values())
        ),
        unused=tuple(f"calendar.{name}.{key}" for name, table in tables.items() for key in table if key not in values),
    )


def key_values(names: tuple[str, ...], *, key: str, contract: Contract, cohorts: Mapping[str, str]) -> tuple[str | None, ...]:
    """What each entity has for a key: read off its name, or its cohort; None where it is not known."""
    keys = contract.entity.keys
    if key not in keys:
        return tuple(cohorts.get(name) for name in names)
    if len(keys) == 1:
        return names
    place = keys.index(key)
    parts = [name.split("/") for name in names]
    return tuple(part[place] if len(part) == len(keys) else None for part in parts)


def cohorts_of(entities: pl.DataFrame) -> dict[str, str]:
    """By entity, of ENTITIES."""
    return dict(entities.select(ENTITY, COHORT).iter_rows()) if COHORT in entities.columns else {}


def tell(followed: Followed, *, contract: Contract) -> None:
    """In the log: who falls back to the default, and what was declared for nobody."""
    told = contract.calendar
    if followed.fallen_back:
        names = ", ".join(followed.fallen_back[:SHOWN]) + (", ..." if len(followed.fallen_back) > SHOWN else "")
        usual = told.zone + (f" with the holidays of {told.country}" if told.country else "")
        log.info(
            "calendar: %d of %d entities have a %s that calendar.zones or calendar.countries does not name, and go by %s there: %s",
            len(followed.fallen_back), len(followed.clock), told.by, usual, names,
        )  # fmt: skip
    if followed.unused:
        log.warning("calendar: no entity has the %s of %s; is it spelled as in the data?", told.by, ", ".join(followed.unused))


def calendars(followed: Followed, *, start_us: int, steps: int, cadence_seconds: int, holidays: bool) -> NDArray[np.float32]:
    """f32[Z, T, C], the calendar of each place; the arguments are those of `calendar`."""
    told = {"start_us": start_us, "steps": steps, "cadence_seconds": cadence_seconds}
    return np.stack([calendar(**told, place=place, holidays=holidays) for place in followed.places])


def calendar(*, start_us: int, steps: int, cadence_seconds: int, place: Place | None = None, holidays: bool = False) -> NDArray[np.float32]:
    """f32[steps, C]: sine and cosine of minute of hour, time of day, weekday and day of month, local time, as named in `panel.CALENDAR`.

    Args:
        start_us: the first step, microseconds since 1970-01-01 UTC.
        steps: T.
        cadence_seconds: between two steps.
        place: whose clock and holidays; UTC without holidays by default.
        holidays: whether the columns `panel.HOLIDAYS` follow: all 0 where the place has no country.
    """
    where = place or Place()
    begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=start_us)
    end = begin + timedelta(seconds=cadence_seconds) * (steps - 1)
    at = pl.datetime_range(begin, interval=f"{cadence_seconds}s", end=end, eager=True).dt.convert_time_zone(where.zone)
    at = at.dt.replace_time_zone(None)  # what the clock on the wall says: a month's last day may lack the hour at which this is asked
    when = pl.DataFrame({AT: at}).select(
        minute=pl.col(AT).dt.minute() / 60,
        hour=(pl.col(AT).dt.hour() + pl.col(AT).dt.minute() / 60) / 24,
        weekday=(pl.col(AT).dt.weekday() - 1) / 7,
        monthday=(pl.col(AT).dt.day() - 1) / pl.col(AT).dt.month_end().dt.day(),
    )
    turn = 2 * np.pi * when.to_numpy()
    turns = np.stack([np.sin(turn), np.cos(turn)], axis=-1).reshape(steps, -1).astype(np.float32)
    return np.concatenate([turns, _holidays(at, country=where.country)], axis=1) if holidays else turns


def _holidays(at: pl.Series, *, country: str) -> NDArray[np.float32]:
    """f32[T, 3]: whether the local day, the next one and the one before are public holidays."""
    day = at.dt.date()
    first, last = day[0], day[-1]
    known = pl.Series(public_holidays(country, years=tuple(range(first.year - 1, last.year + 2))), dtype=pl.Date)
    one = timedelta(days=1)
    return np.stack([(day + shift).is_in(known.implode()).to_numpy() for shift in (0 * one, one, -one)], axis=1).astype(np.float32)


@cache
def public_holidays(country: str, *, years: tuple[int, ...]) -> tuple[date, ...]:
    """The public holidays of a country, `DE`, or of a part of it, `DE-BY`, with the days on which they are observed; none of ``."""
    if not country:
        return ()
    from holidays import country_holidays  # it takes a tenth of a second, and few contracts name a country

    name, _, part = country.partition("-")
    return tuple(sorted(country_holidays(name, subdiv=part or None, years=years)))
