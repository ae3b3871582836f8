"""Until when the feeds are complete."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.errors import SchemaError
from telemetry.schema import AT, FEED, TIME, WATERMARKS
from telemetry.watermarks import complete_until, heard_until, slowest

Declare = Callable[..., Contract]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RAW = {
    "name": "small",
    "entity": {"keys": ["customer"]},
    "time": {"column": "time"},
    "parameters": {"queries": {"unit": "count", "target": True}},
}


def at(minutes: float) -> datetime:
    """So many minutes after noon."""
    return NOON + timedelta(minutes=minutes)


def marks(*feeds: tuple[float, float]) -> pl.DataFrame:
    """WATERMARKS: of each feed the newest reading and when it was ingested, in minutes after noon."""
    return pl.DataFrame([(f"feed {n}", at(newest), at(when)) for n, (newest, when) in enumerate(feeds)], schema=WATERMARKS, orient="row")


def test_without_a_watermark_there_is_nothing_to_wait_for(declare: Declare) -> None:
    assert complete_until(marks(), contract=declare(), now=at(0)) is None


def test_without_an_offset_the_step_of_the_newest_reading_counts(declare: Declare) -> None:
    assert complete_until(marks((0.99, 1)), contract=declare(), now=at(1)) == at(1)


@pytest.mark.parametrize(("offset", "newest", "until"), [(1, 0.99, -1), (1, 1, 0), (2, 1.99, -1), (2, 2, 0), (90, 90, 0)])
def test_a_step_is_complete_when_its_feed_is_so_far_beyond_its_end(declare: Declare, offset: int, newest: float, until: float) -> None:
    contract = declare(late={"offset_minutes": offset})
    assert complete_until(marks((newest, newest)), contract=contract, now=at(newest)) == at(until)


def test_what_is_complete_ends_with_a_step_of_the_cadence(declare: Declare) -> None:
    contract = declare(time={"column": "time", "cadence_seconds": 300}, late={"offset_minutes": 2})
    assert complete_until(marks((6, 6)), contract=contract, now=at(6)) == at(0)
    assert complete_until(marks((7, 7)), contract=contract, now=at(7)) == at(5)


def test_the_slowest_feed_decides(declare: Declare) -> None:
    told = marks((0, 0), (-30, 0), (-70, 0), (-30, 0))
    assert complete_until(told, contract=declare(), now=at(0)) == at(-29)
    assert slowest(told.reverse(), contract=declare(), now=at(0)) == "feed 1"
    assert slowest(marks((0, 0)), contract=declare(), now=at(60)) is None


def test_a_feed_that_is_far_behind_holds_nobody_back(declare: Declare) -> None:
    contract = declare(late={"silence_minutes": 20})
    assert complete_until(marks((0, 0), (-19, 0)), contract=contract, now=at(0)) == at(-18)
    assert complete_until(marks((0, 0), (-20, 0)), contract=contract, now=at(0)) == at(1)


def test_a_feed_of_which_nothing_newer_comes_holds_nobody_back(declare: Declare) -> None:
    contract = declare(late={"silence_minutes": 20})
    assert complete_until(marks((0, 0), (-10, -10)), contract=contract, now=at(5)) == at(-9)
    assert complete_until(marks((0, 0), (-10, -10)), contract=contract, now=at(10)) == at(1)


def test_what_is_left_of_feeds_that_have_ended_is_complete(declare: Declare) -> None:
    contract = declare(late={"offset_minutes": 15, "silence_minutes": 20})
    assert complete_until(marks((0, 0)), contract=contract, now=at(19)) == at(-15)
    assert complete_until(marks((0, 0)), contract=contract, now=at(20)) is None


def test_a_replay_of_old_telemetry_waits_for_its_slowest_feed(declare: Declare) -> None:
    year = 365 * 24 * 60
    assert complete_until(marks((0, year), (-10, year)), contract=declare(), now=at(year)) == at(-9)


def test_a_clock_that_runs_ahead_silences_nobody(declare: Declare) -> None:
    ahead = 10_000
    assert complete_until(marks((ahead, 0), (0, 0), (-10, 0)), contract=declare(), now=at(0)) == at(-9)


def test_other_columns_are_refused(declare: Declare) -> None:
    with pytest.raises(SchemaError, match="watermarks"):
        complete_until(marks().drop("newest"), contract=declare(), now=at(0))


FEEDS = st.lists(st.tuples(st.integers(-200, 50), st.integers(-100, 0)), max_size=5)


@given(feeds=FEEDS, order=st.randoms(use_true_random=False), offset=st.integers(0, 30))
def test_the_order_of_the_feeds_says_nothing_and_a_feed_more_never_completes_more_of_the_others(
    feeds: list[tuple[int, int]], order: object, offset: int
) -> None:
    contract = contracts.parse(RAW | {"late": {"offset_minutes": offset, "silence_minutes": 60}})
    told = marks(*feeds)
    until = complete_until(told, contract=contract, now=at(0))
    shuffled = list(range(len(feeds)))
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert complete_until(told[shuffled], contract=contract, now=at(0)) == until
    newest = min(0, max((newest for newest, _ in feeds), default=0))
    alive = [mark for mark, when in feeds if newest - mark < 60 and -when < 60]  # the rule once more, one feed after the other
    assert until == (at(min(alive) - offset + (offset == 0)) if alive else None)


def came(*feeds: tuple[float, ...]) -> pl.DataFrame:
    """When something new came of each feed, in minutes after noon."""
    rows = [(f"feed {n}", at(when)) for n, whens in enumerate(feeds) for when in whens]
    return pl.DataFrame(rows, schema={FEED: pl.String, AT: TIME}, orient="row")


def heard(declare: Declare, *, newest: tuple[float, float], arrivals: pl.DataFrame, now: float, **sections: object) -> datetime | None:
    return heard_until(marks(newest), arrivals=arrivals, contract=declare(**sections), now=at(now))


def test_a_live_feed_is_heard_until_twice_its_usual_wait_ago(declare: Declare) -> None:
    every_minute, every_hour = came(tuple(range(-30, 1))), came((-180, -120, -60, 0, 0))
    assert heard(declare, newest=(-0.5, 0), arrivals=every_minute, now=10.5) == at(8)
    assert heard(declare, newest=(-0.5, 0), arrivals=every_hour, now=130) == at(10)
    assert heard(declare, newest=(-0.5, 0), arrivals=every_minute, now=10.5, late={"offset_minutes": 5}) == at(5)
    assert heard(declare, newest=(-0.5, 0), arrivals=came((-90, *range(-10, 1))), now=10) == at(8)  # one long wait is not usual


def test_what_is_not_live_is_not_heard_of(declare: Declare) -> None:
    every_minute = came(tuple(range(-30, 1)))
    assert heard(declare, newest=(-61, 0), arrivals=every_minute, now=10) is None
    assert heard(declare, newest=(-1, 0), arrivals=came((-2, -1, 0)), now=10) is None  # nobody knows what is usual
    assert heard_until(marks(), arrivals=every_minute, contract=declare(), now=at(10)) is None


def test_the_feed_that_comes_least_often_decides(declare: Declare) -> None:
    arrivals = came(tuple(range(-30, 1)), (-30, -20, -10, 0))
    assert heard_until(marks((-1, 0), (-1, 0)), arrivals=arrivals, contract=declare(), now=at(30)) == at(10)
    assert heard_until(marks((-1, 0), (-500, 0)), arrivals=arrivals, contract=declare(), now=at(30)) == at(28)
