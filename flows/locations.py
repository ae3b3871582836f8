"""Where telemetry comes from, as a person names it: what is secret of it stays in the environment, and a span may be told by its length.

`postgresql://${PGUSER}:${PGPASSWORD}@db/fleet` names variables of the environment, which are put in when the source is opened and never
before: neither a run's parameters nor its page, its tables or its messages hold what they say.
"""

import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from telemetry.addresses import bare
from telemetry.contract import Contract
from telemetry.errors import SourceError, TidewatchError
from telemetry.feeds import Source, find, scheme_of

CREDENTIALS: Final = "SOURCE_CREDENTIALS"
QUERY: Final = "SOURCE_QUERY"
BEARER: Final = "PROMETHEUS_TOKEN"
"""The variable whose value a Prometheus server is sent as a bearer token."""
SERVERS: Final = ("postgresql", "postgres", "http", "https")
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")
_LENGTH: Final = re.compile(r"(\d+)\s*([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


class SpanError(TidewatchError):
    """The beginning or the end of a span of time cannot be read."""


def open_source(location: str, *, contract: Contract, now: datetime) -> Source:
    """The source at a location, with what the environment says of it.

    Raises:
        SourceError: a variable that the location names is not set, or no source is known by its scheme.
    """
    source = find(expanded(location, environment=os.environ), contract=contract, now=now)
    token = os.environ.get(BEARER)
    if token and scheme_of(location) in ("http", "https"):
        from telemetry.prometheus import PrometheusSource

        if isinstance(source, PrometheusSource):
            return replace(source, token=token)
    return source


def expanded(location: str, *, environment: Mapping[str, str]) -> str:
    """A location with the values of the variables that it names.

    >>> expanded("postgresql://${WHO}@db/fleet", environment={"WHO": "ann:x1"})
    'postgresql://ann:x1@db/fleet'

    Raises:
        SourceError: one of them is not set.
    """
    unset = [name for name in _VARIABLE.findall(location) if name not in environment]
    if unset:
        told = f"The source {shown(location)} names {', '.join(unset)}, which the environment does not set."
        raise SourceError(told, hint=f"export {unset[0]}=... where this runs, for a deployment in the worker's environment.")
    return _VARIABLE.sub(lambda found: environment[found.group(1)], location)


def hidden(location: str, *, environment: MutableMapping[str, str]) -> str:
    """A location whose credentials and query have been moved into the environment of this process; others stay as they are.

    >>> kept = {}
    >>> hidden("postgresql://ann:x1@db/fleet?sslmode=require", environment=kept), kept["SOURCE_CREDENTIALS"]
    ('postgresql://${SOURCE_CREDENTIALS}@db/fleet?${SOURCE_QUERY}', 'ann:x1')
    """
    if scheme_of(location) not in SERVERS or _VARIABLE.search(location):
        return location
    scheme, _, rest = location.partition("://")
    credentials, at, place = rest.rpartition("@")
    place, mark, query = place.partition("?")
    for name, value in ((CREDENTIALS, credentials), (QUERY, query)):
        if value:
            environment[name] = value
    who = f"${{{CREDENTIALS}}}@" if at else ""
    return f"{scheme}://{who}{place}" + (f"?${{{QUERY}}}" if mark and query else "")


def shown(location: str) -> str:
    """A location as it may be told to anyone.

    >>> shown("postgresql://ann:x1@db/fleet?sslmode=require"), shown("exports/*.csv")
    ('postgresql://db/fleet', 'exports/*.csv')
    """
    return bare(location) if scheme_of(location) in SERVERS else location


def instant(told: str | None, *, now: datetime, name: str) -> datetime | None:
    """An instant told in ISO 8601, or as how long ago it was.

    >>> noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    >>> instant("36h", now=noon, name="since") == instant("2026-01-01T00:00:00Z", now=noon, name="since")
    True

    Args:
        told: `2026-01-01`, `2026-01-01T06:00:00+02:00` (UTC where it has no zone), `90m`, `36h`, `2d`; empty or null for none.
        now: from which is counted back.
        name: of the option, for messages.

    Raises:
        SpanError: it is none of these.
    """
    if not told:
        return None
    length = _LENGTH.fullmatch(told.strip())
    if length:
        return now - timedelta(**{_UNITS[length.group(2)]: int(length.group(1))})
    try:
        at = datetime.fromisoformat(told.strip())
    except ValueError as error:
        hint = "tell it like 2026-01-31, 2026-01-31T06:00:00Z, or as how long ago: 90m, 36h, 2d."
        raise SpanError(f"'{told}' is no time for {name}.", hint=hint) from error
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
