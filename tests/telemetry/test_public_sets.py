"""Real telemetry of many publishers, each by its contract: every row is accounted for, every value is in the grid, against plain Polars."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from telemetry.contract import load
from telemetry.files import FileSource
from telemetry.ingestion import Ingested, ingest
from telemetry.lake import Lake
from telemetry.schema import ENTITIES, OBSERVED, QUARANTINED, REASON
from tests.telemetry.public_sets import KEYS, PUBLIC_SETS, PublicSet, told

NOW = datetime(2026, 11, 21, tzinfo=UTC)
pytestmark = [pytest.mark.data]


def ingested(public: PublicSet, *, data: Path, lake: Lake) -> Ingested:
    contract = load(public.contract)
    return ingest(FileSource(str(data / public.source), contract=contract), contract=contract, lake=lake, now=NOW)


def observed(public: PublicSet, *, lake: Lake) -> pl.DataFrame:
    grid = lake.grid(contract=load(public.contract)).filter(OBSERVED).drop(OBSERVED).collect()
    return grid.sort(KEYS)


def of(name: str) -> PublicSet:
    return next(public for public in PUBLIC_SETS if public.name == name)


@pytest.mark.parametrize("public", PUBLIC_SETS, ids=lambda public: public.name)
def test_every_row_of_a_public_set_is_accounted_for_and_every_value_is_in_the_grid(public: PublicSet, data: Path, tmp_path: Path) -> None:
    lake, meant = Lake(str(tmp_path)), public.told(data)
    done = ingested(public, data=data, lake=lake)
    assert (done.rows_in, done.rows_accepted, done.rows_quarantined, done.rows_repeated) == (
        meant.rows,
        meant.rows - meant.repeated - meant.contradicted,
        meant.contradicted,
        meant.repeated,
    )
    assert (done.clocks_apart, done.parts_failed) == (public.wrong_clocks(data / public.source), 0)
    assert lake.read("entities", schema=ENTITIES).collect().height == meant.entities
    expected = meant.grid.filter(pl.any_horizontal(pl.exclude(KEYS).is_not_null()))
    found = observed(public, lake=lake)
    assert_frame_equal(found, expected.select(found.columns), rel_tol=1e-12, abs_tol=1e-12)
    versions = {table: lake.version(table) for table in ("grid", "readings", "quarantine", "entities", "labels")}
    again = ingested(public, data=data, lake=lake)
    assert (again.rows_in, again.rows_new, again.rows_changed, again.parts_known) == (0, 0, 0, done.parts)
    assert {table: lake.version(table) for table in versions} == versions


def test_the_wrong_clocks_of_the_pods_are_told_with_an_example(data: Path, tmp_path: Path) -> None:
    done = ingested(of("nezha"), data=data, lake=Lake(str(tmp_path)))
    assert done.clocks_apart == 1209
    assert "raw_epoch has 1861140279 where the time is 2022-08-22 03:51:19" in done.clock_example


def test_what_a_series_tells_twice_otherwise_is_quarantined_with_the_row_that_counts(data: Path, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    done = ingested(of("nab"), data=data, lake=lake)
    assert (done.rows_repeated, done.rows_quarantined, done.passed_over) == (17, 9, 12)
    reasons = lake.read("quarantine", schema=QUARANTINED).collect()[REASON]
    assert reasons.str.contains(r"^row \d+ says something else of the same entity and instant, and the later row counts$").all()


@pytest.mark.parametrize(
    ("first", "then", "changed"),
    [("uci, raw", "uci", 0), ("accel, raw", "accel", 1), ("lorenz, raw", "lorenz", 0)],  # one ends in the midst of a second
)
def test_the_same_readings_in_another_format_count_once(first: str, then: str, changed: int, data: Path, tmp_path: Path) -> None:
    twice, once = Lake(str(tmp_path / "twice")), Lake(str(tmp_path / "once"))
    ingested(of(first), data=data, lake=twice)
    done = ingested(of(then), data=data, lake=twice)
    ingested(of(then), data=data, lake=once)
    assert_frame_equal(observed(of(then), lake=twice), observed(of(then), lake=once), rel_tol=1e-15, abs_tol=0)
    steps = of(then).told(data).grid.height - of(first).told(data).grid.height
    assert (done.rows_accepted, done.rows_new, done.rows_changed) == (of(then).told(data).rows, steps, changed)


def test_a_zone_that_changes_its_clocks_would_lose_the_hour_that_they_skip(data: Path, tmp_path: Path) -> None:
    public, lake = of("uci"), Lake(str(tmp_path))
    contract = load(public.contract)
    belgian = contract.model_copy(update={"time": contract.time.model_copy(update={"zone": "Europe/Brussels"})})
    done = ingest(FileSource(str(data / public.source), contract=belgian), contract=belgian, lake=lake, now=NOW)
    assert (done.rows_quarantined, done.rows_accepted) == (6, 15876)
    assert "that exists in Europe/Brussels" in lake.read("quarantine", schema=QUARANTINED).collect()[REASON][0]


def test_an_hour_of_a_house_is_the_sum_of_its_energy_and_the_mean_of_its_climate(data: Path, tmp_path: Path) -> None:
    public, lake = of("uci"), Lake(str(tmp_path))
    contract = load(public.contract)
    hourly = contract.model_copy(update={"time": contract.time.model_copy(update={"cadence_seconds": 3600})})
    ingest(FileSource(str(data / public.source), contract=hourly), contract=hourly, lake=lake, now=NOW)
    found = lake.grid(contract=hourly).filter(OBSERVED).drop(OBSERVED).collect().sort(KEYS)
    expected = told(public.rows(data / public.source), cadence="1h", summed=public.summed).grid
    assert_frame_equal(found, expected.select(found.columns), rel_tol=1e-12, abs_tol=1e-12)
