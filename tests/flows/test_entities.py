"""Who is there, who is new, who has departed and who came back, as it is told."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from flows import entities
from flows.lakes import lake_of
from flows.settings import Settings
from telemetry import contract as contracts
from telemetry.resample import entities_from
from telemetry.schema import AT, COHORT, ENTITY, REVISION, TIME

START = datetime(2026, 1, 1, tzinfo=UTC)
CONTRACT = """
name = "small"
[entity]
keys = ["customer", "region"]
cohort = "region"
[time]
column = "time"
cadence_seconds = 3600
[newcomer]
days = 5
departed_days = 7
[parameters.queries]
unit = "count"
target = true
"""


@pytest.fixture
def contract(home: Path, tmp_path: Path) -> str:
    """Of a lake in which acme was always there, late came on day 17, gone left on day 3, and back was away twice."""
    path = tmp_path / "small.toml"
    path.write_text(CONTRACT, encoding="utf-8")
    seen = {"acme/eu": range(20), "back/eu": [0, 9, 18, 19], "gone/us": range(4), "late/us": range(17, 20)}
    told = [(entity, entity[-2:], START + timedelta(days=day), 1.0, 1) for entity, days in seen.items() for day in days]
    schema = {ENTITY: pl.String, COHORT: pl.String, AT: TIME, "queries": pl.Float64, REVISION: pl.Int64}
    rows = pl.DataFrame(told, schema=schema, orient="row")
    declared = contracts.load(path)
    lake = lake_of(declared, settings=Settings())
    lake.merge_readings(rows, contract=declared)
    lake.see(entities_from(rows.lazy()))
    return str(path)


def test_every_entity_is_told_with_its_state_and_since_when(contract: str) -> None:
    told = entities.told(contract, settings=Settings())
    assert entities.as_text(told).splitlines() == [
        "acme/eu  present   seen 2026-01-01 to 2026-01-20",
        "back/eu  present   seen 2026-01-01 to 2026-01-20, returned 2026-01-19 (2 times in all)",
        "gone/us  departed  seen 2026-01-01 to 2026-01-04, departed since 2026-01-12",
        "late/us  newcomer  seen 2026-01-18 to 2026-01-20",
        "4 entities as of 2026-01-20 01:00: 1 newcomer, 2 present, 1 departed.",
    ]
    assert told["entities"][2]["departed_at"] == date(2026, 1, 12)
    assert {entity["cohort"] for entity in told["entities"]} == {"eu", "us"}
    assert json.loads(json.dumps(told, default=str))["newcomer"] == 1


def test_later_on_all_that_are_silent_have_departed(contract: str) -> None:
    told = entities.told(contract, settings=Settings(), now=START + timedelta(days=40))
    assert (told["newcomer"], told["present"], told["departed"]) == (0, 0, 4)


def test_nobody_was_seen_in_a_lake_that_is_empty(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(CONTRACT, encoding="utf-8")
    told = entities.told(str(path), settings=Settings(), now=START)
    assert entities.as_text(told) == "0 entities as of 2026-01-01 00:00: 0 newcomer, 0 present, 0 departed."
