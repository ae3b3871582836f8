"""The lake: merged once is merged for good, in one commit a time, whoever writes and whenever a process is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal
from pyarrow import parquet

from telemetry.contract import Contract, load
from telemetry.errors import EmptySourceError, SchemaError
from telemetry.grid import Merged
from telemetry.lake import Lake
from telemetry.schema import (
    AT,
    ENTITIES,
    ENTITY,
    FINGERPRINT,
    KIND,
    LABELS,
    OBSERVED,
    QUARANTINE,
    REVISION,
    SOURCES,
    WATERMARKS,
    grid_schema,
)

Declare = Callable[..., Contract]
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "läke 50%"))


def a_grid(
    contract: Contract, *, days: int = 2, entities: tuple[str, ...] = ("acme/eu", "bolt/us"), cpu: float | None = 1.0
) -> pl.DataFrame:
    """Every hour of some days, the same values everywhere."""
    hours = (
        pl.datetime_range(MIDNIGHT, MIDNIGHT + days * DAY, "1h", closed="left", time_zone="UTC", eager=True)
        .alias(AT)
        .dt.cast_time_unit("us")
    )
    steps = pl.DataFrame({ENTITY: entities}).join(hours.to_frame(), how="cross").sort(ENTITY, AT)
    values = {"queries": 5.0, "query_time": 10.0, "cpu": cpu}
    told = {name: pl.lit(value, dtype=pl.Float64) for name, value in values.items()}
    return steps.with_columns(pl.lit(value=True).alias(OBSERVED), **told).select(list(grid_schema(contract.names)))


@pytest.fixture
def hourly(declare: Declare) -> Contract:
    return declare(time={"column": "time", "cadence_seconds": 3600})


def told(grid: pl.DataFrame, *, revision: int = 1) -> pl.DataFrame:
    """A grid's measured steps as readings."""
    return grid.filter(OBSERVED).drop(OBSERVED).with_columns(pl.lit(revision, dtype=pl.Int64).alias(REVISION))


NOTHING = pl.DataFrame()


def commits(lake: Lake, table: str) -> list[Path]:
    return sorted(Path(lake.root, table, "_delta_log").glob("*.json"))


def test_what_is_merged_is_read_back(lake: Lake, hourly: Contract) -> None:
    grid = a_grid(hourly)
    assert lake.merge_readings(told(grid), contract=hourly) == Merged(rows_new=96, rows_changed=0, sealed=NOTHING)
    assert_frame_equal(lake.grid(contract=hourly).collect(), grid)


def test_merging_the_same_again_writes_nothing(lake: Lake, hourly: Contract) -> None:
    lake.merge_readings(told(a_grid(hourly)), contract=hourly)
    assert lake.merge_readings(told(a_grid(hourly)), contract=hourly) == Merged(rows_new=0, rows_changed=0, sealed=NOTHING)
    assert lake.version("grid") == 0


def test_a_new_value_replaces_an_old_one_and_a_null_replaces_nothing(lake: Lake, hourly: Contract) -> None:
    lake.merge_readings(told(a_grid(hourly)), contract=hourly)
    late = a_grid(hourly, cpu=None).head(1).with_columns(queries=pl.lit(6.0))
    assert lake.merge_readings(told(late, revision=2), contract=hourly) == Merged(rows_new=0, rows_changed=1, sealed=NOTHING)
    assert lake.grid(contract=hourly).collect().head(2).select("queries", "query_time", "cpu").rows() == [
        (6.0, 10.0, 1.0),
        (5.0, 10.0, 1.0),
    ]


def test_one_merge_is_one_commit_that_replaces_only_the_days_that_change(lake: Lake, hourly: Contract) -> None:
    lake.merge_readings(told(a_grid(hourly, days=4)), contract=hourly)
    before = set(DeltaTable(f"{lake.root}/grid").file_uris())
    changed = a_grid(hourly, days=5).with_columns(cpu=pl.when(pl.col(AT) == MIDNIGHT + DAY).then(7.0).otherwise("cpu"))
    assert lake.merge_readings(
        told(changed).with_columns(revision=pl.when(pl.col("cpu") == 7.0).then(2).otherwise(1).cast(pl.Int64)), contract=hourly
    ) == Merged(rows_new=48, rows_changed=2, sealed=NOTHING)
    after = set(DeltaTable(f"{lake.root}/grid").file_uris())
    assert len(commits(lake, "grid")) == 2
    assert [path.split("day=")[1][:10] for path in sorted(before - after)] == ["2026-01-02"]
    assert [path.split("day=")[1][:10] for path in sorted(after - before)] == ["2026-01-02", "2026-01-05"]
    assert_frame_equal(lake.grid(contract=hourly).collect(), changed)


def test_an_unobserved_step_of_a_late_file_hides_no_measured_one(lake: Lake, hourly: Contract) -> None:
    lake.merge_readings(told(a_grid(hourly)), contract=hourly)
    filled = a_grid(hourly, cpu=0.0).with_columns(pl.lit(value=False).alias(OBSERVED))
    assert lake.merge_readings(told(filled), contract=hourly) == Merged(rows_new=0, rows_changed=0, sealed=NOTHING)


def test_the_grid_is_complete_and_filled_across_merges(lake: Lake, declare: Declare) -> None:
    contract = declare(time={"column": "time", "cadence_seconds": 3600}, parameters={"cpu": {"missing": "previous", "previous_steps": 2}})
    grid = a_grid(contract, entities=("acme/eu",), days=1)
    lake.merge_readings(told(grid.filter(pl.col(AT).dt.hour() >= 20)), contract=contract)
    lake.merge_readings(told(grid.filter(pl.col(AT).dt.hour() < 16)), contract=contract)
    found = lake.grid(contract=contract, since=MIDNIGHT + timedelta(hours=15)).collect()
    assert found.select(pl.col(AT).dt.hour(), OBSERVED, "queries", "cpu").rows() == [
        (15, True, 5.0, 1.0),
        (16, False, None, 1.0),
        (17, False, None, 1.0),
        (18, False, None, None),
        (19, False, None, None),
        *((hour, True, 5.0, 1.0) for hour in range(20, 24)),
    ]
    within_the_gap = lake.grid(contract=contract, since=MIDNIGHT + timedelta(hours=17)).collect()
    assert_frame_equal(within_the_gap, found.slice(2))


def test_a_span_and_entities_are_read_from_their_days_alone(lake: Lake, hourly: Contract) -> None:
    lake.merge_readings(told(a_grid(hourly, days=4)), contract=hourly)
    since, until = MIDNIGHT + DAY + 3 * timedelta(hours=1), MIDNIGHT + DAY + 5 * timedelta(hours=1)
    frame = lake.grid(contract=hourly, since=since, until=until, entities=("bolt/us",))
    assert frame.select(ENTITY, AT).collect().rows() == [("bolt/us", since), ("bolt/us", since + timedelta(hours=1))]
    assert "day=2026-01-02" in frame.explain()
    assert "day=2026-01-01" not in frame.explain()


def test_an_older_version_can_be_read_as_it_was(lake: Lake, hourly: Contract) -> None:
    grid = a_grid(hourly)
    lake.merge_readings(told(grid), contract=hourly)
    lake.merge_readings(told(a_grid(hourly, cpu=9.0), revision=2), contract=hourly)
    assert_frame_equal(lake.grid(contract=hourly, version=0).collect(), grid)


def test_a_parameter_that_comes_later_is_null_before_and_one_that_goes_is_kept(lake: Lake, declare: Declare) -> None:
    old, new = declare(), declare()
    new = new.model_copy(
        update={"parameters": {**{k: v for k, v in old.parameters.items() if k != "cpu"}, "memory": old.parameters["cpu"]}}
    )
    grid = a_grid(old, days=1)
    lake.merge_readings(told(grid), contract=old)
    assert lake.grid(contract=new, until=MIDNIGHT + MINUTE).collect()["memory"].to_list() == [None, None]
    memory = grid.head(1).rename({"cpu": "memory"}).with_columns(memory=pl.lit(3.0))
    assert lake.merge_readings(told(memory, revision=2), contract=new) == Merged(rows_new=0, rows_changed=1, sealed=NOTHING)
    assert lake.grid(contract=new).collect().head(1)["memory"].to_list() == [3.0]
    assert lake.grid(contract=old).collect().head(1)["cpu"].to_list() == [1.0]


def test_nan_does_not_enter_the_lake(lake: Lake, hourly: Contract) -> None:
    lake.merge_readings(told(a_grid(hourly, cpu=float("nan"))), contract=hourly)
    assert lake.grid(contract=hourly).collect()["cpu"].null_count() == 96


def test_a_lake_without_a_grid_says_what_to_do(lake: Lake, hourly: Contract) -> None:
    with pytest.raises(EmptySourceError, match=r"holds no grid\.\nHint: ingest a source first"):
        lake.grid(contract=hourly)


def test_files_of_a_writer_killed_before_its_first_commit_do_not_matter(lake: Lake, hourly: Contract) -> None:
    orphan = Path(lake.root, "grid", "day=2026-01-01", "part-00000.parquet")
    orphan.parent.mkdir(parents=True)
    a_grid(hourly).write_parquet(orphan)
    assert lake.version("grid") is None
    assert lake.merge_readings(told(a_grid(hourly)), contract=hourly).rows_new == 96
    assert lake.grid(contract=hourly).collect().height == 96


def test_a_frame_that_is_no_grid_leaves_nothing_behind(lake: Lake, hourly: Contract) -> None:
    with pytest.raises(SchemaError, match="'readings' is not what its boundary asks for: missing: cpu"):
        lake.merge_readings(told(a_grid(hourly).drop("cpu")), contract=hourly)
    assert not Path(lake.root).exists()


def test_a_table_that_is_not_there_has_no_rows_and_no_version(lake: Lake) -> None:
    assert lake.read("labels", schema=LABELS).collect().schema == pl.Schema(LABELS)
    assert lake.version("labels") is None


def quarantined(*rows: tuple[str, int, str]) -> pl.DataFrame:
    return pl.DataFrame([(source, "f", row, reason, "{}") for source, row, reason in rows], schema=QUARANTINE, orient="row")


def test_rows_are_appended(lake: Lake) -> None:
    lake.append("log", quarantined(("a", 1, "x")))
    lake.append("log", quarantined(("a", 1, "x")))
    lake.append("log", quarantined())
    assert (lake.read("log", schema=QUARANTINE).collect().height, lake.version("log")) == (2, 1)


def test_rows_are_merged_by_their_keys_and_once(lake: Lake) -> None:
    rows = quarantined(("a", 1, "x"), ("a", 2, "x"), ("a", 2, "y"))
    assert lake.merge("quarantine", rows, keys=("source", "row")) == 2
    assert lake.merge("quarantine", rows, keys=("source", "row")) == 0
    assert lake.merge("quarantine", quarantined(("a", 1, "z"), ("b", 1, "x")), keys=("source", "row")) == 2
    nothing = quarantined(("b", 1, "x")).with_columns(text=pl.lit(None, dtype=pl.String))
    assert [lake.merge("quarantine", nothing, keys=("source", "row")) for _ in range(2)] == [1, 0]
    assert lake.merge("quarantine", quarantined(), keys=("source", "row")) == 0
    found = lake.read("quarantine", schema=QUARANTINE).sort("source", "row").collect()
    assert found.select("source", "row", "reason").rows() == [("a", 1, "z"), ("a", 2, "y"), ("b", 1, "x")]
    assert lake.version("quarantine") == 2


def test_an_entity_keeps_its_first_sight_and_takes_its_newest_cohort_in_whatever_order_it_is_seen(lake: Lake) -> None:
    def entities(*rows: tuple[str, str, datetime, datetime]) -> pl.DataFrame:
        return pl.DataFrame(list(rows), schema=ENTITIES, orient="row")

    lake.see(entities(("acme", "us", MIDNIGHT + 2 * DAY, MIDNIGHT + 3 * DAY), ("bolt", "eu", MIDNIGHT, MIDNIGHT + DAY)))
    lake.see(entities(("acme", "eu", MIDNIGHT + DAY, MIDNIGHT + DAY)))
    lake.see(entities(("bolt", "eu", MIDNIGHT + DAY, MIDNIGHT + DAY)))
    assert lake.read("entities", schema=ENTITIES).sort(ENTITY).collect().rows() == [
        ("acme", "us", MIDNIGHT + DAY, MIDNIGHT + 3 * DAY),
        ("bolt", "eu", MIDNIGHT, MIDNIGHT + DAY),
    ]
    assert lake.version("entities") == 1


def test_labels_merge_once_and_keep_the_longest(lake: Lake) -> None:
    def labels(*ends: int) -> pl.DataFrame:
        rows = [("acme", MIDNIGHT, MIDNIGHT + minutes * MINUTE, "labelled") for minutes in ends]
        return pl.DataFrame(rows, schema=LABELS, orient="row")

    for ends in ((3,), (3,), (5, 2), (1,)):
        lake.merge_labels(labels(*ends))
    assert lake.read("labels", schema=LABELS).drop(KIND).collect().rows() == [("acme", MIDNIGHT, MIDNIGHT + 5 * MINUTE)]
    assert lake.version("labels") == 1


def test_parts_are_remembered_by_their_fingerprints(lake: Lake) -> None:
    assert not lake.remembered().height
    row = ("exports", "a.csv", "f1", 1, 10, 1, 0, MIDNIGHT)
    lake.remember(pl.DataFrame([row], schema=SOURCES, orient="row"))
    assert lake.remembered()["fingerprint"].to_list() == ["f1"]
    assert lake.read("sources", schema=SOURCES).collect().row(0, named=True)[FINGERPRINT] == "f1"


def test_compacting_leaves_fewer_files_and_the_same_rows(lake: Lake) -> None:
    for row in range(5):
        lake.append("log", quarantined(("a", row, "x")))
    before = lake.read("log", schema=QUARANTINE).sort("row").collect()
    lake.compact("log")
    assert len(DeltaTable(f"{lake.root}/log").file_uris()) == 1
    assert_frame_equal(lake.read("log", schema=QUARANTINE).sort("row").collect(), before)


def test_writers_that_meet_lose_nothing_of_each_other(lake: Lake, hourly: Contract) -> None:
    grids = [a_grid(hourly, days=1, entities=(f"e{number}",)) for number in range(4)]
    failures: list[Any] = []

    def work(grid: pl.DataFrame) -> None:
        try:
            lake.merge_readings(told(grid), contract=hourly)
        except Exception as error:  # noqa: BLE001  (a thread's exception would be lost otherwise)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(grid,)) for grid in grids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert_frame_equal(lake.grid(contract=hourly).collect(), pl.concat(grids))


@pytest.mark.slow
def test_writers_that_say_the_same_at_once_say_it_once(tmp_path: Path, hourly: Contract) -> None:
    """The table is new to all of them: one creates it, and the others find it."""
    readings = told(a_grid(hourly, days=1))
    for number in range(40):
        lake = Lake(str(tmp_path / str(number)))
        threads = [threading.Thread(target=lake.merge_readings, args=(readings,), kwargs={"contract": hourly}) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert lake.read("grid", schema={ENTITY: pl.String}).select(pl.len()).collect().item() == readings.height


KILLED = """
import sys
from pathlib import Path
import polars as pl
from telemetry.contract import load
from telemetry.lake import Lake
contract, lake = load(Path(sys.argv[1])), Lake(sys.argv[2])
readings = pl.read_parquet(sys.argv[3])
for number in range(10_000):
    told = [pl.lit(float(number)).alias(name) for name in contract.names]
    lake.merge_readings(readings.with_columns(*told, revision=pl.lit(number, dtype=pl.Int64)), contract=contract)
    print(number, flush=True)
"""


@pytest.mark.slow
def test_a_writer_killed_at_any_instant_leaves_the_last_good_state(tmp_path: Path, lake: Lake, hourly: Contract) -> None:
    """Every merge writes one number everywhere: a half-written state would show two."""
    shipped = Path(__file__).parents[2] / "infra" / "contracts" / "fleet.toml"
    fleet = load(shipped)
    values = {name: pl.lit(0.0) for name in fleet.names}
    grid = a_grid(hourly, days=3).select(ENTITY, AT, OBSERVED).with_columns(**values)
    told(grid).write_parquet(tmp_path / "grid.parquet")
    command = [sys.executable, "-c", KILLED, str(shipped), lake.root, str(tmp_path / "grid.parquet")]
    for delay in (0.0, 0.011, 0.023, 0.037, 0.05):
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
        assert writer.stdout is not None
        said = int(writer.stdout.readline())
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        last = max([said, *(int(line) for line in writer.stdout.read().split())])
        writer.wait()
        writer.stdout.close()
        found = lake.grid(contract=fleet).collect()
        numbers = {value for name in fleet.names for value in found.filter(OBSERVED)[name].unique().to_list()}
        assert found.filter(OBSERVED).height == grid.height
        assert numbers in ({float(last)}, {float(last + 1)})


def test_a_watermark_never_goes_back(lake: Lake) -> None:
    for newest in (2, 5, 3):
        lake.mark(feed="exports", newest=MIDNIGHT + newest * MINUTE, at=MIDNIGHT + DAY)
    assert lake.read("watermarks", schema=WATERMARKS).collect().rows() == [("exports", MIDNIGHT + 5 * MINUTE, MIDNIGHT + DAY)]


def test_readings_below_the_cadence_are_kept_and_late_ones_join_them(lake: Lake, declare: Declare) -> None:
    contract = declare()
    row = a_grid(contract, entities=("acme/eu",), days=1).head(1)
    lake.merge_readings(told(row), contract=contract)
    assert lake.version("readings") is None
    late = told(row).with_columns(pl.col(AT) + timedelta(seconds=30), cpu=pl.lit(3.0))
    assert lake.merge_readings(late, contract=contract) == Merged(rows_new=0, rows_changed=1, sealed=NOTHING)
    assert lake.grid(contract=contract).select("queries", "cpu").collect().rows() == [(10.0, 2.0)]
    assert lake.merge_readings(late, contract=contract) == Merged(rows_new=0, rows_changed=0, sealed=NOTHING)
    assert (lake.version("grid"), lake.version("readings")) == (1, 0)


def test_a_reading_that_comes_after_its_step_was_sealed_is_given_back(lake: Lake, declare: Declare) -> None:
    contract = declare()
    row = told(a_grid(contract, entities=("acme/eu",), days=1).head(1))
    late = row.with_columns(pl.col(AT) + timedelta(seconds=30))
    lake.merge_readings(pl.concat([row, late]), contract=contract)
    DeltaTable(f"{lake.root}/readings").delete()
    later = row.with_columns(pl.col(AT) + timedelta(seconds=45))
    merged = lake.merge_readings(later, contract=contract)
    assert (merged, merged.sealed[AT].to_list()) == (Merged(rows_new=0, rows_changed=0, sealed=NOTHING), later[AT].to_list())
    assert lake.grid(contract=contract).collect()["queries"].to_list() == [10.0]


def test_one_customer_is_found_without_reading_the_others(lake: Lake, declare: Declare) -> None:
    """Rows lie sorted in small groups, whose least and greatest entity say whether they need be read."""
    contract, entities = declare(), tuple(f"customer{number:03d}/eu" for number in range(100))
    minutes = pl.datetime_range(MIDNIGHT, MIDNIGHT + DAY, "1m", closed="left", time_zone="UTC", eager=True).dt.cast_time_unit("us")
    rows = minutes.alias(AT).to_frame().join(pl.DataFrame({ENTITY: entities}), how="cross")  # by time, as they come
    lake.merge_readings(rows.with_columns(queries=1.0, query_time=2.0, cpu=3.0, revision=pl.lit(1, dtype=pl.Int64)), contract=contract)
    (path,) = Path(lake.root, "grid").rglob("*.parquet")
    groups = [parquet.read_metadata(path).row_group(number) for number in range(parquet.read_metadata(path).num_row_groups)]
    bounds = [group.column(0).statistics for group in groups]
    wanted = [group.total_byte_size for group, told in zip(groups, bounds, strict=True) if told.min <= "customer042/eu" <= told.max]
    assert len(wanted) < len(groups) / 2
    assert lake.grid(contract=contract, entities=("customer042/eu",)).collect().height == 1440


def test_a_table_that_grows_is_opened_from_a_checkpoint(lake: Lake) -> None:
    for row in range(30):
        lake.append("log", quarantined(("a", row, "x")))
    assert [path.name for path in Path(lake.root, "log", "_delta_log").glob("*.checkpoint.parquet")] == [
        "00000000000000000024.checkpoint.parquet"
    ]
