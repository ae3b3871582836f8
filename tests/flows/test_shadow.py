"""Faults are injected into a copy: what is told of the telemetry itself stays as it is, and a detector that has gone blind is seen."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from flows.injected import Outcome, meet, recall, site
from flows.lakes import labels_of, lake_of
from flows.parallel_test import Candidate
from flows.parallel_test import released as candidate_of
from flows.prepare import build
from flows.score import score
from flows.settings import Settings
from flows.shadow import SHADOW, TABLE, shadow
from serving import ledger
from serving.release import Release, load
from telemetry import contract as contracts
from telemetry import windows
from telemetry.contract import Contract
from telemetry.injection import NOTHING, SILENCE, STRENGTHS
from telemetry.lake import Lake
from telemetry.schema import AT, END, ENTITY, INCIDENTS, KIND, RELEASE, START, THRESHOLD
from telemetry.upkeep import TABLES
from tests.flows.conftest import Released
from validation.injected import FAULTS, FOUND, found_of

pytestmark = [pytest.mark.service, pytest.mark.slow]


def told(fleet: Released) -> tuple[Lake, Contract, Release]:
    contract = contracts.load(Path(fleet.fleet.contract))
    lake = lake_of(contract, settings=Settings())
    standing = ledger.champion(lake)
    assert standing is not None
    return lake, contract, load(standing.release, folder=Settings().releases_folder)


def tables(lake: Lake) -> dict[str, tuple[int | None, int]]:
    """By table, the number of its newest commit and a hash of what it says."""
    there = {name: lake.open(name) for name in TABLES if name != TABLE}
    return {
        name: (lake.version(name), int(lake.scan(table).collect().hash_rows(seed=0).sum() or 0))
        for name, table in there.items()
        if table is not None
    }


def test_the_tables_of_production_are_the_same_before_and_after(released: Released) -> None:
    score(contract=released.fleet.contract, source=released.fleet.live)
    lake, _, release = told(released)
    before = tables(lake)
    assert {"grid", "scores", "coverage", "incidents", "progress", "releases"} <= set(before)
    summary = shadow(contract=released.fleet.contract)
    assert tables(lake) == before
    assert summary["verdict"] == "done"
    assert summary["injected_faults"] > 20
    assert summary["injected_recall"] > 0.5
    rows = lake.read(TABLE, schema=SHADOW).collect()
    assert rows[RELEASE].unique().to_list() == [release.id]
    assert rows[AT].unique().to_list() == [datetime.fromisoformat(summary["scored_until"])]
    assert set(rows[KIND]) <= set(STRENGTHS)
    assert rows.filter(pl.col(KIND) != NOTHING)[FAULTS].sum() == summary["injected_faults"]
    page = Path(summary["page"]).read_text(encoding="utf-8")
    assert 'id="injected"' in page
    assert "night by night" in page
    assert json.dumps(summary, default=str)


def test_a_second_run_over_the_same_tells_the_same_once(released: Released) -> None:
    first, again = (shadow(contract=released.fleet.contract) for _ in range(2))
    lake, _, _ = told(released)
    assert [first[key] for key in first if key.startswith("injected")] == [again[key] for key in first if key.startswith("injected")]
    assert lake.version(TABLE) == 0, "nothing that is there already is written a second time"


def test_without_a_release_there_is_nothing_to_try(api: None, released: Released, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIDEWATCH_HOME", str(tmp_path / "another"))
    assert shadow(contract=released.fleet.contract)["verdict"] == "idle"


def test_a_detector_that_has_gone_blind_is_seen_and_held(released: Released, tmp_path: Path) -> None:
    lake, contract, release = told(released)
    grid = lake.grid(contract=contract)
    panel = build(grid, lake=lake, contract=contract, scales=release.scales, parts=windows.cuts(grid, contract=contract))
    at = site(
        panel, scales=release.scales, contract=contract, avoid=pl.DataFrame(schema={name: INCIDENTS[name] for name in (ENTITY, START, END)})
    )

    seer = candidate_of(release)
    assert seer.views is not None

    def found(candidate: Candidate, thresholds: pl.DataFrame) -> Outcome:
        labels = labels_of(lake)
        return meet(candidate, at=at, panel=at.panel, thresholds=thresholds, contract=contract, labels=labels, into=tmp_path / "copy")

    blinded = replace(seer, views=replace(seer.views, standstill=None))  # what falls to nothing stands still, too
    seeing, blind = found(seer, release.thresholds), found(blinded, release.thresholds.with_columns(pl.col(THRESHOLD) * 1e3))
    assert (recall(seeing.met) or 0) > 0.6
    assert set(blind.met.filter(FOUND)[KIND]) == {SILENCE}
    lost = found_of(blind.met, champion=seeing.met).lost
    assert lost is not None
    assert lost.significant
    kept = found_of(seeing.met, champion=blind.met).lost
    assert kept is not None
    assert not kept.significant
