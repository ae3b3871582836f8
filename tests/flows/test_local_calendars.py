"""A fleet whose customers have zones, holidays and attributes goes the whole way: checked, learned, released, scored."""

from pathlib import Path

import pytest

from flows.ingest import ingest
from flows.lakes import lake_of
from flows.recalibrate import recalibrate
from flows.retrain import retrain
from flows.score import score
from flows.settings import Settings
from serving.release import load
from telemetry import contract as contracts
from telemetry.errors import ReleaseError
from telemetry.schema import COVERAGE, STATE
from tests.flows.conftest import SmallFleet, small_contract

pytestmark = [pytest.mark.service, pytest.mark.slow]
LOCAL = """
[calendar]
by = "customer"
zones = { acme = "Europe/Berlin", borealis = "America/New_York", akme = "Asia/Tokyo" }
country = "DE-BY"

[attributes]
one_hot = ["region"]

[attributes.facts.vehicles]
by = "customer"
values = { acme = 120, borealis = 40 }
"""


def test_what_is_declared_of_customers_reaches_the_release_and_the_scoring(
    api: None, small_fleet: SmallFleet, home: Path, tmp_path: Path
) -> None:
    contract = tmp_path / "small.toml"
    contract.write_text(small_contract() + LOCAL, encoding="utf-8")
    summary = retrain(contract=str(contract), source=small_fleet.history, labels=small_fleet.labels)
    assert summary["verdict"] == "promoted", summary["sentence"]
    warned = [finding["sentence"] for finding in summary["findings"] if finding["expectation"] == "calendar keys"]
    assert warned == [
        "calendar.zones names 2 of 3 values of customer; by calendar.zone go corvus.",
        "calendar.zones names akme, and no entity has customer so: a mistake in writing, or one that has not come yet.",
    ]
    release = load(summary["release"], folder=Settings().releases_folder)
    assert (release.network["calendar"], release.network["static"]) == (11, 3)
    learned = contracts.parse(release.contract)
    assert learned.calendar == contracts.load(contract).calendar
    ingest(contract=str(contract), source=small_fleet.live)
    score(contract=str(contract))
    covered = lake_of(learned, settings=Settings()).read("coverage", schema=COVERAGE).collect()
    assert covered.filter(covered[STATE] == "scored").height > 0.95 * covered.height > 0
    contract.write_text(small_contract() + LOCAL.replace('["region"]', "[]"), encoding="utf-8")
    with pytest.raises(ReleaseError, match="or other attributes or holidays"):
        recalibrate(contract=str(contract))
