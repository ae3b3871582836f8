"""Who is new, who is there, who has departed, who came back, and when each is watched."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.presence import ABSENCES, DEPARTED_AT, RETURNED_AT, history, newcomers, watched
from telemetry.schema import AT, END, ENTITY, FIRST_SEEN, LAST_SEEN, START, STATE, TIME
from telemetry.tables import DAY

Declare = Callable[..., Contract]
FIRST = date(2026, 1, 1)
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
RAW = {
    "name": "small",
    "entity": {"keys": ["customer"]},
    "time": {"column": "time", "cadence_seconds": 3600},
    "parameters": {"queries": {"unit": "count", "target": True}},
}


def day(number: int) -> date:
    """That day; 0 is the first."""
    return FIRST + timedelta(days=number)


def midnight(number: float) -> datetime:
    """The beginning of that day."""
    return MIDNIGHT + timedelta(days=number)


def days(**seen: list[int]) -> pl.DataFrame:
    """`entity, day` of the days on which each was seen."""
    told = [(entity, day(number)) for entity, numbers in seen.items() for number in numbers]
    return pl.DataFrame(told, schema={ENTITY: pl.String, DAY: pl.Date}, orient="row")


def test_who_is_there_from_the_start_is_present_and_who_came_later_is_new_for_so_many_days(declare: Declare) -> None:
    contract = declare(newcomer={"days": 5})
    told = days(old=[0, 1, 2, 3, 4, 5, 6], new=[2, 3, 4, 5, 6])
    assert history(told, contract=contract, until=midnight(7))[STATE].to_list() == ["newcomer", "present"]
    assert history(told, contract=contract, until=midnight(7) + timedelta(hours=1))[STATE].to_list() == ["present", "present"]
    young = declare(newcomer={"days": 9, "since_start": True})
    assert history(told, contract=young, until=midnight(7))[STATE].to_list() == ["newcomer", "newcomer"]


def test_the_age_of_an_entity_is_that_which_a_model_is_told(declare: Declare) -> None:
    known = pl.DataFrame({ENTITY: ["a", "b"], FIRST_SEEN: [midnight(0), midnight(0.5)]}, schema={ENTITY: pl.String, FIRST_SEEN: TIME})
    told = history(days(a=[0], b=[0]), contract=declare(), until=midnight(1), entities=known)
    assert told[STATE].to_list() == ["present", "newcomer"]


def test_who_is_silent_for_longer_than_declared_has_departed_and_it_says_since_when(declare: Declare) -> None:
    contract = declare(newcomer={"departed_days": 7})
    told = days(a=[0, 1])
    assert history(told, contract=contract, until=midnight(9))[STATE].item() == "present"
    gone = history(told, contract=contract, until=midnight(9) + timedelta(minutes=1)).row(0, named=True)
    assert gone == {
        ENTITY: "a",
        STATE: "departed",
        FIRST_SEEN: day(0),
        LAST_SEEN: day(1),
        DEPARTED_AT: day(9),
        RETURNED_AT: None,
        ABSENCES: 0,
    }


def test_who_comes_back_has_returned_and_is_no_newcomer(declare: Declare) -> None:
    contract = declare(newcomer={"departed_days": 7})
    told = history(days(a=[0, 8, 9, 30, 31], b=[0, 7, 14]), contract=contract, until=midnight(32))
    assert told.row(0, named=True) == {
        ENTITY: "a",
        STATE: "present",
        FIRST_SEEN: day(0),
        LAST_SEEN: day(31),
        DEPARTED_AT: None,
        RETURNED_AT: day(30),
        ABSENCES: 2,
    }
    assert told.row(1)[1:] == ("departed", day(0), day(14), day(22), None, 0)


def test_what_comes_later_than_one_asks_for_is_left_out(declare: Declare) -> None:
    told = history(days(a=[0, 5], b=[5]), contract=declare(), until=midnight(5))
    assert told.select(ENTITY, LAST_SEEN).rows() == [("a", day(0))]


def test_nobody_has_no_history(declare: Declare) -> None:
    assert history(days(), contract=declare(), until=midnight(1)).is_empty()


def test_one_is_a_newcomer_from_the_first_reading_on(declare: Declare) -> None:
    known = pl.DataFrame({ENTITY: ["a", "b"], FIRST_SEEN: [midnight(0), midnight(3)]}, schema={ENTITY: pl.String, FIRST_SEEN: TIME})
    assert newcomers(known, contract=declare()).rows() == [("b", midnight(3), midnight(33))]
    assert newcomers(known, contract=declare(), data_start=midnight(-1))[ENTITY].to_list() == ["a", "b"]
    assert newcomers(known, contract=declare()).columns == [ENTITY, START, END]


def test_one_is_watched_from_a_row_on_and_for_so_many_days_after_it(declare: Declare) -> None:
    contract = declare(newcomer={"departed_days": 1})
    hours = pl.datetime_range(midnight(0), midnight(6), "12h", closed="left", eager=True, time_unit="us").cast(TIME).alias(AT)
    minutes = hours.to_frame().select(pl.lit("a").alias(ENTITY), AT)
    seen = pl.DataFrame({ENTITY: ["a", "a"], DAY: [day(0), day(4)], AT: [midnight(0.5), midnight(4.5)]}).with_columns(pl.col(AT).cast(TIME))
    found = watched(minutes, seen=seen, contract=contract)
    assert found[AT].to_list() == [midnight(half) for half in (0.5, 1, 1.5, 4.5, 5, 5.5)]
    assert watched(minutes, seen=seen.clear(), contract=contract).is_empty()


ROWS = st.dictionaries(st.sampled_from("abc"), st.sets(st.integers(0, 40), max_size=12), max_size=3)


@settings(max_examples=50)
@given(seen=ROWS, away=st.integers(1, 9), until=st.integers(1, 45), order=st.randoms(use_true_random=False))
def test_a_history_is_that_of_a_walk_from_day_to_day_whatever_the_order(
    seen: dict[str, set[int]], away: int, until: int, order: Random
) -> None:
    contract = contracts.parse(RAW | {"newcomer": {"departed_days": away}})
    told = days(**{entity: sorted(numbers) for entity, numbers in seen.items()})
    found = history(told, contract=contract, until=midnight(until))
    shuffled = [order.randrange(told.height) for _ in range(told.height)]  # some of them twice
    assert_frame_equal(history(pl.concat([told.reverse(), told[shuffled]]), contract=contract, until=midnight(until)), found)
    for entity, state, _, last, departed, returned, absences in found.rows():
        gone, since, back, times, newest = False, None, None, 0, min(seen[entity])
        for number in range(newest, until):
            if not gone and number - newest > away:
                gone, since = True, day(number)
            if number in seen[entity]:
                back, times = (day(number), times + 1) if gone else (back, times)
                gone, newest = False, number
        assert (state == "departed", last, departed, absences) == (gone, day(newest), since if gone else None, times)
        assert returned == back


@settings(max_examples=30)
@given(rows=st.sets(st.integers(0, 60), min_size=1, max_size=6), away=st.integers(1, 5))
def test_one_is_watched_just_when_its_history_does_not_call_it_departed(rows: set[int], away: int) -> None:
    contract = contracts.parse(RAW | {"newcomer": {"departed_days": away}})
    hours = [MIDNIGHT + timedelta(hours=5 * step) for step in range(80)]
    minutes = pl.DataFrame({ENTITY: "a", AT: hours}, schema={ENTITY: pl.String, AT: TIME})
    every = pl.DataFrame({ENTITY: "a", AT: [hours[row] for row in sorted(rows)]}, schema={ENTITY: pl.String, AT: TIME})
    every = every.with_columns(pl.col(AT).dt.date().alias(DAY))
    found = watched(minutes, seen=every.group_by(ENTITY, DAY).agg(pl.col(AT).min()), contract=contract)[AT].to_list()
    last = [max((hours[row].date() for row in rows if hours[row] <= hour), default=None) for hour in hours]
    assert found == [hour for hour, there in zip(hours, last, strict=True) if there and hour.date() - there <= timedelta(days=away)]


@pytest.mark.parametrize("column", [DEPARTED_AT, RETURNED_AT])
def test_days_are_dates(declare: Declare, column: str) -> None:
    assert history(days(a=[0]), contract=declare(), until=midnight(1)).schema[column] == pl.Date
