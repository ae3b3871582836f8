"""Who is worked on is not judged: no verdict, no incident, and a window that is declared or taken back later is as one from the start."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from telemetry import maintenance
from telemetry.schema import AT, ENTITY, START, SURPRISE, TARGET, VERDICT
from tests.flows.places import Place, assert_same, at, make_places, rows_of, states

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    """Lakes of their own."""
    return make_places(tmp_path)


def work_on(place: Place, pattern: str, steps: range) -> None:
    """Declare a window."""
    maintenance.declare(place.lake, pattern=pattern, start=at(steps.start), end=at(steps.stop), reason="disks", now=at(0))


def test_a_minute_in_maintenance_is_judged_so_whether_rows_come_or_not(place: Callable[..., Place]) -> None:
    found = place(thresholds={"open_minutes": 1, "open_within": 1, "close_minutes": 1})
    found.arrive(rows_of({"a": [*range(180), *range(190, 220)], "b": list(range(220))}))
    work_on(found, "a*", range(170, 200))
    found.score()
    assert states(found, entity="a", steps=range(168, 202)) == ["scored"] * 2 + ["maintenance"] * 30 + ["scored"] * 2
    assert set(states(found, entity="b", steps=range(168, 202))) == {"scored"}
    told = found.table("scores").filter(pl.col(ENTITY) == "a", pl.col(AT).is_between(at(170), at(200), closed="left"))
    assert set(told[VERDICT]) == {"maintenance"}
    assert told[SURPRISE].null_count() == told.height == 2 * 20
    opened = found.table("incidents").filter(pl.col(ENTITY) == "a")
    assert opened.filter(pl.col(START).is_between(at(170), at(199))).is_empty()
    assert opened.filter(pl.col(TARGET) == "silence").is_empty()


def test_who_is_still_silent_when_the_work_is_over_is_told_from_then_on(place: Callable[..., Place]) -> None:
    found = place()
    found.arrive(rows_of({"a": list(range(180)), "b": list(range(220))}))
    work_on(found, "a", range(175, 200))
    found.score()
    silent = found.table("incidents").filter(pl.col(TARGET) == "silence")
    assert silent.select("incident", START, "opened", "peak").rows() == [("a@2026-01-03T02:00:00Z/silence", at(200), at(205), 4.0)]


@pytest.mark.parametrize("portions", [(150, 230, 260), (120, 121, 195, 200, 260)])
def test_a_window_declared_or_taken_back_afterwards_is_as_one_from_the_start(
    place: Callable[..., Place], portions: tuple[int, ...]
) -> None:
    every = rows_of({"a": list(range(260)), "b": list(range(260))})
    found, expected = place(), place("in_time")
    work_on(found, "b", range(140, 160))
    for step in portions:
        found.arrive(every.filter(pl.col(AT) < at(step)))
        found.score()
    work_on(found, "a", range(150, 190))
    found.score()
    maintenance.withdraw(found.lake, pattern="b", start=at(140), now=at(0))
    found.score()
    work_on(expected, "a", range(150, 190))
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)
    before = found.versions()
    found.score()
    assert found.versions() == before
