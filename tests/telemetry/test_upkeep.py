"""The lake stays small and quick, and says the same before and after."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.schema import AT, ENTITY, QUARANTINED, REVISION, TIME
from telemetry.upkeep import compact, retain, status

Declare = Callable[..., Contract]
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


def told(*seconds: int, entity: str = "acme/eu") -> pl.DataFrame:
    rows = [(entity, MIDNIGHT + timedelta(seconds=second), 1.0, 2.0, 3.0, 1) for second in seconds]
    schema = {ENTITY: pl.String, AT: TIME, "queries": pl.Float64, "query_time": pl.Float64, "cpu": pl.Float64, REVISION: pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "läke 50%"))


def test_a_status_is_told_from_the_log(lake: Lake, declare: Declare) -> None:
    lake.merge_readings(told(0, 60, 90, 86_400), contract=declare())
    grid, readings = status(lake)
    assert (grid.table, grid.rows, grid.files, grid.version) == ("grid", 3, 2, 0)
    assert (grid.oldest, grid.newest) == (MIDNIGHT.date(), MIDNIGHT.date() + timedelta(days=1))
    assert (readings.table, readings.rows, readings.scattered) == ("readings", 2, 0)


def test_compaction_leaves_fewer_files_and_the_same_rows(lake: Lake, declare: Declare) -> None:
    for minute in range(6):
        lake.merge_readings(told(minute * 60, minute * 60 + 10), contract=declare())
    before = lake.grid(contract=declare()).collect()
    assert [table.scattered for table in status(lake)] == [1, 1]
    assert compact(lake) == {"grid": 5, "readings": 5}
    assert compact(lake) == {}
    assert_frame_equal(lake.grid(contract=declare()).collect(), before)
    merged = lake.merge_readings(told(20), contract=declare())
    assert merged.rows_changed == 1
    assert lake.grid(contract=declare()).collect()["queries"].to_list() == [3.0, 2.0, 2.0, 2.0, 2.0, 2.0]


def test_what_is_older_than_declared_goes_and_its_steps_are_sealed(lake: Lake, declare: Declare) -> None:
    contract = declare(retention={"grid_days": 20, "readings_days": 5, "history_hours": 0})
    lake.merge_readings(told(0, 86_400 * 10, 86_400 * 10 + 30, 86_400 * 20), contract=contract)
    assert retain(lake, contract=contract, now=MIDNIGHT + timedelta(days=21)) == {"grid": 1, "readings": 2}
    assert retain(lake, contract=contract, now=MIDNIGHT + timedelta(days=21)) == {}
    late = lake.merge_readings(told(86_400 * 10 + 40), contract=contract)
    assert (late.rows_changed, late.sealed.height) == (0, 1)
    live = {Path(path.removeprefix("file://")).name for path in lake.open("grid").file_uris()}  # type: ignore[union-attr]
    assert {path.name for path in Path(lake.root, "grid").rglob("*.parquet") if "_delta_log" not in path.parts} == live


def test_the_log_of_what_is_out_of_reach_goes_too(lake: Lake, declare: Declare) -> None:
    for minute in range(5):
        lake.merge_readings(told(minute * 60), contract=declare())
    before = lake.grid(contract=declare()).collect()
    for hours, commits in ((168, 6), (0, 1)):  # the first and the last of them say how long the log is kept
        retain(lake, contract=declare(retention={"history_hours": hours}), now=MIDNIGHT + timedelta(days=1))
        assert len(list(Path(lake.root, "grid", "_delta_log").glob("*.json"))) == commits
    assert_frame_equal(lake.grid(contract=declare()).collect(), before)
    assert lake.merge_readings(told(300), contract=declare()).rows_new == 1


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(lake: Lake, declare: Declare) -> None:
    contract = declare(retention={"history_hours": 0})
    lake.merge_readings(told(0), contract=contract)
    left, fresh = (Path(lake.root, "grid", "day=2026-01-01", name) for name in ("left.parquet", "fresh.parquet"))
    for path, age in ((left, 100_000), (fresh, 60)):
        told(0).write_parquet(path)
        os.utime(path, (time.time() - age, time.time() - age))
    retain(lake, contract=contract, now=MIDNIGHT + timedelta(days=1))
    assert (left.exists(), fresh.exists()) == (False, True)


def test_compaction_forgets_readings_that_count_no_more(lake: Lake, declare: Declare) -> None:
    for revision in range(6):
        lake.merge_readings(told(0, 10).with_columns(pl.lit(revision, dtype=pl.Int64).alias(REVISION)), contract=declare())
    assert status(lake)[1].rows == 12
    compact(lake)
    assert status(lake)[1].rows == 2


def test_quarantine_keeps_when_a_row_was_first_refused(lake: Lake) -> None:
    row = ("a.csv", "f", 3, "no number", "{}", "exports")
    for day in (1, 2):
        rows = pl.DataFrame([(*row, MIDNIGHT + timedelta(days=day), None)], schema=QUARANTINED, orient="row")
        lake.quarantine(rows)
    assert lake.read("quarantine", schema=QUARANTINED).collect()[AT].to_list() == [MIDNIGHT + timedelta(days=1)]
