"""Time cut into stretches, and which of them a late reading concerns."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from serving.stretches import Progress, between, filled, influence, length, merged, progress, remember, touched
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.schema import END, ENTITY, START, TIME

ZERO = datetime(1970, 1, 1, tzinfo=UTC)


def declare(**parameter: Any) -> Contract:
    """Stretches of 64 minutes, each warmed up on 17 before it."""
    told = {
        "name": "small",
        "entity": {"keys": ["customer"]},
        "time": {"column": "time"},
        "windows": {"time_steps": 4, "warmup_steps": 0},
        "parameters": {"queries": {"unit": "count", "target": True} | parameter},
        "thresholds": {"feed_forecasts": False},
    }
    return contracts.parse(told)


def at(minute: float) -> datetime:
    """So many minutes after the first stretch began."""
    return ZERO + timedelta(minutes=minute)


def minutes(instant: datetime) -> float:
    """The other way round."""
    return (instant - ZERO) / timedelta(minutes=1)


def changes(*told: tuple[str, float, float]) -> pl.DataFrame:
    """`entity, start, end`."""
    rows = [(entity, at(start), at(end)) for entity, start, end in told]
    return pl.DataFrame(rows, schema={ENTITY: pl.String, START: TIME, END: TIME}, orient="row")


def concerned(*told: tuple[str, float, float], contract: Contract) -> dict[float, tuple[str, ...]]:
    """The entities by the minute in which a stretch begins."""
    found = touched(changes(*told), contract=contract, after=influence(contract))
    return {minutes(stretch.start): entities for stretch, entities in found.items()}


def test_a_stretch_is_warmed_up_from_before_any_incident_that_may_be_open_when_it_begins() -> None:
    plain = declare(missing="zero")
    fed = plain.model_copy(update={"thresholds": plain.thresholds.model_copy(update={"feed_forecasts": True, "accept_hours": 2.0})})
    before, after = (next(between(at(0), at(1), contract=contract)) for contract in (plain, fed))
    assert (before.anchor - after.anchor, after.start, after.reach) == (timedelta(hours=2), before.start, before.reach)
    assert influence(fed) - influence(plain) == timedelta(hours=2)


def test_stretches_are_the_same_whatever_one_asks_for() -> None:
    contract = declare()
    assert length(contract) == timedelta(minutes=64)
    found = list(between(at(10), at(129), contract=contract))
    assert [(minutes(s.anchor), minutes(s.start), minutes(s.end)) for s in found] == [(-17, 0, 64), (47, 64, 128), (111, 128, 192)]
    assert list(between(at(63), at(128), contract=contract)) == found[:2]
    assert list(between(at(10), at(10), contract=contract)) == []
    assert merged(found[1:], found[:2]) == found


def test_a_late_minute_concerns_its_own_stretch_and_those_that_are_warmed_up_on_it() -> None:
    contract = declare()
    assert concerned(("a", 46, 47), contract=contract) == {0: ("a",)}
    assert concerned(("a", 47, 48), contract=contract) == {0: ("a",), 64: ("a",)}
    assert concerned(("a", 63, 64), ("b", 64, 65), ("a", 1, 2), contract=contract) == {0: ("a",), 64: ("a", "b")}
    assert concerned(("a", -1, 130), contract=contract) == {-64: ("a",), 0: ("a",), 64: ("a",), 128: ("a",)}
    assert concerned(contract=contract) == {}


def test_a_value_that_is_carried_on_reaches_further_into_the_next_stretch() -> None:
    contract = declare(missing="previous", previous_steps=3)
    assert concerned(("a", 43, 44), contract=contract) == {0: ("a",)}
    assert concerned(("a", 44, 45), contract=contract) == {0: ("a",), 64: ("a",)}


@pytest.mark.parametrize(("policy", "looks_on"), [("mark", False), ("ignore", False), ("zero", True), ("previous", True)])
def test_a_stretch_looks_beyond_its_end_only_where_a_later_row_fills_a_gap(policy: str, looks_on: bool) -> None:
    contract = declare(missing=policy)
    assert filled(contract) is looks_on
    (stretch,) = between(at(0), at(1), contract=contract)
    assert minutes(stretch.reach) == (81 if looks_on else 64)


def test_how_far_a_release_has_scored_is_remembered(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    assert progress(lake, release="r") is None
    for grid in (1, 2):
        remember(lake, release="r", done=Progress(until=at(grid), grid=grid, entities=0))
    remember(lake, release="s", done=Progress(until=at(9), grid=0, entities=-1))
    assert progress(lake, release="r") == Progress(until=at(2), grid=2, entities=0)
    assert progress(lake, release="s") == Progress(until=at(9), grid=0, entities=-1)
