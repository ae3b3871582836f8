"""Scoring what is complete, and what was late after all: the tables are those of a run in which everything was in time.

The network is not trained: what is tested holds for any weights.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flows import verdicts
from telemetry.errors import EmptySourceError
from telemetry.schema import ACTUAL, AT, ENTITY, INCIDENT, TARGET
from tests.flows.places import SCORED_FROM, START, STEP, Place, assert_same, at, make_places, rows_of, states

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    """Lakes of their own."""
    return make_places(tmp_path)


def test_a_late_row_is_scored_after_all_as_if_it_had_been_in_time(place: Callable[..., Place]) -> None:
    every = rows_of({"a": list(range(260)), "b": list(range(260))})
    late = (pl.col(ENTITY) == "a") & pl.col(AT).is_between(at(180), at(190), closed="left")
    found, expected = place(), place("in_time")
    found.arrive(every.filter(~late))
    found.score()
    assert states(found, entity="a", steps=range(179, 191)) == ["scored", *["no data"] * 10, "scored"]
    assert "a@2026-01-02T21:00:00Z/silence" in found.table("incidents")[INCIDENT]
    found.arrive(every.filter(late))
    done = found.score()
    assert (done.minutes, done.late, done.since, done.until) == (0, 10, at(180), at(260))
    assert states(found, entity="a", steps=range(179, 191)) == ["scored"] * 12
    assert "a@2026-01-02T21:00:00Z/silence" not in found.table("incidents")[INCIDENT]
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)


def test_a_step_that_is_told_otherwise_is_scored_anew(place: Callable[..., Place]) -> None:
    every = rows_of({"a": list(range(200))})
    half = every.filter(pl.col(AT) == at(150)).with_columns(pl.col(AT) + STEP / 2, queries=pl.lit(50.0))
    found, expected = place(), place("in_time")
    found.arrive(every)
    found.score()
    before = found.table("scores")
    found.arrive(half)
    assert found.score().late == 1
    expected.arrive(pl.concat([every, half]))
    expected.score()
    assert_same(found, expected)
    assert not found.table("scores").equals(before)


@pytest.mark.parametrize(("seed", "missing"), [(0, "mark"), (1, "mark"), (2, "zero"), (3, "previous")])
def test_the_tables_do_not_tell_in_which_order_the_rows_came(place: Callable[..., Place], seed: int, missing: str) -> None:
    random = np.random.default_rng(seed)
    there = {"a": list(range(400)), "b": [*range(120), *range(160, 400)], "c": [*range(130, 180), *range(360, 400)]}
    every = rows_of({entity: [step for step in steps if random.random() > 0.1] for entity, steps in there.items()}, seed=seed)
    own = ((every[AT] - START).dt.total_minutes() // 15).to_numpy()
    delay = np.where(random.random(every.height) < 0.05, random.integers(1, 200, size=every.height), 0)
    come = every.with_columns(pl.Series("come", own + delay))
    found, expected = place(missing=missing), place("in_time", missing=missing)
    before = -1
    for asked in sorted({*random.integers(SCORED_FROM, 590, size=4).tolist(), 109, 600}):
        found.arrive(come.filter(pl.col("come").is_between(before, asked, closed="right")).drop("come"))
        found.score()
        before = asked
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)


def test_what_a_gap_was_is_scored_once_a_row_comes_after_it(place: Callable[..., Place]) -> None:
    found = place(missing="zero")
    gap = range(190, 195)  # over the end of a stretch, at 192
    found.arrive(rows_of({"a": list(range(190)), "b": list(range(195))}))
    found.score()
    assert states(found, entity="a", steps=gap) == ["no data"] * 5
    found.arrive(rows_of({"a": [195], "b": [195]}))
    assert found.score().minutes == 2
    assert states(found, entity="a", steps=gap) == ["scored"] * 5
    queries = found.table("scores").filter(pl.col(ENTITY) == "a", pl.col(TARGET) == "queries", pl.col(AT).is_between(at(190), at(194)))
    assert queries[ACTUAL].to_list() == [0.0] * 5


def test_asking_again_writes_nothing(place: Callable[..., Place]) -> None:
    found = place()
    found.arrive(rows_of({"a": list(range(200)), "b": list(range(190))}))
    first = found.score()
    assert (first.minutes, first.late) == (200, 0)
    before = found.versions()
    again = found.score()
    assert (again.minutes, again.late) == (0, 0)
    assert found.versions() == before


@pytest.mark.parametrize("deaths", range(1, 6))
def test_a_scoring_that_dies_is_done_again_and_repeats_nothing(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    every = rows_of({"a": list(range(260)), "b": list(range(260))})
    late = (pl.col(ENTITY) == "a") & pl.col(AT).is_between(at(120), at(130), closed="left")
    found, expected = place(), place("in_time")
    found.arrive(every.filter(~late, pl.col(AT) < at(200)))
    found.score()
    found.arrive(every)
    calls = 0

    def dies(*told: Any, **more: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == deaths:
            raise KeyboardInterrupt
        return really(*told, **more)

    really = verdicts.replace
    with monkeypatch.context() as patch:
        patch.setattr(verdicts, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            found.score()
    found.score()
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)


def test_what_was_forgotten_is_scored_anew(place: Callable[..., Place]) -> None:
    every = rows_of({"a": list(range(260))})
    late = pl.col(AT) == at(150)
    found, expected = place(), place("in_time")
    found.arrive(every.filter(~late))
    found.score()
    found.arrive(every)
    found.lake.compact("grid")
    opened = found.lake.open("grid")
    assert opened is not None
    opened.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    found.score()
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)


def test_scoring_waits_until_a_step_is_complete_in_all_feeds(place: Callable[..., Place]) -> None:
    found = place(late={"offset_minutes": 30, "silence_minutes": 120})
    found.arrive(rows_of({"a": list(range(200)), "b": list(range(196))}))
    assert found.score().until == at(200)  # without a watermark there is nothing to wait for
    found.arrive(rows_of({"a": list(range(220)), "b": list(range(216))}))
    for feed, step in (("a", 219), ("b", 215)):
        found.lake.mark(feed=feed, newest=at(step), at=at(220))
    done = found.score(now=at(220))
    assert (done.until, done.waits_for) == (at(213), "b")
    assert found.table("scores")[AT].max() == at(212)
    found.arrive(rows_of({"a": list(range(224))}))
    found.lake.mark(feed="a", newest=at(223), at=at(224))
    done = found.score(now=at(224))  # b is silent for two hours
    assert (done.until, done.late) == (at(221), 0)
    assert states(found, entity="b", steps=range(213, 221)) == ["scored"] * 3 + ["no data"] * 5
    done = found.score(now=at(300))
    assert (done.until, done.waits_for) == (at(224), None)


def test_the_departed_are_watched_no_more_until_they_return(place: Callable[..., Place]) -> None:
    day = 96
    found = place()
    found.arrive(rows_of({"a": list(range(6 * day)), "b": [*range(120), *range(5 * day + 10, 6 * day)]}))
    found.score()
    gone = states(found, entity="b", steps=range(120, 6 * day))
    assert gone[: 3 * day - 120] == ["no data"] * (3 * day - 120)
    assert gone[3 * day - 120 : 5 * day + 10 - 120] == [None] * (2 * day + 10)
    assert set(gone[5 * day + 10 - 120 :]) == {"scored"}  # no newcomer again
    silences = found.table("incidents").filter(pl.col(TARGET) == "silence")
    assert silences.select(ENTITY, "start", "end").rows() == [("b", at(120), at(3 * day))]


def test_an_older_first_reading_ends_the_time_of_a_newcomer_earlier(place: Callable[..., Place]) -> None:
    every = rows_of({"a": list(range(500)), "b": [60, *range(150, 500)]})
    first = (pl.col(ENTITY) == "b") & (pl.col(AT) == at(60))
    found, expected = place(), place("in_time")
    found.arrive(every.filter(~first))
    found.score()
    assert states(found, entity="b", steps=range(348, 438, 89)) == ["warming", "warming"]
    found.arrive(every.filter(first))
    found.score()
    assert states(found, entity="b", steps=range(347, 349)) == ["warming", "scored"]
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)


def test_an_empty_lake_cannot_be_scored(place: Callable[..., Place]) -> None:
    with pytest.raises(EmptySourceError, match="holds no grid"):
        place().score()
