"""What the benchmark of the parallel test makes of incidents, labels and alerts: see tests/benchmarks/parallel_test.py."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from telemetry.schema import (
    AT,
    END,
    ENTITY,
    INCIDENT,
    INCIDENTS,
    KIND,
    LABEL,
    LABELS,
    NEWCOMER,
    OPENED,
    PEAK,
    RELEASE,
    STANDSTILL,
    START,
    SURPRISE,
    TARGET,
    conform,
)

pytestmark = pytest.mark.slow  # the flows take seconds to import

ROOT = Path(__file__).resolve().parents[2]
BEGIN = datetime(2026, 3, 2, 12, tzinfo=UTC)
MET: dict[str, Any] = {
    "incidents": 30,
    "found": 30,
    "false_per_customer_week": 0.4,
    "minutes_to_detect": 4.0,
    "promised_rate": 1.0,
    "realised_rate": 1.1,
    "newcomer_minutes": 20,
    "newcomer_false_per_customer_week": 0.9,
}


def minute(number: float) -> datetime:
    return BEGIN + timedelta(minutes=number)


def incidents(*spans: tuple[float, float, float], entity: str = "acme/eu") -> pl.DataFrame:
    """INCIDENTS from (start, opened, end)."""
    rows = [
        {
            INCIDENT: f"{entity}@{start}",
            ENTITY: entity,
            START: minute(start),
            OPENED: minute(opened),
            END: minute(end),
            PEAK: 2.0,
            TARGET: "queries",
            RELEASE: "r",
        }
        for start, opened, end in spans
    ]
    return conform(pl.DataFrame(rows, schema=dict(INCIDENTS)), INCIDENTS, name="incidents")


def labels(*spans: tuple[float, float], entity: str = "acme/eu") -> pl.DataFrame:
    rows = [{ENTITY: entity, START: minute(start), END: minute(end), KIND: "local"} for start, end in spans]
    told = conform(pl.DataFrame(rows, schema=dict(LABELS)), LABELS, name="labels")
    return told.with_columns(mature=pl.lit(value=True), event=pl.int_range(pl.len()).cast(pl.String))


def test_only_an_incident_that_opens_during_a_label_finds_it() -> None:
    from tests.benchmarks.judgement.figures import labelled

    asked = labels((0, 30), (100, 130), (200, 230), (300, 330))
    told = labelled(incidents((2, 5, 20), (-50, -47, 125), (225, 235, 300), (338, 341, 350)), labels=asked)
    assert told["minutes_to_detect"].to_list() == [5.0, None, 35.0, None]
    assert told["found"].to_list() == [True, False, True, False]


def test_alerts_that_overlap_are_one_and_others_are_not() -> None:
    from tests.benchmarks.judgement.rules import merged

    told = merged(pl.concat([incidents((0, 5, 20), (10, 15, 40), (41, 45, 50)), incidents((0, 5, 20), entity="elm/us")]))
    assert told.select(ENTITY, OPENED, END).rows() == [
        ("acme/eu", minute(5), minute(40)),
        ("acme/eu", minute(45), minute(50)),
        ("elm/us", minute(5), minute(20)),
    ]


def test_the_realised_rate_leaves_incidents_and_their_wakes_out_and_tells_what_they_would_add() -> None:
    from tests.benchmarks.judgement.figures import MINUTES_OF_WEEK, rates

    minutes = pl.DataFrame(
        {
            ENTITY: ["a"] * 4 + ["b"] * 4,
            AT: [minute(step) for step in range(8)],
            TARGET: ["queries"] * 8,
            SURPRISE: [2.0, 2.0, 2.0, 0.5, 0.5, 0.5, 0.5, 3.0],
            LABEL: [True, False, False, False] + [False] * 4,
            "wake": [False, True, False, False] + [False] * 4,
            NEWCOMER: [False] * 7 + [True],
        }
    )
    told = rates(minutes, promised=1.0)
    assert told["realised_rate"] == pytest.approx(MINUTES_OF_WEEK / 5)
    assert told["realised_rate_with_wakes"] == pytest.approx(MINUTES_OF_WEEK / 3)
    assert told["realised_rate_newcomers"] == MINUTES_OF_WEEK
    assert (told["realised_least_entity"], told["realised_worst_entity"]) == (0.0, MINUTES_OF_WEEK / 2)
    still = pl.concat([minutes, minutes.with_columns(pl.lit(STANDSTILL).alias(TARGET))])
    assert rates(still, promised=1.0) == told  # of a standstill nothing is promised


@pytest.mark.parametrize(("age", "free"), [(0, True), (80, False), (120, False), (269, False), (270, True)])
def test_no_fault_is_planted_where_a_labelled_incident_is_or_could_be_open(age: int, free: bool) -> None:
    from telemetry import contract as contracts
    from tests.benchmarks.judgement import newcomers, weeks

    told = SimpleNamespace(contract=contracts.load(ROOT / "infra" / "contracts" / "fleet.toml"))
    label = pl.DataFrame({START: [minute(100)], END: [minute(230)]}).cast(pl.Datetime("us", "UTC"))
    assert newcomers._is_free(cast("weeks.Weeks", told), labels=label, at=minute(age)) is free


def test_what_is_missed_of_an_event_makes_its_median_longer() -> None:
    from tests.benchmarks.judgement.figures import median, spread

    assert median([3.0, 4.0, None]) == 4.0
    assert median([3.0, None, None]) is None
    assert spread([None])["mean"] is None


def test_the_aims_are_met_by_all_figures_or_not_at_all() -> None:
    from tests.benchmarks.parallel_test import missed

    assert missed(MET) == []
    worse: dict[str, Any] = {
        "found": 29,
        "false_per_customer_week": 1.1,
        "minutes_to_detect": None,
        "realised_rate": 0.7,
        "newcomer_minutes": 61,
        "newcomer_false_per_customer_week": 1.2,
    }
    assert [len(missed(MET | {name: value})) for name, value in worse.items()] == [1] * len(worse)


def test_the_rules_that_ship_can_all_be_followed_over_the_fleets_contract() -> None:
    from telemetry import alert_rules
    from telemetry import contract as contracts

    rules = alert_rules.load(ROOT / "infra" / "rules" / "fleet.yml")
    assert not rules.refused
    assert not alert_rules.fitting(rules, contract=contracts.load(ROOT / "infra" / "contracts" / "fleet.toml")).refused
    names = {alert.name for alert in rules.alerts}
    assert {"QueriesAreSlow", "LargeShareFails", "QueriesAreLost1d", "NothingArrives", "TelemetryStandsStill"} <= names


def test_a_small_fleet_goes_the_whole_way(tmp_path: Path) -> None:
    from tests.benchmarks.judgement.weeks import Size
    from tests.benchmarks.parallel_test import SPREAD, contract_of, lines, of_seed, summed

    size = Size(customers=3, learned_days=14, judged_days=8, matured=0, arriving=1, incidents=4, early_incidents=2, newcomer_incidents=0)
    said: list[str] = []
    record = of_seed(replace(size, epochs=1), seed=100, contract=contract_of(None), folder=tmp_path, say=said.append)
    assert record["incidents"] == 5  # four events, one of them of both regions
    assert set(SPREAD) <= set(summed([record]))
    assert {each["entity"] for each in record["newcomers"]} == {"corvus/eu", "corvus/us"}
    assert record["rules"]["found"] >= 1
    assert said == list(lines(record))
    assert json.loads(json.dumps(summed([record])))["promised_rate"] == contract_of(None).thresholds.false_alarms_per_week


def test_of_a_budget_what_thresholds_open_without_cause_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.benchmarks import budget
    from tests.benchmarks.judgement import weeks

    size = weeks.Size(
        customers=2, learned_days=4, judged_days=14, matured=0, arriving=0, incidents=1, early_incidents=0, newcomer_incidents=0
    )
    told = weeks.weeks(size, seed=100, folder=tmp_path)
    start = size.learned_at - BEGIN
    spans = [("queries", 1.0), ("queries", 9.0), ("joint", 9.5), ("silence", 2.0), (STANDSTILL, 3.0)]
    quiet = told.labels.filter(pl.col(ENTITY) == "acme/eu").is_empty()
    entity = "acme/eu" if quiet else "borealis/us"
    opened = [
        incidents(*[(minutes := (start + timedelta(days=day)).total_seconds() / 60, minutes + 3, minutes + 9)], entity=entity).with_columns(
            pl.lit(target).alias(TARGET)
        )
        for target, day in spans
    ]
    asked: list[Any] = []

    def judged(told: weeks.Weeks, **_: Any) -> SimpleNamespace:
        asked.append(told.contract.thresholds)
        return SimpleNamespace(incidents=pl.concat(opened))

    monkeypatch.setattr(budget.weeks, "judged", judged)
    found = [
        budget.of_budget(told, budget=budget.budget_of(text), candidate=cast(Any, None), parts=pl.DataFrame(), folder=tmp_path)
        for text in ("1/customer_week", "2/shift")
    ]
    assert [each["incidents"] for each in found] == [3, 3]
    assert [each["units"] for each in found] == [pytest.approx(4.0), 42]  # two customers for two weeks; three shifts a day
    assert [each["ratio"] for each in found] == [pytest.approx(0.75), pytest.approx(3 / 42 / 2)]
    assert found[0]["by_week"] == [1, 2]
    assert [policy.budget.per for policy in asked] == ["customer_week", "shift"]
    assert told.contract.thresholds.budget is None
    assert budget.together(found)["incidents"] == 6
    with pytest.raises(ValueError, match="month"):
        budget.budget_of("1/month")
