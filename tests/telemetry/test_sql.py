"""A PostgreSQL table or query is read as files are: from a real server, which is asked for no more than is wanted."""

import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import psutil
import pytest
from adbc_driver_postgresql import dbapi

from telemetry.contract import Contract
from telemetry.errors import BadValueError, EmptySourceError, MissingColumnError, NaiveTimeError, SourceError
from telemetry.feeds import ROW_INDEX, Part, find
from telemetry.ingestion import ingest
from telemetry.lake import Lake
from telemetry.schema import AT, COHORT, ENTITY, REASON, REVISION, ROW, TIME
from telemetry.sources import Batch, read
from telemetry.sql import SqlSource
from tests.telemetry.servers import Postgres, postgres

Declare = Callable[..., Contract]
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=3)
OTHERS = "SELECT customer, region, queries, query_time, cpu"
EPOCH = {"column": "time", "format": "epoch_s"}
KEEPER = {"password": "s3cr3t/p@ss w:rd%?#"}
READER = {"user": "reader", "password": "r3ader"}
PLANTED = {"password": "planted-0ne"}
MINUTES = """
CREATE TABLE minutes AS SELECT
  timestamptz '2026-01-01 00:00Z' + n / 2 * interval '1 minute' AS time,
  CASE n % 2 WHEN 0 THEN 'acme' ELSE 'bolt' END AS customer,
  'eu' AS region,
  n::int4 AS queries,
  n * 0.001 AS query_time,
  (n % 100)::float4 AS cpu,
  'not wanted ' || n AS remark
FROM generate_series(0, 2 * 1440 * 2 - 1) AS n"""
"""Two days of two entities, a row a minute, 5,760 rows."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres(**KEEPER) as running:
        tell(
            running,
            MINUTES,
            "CREATE INDEX ON minutes (time)",
            "CREATE ROLE reader LOGIN PASSWORD 'r3ader'",
            "GRANT SELECT ON minutes TO reader",
        )
        yield running


def tell(server: Postgres, *statements: str) -> None:
    """Have the server do something, as its keeper."""
    with dbapi.connect(server.url(), autocommit=True) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def asks(server: Postgres, *, contract: Contract, now: datetime = NOW, **how: Any) -> SqlSource:
    return SqlSource(server.url(), contract=contract, now=now, **how)


def days(source: SqlSource, *, since: datetime | None = None, until: datetime | None = None) -> dict[str, Part]:
    return {part.name.partition("/")[2]: part for part in source.parts(since=since, until=until).parts}


def batches(source: SqlSource, **span: Any) -> list[Batch]:
    return [batch for part in days(source, **span).values() for batch in read(part, contract=source.contract, now=NOW)]


def frame(source: SqlSource, **span: Any) -> pl.DataFrame:
    return pl.concat(batch.frame for batch in batches(source, **span))


def of_table(declare: Declare, table: str = "minutes", **sections: Any) -> Contract:
    return declare(sql={"table": table}, **sections)


def of_query(declare: Declare, query: str, **sections: Any) -> Contract:
    return declare(sql={"query": query}, **sections)


def expected() -> pl.DataFrame:
    """The readings of `minutes`."""
    n = pl.int_range(5760, eager=True).alias("n")
    return pl.select(
        pl.when(n % 2 == 0).then(pl.lit("acme/eu")).otherwise(pl.lit("bolt/eu")).alias(ENTITY),
        pl.lit("eu").alias(COHORT),
        (pl.lit(START) + pl.duration(minutes=n // 2)).cast(TIME).alias(AT),
        n.cast(pl.Float64).alias("queries"),
        n.cast(pl.Float64).alias("query_time"),  # told in seconds, wanted in milliseconds
        (n % 100).cast(pl.Float64).alias("cpu"),
        pl.lit((NOW - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)).alias(REVISION),
    )


def asked_since(server: Postgres, *, place: int) -> str:
    """What the server was asked since its log was so long."""
    return server.log.read_text()[place:]


@pytest.mark.service
def test_every_row_becomes_a_reading(declare: Declare, server: Postgres) -> None:
    source = asks(server, contract=of_table(declare))
    assert list(days(source)) == ["2026-01-01", "2026-01-02"]
    assert frame(source).with_columns(pl.col("query_time").round(6)).sort(AT, ENTITY).equals(expected())


@pytest.mark.service
def test_a_query_is_read_as_a_table_is_whatever_its_last_line(declare: Declare, server: Postgres) -> None:
    query = "SELECT * FROM minutes WHERE customer = 'acme' ORDER BY queries DESC -- the newest first"
    assert frame(asks(server, contract=of_query(declare, query))).height == 2880
    assert frame(asks(server, contract=of_query(declare, "SELECT * FROM minutes;\n"))).height == 5760


@pytest.mark.service
def test_what_was_answered_before_is_known_again_and_only_a_day_that_changed_is_new(declare: Declare, server: Postgres) -> None:
    tell(server, "CREATE TABLE changing AS TABLE minutes")
    first = days(asks(server, contract=of_table(declare, "changing")))
    again = days(asks(server, contract=of_table(declare, "changing"), now=NOW + timedelta(hours=1)))
    assert [part.fingerprint for part in again.values()] == [part.fingerprint for part in first.values()]
    assert [part.revision for part in again.values()] == [part.revision + 3_600_000_000 for part in first.values()]
    rows = {name: part.open().frame.collect() for name, part in first.items()}
    assert all(part.open().frame.collect().equals(rows[name]) for name, part in again.items())
    tell(
        server,
        "CREATE TABLE turned AS SELECT * FROM changing ORDER BY queries DESC",
        "DROP TABLE changing",
        "ALTER TABLE turned RENAME TO changing",
    )
    turned = days(asks(server, contract=of_table(declare, "changing")))
    assert {name: part.fingerprint for name, part in turned.items()} == {name: part.fingerprint for name, part in first.items()}
    assert all(part.open().frame.collect().equals(rows[name]) for name, part in turned.items())
    tell(server, "UPDATE changing SET cpu = cpu + 1 WHERE queries = 5759")
    changed = days(asks(server, contract=of_table(declare, "changing")))
    assert changed["2026-01-01"].fingerprint == first["2026-01-01"].fingerprint
    assert changed["2026-01-02"].fingerprint != first["2026-01-02"].fingerprint
    tell(server, "UPDATE changing SET remark = 'of no interest'")
    assert days(asks(server, contract=of_table(declare, "changing")))["2026-01-02"].fingerprint == changed["2026-01-02"].fingerprint


@pytest.mark.service
def test_a_second_ingestion_fetches_nothing_and_changes_nothing(declare: Declare, server: Postgres, tmp_path: Path) -> None:
    contract = of_table(declare)
    lake = Lake(str(tmp_path))
    first = ingest(asks(server, contract=contract), contract=contract, lake=lake, now=NOW)
    assert (first.parts, first.rows_in, first.rows_accepted, first.rows_new) == (2, 5760, 5760, 5760)
    place, grid = len(server.log.read_text()), lake.grid(contract=contract).collect()
    second = ingest(asks(server, contract=contract, now=NOW), contract=contract, lake=lake, now=NOW)
    assert (second.parts_known, second.rows_in, second.rows_new) == (2, 0, 0)
    assert lake.grid(contract=contract).collect().equals(grid)
    assert '"queries" AS "queries"' not in asked_since(server, place=place)


@pytest.mark.service
def test_another_meaning_of_the_same_rows_is_not_known(declare: Declare, server: Postgres) -> None:
    plain = days(asks(server, contract=of_table(declare)))
    other = days(asks(server, contract=of_table(declare, parameters={"query_time": {"source_unit": "ms"}})))
    assert not {part.fingerprint for part in plain.values()} & {part.fingerprint for part in other.values()}


@pytest.mark.service
def test_the_server_is_asked_for_the_span_and_the_columns_that_are_wanted_and_no_more(declare: Declare, server: Postgres) -> None:
    place = len(server.log.read_text())
    source = asks(server, contract=of_table(declare))
    (part,) = days(source, since=START + timedelta(hours=30), until=START + timedelta(hours=31)).values()
    opened = part.open().frame.collect()
    assert opened.height == 120
    assert opened.columns == [ROW_INDEX, "customer", "region", "time", "queries", "query_time", "cpu"]
    log = asked_since(server, place=place)
    fetched = [line for line in log.splitlines() if "minutes" in line and "WHERE" in line]
    assert len(fetched) == 2
    assert all('"time" >= $1 AND "time" < $2' in line for line in fetched)
    assert log.count("parameters: $1 = '2026-01-02 06:00:00+00', $2 = '2026-01-02 07:00:00+00'") == 2
    assert "remark" not in log
    assert "2026-01-02" not in "".join(fetched)


@pytest.mark.service
def test_an_index_on_the_time_is_of_use(declare: Declare, server: Postgres) -> None:
    tell(server, "ANALYZE minutes")
    place = len(server.log.read_text())
    days(asks(server, contract=of_table(declare)), since=START + timedelta(hours=47))
    (statement,) = re.findall(
        r"COPY \((SELECT bucket.*?)\) TO|execute \S+: (SELECT bucket.*?ORDER BY bucket)", asked_since(server, place=place), flags=re.DOTALL
    )
    with dbapi.connect(server.url(), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = on")
        text = "".join(statement).replace("$1", "timestamptz '2026-01-02 23:00Z'").replace("$2", "timestamptz '2026-01-03 00:00Z'")
        cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
        cursor.execute(f"EXPLAIN {text}")
        planned = str(cursor.fetch_arrow_table().to_pylist())
    assert "Index" in planned


@pytest.mark.service
@pytest.mark.parametrize(
    ("time", "told"),
    [
        ("time", {}),
        ("time AT TIME ZONE 'Europe/Berlin'", {"zone": "Europe/Berlin"}),
        ("extract(epoch FROM time)::int8", {"format": "epoch_s"}),
        ("extract(epoch FROM time)::int4", {"format": "epoch_s"}),
        ("extract(epoch FROM time)", {"format": "epoch_s"}),
        ("extract(epoch FROM time)::float8", {"format": "epoch_s"}),
        ("(extract(epoch FROM time) * 1000)::int8", {"format": "epoch_ms"}),
        ("(extract(epoch FROM time) * 1000000000)::int8", {"format": "epoch_ns"}),
        ("(extract(epoch FROM time - timestamptz '2025-12-31Z') / 60)::int4", {"format": "minute_index", "origin": "2025-12-31T00:00:00Z"}),
        ("(extract(epoch FROM time - timestamptz '2025-12-31Z'))", {"format": "second_index", "origin": "2025-12-31T00:00:00Z"}),
        ("to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')", {}),
        ("to_char(time AT TIME ZONE 'UTC' + interval '14 hours', 'YYYY-MM-DD HH24:MI:SS+14:00')", {}),
        ("to_char(time AT TIME ZONE 'UTC' - interval '12 hours', 'YYYY-MM-DD HH24:MI:SS-12:00')", {}),
        ("to_char(time AT TIME ZONE 'Europe/Berlin', '  YYYY-MM-DD HH24:MI')", {"zone": "Europe/Berlin"}),
    ],
)
def test_times_of_every_kind_are_asked_for_and_read(declare: Declare, server: Postgres, time: str, told: dict[str, Any]) -> None:
    query = f"{OTHERS}, {time} AS time FROM minutes"
    source = asks(server, contract=of_query(declare, query, time={"column": "time", **told}))
    rounded = pl.col("query_time").round(6)
    assert frame(source).with_columns(rounded).sort(AT, ENTITY).equals(expected())
    since, until = START + timedelta(hours=29, minutes=30), START + timedelta(hours=46)
    found = frame(source, since=since, until=until).with_columns(rounded).sort(AT, ENTITY)
    asked = expected().filter(pl.col(AT).is_between(since, until, closed="left"))
    if "to_char" in time:  # asked for by whole days as they are written
        assert asked.join(found, on=[AT, ENTITY], how="anti").is_empty()
    else:
        assert found.equals(asked)


@pytest.mark.service
@pytest.mark.parametrize("fold", ["earliest", "latest"])
def test_no_row_is_lost_where_clocks_are_put_back(declare: Declare, server: Postgres, fold: str) -> None:
    query = """SELECT t AS time, 'acme' AS customer, 'eu' AS region, 1 AS queries, 1 AS query_time, 1 AS cpu
      FROM generate_series(timestamp '2025-10-26 00:00', '2025-10-26 05:59', '1 minute') t"""
    contract = of_query(declare, query, time={"column": "time", "zone": "Europe/Berlin", "fold": fold})
    source = asks(server, contract=contract)
    every = set(frame(source)[AT])
    cuts = [datetime(2025, 10, 25, 23, 45, tzinfo=UTC) + timedelta(minutes=40 * step) for step in range(5)]
    spans = [(start, end, set(frame(source, since=start, until=end)[AT])) for start, end in pairwise(cuts)]
    assert len(every) == 360
    for start, end, found in spans:
        assert {at for at in every if start <= at < end} <= found


@pytest.mark.service
def test_a_full_day_is_read_by_the_hour(declare: Declare, server: Postgres) -> None:
    span = {"since": START + timedelta(hours=21, minutes=30), "until": START + timedelta(hours=25, minutes=30)}
    by_hour = asks(server, contract=of_table(declare), most_cells=6 * 200)
    assert list(days(by_hour, **span)) == ["2026-01-01T21", "2026-01-01T22", "2026-01-01T23", "2026-01-02"]
    assert frame(by_hour, **span).sort(AT, ENTITY).equals(frame(asks(server, contract=of_table(declare)), **span).sort(AT, ENTITY))
    days_and_times = f"{OTHERS}, left(time::text, 10 + 10 * (queries % 2)) AS time FROM minutes"
    text = asks(server, contract=of_query(declare, days_and_times, time={"column": "time", "zone": "UTC"}), most_cells=6 * 200)
    parts = days(text)
    assert [parts[name].open().frame.collect().height for name in ("2026-01-01", "2026-01-01T00", "2026-01-02T23")] == [1440, 60, 60]


@pytest.mark.service
@pytest.mark.parametrize(
    ("kind", "told", "odd"),
    [
        ("timestamptz", {}, ("NULL", "'1889-01-01'", "'-infinity'", "'0044-03-15 BC'")),
        ("timestamp", {"zone": "UTC"}, ("NULL", "'1889-01-01'", "'-infinity'")),
        ("date", {"zone": "UTC"}, ("NULL", "'1889-01-01'", "'-infinity'")),
        ("text", {"zone": "UTC"}, ("NULL", "''", "'soon'", "'2026-13-01'", "'1889-01-01T00:00:00Z'")),
        ("int8", {"format": "epoch_s"}, ("NULL", "7", "-7")),
        ("float8", {"format": "epoch_s"}, ("NULL", "7.5", "'NaN'", "'-Infinity'")),
        ("numeric", {"format": "epoch_s"}, ("NULL", "7.5", "'NaN'", "'-Infinity'")),
    ],
)
def test_rows_without_a_plausible_time_are_quarantined_when_the_whole_table_is_read(
    declare: Declare, server: Postgres, kind: str, told: dict[str, Any], odd: tuple[str, ...]
) -> None:
    good = "1767225600" if "format" in told else "'2026-01-01 00:00Z'"
    rows = ", ".join(f"({value}, 'acme', 'eu', 1, 1, 1)" for value in odd)
    sound = f"SELECT {good}::{kind}, 'bolt', n::text, 1, 1, 1 FROM generate_series(1, 6) n"  # noqa: S608  (written above)
    tell(server, "DROP TABLE IF EXISTS odd", "CREATE TABLE odd AS TABLE minutes WITH NO DATA", "ALTER TABLE odd DROP remark")
    tell(server, "ALTER TABLE odd DROP time", f"ALTER TABLE odd ADD time {kind}")
    columns = "odd (time, customer, region, queries, query_time, cpu)"
    tell(server, f"INSERT INTO {columns} VALUES {rows}")  # noqa: S608  (written above)
    source = asks(server, contract=of_table(declare, "odd", time={"column": "time", **told}))
    (part,) = days(source).items()
    assert part[0] == "no time"
    with pytest.raises(BadValueError, match=f"{len(odd)} of {len(odd)} rows cannot be read"):
        list(read(part[1], contract=source.contract, now=NOW))
    tell(server, f"INSERT INTO {columns} {sound}")
    assert list(days(source)) == ["2026-01-01"]
    (batch,) = batches(source)
    assert (batch.rows_in, batch.accepted, batch.quarantine.height) == (6 + len(odd), 6, len(odd))
    (without,) = batches(source, since=START)
    assert (without.rows_in, without.accepted) == (6, 6)
    assert days(source)["2026-01-01"].fingerprint != days(source, since=START)["2026-01-01"].fingerprint


@pytest.mark.service
def test_values_of_every_type_are_read_or_quarantined_as_they_are(declare: Declare, server: Postgres) -> None:
    tell(
        server,
        "CREATE TYPE place AS ENUM ('eu', 'us')",
        """CREATE TABLE typed
          (time timestamptz, customer uuid, region place, queries numeric, query_time text, cpu float8, b bytea)""",
        """INSERT INTO typed VALUES
          ('2026-01-01 00:00Z', '00000000-0000-0000-0000-000000000001', 'eu', 12345678901234.125, '0.25', 'NaN', 'x'),
          ('2026-01-01 00:01Z', '00000000-0000-0000-0000-000000000001', 'us', 'NaN', NULL, 7, NULL),
          ('2026-01-01 00:02Z', '00000000-0000-0000-0000-000000000001', NULL, 1, '1', 1, NULL),
          ('2026-01-01 00:03Z', '00000000-0000-0000-0000-000000000001', 'us', 'Infinity', '1', 1, NULL),
          ('2026-01-01 00:04Z', '00000000-0000-0000-0000-000000000001', 'us', 1, 'soon', 1, NULL),
          ('2026-01-01 00:05Z', '00000000-0000-0000-0000-000000000001', 'us', 1, '1', '-Infinity', NULL),
          ('2026-01-01 00:06Z', '00000000-0000-0000-0000-000000000001', 'us', 1, '1', 1, NULL),
          ('2026-01-01 00:07Z', '00000000-0000-0000-0000-000000000001', 'us', 1, '1', 1, NULL)""",
    )
    (batch,) = batches(asks(server, contract=of_table(declare, "typed", new_columns="evolve")))
    assert batch.undeclared == ("b",)
    key = "00000000-0000-0000-0000-000000000001"
    assert batch.frame.sort(AT).select(ENTITY, "queries", "query_time", "cpu").rows()[:2] == [
        (f"{key}/eu", 12345678901234.125, 250.0, None),
        (f"{key}/us", None, None, 7.0),
    ]
    assert batch.quarantine[ROW].to_list() == [1, 4, 5, 6]
    assert batch.quarantine[REASON].to_list() == [
        "column 'region' has nothing, expected a key",
        "column 'queries' has 'Infinity', expected a finite number or nothing",
        "column 'query_time' has 'soon', expected a finite number or nothing",
        "column 'cpu' has '-inf', expected a finite number or nothing",
    ]


@pytest.mark.service
def test_names_are_taken_as_they_are_and_never_as_sql(declare: Declare, server: Postgres) -> None:
    schema, table, column = 'odd "one"', "m; DROP TABLE minutes; --", ' queries" (1/min) '
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in (schema, table, column)}
    tell(
        server,
        f"CREATE SCHEMA {quoted[schema]}",
        f"CREATE TABLE {quoted[schema]}.{quoted[table]} AS TABLE minutes",
        f"ALTER TABLE {quoted[schema]}.{quoted[table]} RENAME queries TO {quoted[column]}",
    )
    contract = of_table(declare, f"{quoted[schema]}.{quoted[table]}", parameters={"queries": {"column": column.strip()}})
    assert frame(asks(server, contract=contract))["queries"].sum() == sum(range(5760))
    with pytest.raises(SourceError, match='relation "minutes; DROP TABLE minutes" does not exist'):
        days(asks(server, contract=of_table(declare, "minutes; DROP TABLE minutes")))
    assert frame(asks(server, contract=of_table(declare))).height == 5760


@pytest.mark.service
def test_nothing_can_be_written(declare: Declare, server: Postgres) -> None:
    tell(
        server,
        "CREATE TABLE touched (n int)",
        "CREATE FUNCTION touch() RETURNS SETOF minutes LANGUAGE sql AS 'INSERT INTO touched VALUES (1); SELECT * FROM minutes'",
    )
    with pytest.raises(SourceError, match="cannot execute INSERT in a read-only transaction"):
        days(asks(server, contract=of_query(declare, "SELECT * FROM touch()")))
    for query in (
        "DELETE FROM minutes RETURNING *",
        "WITH gone AS (DELETE FROM minutes RETURNING *) SELECT * FROM gone",
        "SELECT 1) x; DROP TABLE minutes; --",
    ):
        with pytest.raises(SourceError, match="gives no answer"):
            days(asks(server, contract=of_query(declare, query)))
    assert frame(asks(server, contract=of_table(declare))).height == 5760


@pytest.mark.service
@pytest.mark.parametrize(
    ("sections", "refusal"),
    [
        ({"sql": {"table": "nowhere"}}, (SourceError, 'relation "nowhere" does not exist', "sql.table")),
        ({"sql": {"query": "SELECT nothing FROM minutes"}}, (SourceError, 'column "nothing" does not exist', "sql.query")),
        ({"sql": {"query": "SELECT 1; SELECT 2"}}, (SourceError, 'syntax error at or near ";"', "without ';'")),
        ({"entity": {"keys": ["shop"]}}, (MissingColumnError, "lacks the column shop", "column")),
        ({"sql": None}, (SourceError, "does not say what to read of a database", "sql.table")),
        ({"time": {"format": "row", "origin": START}}, (SourceError, "does not say what to read of a database", "time.column")),
        ({"entity": {"keys": ["m"], "path_pattern": "(?P<m>m)"}}, (SourceError, "from the paths of files", "path_pattern")),
        ({"sql": {"query": "SELECT * FROM minutes LIMIT 0"}}, (EmptySourceError, "query holds no row", "written into")),
        ({"sql": {"query": f"{OTHERS}, time::timestamp AS time FROM minutes"}}, (NaiveTimeError, "no zone", "time.zone")),
        ({"time": {"column": "remark", "format": "epoch_s"}}, (SourceError, '"remark" is text, and no span of it', "timestamptz")),
        (
            {"time": {"column": "time", "format": "minute_index", "origin": START}},
            (SourceError, '"time" is timestamptz, and no', "sql.query"),
        ),
        (
            {"sql": {"query": f"{OTHERS}, 1767225600000 + n AS time FROM minutes, generate_series(1, 2) AS n"}, "time": EPOCH},
            (SourceError, "has rows, but none with a time before 2026-01-04 00:00 UTC", "epoch_ms"),
        ),
    ],
)
def test_what_cannot_be_asked_for_is_told_with_what_to_do(
    declare: Declare, server: Postgres, sections: dict[str, Any], refusal: tuple[type[SourceError], str, str]
) -> None:
    error, told, hint = refusal
    contract = declare(**{"sql": {"table": "minutes"}} | sections)
    with pytest.raises(error, match=re.escape(told)) as refused:
        days(asks(server, contract=contract))
    assert hint in (refused.value.hint or "")


@pytest.mark.service
def test_nothing_new_is_no_error(declare: Declare, server: Postgres) -> None:
    assert days(asks(server, contract=of_table(declare)), since=NOW - timedelta(minutes=1)) == {}
    assert days(asks(server, contract=of_table(declare)), since=NOW, until=START) == {}


@pytest.mark.service
def test_a_role_without_a_grant_is_told_which(declare: Declare, server: Postgres) -> None:
    tell(server, "CREATE TABLE secret AS TABLE minutes")
    source = SqlSource(server.url(**READER), contract=of_table(declare, "secret"), now=NOW)
    with pytest.raises(SourceError, match="permission denied for table secret") as refused:
        days(source)
    assert "GRANT SELECT" in (refused.value.hint or "")


@pytest.mark.service
def test_credentials_come_from_the_environment(declare: Declare, server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGUSER": "reader", "PGPASSWORD": "r3ader", "PGPORT": str(server.port), "PGHOST": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    for location in (f"postgresql://127.0.0.1:{server.port}/postgres", "postgres:///postgres"):
        source = find(location, contract=of_table(declare), now=NOW)
        assert isinstance(source, SqlSource)
        assert source.name == location
        assert frame(source).height == 5760
    monkeypatch.setenv("PGPASSWORD", "another")
    with pytest.raises(SourceError, match="password authentication failed for this user"):
        source.parts(since=None, until=None)


@pytest.mark.service
def test_no_password_is_told_whatever_goes_wrong(
    declare: Declare, server: Postgres, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    right, wrong = server.url(), server.url(**PLANTED)
    by_query = f"postgresql://127.0.0.1:{server.port}/postgres?user=keeper&password=planted-0ne"
    broken = [f"postgresql://keeper:planted-0ne{sign}x@127.0.0.1:{server.port}/postgres" for sign in ("@", "/", "?", "#", "%zz", " ")]
    elsewhere = ["postgresql://keeper:planted-0ne@127.0.0.1:1/postgres", "postgresql://keeper:planted-0ne@127.0.0.1:nowhere/postgres"]
    errors, told = [], []
    with caplog.at_level(logging.DEBUG):
        for location in (wrong, by_query, *broken, *elsewhere, right.replace("/postgres", "/nowhere"), right):
            source = SqlSource(location, contract=of_table(declare, "nowhere"), now=NOW)
            with pytest.raises(SourceError) as refused:
                source.parts(since=None, until=None)
            errors.append(refused.value)
            told += [
                repr(source),
                source.name,
                *traceback.format_exception(refused.value),
                repr(refused.value.__cause__),
                repr(refused.value.__context__),
            ]
        good = SqlSource(right, contract=of_table(declare), now=NOW)
        told += [f"{part.name} {part.open().frame.collect()}" for part in good.parts(since=None, until=None).parts]
    everything = "\n".join([*told, caplog.text, *capfd.readouterr(), server.log.read_text()])
    for hidden in ("planted-0ne", KEEPER["password"], quote(KEEPER["password"], safe=""), "s3cr3t"):
        assert hidden not in everything
    assert server.user not in "\n".join([*told, caplog.text])
    assert all(error.hint for error in errors)


def test_a_server_that_is_not_there_is_told(declare: Declare) -> None:
    with pytest.raises(SourceError, match=r"postgresql://127.0.0.1:1/fleet cannot be reached: .*Connection refused") as refused:
        SqlSource("postgresql://127.0.0.1:1/fleet", contract=of_table(declare), now=NOW).parts(since=None, until=None)
    assert "PGPASSWORD" in (refused.value.hint or "")


def test_a_driver_that_is_not_installed_is_told(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    with pytest.raises(SourceError, match="adbc-driver-postgresql is not installed") as refused:
        SqlSource("postgresql://127.0.0.1:1/fleet", contract=of_table(declare), now=NOW).parts(since=None, until=None)
    assert refused.value.hint == "pip install 'tidewatch[postgresql]'"


@pytest.mark.service
def test_the_server_is_reached_on_this_machine_alone(server: Postgres) -> None:
    listening = [each.laddr.ip for each in psutil.Process(server.pid).net_connections(kind="inet") if each.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]
