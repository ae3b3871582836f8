"""While an incident is open, live scoring goes on from forecasts: the fault does not become normal, in whatever portions one scores."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flows.feeding import guard_of
from flows.prepare import build
from telemetry.schema import AT, ENTITY, FORECAST, START, TARGET, THRESHOLD, THRESHOLDS
from tests.flows.places import Place, assert_same, at, make_places, rows_of

pytestmark = pytest.mark.slow
OUTAGE = range(150, 230)
"""20 hours, over the end of a stretch at 192: the next one's state would begin within it, were it not for the context."""
FAR = 50.0


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    """Lakes of their own, and a release that is surprised by the outage alone."""
    places = make_places(tmp_path)

    def build(name: str = "lake", **sections: Any) -> Place:
        made = places(name, **sections)
        thresholds = made.release.thresholds.with_columns(pl.lit(20.0).alias(THRESHOLD))
        return replace(made, release=replace(made.release, thresholds=thresholds))

    return build


def outage(*, until: int = 300) -> pl.DataFrame:
    """Quiet readings, of which queries of "a" are far off for a while."""
    rows = rows_of({"a": list(range(until)), "b": list(range(until))})
    quiet = rows.with_columns(pl.col("queries", "cpu", "users").tanh())
    hit = (pl.col(ENTITY) == "a") & pl.col(AT).is_between(at(OUTAGE.start), at(OUTAGE.stop), closed="left")
    return quiet.with_columns(pl.when(hit).then(pl.col("queries") + FAR).otherwise("queries").alias("queries"))


def forecasts(place: Place, *, steps: range) -> list[float]:
    """What was expected of queries of "a"."""
    rows = place.table("scores").filter(pl.col(ENTITY) == "a", pl.col(TARGET) == "queries").select(AT, FORECAST)
    told = dict(rows.rows())
    return [told[at(step)] for step in steps]


def incidents(place: Place) -> list[tuple[Any, ...]]:
    """Of "a": from when until when."""
    return place.table("incidents").filter(pl.col(ENTITY) == "a").select(START, "end").rows()


def test_a_fault_does_not_become_normal_before_it_ends(place: Callable[..., Place]) -> None:
    fed, plain = place(), place("plain", thresholds={"feed_forecasts": False})
    for one in (fed, plain):
        one.arrive(outage())
        one.score()
    assert max(map(abs, forecasts(fed, steps=OUTAGE))) < FAR / 5
    assert min(forecasts(plain, steps=OUTAGE[1:])) > FAR * 4 / 5
    ((start, end),) = incidents(fed)
    assert start == at(OUTAGE.start)
    assert end >= at(OUTAGE.stop)


def test_it_does_not_matter_in_which_portions_an_outage_is_scored(place: Callable[..., Place]) -> None:
    found, expected = place(), place("backlog")
    every = outage()
    for step in (*range(148, 156), 191, 193, 194, 227, *range(229, 240), 300):
        found.arrive(every.filter(pl.col(AT) < at(step)))
        found.score()
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)


def test_what_lasts_longer_than_the_contract_allows_is_accepted_and_told(
    place: Callable[..., Place], caplog: pytest.LogCaptureFixture
) -> None:
    found = place(thresholds={"accept_hours": 5.0})
    found.arrive(outage())
    with caplog.at_level(logging.WARNING, logger="flows.feeding"):
        found.score()
    expected = forecasts(found, steps=OUTAGE)
    assert max(map(abs, expected[:20])) < FAR / 5
    assert min(expected[25:]) > FAR * 4 / 5
    told = caplog.records[0].getMessage()  # the next is of the way back
    assert told.startswith(f"a was in an incident for 5 hours at {at(172):%Y-%m-%d %H:%M} UTC: its level is taken for normal")


def test_the_guard_knows_entities_and_targets_by_their_names(place: Callable[..., Place]) -> None:
    one = place()
    one.arrive(rows_of({"b": list(range(9)), "c": list(range(9))}))
    panel = build(one.lake.grid(contract=one.contract), lake=one.lake, contract=one.contract, scales=one.release.scales, parts=None)
    rows = [("b", "cpu", 1, 0.5, 3.0, 9), ("b", "cpu", 3, 0.6, 3.0, 9), ("b", "queries", 1, 0.7, 4.0, 9), ("b", "joint", 1, 0.1, 1.0, 9)]
    told = pl.DataFrame(rows, schema=THRESHOLDS, orient="row")
    guard = guard_of(told, panel=panel, leads=(1, 3), contract=one.contract)
    assert guard is not None
    np.testing.assert_allclose(guard.usual[0], [[0.7, 0.5], [np.inf, 0.6]])
    np.testing.assert_allclose(guard.bars[0], [4.0, 3.0])
    np.testing.assert_allclose(guard.usual[1], guard.usual[0])  # "c" has none of its own
    assert (guard.longest, guard.settle, guard.open_steps) == (96, 4, 3)
