"""Sections of a contract about its entities: the calendar that each lives by, and what is known of it and does not change."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from telemetry.sections import Section


def _zone(value: str) -> str:
    if value != "UTC" and value not in _zones():
        raise ValueError(f"'{value}' is no IANA time zone such as 'UTC' or 'Europe/Helsinki'")
    return value


@cache
def _zones() -> frozenset[str]:
    """Those that mean the same on every machine."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _country(value: str) -> str:
    from holidays import list_supported_countries  # it takes a tenth of a second, and few contracts name a country

    country, _, part = value.partition("-")
    known = list_supported_countries(include_aliases=True)
    if country not in known:
        raise ValueError(f"'{value}' is no country whose holidays are known; expected an ISO 3166 code such as 'DE', or 'DE-BY' for a part")
    if part and part not in known[country]:
        raise ValueError(f"'{value}' names no part of {country}; known are {', '.join(known[country]) or 'none'}")
    return value


Zone = Annotated[str, AfterValidator(_zone)]
Country = Annotated[str, AfterValidator(_country)]
Name = Annotated[str, Field(min_length=1)]


class Calendar(Section):
    """Whose clock, and whose public holidays, an entity lives by. Without this section: everybody by UTC, and no holidays."""

    zone: Zone = "UTC"
    """IANA zone of all that `zones` does not name."""
    country: Country | None = None
    """ISO 3166 code of the country whose holidays count for all that `countries` does not name; `DE-BY` for a part of it."""
    by: Name | None = None
    """The key (or the cohort) whose values `zones` and `countries` name."""
    zones: dict[str, Zone] = Field(default_factory=dict)
    countries: dict[str, Country] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _told_by(self) -> Self:
        if (self.by is None) and (self.zones or self.countries):
            raise ValueError('zones and countries need `by`, the key whose values they name, such as by = "customer"')
        if self.by is not None and not (self.zones or self.countries):
            raise ValueError("`by` needs zones or countries: tables by the values of that key")
        return self

    @property
    def has_holidays(self) -> bool:
        """Whether any country is declared, and with it the holiday columns of every calendar."""
        return self.country is not None or bool(self.countries)


class Fact(Section):
    """What is known of entities by the value of a key: words, of which each becomes a flag, or numbers."""

    by: Name
    """The key (or the cohort) whose values `values` names."""
    values: Annotated[dict[str, str], Field(min_length=1)] | Annotated[dict[str, FiniteFloat], Field(min_length=1)]

    @property
    def words(self) -> Mapping[str, str] | None:
        """The values where they are words, None where they are numbers."""
        words = {key: value for key, value in self.values.items() if isinstance(value, str)}
        return words if len(words) == len(self.values) else None

    @property
    def numbers(self) -> Mapping[str, float]:
        """The values where they are numbers."""
        return {key: value for key, value in self.values.items() if not isinstance(value, str)}


class Attributes(Section):
    """What a network is told of an entity beside its telemetry: a newcomer, or an entity that it does not know, has it too."""

    one_hot: tuple[Name, ...] = ()
    """Keys (or the cohort), each of whose values becomes a flag."""
    facts: dict[str, Fact] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        repeated = sorted({name for name in self.one_hot if self.one_hot.count(name) > 1 or name in self.facts})
        if repeated:
            raise ValueError(f"{', '.join(repeated)} would be told twice")
        return self


def strangers(calendar: Calendar, attributes: Attributes, *, keys: tuple[str, ...]) -> list[str]:
    """A sentence for each key that is named and is none of `keys`."""
    named = {"calendar.by": calendar.by, **{f"attributes.one_hot.{n}": key for n, key in enumerate(attributes.one_hot)}}
    named |= {f"attributes.facts.{name}.by": fact.by for name, fact in attributes.facts.items()}
    return [
        f"{place}: '{key}' is neither a key nor the cohort of an entity; expected one of {', '.join(keys)}"
        for place, key in named.items()
        if key is not None and key not in keys
    ]
