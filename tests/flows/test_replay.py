"""A replay tells what live scoring wrote, and writes nothing where live scoring does.

The network is not trained: what is tested holds for any weights.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows.replay import Replayed, replay
from telemetry import maintenance
from telemetry.schema import AT, ENTITY, START, TARGET, TIME
from tests.flows.places import SCORED_FROM, Place, at, make_places, rows_of

pytestmark = pytest.mark.slow
ORDER = (ENTITY, AT, TARGET)


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    """Lakes of their own."""
    return make_places(tmp_path)


def again(place: Place, *, since: datetime, until: datetime) -> Replayed:
    """A period of a place over again."""
    return replay(place.lake, release=place.release, contract=place.contract, since=since, until=until, folder=place.folder / "again")


@pytest.mark.parametrize("sections", [{}, {"late": {"offset_minutes": 30}}, {"missing": "zero"}])
def test_a_replay_tells_what_live_scoring_wrote(place: Callable[..., Place], sections: dict[str, dict[str, int]]) -> None:
    live = place(**sections)
    every = rows_of({"a": list(range(500)), "b": [*range(200), *range(260, 500)], "c": list(range(150, 500))})
    for minute in (130, 131, 260, 300, 500):  # production cadence: in portions, as it comes
        live.arrive(every.filter(pl.col(AT) < at(minute)))
        live.score()
    told = again(live, since=at(SCORED_FROM), until=at(500))
    written = live.table("scores")
    assert_frame_equal(told.scores.collect().filter(pl.col(AT) <= written[AT].max()).sort(ORDER), written, rel_tol=1e-5, abs_tol=1e-6)
    found = told.incidents.drop("end").filter(pl.col(START) < at(480))
    assert_frame_equal(found.sort("incident"), live.table("incidents").drop("end").filter(pl.col(START) < at(480)), rel_tol=1e-4)
    assert found.height > 2


def test_nothing_is_written_where_live_scoring_writes(place: Callable[..., Place]) -> None:
    live = place()
    live.arrive(rows_of({"a": list(range(300))}))
    maintenance.declare(live.lake, pattern="a", start=at(150), end=at(160), reason="new disks", now=at(140))
    live.score()
    before = {table.name: live.lake.version(table.name) for table in Path(live.lake.root).iterdir()}
    again(live, since=at(120), until=at(280))
    assert {table.name: live.lake.version(table.name) for table in Path(live.lake.root).iterdir()} == before
    assert {"scores", "progress", "maintained"} <= set(before)


def test_a_replay_looks_at_nothing_that_comes_later(place: Callable[..., Place]) -> None:
    found, other = place(), place("other")
    rows = rows_of({"a": list(range(400)), "b": list(range(400))})
    found.arrive(rows)
    other.arrive(rows.with_columns(pl.when(pl.col(AT) < at(300)).then("queries").otherwise(1e6).alias("queries")))
    one, two = (again(each, since=at(SCORED_FROM), until=at(300)) for each in (found, other))
    assert_frame_equal(one.scores.collect().sort(ORDER), two.scores.collect().sort(ORDER))
    assert_frame_equal(one.incidents, two.incidents)
    assert one.scores.select(pl.col(AT).max()).collect().item() == at(299)


def test_a_replay_may_begin_later_than_live_scoring_did(place: Callable[..., Place]) -> None:
    live = place()
    live.arrive(rows_of({"a": list(range(400))}))
    live.score()
    told = again(live, since=at(200), until=at(400)).scores.collect().sort(ORDER)
    assert told[AT].min() == at(200)
    assert_frame_equal(told, live.table("scores").filter(pl.col(AT) >= pl.lit(at(200)).cast(TIME)), rel_tol=1e-5, abs_tol=1e-6)
