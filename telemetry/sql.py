"""A table or query of a PostgreSQL database -> parts of a feed, a day each; what the server says is unchanged is not fetched again."""

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Final

import polars as pl

from telemetry.addresses import bare
from telemetry.columns import required
from telemetry.contract import Contract
from telemetry.errors import EmptySourceError, MissingColumnError, SourceError
from telemetry.feeds import DAMAGED, ROW_INDEX, Opened, Part, Parts
from telemetry.fingerprints import fingerprint
from telemetry.formats import columns_wanted
from telemetry.pieces import distinct
from telemetry.postgres import Session, session
from telemetry.sqltimes import Axis, Condition, axis

MOST_CELLS: Final = 20_000_000
"""Values of a day that is fetched whole; of a fuller one each hour is a part of its own."""
TIMELESS: Final = "no time"
"""The part of the rows without a plausible time, where no other has more rows with one."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT_AS_THEY_ARE: Final = frozenset({"bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar", "bpchar", "name"})
_TIMES: Final = frozenset({"timestamptz", "timestamp", "date"})
_NAME: Final = re.compile(r'(?:"((?:[^"]|"")+)"|([^".]+))(?:\.|$)')
_LISTED: Final = """\
SELECT bucket, count(*)::int8 AS rows, encode(sha256(string_agg(digest, ''::bytea ORDER BY digest)), 'hex') AS digest
FROM (SELECT {bucket} AS bucket, sha256(convert_to(ROW({columns})::text, 'UTF8')) AS digest FROM {relation} WHERE {condition}) rows_of
GROUP BY bucket ORDER BY bucket"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column as it is asked for: in SQL, and under the name that the contract may call it by."""

    sql: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """What is read of a database.

    Attributes:
        name: for the names of parts.
        relation: what stands behind FROM.
        columns: those that are fetched.
        axis: its times.
    """

    name: str
    relation: str
    columns: tuple[_Column, ...]
    axis: Axis


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What the server says of a bucket, of a whole day of them, or of the rows in none.

    Attributes:
        bucket: null for the rows in none.
        timeless: whether the rows in no bucket are among them.
        digest: of the rows' text, in whatever order they come.
    """

    bucket: str | None
    day: bool = False
    timeless: bool = False
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class SqlSource:
    """A table or query of a PostgreSQL database; see `telemetry.feeds.Source`.

    Attributes:
        location: `postgresql://host:port/database`; what it leaves out comes from the environment, see `telemetry.postgres`.
        contract: its section `sql` names the table or query.
        now: until when readings are asked for, where no end is named.
        most_cells: values of a day that is fetched whole.
    """

    location: str = field(repr=False)
    contract: Contract = field(kw_only=True)
    now: datetime = field(kw_only=True)
    most_cells: int = field(default=MOST_CELLS, kw_only=True)

    @property
    def name(self) -> str:
        """The location, without credentials."""
        return bare(self.location)

    def parts(self, *, since: datetime | None, until: datetime | None) -> Parts:
        """The days between the two, each known again by the content that the server says it has; none where it has no row there.

        Times of type timestamp make days of the contract's zone, and texts make days as they are written.

        Args:
            since: by default everything is asked for, the rows without a plausible time too.
            until: end, exclusive; by default now.

        Raises:
            EmptySourceError: there is no row at all.
            MissingColumnError: a column is missing that the contract names.
            NaiveTimeError: times carry no zone, and the contract declares none.
            SourceError: the server cannot be reached or gives no answer, or no span of such times can be asked for.
        """
        end = until or self.now
        with session(self.location, name=self.name) as asked:
            table = _table(asked, contract=self.contract)
            found = _listed(asked, table, condition=table.axis.within(since=since, until=end), bucket=table.axis.bucket)
            timeless = _listed(asked, table, condition=table.axis.timeless, bucket="NULL::text") if since is None else []
            if since is None and not found and not timeless:
                raise _nothing(asked, table, until=end)
        days = _days(found, most=self.most_cells // len(table.columns))
        return Parts(parts=tuple(self._part(each, table=table, since=since, until=end) for each in _with_timeless(days, timeless=timeless)))

    def _part(self, content: _Content, *, table: _Table, since: datetime | None, until: datetime) -> Part:
        conditions = [table.axis.timeless] if content.timeless else []
        if content.bucket is not None:
            conditions.append(table.axis.of(content.bucket, day=content.day, since=since, until=until))
        told = json.dumps([content.digest, [column.name for column in table.columns]])
        return Part(
            name=f"{table.name}/{content.bucket or TIMELESS}",
            kind="SQL",
            fingerprint=fingerprint(told, contract=self.contract, of_path={}),
            revision=(self.now - _EPOCH) // timedelta(microseconds=1),
            open=partial(self._open, table, tuple(conditions)),
        )

    def _open(self, table: _Table, conditions: tuple[Condition, ...]) -> Opened:
        """The rows of a part as they are now, in an order that their values decide: a table has none."""
        selected = ", ".join(f"{column.sql} AS {_quoted(column.name)}" for column in table.columns)
        statement = f"SELECT {selected} FROM {table.relation} WHERE "  # noqa: S608  (names are quoted, values bound)
        with session(self.location, name=self.name) as asked:
            answers = [asked.ask(statement + condition.sql, bounds=condition.bounds) for condition in conditions]
        frame = pl.concat(answers).sort([column.name for column in table.columns])
        return Opened(frame=frame.with_row_index(ROW_INDEX, offset=1).lazy(), damaged=pl.DataFrame(schema=DAMAGED))


def _table(asked: Session, *, contract: Contract) -> _Table:
    """What the contract wants of the database, after a look at the columns that are there."""
    if contract.sql is None or not contract.time.column:
        message = f"{asked.name}: the contract '{contract.name}' does not say what to read of a database."
        raise SourceError(message, hint="name sql.table (or sql.query) and time.column in the contract; rows of a table have no order.")
    if contract.entity.path_pattern is not None:
        message = f"{asked.name}: the contract '{contract.name}' reads keys from the paths of files, and a table has columns."
        raise SourceError(message, hint="leave entity.path_pattern out of the contract for this source.")
    name, relation = (contract.sql.table, _relation(contract.sql.table)) if contract.sql.table else ("query", _subquery(contract.sql.query))
    kinds = asked.columns(relation)
    names = distinct(tuple(kinds), wanted=columns_wanted(contract), name=asked.name)
    needed = required(contract, of_path={})
    missing = tuple(each for each in needed if each not in names)
    if missing:
        raise MissingColumnError(source=f"{asked.name}: {name}", missing=missing, found=names)
    at = tuple(kinds)[names.index(contract.time.column)]
    times = axis(_quoted(at), kind=kinds[at], time=contract.time, source=f"{asked.name}: {name}")
    every = [_Column(sql=_selected(_quoted(told), kind=kind), name=plain) for plain, (told, kind) in zip(names, kinds.items(), strict=True)]
    first = {each: place for place, each in enumerate(needed)}  # rows are put in order by their columns: the time, the keys, and so on
    every.sort(key=lambda column: first.get(column.name, len(first)))
    wanted = {*needed, contract.label_column}
    columns = tuple(column for column in every if contract.new_columns != "discard" or column.name in wanted)
    return _Table(name=name, relation=relation, columns=columns, axis=times)


def _listed(asked: Session, table: _Table, *, condition: Condition, bucket: str) -> list[_Content]:
    """The buckets that hold rows, in their order."""
    columns = ", ".join(column.sql for column in table.columns)
    statement = _LISTED.format(bucket=bucket, columns=columns, relation=table.relation, condition=condition.sql)
    answer = asked.ask(statement, bounds=condition.bounds).rows(named=True)
    return [_Content(bucket=each["bucket"], rows=each["rows"], digest=each["digest"], timeless=each["bucket"] is None) for each in answer]


def _days(hours: list[_Content], *, most: int) -> list[_Content]:
    """Whole days of hours, but for days of more rows than `most`."""
    found: list[_Content] = []
    for day, group in groupby(hours, key=lambda hour: (hour.bucket or "")[:10]):
        of_day = list(group)
        rows = sum(hour.rows for hour in of_day)
        digest = hashlib.sha256(json.dumps([[hour.bucket, hour.digest] for hour in of_day]).encode()).hexdigest()
        found += of_day if rows > most else [_Content(bucket=day, day=True, rows=rows, digest=digest)]
    return found


def _with_timeless(days: list[_Content], *, timeless: list[_Content]) -> list[_Content]:
    """The rows without a plausible time are in the first part that has more good ones: there each is quarantined by itself."""
    for odd in timeless:
        place = next((place for place, content in enumerate(days) if content.rows > odd.rows), None)
        if place is None:
            return [*days, odd]
        digest = hashlib.sha256(f"{days[place].digest} {odd.digest}".encode()).hexdigest()
        days[place] = replace(days[place], timeless=True, rows=days[place].rows + odd.rows, digest=digest)
    return days


def _nothing(asked: Session, table: _Table, *, until: datetime) -> SourceError:
    if not asked.ask(f"SELECT 1 AS one FROM {table.relation} LIMIT 1").height:  # noqa: S608  (names are quoted)
        return EmptySourceError(f"{asked.name}: {table.name} holds no row.", hint="see whether anything is written into it.")
    message = f"{asked.name}: {table.name} has rows, but none with a time before {until:%Y-%m-%d %H:%M} UTC."
    return SourceError(message, hint="see that time.format in the contract says how they count, such as 'epoch_ms' for milliseconds.")


def _relation(table: str) -> str:
    """A table's name in SQL, each of its parts quoted.

    >>> _relation('telemetry.minutes'), _relation('"odd.name"')
    ('"telemetry"."minutes"', '"odd.name"')
    """
    parts = [quoted.replace('""', '"') or plain for quoted, plain in _NAME.findall(table)]
    return ".".join(_quoted(part) for part in parts)


def _subquery(query: str | None) -> str:
    """A query as something to select from; its last line may be a comment."""
    return f"(\n{(query or '').strip().rstrip(';')}\n) AS asked"


def _selected(column: str, *, kind: str) -> str:
    """A column as it is fetched: a time that no calendar here has, such as infinity, as nothing, and a type without a number as text."""
    if kind in _TIMES:
        return f"CASE WHEN {column} >= '0001-01-01' AND {column} < '10000-01-01' THEN {column} END"
    return column if kind in _KEPT_AS_THEY_ARE else f"{column}::text"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
