"""Parts become rows of the grid exactly once: every row is accounted for, one bad part stops no other, and memory stays bounded."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows.lakes import labels_of
from telemetry.contract import Contract
from telemetry.errors import BadValueError, EmptySourceError, MissingColumnError, SourceMissingError, TidewatchError
from telemetry.files import FileSource
from telemetry.ingestion import Ingested, Progress, ingest
from telemetry.lake import Lake
from telemetry.quarantine import still_open
from telemetry.retrying import Retried, retry
from telemetry.schema import (
    AT,
    END,
    ENTITIES,
    FINGERPRINT,
    LABELS,
    NEWEST,
    QUARANTINED,
    REASON,
    RESOLVED,
    ROW,
    ROWS_IN,
    ROWS_QUARANTINED,
    SOURCE,
    SOURCES,
    START,
    TEXT,
    WATERMARKS,
)

Declare = Callable[..., Contract]
Write = Callable[..., Path]
NOW = datetime(2026, 2, 1, tzinfo=UTC)
DAY = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = "2026-01-01T00:00:00Z,acme,eu,5,0.25,10"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "läke 50%"))


@pytest.fixture
def source(tmp_path: Path) -> str:
    """The folder that `write` writes to."""
    return str(tmp_path / "source")


def minute(number: int, *, queries: str = "1", entity: str = "acme,eu") -> str:
    return f"{DAY + timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ},{entity},{queries},0.25,10"


def take(source: str, *, contract: Contract, lake: Lake, now: datetime = NOW, **how: Any) -> Ingested:
    """Ingest a folder, and check that every row is accounted for."""
    done = ingest(FileSource(source, contract=contract), contract=contract, lake=lake, now=now, **how)
    assert done.rows_in == done.rows_accepted + done.rows_quarantined + done.rows_repeated
    return done


def grid(lake: Lake, contract: Contract) -> pl.DataFrame:
    return lake.grid(contract=contract).collect()


def quarantine(lake: Lake) -> pl.DataFrame:
    return lake.read("quarantine", schema=QUARANTINED).collect().sort(SOURCE, ROW, AT)


def test_rows_in_are_accepted_quarantined_or_repeated(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    write(minute(0), minute(1), minute(1), minute(2, queries="many"), minute(3))
    done = take(source, contract=declare(), lake=lake)
    assert (done.rows_in, done.rows_accepted, done.rows_quarantined, done.rows_repeated) == (5, 3, 1, 1)
    assert (done.parts, done.parts_known, done.parts_failed, done.rows_new, done.rows_changed) == (1, 0, 0, 3, 0)
    assert done.newest == DAY + timedelta(minutes=3)
    told = lake.read("sources", schema=SOURCES).collect().row(0, named=True)
    assert (told[SOURCE], told[ROWS_IN], told[ROWS_QUARANTINED], told[AT]) == ("readings.csv", 5, 1, NOW)
    assert grid(lake, declare())["queries"].to_list() == [1.0, 1.0, None, 1.0]


def test_a_part_that_is_known_is_not_read_again_under_any_name(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    path = write(minute(0), minute(1))
    take(source, contract=declare(), lake=lake)
    versions = {name: lake.version(name) for name in ("grid", "sources", "entities", "watermarks")}
    path.rename(path.with_name("renamed.csv"))
    again = take(source, contract=declare(), lake=lake)
    assert (again.parts_known, again.rows_in, again.rows_new) == (1, 0, 0)
    assert {name: lake.version(name) for name in versions} == versions


def test_a_file_that_says_again_what_it_said_before_is_read_again(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    """An export is replaced and then restored from a backup, with the older clock of its file."""
    first = datetime(2026, 1, 20, tzinfo=UTC).timestamp()
    for queries, clock in (("1", first), ("2", first + 60), ("1", first), ("2", first)):
        os.utime(write(minute(0, queries=queries)), (clock, clock))
        assert take(source, contract=declare(), lake=lake).rows_in == 1
        assert take(source, contract=declare(), lake=lake).rows_in == 0
        assert grid(lake, declare())["queries"].to_list() == [float(queries)]


def test_what_a_corrected_contract_reads_counts(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    """The file is the same, with the same clock: the greater value would count otherwise."""
    write(minute(0))
    take(source, contract=declare(parameters={"query_time": {"source_unit": "h"}}), lake=lake)
    assert grid(lake, declare())["query_time"].item() > 100_000
    take(source, contract=declare(), lake=lake)
    assert grid(lake, declare())["query_time"].item() < 1_000


def test_files_that_take_each_others_names_are_not_read_again(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    """As logs are rotated: each content moves on to the next name."""
    older, newer = write(minute(0), name="2.csv"), write(minute(1), name="1.csv")
    take(source, contract=declare(), lake=lake)
    older.rename(older.with_name("3.csv"))
    newer.rename(older)
    write(minute(2), name="1.csv")
    assert take(source, contract=declare(), lake=lake).rows_in == 1
    assert take(source, contract=declare(), lake=lake).rows_in == 0


def test_the_buffer_does_not_matter(declare: Declare, write: Write, tmp_path: Path, source: str) -> None:
    contract = declare(label_column="incident")
    header = "time,customer,region,queries,query_time,cpu,incident"
    for number in range(6):
        write(*(f"{minute(10 * number + n)},{int(15 <= 10 * number + n < 33)}" for n in range(10)), name=f"{number}.csv", header=header)
    one, many = Lake(str(tmp_path / "one")), Lake(str(tmp_path / "many"))
    whole, parts = take(source, contract=contract, lake=one), take(source, contract=contract, lake=many, buffer_rows=7)
    assert whole == parts
    assert_frame_equal(grid(one, contract), grid(many, contract))
    assert_frame_equal(labels_of(one), labels_of(many))
    assert labels_of(one).select(START, END).rows() == [(DAY + timedelta(minutes=15), DAY + timedelta(minutes=33))]
    assert many.version("grid") == 5
    assert one.version("grid") == 0


def test_one_bad_part_stops_no_other_and_stands_in_quarantine_as_row_0(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    write(minute(0), name="a.csv")
    write("2026-01-01T00:01:00Z,acme,eu,5,10", header="time,customer,region,queries,cpu", name="b.csv")
    write(minute(2), name="c.csv")
    done = take(source, contract=declare(), lake=lake)
    assert (done.parts, done.parts_failed, done.rows_in, done.rows_new) == (3, 1, 2, 2)
    told = quarantine(lake).row(0, named=True)
    assert (told[SOURCE], told[ROW], told[AT], told[RESOLVED]) == ("b.csv", 0, NOW, None)
    assert "lacks the column query_time" in told[REASON]
    assert "name the column in the contract" in told[TEXT]
    assert sorted(lake.read("sources", schema=SOURCES).collect()[SOURCE]) == ["a.csv", "c.csv"]


def test_row_0_is_resolved_when_the_part_is_read_after_all(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    write(minute(0), name="a.csv")
    write("2026-01-01T00:01:00Z,acme,eu,5,10", header="time,customer,region,queries,cpu", name="b.csv")
    take(source, contract=declare(), lake=lake)
    write(minute(1), name="b.csv")
    later = NOW + timedelta(hours=1)
    assert take(source, contract=declare(), lake=lake, now=later).rows_new == 1
    assert quarantine(lake)[RESOLVED].to_list() == [later]
    assert still_open(lake).height == 0


def test_where_every_new_part_fails_the_first_error_is_raised_once_it_is_written_down(
    declare: Declare, write: Write, lake: Lake, source: str
) -> None:
    short = {"header": "time,customer,region,queries,cpu"}
    write("2026-01-01T00:01:00Z,acme,eu,5,10", name="a.csv", **short)
    write("", name="b.csv")
    with pytest.raises(MissingColumnError, match=r"a\.csv lacks the column query_time"):
        take(source, contract=declare(), lake=lake)
    assert quarantine(lake).select(SOURCE, ROW).rows() == [("a.csv", 0), ("b.csv", 0)]
    assert lake.version("grid") is None
    with pytest.raises(MissingColumnError):  # nothing of this source was ever read: it is told again
        take(source, contract=declare(), lake=lake)


def test_a_bad_part_that_was_told_before_does_not_fail_every_later_run(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    write(minute(0), name="a.csv")
    take(source, contract=declare(), lake=lake)
    write("2026-01-01T00:01:00Z,acme,eu,5,10", header="time,customer,region,queries,cpu", name="b.csv")
    with pytest.raises(MissingColumnError):
        take(source, contract=declare(), lake=lake)
    quiet = take(source, contract=declare(), lake=lake)
    assert (quiet.parts_failed, quiet.rows_in) == (1, 0)
    write("", name="c.csv")
    with pytest.raises((MissingColumnError, EmptySourceError)):
        take(source, contract=declare(), lake=lake)


def test_nothing_to_read_is_refused(declare: Declare, lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="nowhere"):
        take(str(tmp_path / "nowhere"), contract=declare(), lake=lake)


def test_one_stray_time_of_years_ago_does_not_come_in_and_stops_no_other_part(
    declare: Declare, write: Write, lake: Lake, source: str
) -> None:
    write(minute(0), name="a.csv")
    take(source, contract=declare(), lake=lake)
    write("2000-01-01T00:00:00Z,acme,eu,5,0.25,10", name="b.csv")
    write(minute(1), name="c.csv")
    done = take(source, contract=declare(), lake=lake)
    assert (done.parts_failed, done.rows_new) == (1, 1)
    assert "acme/eu has readings from 2000-01-01" in quarantine(lake)[REASON][0]
    strays = ("2000-01-01T00:00:00Z,acme,us,5,0.25,10", minute(1, entity="acme,us"))
    write(*strays, name="d.csv")
    with pytest.raises(BadValueError):
        take(source, contract=declare(), lake=lake)
    assert "acme/us has 2 readings since 2000-01-01" in quarantine(lake)[REASON][1]


def test_a_merge_that_fails_is_no_fault_of_the_part_that_is_read_meanwhile(
    declare: Declare, write: Write, lake: Lake, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        write(minute(number), name=f"{number}.csv")

    def refuses(*_: object, **__: object) -> None:
        raise BadValueError("nearly all of it would be empty", hint="look at it")

    monkeypatch.setattr(Lake, "merge_readings", refuses)
    with pytest.raises(BadValueError, match="nearly all"):
        take(source, contract=declare(), lake=lake, buffer_rows=1)
    assert quarantine(lake).height == 0
    assert not lake.remembered().height


def test_a_part_that_comes_again_with_more_rows_tells_its_old_bad_ones_once(
    declare: Declare, write: Write, lake: Lake, source: str
) -> None:
    write(minute(0), minute(1), minute(2, queries="many"))
    take(source, contract=declare(), lake=lake)
    write(minute(0), minute(1), minute(2, queries="many"), minute(3), minute(4, queries="few"))
    later = NOW + timedelta(hours=1)
    assert take(source, contract=declare(), lake=lake, now=later).rows_quarantined == 2
    assert quarantine(lake).select(ROW, AT, RESOLVED).rows() == [(3, NOW, later), (3, later, None), (5, later, None)]


@pytest.mark.parametrize("step", ["see", "merge_labels", "quarantine", "mark", "resolve", "remember"])
def test_a_kill_before_any_commit_costs_a_second_reading_and_nothing_else(
    declare: Declare, write: Write, lake: Lake, source: str, step: str
) -> None:
    contract = declare(label_column="incident")
    header = "time,customer,region,queries,query_time,cpu,incident"
    write(f"{minute(0)},0", f"{minute(1)},1", f"{minute(2, queries='many')},0", header=header)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, step, killed)
        with pytest.raises(KeyboardInterrupt):
            take(source, contract=contract, lake=lake)
    assert not lake.remembered().height
    take(source, contract=contract, lake=lake)
    heights = {"quarantine": QUARANTINED, "sources": SOURCES, "labels": LABELS, "entities": ENTITIES, "watermarks": WATERMARKS}
    assert {name: lake.read(name, schema=schema).collect().height for name, schema in heights.items()} == dict.fromkeys(heights, 1)
    assert grid(lake, contract)["queries"].to_list() == [1.0, 1.0]


def test_undeclared_columns_and_clocks_that_disagree_are_told(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    contract = declare(time={"column": "time", "clock": {"column": "ts"}})
    seconds = int(DAY.timestamp())
    header = "time,customer,region,queries,query_time,cpu,ts,extra"
    write(f"{minute(0)},{seconds},1", f"{minute(1)},{seconds - 3600},1", header=header)
    done = take(source, contract=contract, lake=lake)
    assert done.undeclared == ("extra",)
    assert done.clocks_apart == 1
    assert done.clock_example.startswith("readings.csv, row 2")


def test_progress_is_told_batch_by_batch(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    write(minute(0), name="a.csv")
    write(minute(1), minute(2), name="b.csv")
    told: list[Progress] = []
    take(source, contract=declare(), lake=lake, progress=told.append)
    assert [(p.parts_done, p.parts, p.rows_in) for p in told] == [(0, 2, 1), (1, 2, 3), (2, 2, 3)]


def test_the_watermark_never_goes_back(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    write(minute(5), name="a.csv")
    take(source, contract=declare(), lake=lake)
    write(minute(1), name="b.csv")
    take(source, contract=declare(), lake=lake)
    marks = lake.read("watermarks", schema=WATERMARKS).collect()
    assert marks.select("feed", NEWEST).rows() == [(source, DAY + timedelta(minutes=5))]


def test_a_reading_of_a_sealed_step_stands_in_quarantine_as_it_was_read(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    contract = declare(time={"column": "time", "cadence_seconds": 600})
    write(minute(0), minute(1), name="a.csv")
    take(source, contract=contract, lake=lake)
    table = lake.open("readings")
    assert table is not None
    table.delete()  # as retention does
    write(minute(2, queries="7"), minute(10), name="b.csv")
    done = take(source, contract=contract, lake=lake)
    assert (done.rows_in, done.rows_accepted, done.rows_quarantined) == (2, 1, 1)
    row = still_open(lake).row(0, named=True)
    assert row[FINGERPRINT].startswith("sealed acme/eu 2026-01-01T00:02")
    assert "sealed" in row[REASON]
    assert json.loads(row[TEXT])["queries"] == 7.0
    assert retry(contract=contract, lake=lake, now=NOW) == Retried(rows_passed_over=1)


def test_a_row_from_the_future_is_read_when_its_time_has_come(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    path = write(minute(0), "2026-03-01T00:00:00Z,acme,eu,5,0.25,10", minute(1))
    take(source, contract=declare(), lake=lake)
    path.unlink()
    assert retry(contract=declare(), lake=lake, now=NOW) == Retried(rows=1, rows_left=1)
    march = datetime(2026, 3, 2, tzinfo=UTC)
    assert retry(contract=declare(), lake=lake, now=march) == Retried(rows=1, rows_resolved=1, rows_new=1)
    assert grid(lake, declare())[AT].max() == datetime(2026, 3, 1, tzinfo=UTC)
    assert quarantine(lake)[RESOLVED].to_list() == [march]
    assert lake.read("watermarks", schema=WATERMARKS).collect()[NEWEST].to_list() == [datetime(2026, 3, 1, tzinfo=UTC)]
    assert retry(contract=declare(), lake=lake, now=march) == Retried()


def test_a_retried_row_becomes_what_it_would_have_been_at_once(declare: Declare, write: Write, tmp_path: Path, source: str) -> None:
    """The contract comes to know the unit in which some rows are told."""
    layout = {"kind": "long", "parameter_column": "what", "value_column": "value", "unit_column": "unit"}
    entity = {"keys": ["customer"], "path_pattern": r"(?P<customer>\w+)\.csv$"}
    write(
        "2026-01-01T00:00:00Z,queries,3,count",
        "2026-01-01T00:00:00Z,query_time,4,tick",
        "2026-01-01T00:01:00Z,cpu,4,percent",
        "2026-01-01T00:01:00Z,queries,4,count",
        header="time,what,value,unit",
        name="acme.csv",
    )
    before, after = declare(layout=layout, entity=entity), declare(layout=layout, entity=entity, units={"tick": "0.01 s"})
    late, fresh = Lake(str(tmp_path / "late")), Lake(str(tmp_path / "fresh"))
    assert take(source, contract=before, lake=late).rows_quarantined == 1
    assert retry(contract=after, lake=late, now=NOW) == Retried(rows=1, rows_resolved=1, rows_changed=1)
    take(source, contract=after, lake=fresh)
    assert grid(fresh, after)["query_time"].to_list() == [40.0, None]
    assert_frame_equal(grid(late, after), grid(fresh, after))


def test_a_time_that_the_contract_comes_to_understand_is_read(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    write(minute(0), minute(1).replace("-01T", "-01X"), minute(2, queries="'7'"), minute(3))
    take(source, contract=declare(), lake=lake)
    assert retry(contract=declare(), lake=lake, now=NOW) == Retried(rows=2, rows_left=2)
    wider = declare(time={"column": "time", "format": "pattern", "pattern": "%Y-%m-%dX%H:%M:%SZ", "zone": "UTC"})
    assert retry(contract=wider, lake=lake, now=NOW) == Retried(rows=2, rows_resolved=1, rows_left=1, rows_new=1)
    assert "expected a time like" in still_open(lake)[REASON][0]


def test_what_cannot_be_read_from_what_is_kept_of_it_is_left_alone(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    write(minute(0), minute(1) + ",too,many", minute(2, queries="1"), minute(2, queries="2"), minute(3), minute(4), minute(5))
    take(source, contract=declare(), lake=lake)
    before = quarantine(lake)
    assert before.height == 2
    assert retry(contract=declare(), lake=lake, now=NOW) == Retried(rows_passed_over=2)
    assert_frame_equal(quarantine(lake), before)
    assert grid(lake, declare())["queries"].to_list() == [1.0, None, 2.0, 1.0, 1.0, 1.0]


def test_a_row_that_is_read_late_does_not_overrule_one_that_was_read_at_once(
    declare: Declare, write: Write, lake: Lake, source: str
) -> None:
    future = "2026-03-01T00:00:00Z,acme,eu,{},0.25,10"
    write(minute(0), minute(1), future.format(9), name="a.csv")
    take(source, contract=declare(), lake=lake)
    march = datetime(2026, 3, 2, tzinfo=UTC)
    revision = lake.read("sources", schema=SOURCES).collect()["revision"][0]
    path = write(future.format(5), name="b.csv")
    os.utime(path, ns=(revision * 1000, revision * 1000))
    take(source, contract=declare(), lake=lake, now=march)
    retry(contract=declare(), lake=lake, now=march)
    assert grid(lake, declare())["queries"].to_list()[-1] == 5.0


def test_a_column_that_the_contract_comes_to_ask_for_leaves_the_rows_where_they_are(
    declare: Declare, write: Write, lake: Lake, source: str
) -> None:
    write(minute(0), minute(1), minute(2, queries="many"))
    take(source, contract=declare(), lake=lake)
    more = declare(parameters={"cpu": {"column": "CPU"}})
    assert retry(contract=more, lake=lake, now=NOW) == Retried(rows=1, rows_left=1)
    row = still_open(lake).row(0, named=True)
    assert "lacks the column CPU" in row[REASON]
    assert json.loads(row[TEXT])["queries"] == "many"


@pytest.mark.parametrize("form", ["iso", "epoch_ms"])
def test_rows_of_a_typed_file_are_read_again_as_they_were(declare: Declare, lake: Lake, source: str, form: str) -> None:
    """Instants and infinite numbers pass through the quarantine's text unharmed; so does a column named like one of our own."""
    folder = Path(source)
    folder.mkdir()
    contract = declare(time={"column": "time", "format": form})
    minutes = [DAY + timedelta(minutes=n) for n in range(4)] + [datetime(2026, 3, 1, tzinfo=UTC)]
    frame = pl.DataFrame({"time": minutes, "customer": "acme", "region": "eu", "queries": [1.0, float("inf"), 1.0, 1.0, 2.0]})
    frame.with_columns(query_time=0.5, cpu=1e-7, row=pl.lit("mine")).write_parquet(folder / "a.parquet")
    assert take(source, contract=contract, lake=lake).rows_quarantined == 2
    assert [json.loads(text)["queries"] for text in quarantine(lake)[TEXT]] == ["inf", "2.0"]
    assert [json.loads(text)["row"] for text in quarantine(lake)[TEXT]] == ["mine", "mine"]
    march = datetime(2026, 3, 2, tzinfo=UTC)
    assert retry(contract=contract, lake=lake, now=march) == Retried(rows=2, rows_resolved=1, rows_left=1, rows_new=1)
    assert grid(lake, contract).row(-1)[1:] == (datetime(2026, 3, 1, tzinfo=UTC), True, 2.0, 500.0, 1e-7)
    assert "'inf'" in still_open(lake)[REASON][0]


def test_every_error_of_an_ingestion_says_what_to_do_next(declare: Declare, write: Write, lake: Lake, source: str) -> None:
    write("2026-01-01T00:00:00,acme,eu,5,0.25,10")
    with pytest.raises(TidewatchError, match="Hint:"):
        take(source, contract=declare(), lake=lake)
