"""A session in which a PostgreSQL server is asked, and nothing can be written; its refusals as messages without credentials.

What the URL leaves out comes from the environment by PostgreSQL's own names: PGHOST, PGUSER, PGPASSWORD, PGPASSFILE, PGSSLMODE.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from telemetry.addresses import credentials, secrets, without
from telemetry.errors import SourceError

Bound = datetime | int | float | str
"""A value that stands beside a statement, never in it."""
_SETTINGS: Final = {
    "default_transaction_read_only": "on",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",  # by the text of their rows contents are compared: the same for every role and server
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}
_CONNECT_SECONDS: Final = 10
_SHOWN: Final = 300
_WHO: Final = re.compile(r'\b(user|role) "[^"]*"')
_HINTS: Final = {
    "42P01": "name the table in the contract (sql.table) as the database spells it, with its schema: 'telemetry.minutes'.",
    "42601": "sql.query is to be one SELECT, without ';'.",
    "42703": "see that sql.query gives the contract's columns.",
    "42501": "let the database's keeper GRANT SELECT on it, and USAGE on its schema.",
    "57014": "ask for a shorter span, or let the database's keeper raise statement_timeout.",
}
_USUAL_HINT: Final = "see the section sql of the contract; psql with the same table or query shows more."


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A connection that may read.

    Attributes:
        name: of the source, for messages.
        location: its URL, of whose credentials no message may tell.
    """

    name: str
    location: str
    cursor: Any  # of a driver without types

    def ask(self, statement: str, *, bounds: Sequence[Bound] = ()) -> pl.DataFrame:
        """The answer to one statement.

        Raises:
            SourceError: the server refuses it, or is gone.
        """
        return pl.DataFrame(self._answer(statement, bounds=bounds))

    def columns(self, relation: str) -> dict[str, str]:
        """The columns of what stands behind FROM, each with PostgreSQL's name of its type.

        Raises:
            SourceError: as `ask`.
        """
        answer = self._answer(f"SELECT * FROM {relation} LIMIT 0", bounds=())  # noqa: S608  (quoted, or the contract's own query)
        return {each.name: (each.metadata or {}).get(b"POSTGRESQL:type", b"").decode() for each in answer.schema}

    def _answer(self, statement: str, *, bounds: Sequence[Bound]) -> Any:  # Any: a table of Arrow, which has no types
        from adbc_driver_postgresql import dbapi  # type: ignore[import-untyped]

        try:
            self.cursor.execute(statement, tuple(bounds) or None)
            return self.cursor.fetch_arrow_table()
        except dbapi.Error as error:
            code, reason = error.sqlstate or "", _reason(error, location=self.location)
        # Raised out here: the driver's own words, statement and all, are not to follow as a cause.
        raise SourceError(f"{self.name} gives no answer: {reason}.", hint=_HINTS.get(code, _USUAL_HINT))


@contextmanager
def session(location: str, *, name: str) -> Iterator[Session]:
    """A connection to the database at a URL, for as long as it is needed.

    Args:
        location: `postgresql://...`.
        name: of the source, for messages.

    Raises:
        SourceError: the driver is not installed, the URL is none, or the server cannot be reached or refuses the credentials.
    """
    connection = _connected(location, name=name)
    with closing(connection), closing(connection.cursor()) as cursor:
        opened = Session(name=name, location=location, cursor=cursor)
        opened.ask("SELECT " + ", ".join(f"set_config('{name}', '{value}', false) AS {name}" for name, value in _SETTINGS.items()))
        yield opened


def _connected(location: str, *, name: str) -> Any:  # Any: a connection of the driver, which has no types
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError as error:
        hint = "pip install 'tidewatch[postgresql]'"
        raise SourceError(f"{name} cannot be read: the package adbc-driver-postgresql is not installed.", hint=hint) from error
    credentials(location, name=name, instead="PGUSER and PGPASSWORD")
    options = "" if "connect_timeout=" in location else f"{'&' if '?' in location else '?'}connect_timeout={_CONNECT_SECONDS}"
    try:
        return dbapi.connect(location + options, autocommit=True)
    except dbapi.Error as error:
        reason = _reason(error, location=location)
    hint = "see that the server is up and the URL right; credentials may come from PGUSER and PGPASSWORD in the environment."
    raise SourceError(f"{name} cannot be reached: {reason}.", hint=hint)


def _reason(error: Exception, *, location: str) -> str:
    """The first line of what a server or the driver says, with nothing in it that only its reader should know."""
    line = str(error).strip().splitlines()[0]
    told = line.rpartition("ERROR:  ")[2].rpartition("Failed to connect: ")[2].strip().rstrip(".")
    return _WHO.sub(r"this \1", without(told, secret=secrets(location)))[:_SHOWN]
