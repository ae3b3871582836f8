"""Incidents and groups as they are told live: at their onset, whoever falls silent, and the same as if all had been in time.

The network is not trained: what is tested holds for any weights.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows.opened import Due, tell
from serving.incidents import open_incidents
from serving.stretches import CHANGES
from telemetry.lake import Lake
from telemetry.maintenance import PERIODS
from telemetry.revisions import Span, replace
from telemetry.schema import AT, END, ENTITY, FEED, GROUP, INCIDENT, INCIDENTS, LABEL_SET, OPENED, SCORES, SOURCES, START, TARGET
from telemetry.tables import DAY
from tests.flows.places import ENTITIES, Place, assert_same, at, declare, make_places, rows_of

pytestmark = pytest.mark.slow
QUIET = {"thresholds": {"open_minutes": 5, "open_within": 5, "reopen_minutes": 0, "flaps": 0}}
"""Nothing is damped."""


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    """Lakes of their own."""
    return make_places(tmp_path)


def silences(place: Place) -> list[tuple[object, ...]]:
    told = place.table("incidents").filter(pl.col(TARGET) == "silence")
    return told.select(ENTITY, START, OPENED, END).rows()


def arrive_live(place: Place, steps: range, *, entities: tuple[str, ...] = ENTITIES) -> None:
    """Rows that come as they are measured."""
    place.arrive(rows_of({entity: list(steps) for entity in entities}))
    for step in steps[-8:]:
        place.lake.mark(feed="f", newest=at(step), at=at(step + 1))
        one = {column: ["x"] if kind == pl.String else [step] for column, kind in SOURCES.items()} | {FEED: ["f"], AT: [at(step + 1)]}
        place.lake.remember(pl.DataFrame(one | {"fingerprint": [str(step)]}, schema=SOURCES))


def test_one_that_falls_silent_is_told_at_its_onset(place: Callable[..., Place]) -> None:
    found = place(**QUIET)
    found.arrive(rows_of({"a": list(range(204)), "b": list(range(200))}))
    found.score()
    assert silences(found) == []
    found.arrive(rows_of({"a": [204]}))
    found.score()
    assert silences(found) == [("b", at(200), at(205), at(205))]
    found.arrive(rows_of({"a": list(range(205, 260))}))
    found.score()
    assert silences(found) == [("b", at(200), at(205), at(260))]
    found.arrive(rows_of({"a": [260], "b": [260]}))
    found.score()
    assert silences(found) == [("b", at(200), at(205), at(260))]


def test_where_nothing_comes_any_more_the_clock_tells_of_it_and_all_are_one_group(place: Callable[..., Place]) -> None:
    found = place(**QUIET)
    arrive_live(found, range(200))
    found.score(now=at(206))  # a step comes every 15 minutes, and may come half an hour late
    assert silences(found) == []
    done = found.score(now=at(207))
    assert done.until == at(200)
    assert silences(found) == [(entity, at(200), at(205), at(205)) for entity in ENTITIES]
    groups = found.table("groups")
    silent = groups.filter(pl.col(INCIDENT).str.ends_with("/silence"))
    assert silent.select(LABEL_SET, ENTITY).rows() == [("everyone", entity) for entity in ENTITIES]
    assert (groups[INCIDENT].null_count(), silent[GROUP].n_unique()) == (0, 1)
    found.score(now=at(220))
    assert silences(found) == [(entity, at(200), at(205), at(218)) for entity in ENTITIES]
    assert set(silent[GROUP]) <= set(found.table("groups")[GROUP])
    before = found.versions()
    found.score(now=at(220))
    assert found.versions() == before


def test_rows_that_wait_for_a_slow_feed_are_no_silence_and_rows_that_come_after_all_end_it(place: Callable[..., Place]) -> None:
    patient = QUIET | {"late": {"silence_minutes": 600}}
    found, expected = place(**patient), place("in_time", **patient)
    arrive_live(found, range(200))
    found.lake.mark(feed="slow", newest=at(202), at=at(203))
    arrive_live(found, range(200, 203), entities=("a", "b"))
    found.score(now=at(203))
    arrive_live(found, range(203, 212), entities=("a",))
    done = found.score(now=at(214))
    assert (done.until, done.waits_for) == (at(203), "slow")
    for entity, start in (("b", 203), ("c", 200)):
        assert (entity, at(start), at(start + 5), at(212)) in silences(found)
    assert "a" not in [row[0] for row in silences(found)]  # its rows are there, and wait to be scored
    found.arrive(rows_of({"b": list(range(203, 216)), "c": list(range(200, 216)), "a": list(range(212, 216))}))
    found.lake.mark(feed="slow", newest=at(215), at=at(216))
    found.lake.mark(feed="f", newest=at(215), at=at(216))
    found.score(now=at(216))
    expected.arrive(rows_of({entity: list(range(216)) for entity in ENTITIES}))
    expected.score(now=at(216))
    assert silences(found) == []
    assert_same(found, expected)


def test_telemetry_of_long_ago_is_not_missed_by_the_clock(place: Callable[..., Place]) -> None:
    found = place(**QUIET)
    found.arrive(rows_of({"a": list(range(200))}))
    for step in range(190, 200):
        found.lake.mark(feed="f", newest=at(step), at=at(step + 4_000))
    found.score(now=at(4_300))
    assert silences(found) == []


def drawn(seed: int) -> pl.DataFrame:
    """SCORES of two entities that go bad every now and then, for a step or for some, at distances from a few steps on."""
    random = np.random.default_rng(seed)
    rows = []
    for entity in ("a", "b"):
        bad = np.concatenate(
            [np.arange(240) < 0, *(np.arange(gap + length) >= gap for gap, length in random.integers((3, 1), (20, 5), (40, 2)))]
        )
        told = [2.0 if is_bad else 0.1 for is_bad in bad[240:480]]
        rows += [(entity, at(n), "queries", 1.0, 1.0, z, "anomalous" if z > 1 else "normal", "r") for n, z in enumerate(told)]
    return pl.DataFrame(rows, schema=SCORES, orient="row")


@pytest.mark.parametrize("seed", range(4))
def test_told_bit_by_bit_is_as_told_at_once(tmp_path: Path, seed: int) -> None:
    damped = {"open_minutes": 2, "open_within": 2, "close_minutes": 3, "reopen_minutes": 4, "flaps": 2, "flap_minutes": 30}
    contract, scores = declare(thresholds=damped), drawn(seed)
    lake, frontier = Lake(str(tmp_path / "lake")), 0
    there = scores.lazy().select(ENTITY, AT, pl.col(AT).dt.date().alias(DAY))
    for until in sorted({*np.random.default_rng(seed).integers(1, 240, size=25).tolist(), 240}):
        told = scores.filter(pl.col(AT) >= at(frontier), pl.col(AT) < at(until))
        replace(lake, "scores", told, span=Span(release="r", since=at(frontier), until=at(until)), schema=SCORES)
        due = Due(
            lake=lake,
            release="r",
            contract=contract,
            frontier=at(frontier),
            until=at(until),
            heard=at(until),
            changes=pl.DataFrame(schema=CHANGES),
            rows=lambda since: there.filter(pl.col(AT) >= since),
            worked_on=pl.DataFrame(schema=PERIODS),
        )
        tell(due)
        frontier = until
    expected = open_incidents(scores, policy=contract.thresholds, cadence_seconds=900, until=at(240), departed_days=1)
    found = lake.read("incidents", schema=INCIDENTS).collect().sort(ENTITY, START, TARGET)
    assert_frame_equal(found, expected)
    undamped = contract.thresholds.model_copy(update={"reopen_minutes": 0, "flaps": 0})
    assert 2 < found.height < open_incidents(scores, policy=undamped, cadence_seconds=900).height - 2  # much was damped, and not all
