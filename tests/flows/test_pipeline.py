"""The whole way of a small fleet against a real Prefect API: learned, gated, scored, recalibrated, rolled back, refused."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from flows import releases
from flows.check import check, check_grid
from flows.ingest import ingest
from flows.lakes import lake_of
from flows.quality_report import quality_report
from flows.recalibrate import recalibrate
from flows.retrain import retrain
from flows.rollback import rollback
from flows.score import score
from flows.settings import Settings
from serving import ledger
from serving.release import load
from serving.surprise import SLOW_STEPS
from telemetry import contract as contracts
from telemetry.errors import ReleaseError
from telemetry.lake import Lake
from telemetry.schema import AT, COVERAGE, ENTITY, FIRST_SEEN, FORECAST, INCIDENTS, SCORES, SURPRISE, TARGET
from tests.flows.conftest import Released, SmallFleet
from validation.findings import DataCheckFailed

pytestmark = [pytest.mark.service, pytest.mark.slow]
FIGURES = {
    "stages", "rows", "entities", "accuracy", "accuracy_lower", "accuracy_persistence", "skill", "gate", "release", "champion",
    "incidents_labelled", "incidents_found", "false_incidents", "vus_pr", "vus_pr_pca", "page", "verdict", "sentence",
}  # fmt: skip


def lake_at(fleet: SmallFleet) -> Lake:
    return lake_of(contracts.load(Path(fleet.contract)), settings=Settings())


def test_a_fleet_is_learned_and_a_release_is_in_force(released: Released) -> None:
    summary = released.summary
    assert summary["verdict"] == "promoted"
    assert set(summary) >= FIGURES
    assert [stage["name"] for stage in summary["stages"]] == ["ingest", "check", "prepare", "train", "judge", "gate"]
    assert summary["accuracy_persistence"] < summary["accuracy_lower"] <= summary["accuracy"] <= 1
    assert summary["champion"] == summary["release"]
    folder = Path(summary["page"]).parent
    assert json.loads((folder / "summary.json").read_text())["release"] == summary["release"]
    assert not (folder / "work").exists()
    release = load(summary["release"], folder=Settings().releases_folder)
    assert release.manifest["contract_digest"] == contracts.load(Path(released.fleet.contract)).digest
    assert release.views is not None
    assert release.views.standstill is not None  # it says how long each may stand still
    assert release.views.standstill.bars.shape == (
        len(release.views.entities) + 1,
        len(contracts.load(Path(released.fleet.contract)).targets) + 1,
    )


def test_learning_the_same_again_brings_no_row_and_the_same_release(released: Released) -> None:
    again = retrain(contract=released.fleet.contract, source=released.fleet.history, labels=released.fleet.labels)
    assert again["rows_new"] == 0
    assert again["release"] == released.summary["release"]
    assert "the same as before" in again["sentence"]


def test_a_crippled_training_is_held_and_the_champion_stays(released: Released) -> None:
    held = retrain(contract=released.fleet.contract, epochs=1, learning_rate=1e-6)
    assert held["verdict"] == "held"
    assert held["release"] is None
    assert held["champion"] == released.summary["release"]
    assert any("ccuracy" in reason for reason in held["reasons"])
    standing = ledger.champion(lake_at(released.fleet))
    assert standing is not None
    assert standing.release == released.summary["release"]


def test_a_hundredfold_parameter_stops_before_training_and_is_named(api: None, faulty_fleet: SmallFleet, home: Path) -> None:
    with pytest.raises(DataCheckFailed, match=r"x100") as failed:
        retrain(contract=faulty_fleet.contract, source=faulty_fleet.history)
    stops = failed.value.report.stops
    assert len({(finding.entity or "").split("/")[0] for finding in stops}) == 1
    assert len({finding.parameter for finding in stops}) == 1
    folder = next((home / "runs" / "retrain").iterdir())
    told = json.loads((folder / "summary.json").read_text())
    assert told["verdict"] == "stopped"
    assert "train" not in [stage["name"] for stage in told["stages"]]
    assert stops[0].parameter in (folder / "index.html").read_text()
    assert ledger.champion(lake_at(faulty_fleet)) is None


def test_every_minute_is_scored_once_whatever_how_often_one_asks(released: Released) -> None:
    first = score(contract=released.fleet.contract, source=released.fleet.live)
    lake = lake_at(released.fleet)
    said = lake.read("scores", schema=SCORES).collect()
    second = score(contract=released.fleet.contract)
    assert first["scored_minutes"] > 0
    assert second["scored_minutes"] == 0
    assert lake.read("scores", schema=SCORES).collect().height == said.height
    assert said.select(ENTITY, AT, TARGET).is_duplicated().sum() == 0
    assert first["incidents_injected"] == first["incidents_found"] + first["incidents_missed"]


def test_what_is_served_is_what_was_judged(released: Released) -> None:
    score(contract=released.fleet.contract)
    judged = pl.read_parquet(Path(released.summary["page"]).parent / "data" / "excerpts.parquet")
    served = lake_at(released.fleet).read("scores", schema=SCORES).collect()
    told = judged.join(served, on=[ENTITY, AT, TARGET], suffix="_served")
    assert told.height == judged.height > 100
    begun = judged.get_column(AT).min()  # what came before the test part adds up with its first errors, and is served only
    both = told.filter(pl.col(AT) >= begun + timedelta(minutes=SLOW_STEPS))
    for name in ("actual", FORECAST, SURPRISE):
        off = both.select((pl.col(name) / pl.col(f"{name}_served") - 1).abs().max()).item()
        assert off < 1e-3, name  # the state of the network is warmed up on some windows, not on the whole past


def test_coverage_has_exactly_one_state_for_every_entity_and_minute(released: Released) -> None:
    score(contract=released.fleet.contract, source=released.fleet.live)
    covered = lake_at(released.fleet).read("coverage", schema=COVERAGE).collect()
    minutes = covered.select(pl.col(AT).n_unique()).item()
    entities = covered.select(pl.col(ENTITY).n_unique()).item()
    assert covered.height == minutes * entities
    assert covered.select(ENTITY, AT).is_duplicated().sum() == 0


def test_a_scoring_that_was_cut_off_is_completed_and_repeats_nothing(released: Released) -> None:
    score(contract=released.fleet.contract, source=released.fleet.live)
    lake = lake_at(released.fleet)
    whole = {name: lake.read(name, schema=schema).collect().height for name, schema in (("scores", SCORES), ("coverage", COVERAGE))}
    path = next(Path(Settings().lake_root).glob("*/coverage"))
    cut = pl.read_delta(str(path)).sort(AT).head(whole["coverage"] // 2)
    cut = cut.filter(pl.col(AT) < cut[AT].max())
    cut.write_delta(str(path), mode="overwrite")
    score(contract=released.fleet.contract)
    assert {name: lake.read(name, schema=schema).collect().height for name, schema in (("scores", SCORES), ("coverage", COVERAGE))} == whole
    assert lake.read("incidents", schema=INCIDENTS).collect()["incident"].is_duplicated().sum() == 0


def test_recalibrating_keeps_weights_and_scales_and_passes_the_gate(released: Released) -> None:
    ingest(contract=released.fleet.contract, source=released.fleet.live)
    anew = recalibrate(contract=released.fleet.contract)
    old, new = (load(name, folder=Settings().releases_folder) for name in (released.summary["release"], anew["candidate"]))
    assert anew["verdict"] == "promoted", anew["sentence"]
    assert all((old.weights[name] == new.weights[name]).all() for name in old.weights)
    assert old.scales.equals(new.scales)
    assert not old.thresholds.equals(new.thresholds)
    lake = lake_at(released.fleet)
    last = lake.grid(contract=contracts.load(Path(released.fleet.contract))).select(pl.col(AT).max()).collect().item()
    until, chosen = (datetime.fromisoformat(new.manifest[name]) for name in ("calibrated_until", "chosen_until"))
    assert timedelta(0) < last - until < timedelta(days=1)  # on the latest days, and the weights are as old as they were
    assert chosen == datetime.fromisoformat(old.manifest["chosen_until"]) < until
    score(contract=released.fleet.contract)
    told = lake.read("coverage", schema=COVERAGE).filter(pl.col("release") == new.id).collect().get_column(AT)
    assert (told.min(), told.max()) == (until, last)


def test_recalibrating_for_other_targets_than_were_learned_is_refused(released: Released, tmp_path: Path) -> None:
    contract = tmp_path / "changed.toml"
    told = Path(released.fleet.contract).read_text(encoding="utf-8")
    contract.write_text(told.replace("[parameters.cpu]", "[parameters.cpu]\ntarget = true"), encoding="utf-8")
    with pytest.raises(ReleaseError, match="other parameters, targets or leads"):
        recalibrate(contract=str(contract))


def test_the_champion_of_another_contract_is_compared_all_the_same(released: Released, tmp_path: Path) -> None:
    contract = tmp_path / "changed.toml"
    told = Path(released.fleet.contract).read_text(encoding="utf-8")
    contract.write_text(told.replace("[parameters.cpu]", "[parameters.cpu]\ntarget = true"), encoding="utf-8")
    held = retrain(contract=str(contract), epochs=1, learning_rate=1e-6)
    assert held["verdict"] == "held"
    assert held["champion"] == released.summary["release"]


def test_rolling_back_puts_the_release_before_in_force_and_never_toggles(released: Released) -> None:
    other = retrain(contract=released.fleet.contract, seed=1)
    assert other["champion"] == other["release"] != released.summary["release"]
    assert rollback(contract=released.fleet.contract, reason="test")["champion"] == released.summary["release"]
    assert rollback(contract=released.fleet.contract, reason="test")["champion"] is None
    events = releases.told(released.fleet.contract, settings=Settings())["events"]
    assert [event["event"] for event in events] == ["publish", "publish", "revoke", "revoke"]


def test_a_check_alone_and_a_report_tell_what_the_lake_holds(released: Released) -> None:
    assert check(contract=released.fleet.contract)["verdict"] == "passed"
    told = quality_report(contract=released.fleet.contract)
    (stage,) = [stage for stage in told["stages"] if stage["name"] == "check"]
    assert stage["note"].endswith(f"by the suites of {released.summary['release']}")
    assert told["checks_passed"]
    assert Path(told["data_docs"]).is_file()


def test_a_report_is_by_what_the_release_declares_and_not_by_what_is_declared_now(released: Released, tmp_path: Path) -> None:
    contract = tmp_path / "changed.toml"
    before, cpu, after = Path(released.fleet.contract).read_text(encoding="utf-8").partition("[parameters.cpu]")
    stricter = after.replace("maximum = 100", "maximum = 1", 1).replace('plausible_range = "quarantine"', 'plausible_range = "stop"')
    contract.write_text(before + cpu + stricter, encoding="utf-8")
    now = check_grid.fn(contract=str(contract), folder=str(tmp_path / "now"))
    assert {(found.expectation, found.parameter) for found in now.findings if found.severity == "stop"} == {("plausible range", "cpu")}
    assert quality_report(contract=str(contract))["checks_passed"]


def test_an_installation_without_a_source_or_a_release_idles(api: None, home: Path) -> None:
    assert ingest(contract="fleet")["verdict"] == "idle"
    assert score(contract="fleet")["verdict"] == "idle"


def test_first_seen_survives_a_second_ingestion(released: Released) -> None:
    lake = lake_at(released.fleet)
    before = lake.read("entities", schema={ENTITY: pl.String, FIRST_SEEN: pl.Datetime("us", "UTC")}).collect().sort(ENTITY)
    ingest(contract=released.fleet.contract, source=released.fleet.live)
    after = lake.read("entities", schema={ENTITY: pl.String, FIRST_SEEN: pl.Datetime("us", "UTC")}).collect().sort(ENTITY)
    assert before.equals(after)
