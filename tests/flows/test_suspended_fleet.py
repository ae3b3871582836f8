"""A unit that breaks in a fleet with a champion, minute by minute: quarantined, told, scored on the others, and back again."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.lakes import lake_of
from flows.score import score
from flows.settings import Settings
from telemetry import contract as contracts
from telemetry.lake import Lake
from telemetry.schema import AT, COVERAGE, END, ENTITY, INCIDENTS, SCORES, STATE, TARGET, TIME, VERDICT
from tests.flows.conftest import Released

pytestmark = [pytest.mark.service, pytest.mark.slow]
MINUTE = timedelta(minutes=1)
BROKEN, BACK = 600, 630
"""Minutes of the live day."""
PARAMETER = "queries"
Told = dict[str, Any]  # Any: plain JSON


@pytest.fixture
def live(released: Released, tmp_path: Path) -> tuple[datetime, str, Callable[[int, int], Told]]:
    """The first minute of a day that comes minute by minute, whose unit breaks in it, and a way to let minutes come and be scored."""
    day = pl.read_parquet(Path(released.fleet.live) / "*.parquet")
    begin, first = day["time"].min(), day.sort("customer", "region").row(0, named=True)
    assert isinstance(begin, datetime)
    mine = (pl.col("customer") == first["customer"]) & (pl.col("region") == first["region"])
    wrong = mine & pl.col("time").is_between(begin + BROKEN * MINUTE, begin + BACK * MINUTE, closed="left")
    rows = day.with_columns(pl.when(wrong).then(pl.col(PARAMETER) * 1000).otherwise(PARAMETER).alias(PARAMETER))

    def come(since: int, until: int) -> Told:
        path = tmp_path / "live" / f"{since}.parquet"
        path.parent.mkdir(exist_ok=True)
        part = pl.col("time").is_between(begin + since * MINUTE, begin + until * MINUTE, closed="left")
        rows.filter(part).write_parquet(path)
        return score(contract=released.fleet.contract, source=str(path.parent))

    return begin, f"{first['customer']}/{first['region']}", come


def said(*arguments: str) -> Told:
    """What a command prints for machines."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    found: Told = json.loads(result.stdout.splitlines()[-1])
    return found


def of_entity(lake: Lake, table: str, schema: Any, *, entity: str, since: datetime, column: str = AT) -> pl.DataFrame:
    """Rows of a table from an instant on."""
    rows = lake.read(table, schema=schema).filter(pl.col(ENTITY) == entity, pl.col(column) >= pl.lit(since).cast(TIME))
    return rows.sort(column).collect()


def test_a_unit_that_breaks_is_quarantined_within_three_minutes_and_comes_back(
    live: tuple[datetime, str, Callable[[int, int], Told]], released: Released
) -> None:
    begin, entity, come = live
    contract, broken = released.fleet.contract, begin + BROKEN * MINUTE
    lake = lake_of(contracts.load(Path(contract)), settings=Settings())
    assert come(0, BROKEN)["suspended"] == 0
    minutes = [come(BROKEN + n, BROKEN + n + 1) for n in range(4)]
    assert [told["suspended"] for told in minutes] == [0, 0, 1, 1]
    assert f"quarantined: {PARAMETER} of {entity}" in minutes[2]["sentence"]
    scores = of_entity(lake, "scores", SCORES, entity=entity, since=broken)
    others = scores.filter(pl.col(TARGET) != PARAMETER)
    assert scores.filter(pl.col(TARGET) == PARAMETER)[VERDICT].to_list() == ["quarantined"] * 4
    assert others.height == 4 * (4 + 1)  # the other targets, and all of them together
    assert set(others[VERDICT]) <= {"normal", "anomalous"}
    assert of_entity(lake, "coverage", COVERAGE, entity=entity, since=broken)[STATE].to_list() == ["scored"] * 4
    assert of_entity(lake, "incidents", INCIDENTS, entity=entity, since=broken, column=END).is_empty()
    page = Path(minutes[3]["page"]).read_text(encoding="utf-8")
    assert 'id="suspended"' in page
    assert "looks like a unit changed by x1000" in page
    (told,) = said("suspensions", "list", "--contract", contract)["suspensions"]
    assert (told["entity"], told["parameter"], told["since"], told["cause"]) == (entity, PARAMETER, broken.isoformat(), "x1000")
    back = come(BROKEN + 4, BACK + 3)
    assert back["suspended"] == 0
    (ended,) = said("suspensions", "list", "--contract", contract, "--all")["suspensions"]
    assert ended["until"] == (begin + BACK * MINUTE).isoformat()
    verdicts = of_entity(lake, "scores", SCORES, entity=entity, since=begin + BACK * MINUTE).filter(pl.col(TARGET) == PARAMETER)[VERDICT]
    assert verdicts.len() == 3
    assert "quarantined" not in verdicts
    assert of_entity(lake, "incidents", INCIDENTS, entity=entity, since=broken, column=END).is_empty()


def test_what_an_operator_lifts_is_scored_from_there(live: tuple[datetime, str, Callable[[int, int], Told]], released: Released) -> None:
    begin, entity, come = live
    contract = released.fleet.contract
    assert come(0, BROKEN + 5)["suspended"] == 1
    text = CliRunner().invoke(app, ["suspensions", "list", "--contract", contract]).stdout
    assert "1 parameters are quarantined. If it is right as it is: tidewatch suspensions lift." in text
    lifted = said("suspensions", "lift", entity, PARAMETER, "--at", (begin + BROKEN * MINUTE).isoformat(), "--contract", contract)
    assert lifted["lifted"] == (begin + BROKEN * MINUTE).isoformat()
    told = score(contract=contract)
    assert (told["suspended"], told["scored_minutes"]) == (0, 0)
    lake = lake_of(contracts.load(Path(contract)), settings=Settings())
    scores = of_entity(lake, "scores", SCORES, entity=entity, since=begin + BROKEN * MINUTE).filter(pl.col(TARGET) == PARAMETER)
    assert scores[VERDICT].to_list() == ["anomalous"] * 5
    again = CliRunner().invoke(app, ["suspensions", "lift", entity, PARAMETER, "--contract", contract])
    assert again.exit_code == 2
    assert "is not suspended" in again.stderr
