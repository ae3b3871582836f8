"""Addresses that may carry credentials -> what may be told of them, and what must not."""

import re
from typing import Final
from urllib.parse import parse_qsl, unquote

from telemetry.errors import SourceError

_AUTHORITY: Final = re.compile(r"(?<=://)[^/?#]*")


def bare(location: str) -> str:
    """A URL without its credentials, however they are spelt, and without its query.

    >>> bare("postgresql://ann:p@ss/w?rd@db:5432/fleet?sslmode=require")
    'postgresql://db:5432/fleet'
    """
    scheme, _, rest = location.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def credentials(location: str, *, name: str, instead: str) -> tuple[str, str] | None:
    """User and password of a URL; null where it has none.

    Args:
        location: the URL.
        name: of the source, for messages.
        instead: what may be set in the environment.

    Raises:
        SourceError: nobody can tell where its credentials end.
    """
    authority = _authority(location)
    if location.count("@") > min(authority.count("@"), 1):
        hint = f"write '@', '/', '?' and '%' of user and password as %40, %2F, %3F and %25, or set {instead} instead."
        raise SourceError(f"It cannot be told where the credentials in the URL of {name} end.", hint=hint)
    user, _, password = authority.rpartition("@")[0].partition(":")
    return (unquote(user), unquote(password)) if user or password else None


def secrets(location: str) -> tuple[str, ...]:
    """User and passwords of a URL, as they stand there and as they are meant, longer ones first."""
    user, _, password = _authority(location).rpartition("@")[0].partition(":")
    named = [value for key, value in parse_qsl(location.partition("?")[2]) if "password" in key.lower()]
    found = {each for text in (user, password, *named) for each in (text, unquote(text)) if each}
    return tuple(sorted(found, key=len, reverse=True))


def without(told: str, *, secret: tuple[str, ...]) -> str:
    """A message in which dots stand for each secret.

    >>> without("no user ann with password x1", secret=("ann", "x1"))
    'no user ... with password ...'
    """
    for each in secret:
        told = told.replace(each, "...")
    return told


def _authority(location: str) -> str:
    found = _AUTHORITY.search(location)
    return found.group() if found else ""
