"""What every source is to the rest: a feed with a name, made of parts that never change, each known again by its fingerprint.

A part is a file, a data file of a Delta table, or what a server answered about a span of time.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote

import polars as pl

from telemetry.addresses import bare
from telemetry.contract import Contract
from telemetry.schema import REASON, ROW, TEXT

ROW_INDEX: Final = "__row__"
"""The 1-based number of a data row (a header is not counted), beside the part's own columns."""
DAMAGED: Final = {ROW: pl.Int64, REASON: pl.String, TEXT: pl.String}
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
SERVERS: Final = ("postgresql", "postgres", "http", "https")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The rows of a part.

    Attributes:
        frame: `ROW_INDEX` and the part's own columns, blanks stripped from their names; the values of delimited text are text.
        damaged: DAMAGED, the rows that have no such columns (a line with too many fields, no JSON, no UTF-8), as they stand there.
    """

    frame: pl.LazyFrame
    damaged: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a feed that never changes.

    Attributes:
        name: how messages and the quarantine call it, such as a file's path within the folder.
        kind: its format, for messages: `CSV`, `Parquet`, `SQL`.
        fingerprint: of its content and of what the contract reads from it: known again under any name, and yet new where the name
            tells another entity or the contract has come to tell another column, unit or zone.
        revision: when it was written, microseconds since 1970: of two values for one instant the one of the later revision counts.
        open: its rows.

    Raises:
        SourceError: (by `open`) the part is damaged as a whole, is empty, or cannot be reached.
    """

    name: str
    kind: str
    fingerprint: str
    revision: int
    open: Callable[[], Opened]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a feed is made of.

    Attributes:
        parts: in the order of their names.
        passed_over: files of a known format that the contract does not want.
        copies: names of parts that say what one of `parts` says already, and would count it twice.
    """

    parts: tuple[Part, ...]
    passed_over: int = 0
    copies: tuple[str, ...] = ()


class Source(Protocol):
    """A place that telemetry comes from."""

    @property
    def name(self) -> str:
        """The feed, as a person knows it: its location without credentials."""
        ...

    def parts(self, *, since: datetime | None, until: datetime | None) -> Parts:
        """What there is to be read; no row is read yet.

        Args:
            since: servers are asked for readings from this instant on; files are always read whole.
            until: end, exclusive.

        Raises:
            SourceMissingError: there is nothing, or nothing that the contract wants.
            SourceError: the place cannot be reached.
        """
        ...


def scheme_of(location: str) -> str:
    """The scheme of a URL in lower case, empty for a path.

    >>> scheme_of("s3://bucket/day=1/*.parquet"), scheme_of("exports/*.csv")
    ('s3', '')
    """
    found = _SCHEME.match(location)
    return found.group(1).lower() if found else ""


def public(location: str) -> str:
    """A location without the credentials and the query that the URL of a server may carry; a path may have any sign.

    >>> public("postgresql://reader:sec@ret@db/fleet?sslmode=require"), public("s3://bucket/day-?.csv")
    ('postgresql://db/fleet', 's3://bucket/day-?.csv')
    """
    return bare(location) if scheme_of(location) in SERVERS else _CREDENTIALS.sub("", location)


def find(location: str, *, contract: Contract, now: datetime) -> Source:
    """The source at a location.

    Args:
        location: a file, folder or glob, local or as the URL of an object store (`s3://`, `gs://`, `az://`, `file://`); a folder
            that holds a Delta table; `postgresql://...`; the `http(s)://` address of a Prometheus server.
        contract: what is to be read.
        now: until when servers are asked, where no end is named.

    Raises:
        SourceError: no source is known by this scheme.
    """
    scheme = scheme_of(location)
    if scheme in SERVERS[:2]:
        from telemetry.sql import SqlSource

        return SqlSource(location, contract=contract, now=now)
    if scheme in SERVERS[2:]:
        from telemetry.prometheus import PrometheusSource

        return PrometheusSource(location, contract=contract, now=now)
    from telemetry.delta import DeltaSource, is_delta
    from telemetry.files import FileSource

    if is_delta(location):
        return DeltaSource(location, contract=contract)
    return FileSource(location, contract=contract)


def local(location: str) -> Path | None:
    """The path of a local location, null for a URL of another kind.

    >>> local("file:///data/my%20exports").as_posix(), local("100%25.csv").as_posix()
    ('/data/my exports', '100%25.csv')
    """
    scheme = scheme_of(location)
    if scheme == "file":
        return Path(unquote(location[len("file://") :]))
    return None if scheme else Path(location)
