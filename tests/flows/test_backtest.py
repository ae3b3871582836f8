"""A backtest tells of a period what live scoring would have, beside baselines and the team's own rules, against a real Prefect API."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows import exhibits
from flows.backtest import BacktestError, backtest
from flows.lakes import lake_of
from flows.recalibrate import recalibrate
from flows.score import score
from flows.settings import Settings
from serving.release import load
from telemetry import contract as contracts
from telemetry.errors import ReleaseError, RulesError
from telemetry.schema import INCIDENT, INCIDENTS
from tests.flows.conftest import Released, SmallFleet

pytestmark = [pytest.mark.service, pytest.mark.slow]
RULES = """
groups:
  - name: fleet
    rules:
      - alert: Failures
        expr: failed_queries / queries > 0.2
        for: 3m
      - alert: Silent
        expr: queries offset 10m unless queries
      - alert: Shape
        expr: topk(3, queries) > 1
"""


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """A team's rules, one of which cannot be followed."""
    (tmp_path / "rules.yml").write_text(RULES, encoding="utf-8")
    return str(tmp_path / "rules.yml")


def test_a_backtest_tells_what_live_scoring_told_beside_who_else_could(released: Released, rules: str) -> None:
    contract = released.fleet.contract
    live = score(contract=contract, source=released.fleet.live)
    lake = lake_of(contracts.load(Path(contract)), settings=Settings())
    versions = {name: lake.version(name) for name in ("scores", "incidents", "coverage", "suspensions", "progress", "watermarks")}
    told = backtest(contract=contract, rules=rules)
    assert versions == {name: lake.version(name) for name in versions}
    folder = Path(told["page"]).parent
    written = lake.read("incidents", schema=INCIDENTS).collect().sort(INCIDENT)
    found = pl.read_parquet(folder / "data" / "incidents.parquet").sort(INCIDENT)
    assert_frame_equal(found.select(list(INCIDENTS)), written, rel_tol=1e-4)
    for name in ("incidents_found", "incidents_missed", "false_incidents", "scored_by"):
        assert told[name] == live[name]
    names = [row["detector"] for row in told["detectors"]]
    assert names == [f"release {live['scored_by']}", "last value", "seasonal naive", "robust z", "PCA", "rules"]
    assert told["detectors"][0]["vus_pr"] == told["vus_pr"] > told["vus_pr_pca"] - 0.5
    assert {row["events"] for row in told["detectors"]} == {live["incidents_injected"]}
    assert [each["name"] for each in told["rules_refused"]] == ["Shape"]
    assert told["verdict"] == "backtested"
    assert not told["in_sample"]
    page = Path(told["page"]).read_text(encoding="utf-8")
    assert "Which incidents each found that the other missed" in page
    assert "topk() is not supported" in page
    assert "could not be shown" not in page
    events = exhibits.read(folder, name="detected_events")
    assert events is not None
    assert events.height == live["incidents_injected"] > 2


def test_a_period_that_the_release_knows_is_refused_or_marked(released: Released) -> None:
    contract = released.fleet.contract
    with pytest.raises(BacktestError, match="would test it by what it knows"):
        backtest(contract=contract, since="2026-01-08")
    told = backtest(contract=contract, since="2026-01-08", until="2026-01-10", in_sample=True)
    assert told["in_sample"]
    assert "no test of it" in told["sentence"]
    assert "no test of it" in Path(told["page"]).read_text(encoding="utf-8")


def test_after_a_recalibration_the_same_weights_are_tested_with_thresholds_that_know_nothing_of_the_period(released: Released) -> None:
    contract, first = released.fleet.contract, released.summary["release"]
    second = recalibrate(contract=contract)["release"]
    told = backtest(contract=contract)
    assert (told["scored_by"], told["in_sample"]) == (first, False)
    assert told["since"] == load(first, folder=Settings().releases_folder).manifest["calibrated_until"].replace(" ", "T")
    assert f"By {first}, of the same weights as the champion {second}" in told["sentence"]
    with pytest.raises(BacktestError, match="would test it by what it knows"):
        backtest(contract=contract, release=second, since=told["since"])


def test_what_cannot_be_gone_through_is_refused(released: Released, tmp_path: Path) -> None:
    contract = released.fleet.contract
    with pytest.raises(BacktestError, match="There is nothing from 2027"):
        backtest(contract=contract, since="2027-01-01")
    with pytest.raises(ReleaseError):
        backtest(contract=contract, release="0" * 16)
    with pytest.raises(RulesError, match="There is no rules file"):
        backtest(contract=contract, rules=str(tmp_path / "none.yml"))


def test_nothing_can_be_gone_back_with_where_no_release_is_in_force(api: None, home: Path, small_fleet: SmallFleet) -> None:
    with pytest.raises(ReleaseError, match="No release is in force"):
        backtest(contract=small_fleet.contract)
