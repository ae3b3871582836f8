"""What a check quarantines is left out of the run, and named wherever that is told of; a release is checked by its own suites."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flows.check import check, check_grid
from flows.lakes import lake_of
from flows.prepare import prepare_panel, work
from flows.recalibrate import recalibrate
from flows.retrain import retrain
from flows.settings import Settings
from serving.release import Release, compose, load, write
from telemetry import contract as contracts
from telemetry import panel as panels
from telemetry import scaling
from telemetry.files import FileSource
from telemetry.ingestion import ingest
from telemetry.masks import SPANS
from telemetry.panel import Part
from tests.flows.conftest import Released, SmallFleet, small_contract

pytestmark = [pytest.mark.service, pytest.mark.slow]

PARAMETER = "ingest_lag"
DAWN, DUSK = datetime(2025, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def spoiled(released: Released, tmp_path: Path) -> str:
    """The entity of which an hour of one parameter has come again, impossibly late, into the lake of `released`."""
    declared = contracts.load(Path(released.fleet.contract))
    rows = pl.read_parquet(sorted(Path(released.fleet.history).glob("*.parquet"))[3])
    first = rows.filter(pl.col("customer") == rows["customer"][0], pl.col("region") == rows["region"][0])
    folder = tmp_path / "again"
    folder.mkdir()
    first[600:660].with_columns(pl.lit(1e9).alias(PARAMETER)).write_parquet(folder / "again.parquet")
    ingest(
        FileSource(str(folder), contract=declared), contract=declared, lake=lake_of(declared, settings=Settings()), now=datetime.now(UTC)
    )
    return f"{first['customer'][0]}/{first['region'][0]}"


def test_an_agent_that_sends_what_cannot_be_does_not_hold_up_a_retrain(released: Released, spoiled: str) -> None:
    summary = retrain(contract=released.fleet.contract)
    assert (summary["checks_passed"], summary["gate"]) == (True, "promote")
    assert {(told["entity"], told["parameter"], told["expectation"]) for told in summary["quarantined"]} == {
        (spoiled, PARAMETER, "plausible range")
    }
    assert f"Quarantined, and left out of this run: {PARAMETER} of {spoiled}." in summary["sentence"]
    page = Path(summary["page"]).read_text(encoding="utf-8")
    assert f"left out of this run: {PARAMETER} of {spoiled}." in page
    release = load(summary["release"], folder=Settings().releases_folder)
    assert {(told["entity"], told["parameter"]) for told in release.manifest["quarantined"]} == {(spoiled, PARAMETER)}
    again = recalibrate(contract=released.fleet.contract)
    assert (again["checks_passed"], len(again["quarantined"])) == (True, len(summary["quarantined"]))
    assert not [told for told in again["findings"] if told["expectation"] == "suites of the release"]


def test_a_check_passes_and_names_what_a_run_would_leave_out(released: Released, spoiled: str) -> None:
    summary = check(contract=released.fleet.contract)
    assert (summary["verdict"], len(summary["quarantined"])) == ("passed", 1)
    assert "0 findings that stop, 1 that quarantine, " in summary["sentence"]
    assert summary["sentence"].endswith(f"Quarantined, and left out of this run: {PARAMETER} of {spoiled}.")
    index = Path(summary["data_docs"]).read_text(encoding="utf-8")
    assert "quarantined" in index


def test_what_is_quarantined_is_not_observed_in_the_panel(released: Released, spoiled: str, tmp_path: Path) -> None:
    contract, folder = released.fleet.contract, str(tmp_path)
    assert check_grid.fn(contract=contract, folder=folder).passed
    spans = pl.read_parquet(tmp_path / "data" / "quarantined.parquet")
    assert set(spans.select("entity", "parameter").iter_rows()) == {(spoiled, PARAMETER)}
    _, report = prepare_panel.fn(contract=contract, folder=folder)
    assert report.passed
    panel = panels.load(work(folder) / "panel")
    index, place = panel.entities.index(spoiled), panel.parameters.index(PARAMETER)
    at = panel.start_us + np.arange(panel.steps) * panel.cadence_seconds * 1_000_000
    start, end = (int(spans[column].dt.epoch("us")[0]) for column in ("start", "end"))
    within = (at >= start) & (at < end)
    assert within.sum() == 60
    assert not panel.observed[index, within, place].any()
    others = np.delete(np.arange(len(panel.parameters)), place)
    assert panel.observed[index][within][:, others].any()
    assert panel.observed[index, ~within, place].any()


def test_a_parameter_that_is_quarantined_throughout_is_not_observed_and_borrows_its_scale(released: Released, tmp_path: Path) -> None:
    declared = contracts.load(Path(released.fleet.contract))
    entity = lake_of(declared, settings=Settings()).grid(contract=declared).select(pl.col("entity").first()).collect().item()
    spans = pl.DataFrame(
        [{"entity": entity, "parameter": name, "start": DAWN, "end": DUSK} for name in ("queries", PARAMETER)], schema=dict(SPANS)
    )
    (tmp_path / "data").mkdir()
    spans.write_parquet(tmp_path / "data" / "quarantined.parquet")
    _, report = prepare_panel.fn(contract=released.fleet.contract, folder=str(tmp_path))
    assert (report.passed, report.findings) == (True, ())
    panel = panels.load(work(tmp_path) / "panel")
    places = [panel.parameters.index(name) for name in ("queries", PARAMETER)]
    assert not panel.observed[panel.entities.index(entity)][:, places].any()
    scales = pl.read_parquet(work(tmp_path) / "scales.parquet").filter(pl.col("entity") == entity, pl.col("count") == 0)
    assert sorted(scales["parameter"]) == sorted(("queries", PARAMETER))


def test_an_operator_may_go_on_without_a_hundredfold_parameter(api: None, faulty_fleet: SmallFleet, home: Path, tmp_path: Path) -> None:
    contract = tmp_path / "going_on.toml"
    contract.write_text(small_contract(unit_shift='unit_shift = "quarantine"'), encoding="utf-8")
    summary = retrain(contract=str(contract), source=faulty_fleet.history)
    assert summary["gate"] in {"promote", "hold"}
    assert {told["expectation"] for told in summary["quarantined"]} == {"same unit"}
    (parameter,) = {told["parameter"] for told in summary["quarantined"]}
    assert f"left out of this run: {parameter} of " in summary["sentence"]


def test_a_run_of_which_nothing_is_quarantined_takes_all(released: Released, tmp_path: Path) -> None:
    assert check_grid.fn(contract=released.fleet.contract, folder=str(tmp_path)).quarantined == ()
    assert not (tmp_path / "data" / "quarantined.parquet").exists()
    assert released.summary["quarantined"] == []


def champion(released: Released) -> Release:
    return load(released.summary["release"], folder=Settings().releases_folder)


def republished(release: Release, **changes: Any) -> str:
    """A release like it, with other suites or another contract."""
    told = {name: getattr(release, name) for name in ("weights", "network", "scales", "thresholds", "contract", "manifest", "created_at")}
    made = compose(**{**told, "suites": release.suites, **changes})
    write(made, folder=Settings().releases_folder)
    return made.id


def test_a_release_holds_its_suites_and_is_checked_by_its_own_contract(released: Released, tmp_path: Path) -> None:
    release = champion(released)
    assert release.suites is not None
    asked = len(release.suites["raw"])
    own = check_grid.fn(contract=released.fleet.contract, folder=str(tmp_path / "own"), release=release.id)
    assert (own.asked, [found.expectation for found in own.findings]) == (asked, [])
    fewer = json.loads(json.dumps(release.contract))
    fewer["checks"]["unit_shift"] = "off"
    other = check_grid.fn(contract=released.fleet.contract, folder=str(tmp_path / "other"), release=republished(release, contract=fewer))
    assert other.asked < asked
    assert [found.expectation for found in other.findings] == ["suites of the release"]


def test_a_release_of_other_software_is_checked_with_a_warning(released: Released, tmp_path: Path) -> None:
    release = champion(released)
    assert release.suites is not None
    older = {**release.suites, "raw": [told for told in release.suites["raw"] if told["type"] != "expect_volume"]}
    report = check_grid.fn(contract=released.fleet.contract, folder=str(tmp_path), release=republished(release, suites=older))
    (found,) = [each for each in report.findings if each.expectation == "suites of the release"]
    assert (report.passed, found.severity, found.found) == (True, "warn", "new: 1 (expect_volume)")


def test_the_champions_scales_in_a_run_that_fits_its_own_are_named(
    released: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = champion(released).scales
    until = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=9)
    sound, report = prepare_panel.fn(contract=released.fleet.contract, folder=str(tmp_path / "sound"), until=until)
    assert report.passed
    assert sound.train_steps
    monkeypatch.setattr(scaling, "fit", lambda *_, **__: old)
    _, report = prepare_panel.fn(contract=released.fleet.contract, folder=str(tmp_path / "stale"), until=until)
    assert not report.passed
    assert {finding.expectation for finding in report.stops} >= {"own scale"}
    assert any(finding.found.startswith("old scales") for finding in report.stops)
    assert panels.load(work(tmp_path / "stale") / "panel").part.max() == Part.TEST
