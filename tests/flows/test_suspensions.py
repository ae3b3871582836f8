"""A parameter whose unit breaks while it is watched: what is not believed, since when and until when, and what becomes of the scores."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flows import suspensions as suspending
from flows import verdicts
from telemetry import revisions
from telemetry.schema import (
    AT,
    CAUSE,
    CLOSED_AT,
    END,
    ENTITY,
    FOUND_AT,
    LIFTS,
    PARAMETER,
    RELEASE,
    REVISION,
    SCALES,
    START,
    SURPRISE,
    TARGET,
    TIME,
    VERDICT,
)
from tests.flows.places import ENTITIES, SCORED_FROM, Place, assert_same, at, make_places, states

pytestmark = pytest.mark.slow
LEVELS = {"queries": (1000.0, 0), "cpu": (40.0, 2), "users": (300.0, 0)}
"""What each parameter usually tells, and with how many digits."""
Rows = pl.DataFrame


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    """Lakes of their own, and a release that knows the levels: what is usual is normal."""
    places = make_places(tmp_path)

    def build(name: str = "lake", **sections: Any) -> Place:
        made = places(name, **sections)
        scales = [(entity, parameter, level, 0.5 * level, 99) for entity in ENTITIES for parameter, (level, _) in LEVELS.items()]
        return replace(made, release=replace(made.release, scales=pl.DataFrame(scales, schema=SCALES, orient="row")))

    return build


def readings(steps: dict[str, range], *, seed: int = 0) -> Rows:
    """Levels with a twentieth of noise, told with few digits, as a source tells them."""
    told = []
    for entity, numbers in steps.items():
        noise = np.random.default_rng([seed, ENTITIES.index(entity)]).normal(size=(len(LEVELS), 2_000))
        for step in numbers:
            values = [round(level * (1 + 0.05 * n), digits) for (level, digits), n in zip(LEVELS.values(), noise[:, step], strict=True)]
            told.append((entity, at(step), *values, 1))
    return pl.DataFrame(told, schema={ENTITY: pl.String, AT: TIME, **dict.fromkeys(LEVELS, pl.Float64), REVISION: pl.Int64}, orient="row")


def broken(rows: Rows, *, entity: str, parameter: str, since: int, until: int = 2_000, factor: float = 1000.0) -> Rows:
    """The same with a parameter of an entity told by another factor."""
    wrong = (pl.col(ENTITY) == entity) & pl.col(AT).is_between(at(since), at(until), closed="left")
    return rows.with_columns(pl.when(wrong).then(pl.col(parameter) * factor).otherwise(parameter).alias(parameter))


def until(rows: Rows, *, step: int) -> Rows:
    """What has come before a step."""
    return rows.filter(pl.col(AT) < at(step))


def held(place: Place) -> list[tuple[str, str, str, datetime, datetime | None]]:
    """The suspensions: entity, parameter, cause, start, end."""
    return place.table("suspensions").select(ENTITY, PARAMETER, CAUSE, START, END).rows()


def verdicts_of(place: Place, *, entity: str, target: str, steps: range) -> list[str]:
    """What was said of a target, step by step."""
    rows = place.table("scores").filter(pl.col(ENTITY) == entity, pl.col(TARGET) == target)
    told = dict(rows.select(AT, VERDICT).rows())
    return [told[at(step)] for step in steps]


def lift(place: Place, *, entity: str, parameter: str, instant: datetime) -> None:
    """What an operator says."""
    place.lake.merge("lifts", pl.DataFrame([(entity, parameter, instant)], schema=LIFTS, orient="row"), keys=(ENTITY, PARAMETER, AT))


def test_a_broken_unit_is_suspended_from_its_first_value_on_and_the_others_are_scored(place: Callable[..., Place]) -> None:
    rows = broken(readings({"a": range(220), "b": range(220)}), entity="a", parameter="queries", since=200)
    found = place()
    for step in (201, 202):
        found.arrive(until(rows, step=step))
        found.score()
        assert held(found) == []
    assert verdicts_of(found, entity="a", target="queries", steps=range(200, 202)) == ["anomalous"] * 2
    found.arrive(until(rows, step=203))
    done = found.score()
    assert held(found) == [("a", "queries", "x1000", at(200), None)]
    assert done.since == at(200)
    assert verdicts_of(found, entity="a", target="queries", steps=range(200, 203)) == ["quarantined"] * 3
    assert verdicts_of(found, entity="a", target="cpu", steps=range(200, 203)) == ["normal"] * 3
    assert verdicts_of(found, entity="b", target="queries", steps=range(200, 203)) == ["normal"] * 3
    assert states(found, entity="a", steps=range(200, 203)) == ["scored"] * 3
    withheld = found.table("scores").filter(pl.col(VERDICT) == "quarantined")
    assert withheld.select(pl.col("actual", "forecast", SURPRISE).null_count()).row(0) == (3, 3, 3)


def test_it_ends_with_the_first_value_that_is_right_again(place: Callable[..., Place]) -> None:
    rows = broken(readings({"a": range(320)}), entity="a", parameter="users", since=200, until=300)
    found = place()
    found.arrive(until(rows, step=302))
    found.score()
    assert held(found) == [("a", "users", "x1000", at(200), None)]
    found.arrive(until(rows, step=303))
    done = found.score()
    assert held(found) == [("a", "users", "x1000", at(200), at(300))]
    assert found.table("suspensions").select(FOUND_AT, CLOSED_AT).row(0) == (at(203), at(303))
    assert done.since == at(300)
    found.arrive(rows)
    found.score()
    assert held(found) == [("a", "users", "x1000", at(200), at(300))]


def test_what_was_opened_by_wrong_values_is_withdrawn(place: Callable[..., Place]) -> None:
    rows = broken(readings({"a": range(240)}), entity="a", parameter="queries", since=200)
    found = place(thresholds={"open_minutes": 2, "open_within": 2, "close_minutes": 2})
    found.arrive(until(rows, step=202))
    found.score()
    assert found.table("incidents").select(START, TARGET).rows() == [(at(200), "queries")]
    found.arrive(rows)
    found.score()
    assert found.table("incidents").is_empty()


def test_an_entity_of_which_nothing_is_believed_is_quarantined(place: Callable[..., Place]) -> None:
    rows = readings({"a": range(210), "b": range(210)})
    for parameter in ("queries", "cpu"):
        rows = broken(rows, entity="a", parameter=parameter, since=200)
    found = place()
    found.arrive(rows)
    found.score()
    assert states(found, entity="a", steps=range(199, 210)) == ["scored"] + ["quarantined"] * 10
    assert states(found, entity="b", steps=range(199, 210)) == ["scored"] * 11
    assert found.table("incidents").filter(pl.col(ENTITY) == "a", pl.col(TARGET) == "silence").is_empty()


def disturbed(*, seed: int) -> tuple[Rows, np.ndarray[Any, np.dtype[np.int64]]]:
    """Readings of which some are wrong for a while, and the step at which each of them comes."""
    random = np.random.default_rng(seed)
    rows = readings({"a": range(600), "b": range(600), "c": range(150, 600)}, seed=seed)
    for _ in range(8):
        entity, parameter, factor = random.choice(ENTITIES), random.choice(list(LEVELS)), random.choice([1000.0, 0.01, -1.0, 60.0])
        since = int(random.integers(60, 560))
        length = int(random.integers(2, 150))
        rows = broken(rows, entity=entity, parameter=parameter, since=since, until=since + length, factor=float(factor))
    rows = rows.filter(pl.Series(random.random(rows.height) > 0.05))
    own = ((rows[AT] - at(0)).dt.total_minutes() // 15).to_numpy()
    delay = np.where(random.random(rows.height) < 0.05, random.integers(1, 200, size=rows.height), 0)
    return rows, own + delay


@pytest.mark.parametrize("seed", range(6))
def test_the_tables_do_not_tell_when_one_looked_nor_in_which_order_rows_and_lifts_came(place: Callable[..., Place], seed: int) -> None:
    rows, come = disturbed(seed=seed)
    random = np.random.default_rng([seed, 1])
    found, expected = place(), place("in_time")
    lifts = [(str(random.choice(ENTITIES)), str(random.choice(list(LEVELS))), at(int(random.integers(120, 560)))) for _ in range(6)]
    before = -1
    for asked in [*sorted({*random.integers(SCORED_FROM + 10, 790, size=6).tolist(), 109}), 800]:
        found.arrive(rows.filter(pl.Series((come > before) & (come <= asked))))
        if lifts and random.random() < 0.7:
            entity, parameter, instant = lifts.pop()
            for one in (found, expected):
                lift(one, entity=entity, parameter=parameter, instant=instant)
        found.score()
        before = asked
    expected.arrive(rows)
    expected.score()
    assert expected.table("suspensions").height
    assert_same(found, expected)


@pytest.mark.parametrize("deaths", range(1, 8))
def test_a_scoring_that_dies_forgets_no_suspension(place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, deaths: int) -> None:
    rows = broken(readings({"a": range(230), "b": range(230)}), entity="a", parameter="queries", since=199, until=225)
    found, expected = place(), place("in_time")
    for step in (201, 215):
        found.arrive(until(rows, step=step))
        found.score()
    found.arrive(rows)
    calls = 0

    def dies(*told: Any, **more: Any) -> int:
        nonlocal calls
        if calls == deaths:
            raise KeyboardInterrupt
        calls += 1
        return really(*told, **more)

    really = revisions.replace
    with monkeypatch.context() as patch:
        for module in (verdicts, suspending):
            patch.setattr(module, "replace", dies)
        try:
            found.score()
        except KeyboardInterrupt:
            assert calls == deaths
    found.score()
    expected.arrive(rows)
    expected.score()
    assert_same(found, expected)


def test_what_is_lifted_is_believed_from_then_on(place: Callable[..., Place]) -> None:
    rows = broken(readings({"a": range(400), "b": range(400)}), entity="a", parameter="queries", since=200)
    found, expected = place(), place("lifted_before")
    found.arrive(until(rows, step=230))
    found.score()
    lift(found, entity="a", parameter="queries", instant=at(220))
    done = found.score()
    assert (done.since, done.minutes) == (at(220), 0)
    assert held(found) == [("a", "queries", "x1000", at(200), at(220))]
    assert verdicts_of(found, entity="a", target="queries", steps=range(219, 222)) == ["quarantined", "anomalous", "anomalous"]
    found.arrive(rows)
    found.score()
    assert held(found) == [("a", "queries", "x1000", at(200), at(220))]
    lift(expected, entity="a", parameter="queries", instant=at(220))
    expected.arrive(rows)
    expected.score()
    assert_same(found, expected)


def test_what_is_lifted_at_its_start_was_none(place: Callable[..., Place]) -> None:
    rows = broken(readings({"a": range(230)}), entity="a", parameter="queries", since=200)
    found = place()
    found.arrive(rows)
    found.score()
    lift(found, entity="a", parameter="queries", instant=at(200))
    found.score()
    assert held(found) == []
    assert "quarantined" not in found.table("scores")[VERDICT]


def test_who_was_lifted_can_break_again(place: Callable[..., Place]) -> None:
    rows = broken(readings({"a": range(400)}), entity="a", parameter="queries", since=200)
    rows = broken(rows, entity="a", parameter="queries", since=300, until=350, factor=60.0)
    found = place()
    lift(found, entity="a", parameter="queries", instant=at(210))
    found.arrive(rows)
    found.score()
    assert held(found) == [("a", "queries", "x1000", at(200), at(210)), ("a", "queries", "x60", at(300), at(350))]


def test_a_newer_release_goes_on_with_what_broke_after_it_had_learned(place: Callable[..., Place]) -> None:
    rows = broken(readings({"a": range(500), "b": range(500)}), entity="a", parameter="queries", since=200)
    rows = broken(rows, entity="b", parameter="users", since=300)
    found = place()
    found.arrive(rows)
    found.score()
    manifest = dict(found.release.manifest) | {"learned_until": at(250).isoformat(), "calibrated_until": at(480).isoformat()}
    newer = replace(found, release=replace(found.release, id="newer", manifest=manifest))
    newer.score()
    told = newer.table("suspensions").filter(pl.col(RELEASE) == "newer").select(ENTITY, PARAMETER, START, END).rows()
    assert told == [("b", "users", at(300), None)]


def test_values_that_cannot_be_are_left_out_one_by_one_and_told(place: Callable[..., Place]) -> None:
    rows = readings({"a": range(210)}).with_columns(
        pl.when(pl.col(AT).is_in([at(203), at(205)])).then(pl.lit(130.0)).otherwise("cpu").alias("cpu")
    )
    parameters = {
        "queries": {"unit": "count", "aggregation": "sum", "target": True},
        "cpu": {"unit": "percent", "target": True, "maximum": 100},
        "users": {"unit": "count"},
    }
    found, warned = place(parameters=parameters), place("warned", parameters=parameters, checks={"plausible_range": "warn"})
    for one in (found, warned):
        one.arrive(rows)
    done = found.score()
    told = verdicts_of(found, entity="a", target="cpu", steps=range(202, 207))
    assert [verdict == "quarantined" for verdict in told] == [False, True, False, True, False]
    assert states(found, entity="a", steps=range(202, 207)) == ["scored"] * 5
    assert done.impossible.rows() == [("a", "cpu", at(203), at(206), 2)]
    assert warned.score().impossible.is_empty()
    assert found.score().impossible.is_empty()


def test_a_parameter_that_is_silent_for_a_while_is_still_suspended(place: Callable[..., Place]) -> None:
    rows = broken(readings({"a": range(700)}), entity="a", parameter="queries", since=200, until=650)
    found = place()
    found.arrive(rows.filter(~pl.col(AT).is_between(at(210), at(640))))
    found.score()
    assert held(found) == [("a", "queries", "x1000", at(200), at(650))]
