"""A day with far fewer steps than those before, and an entity that fell silent, are told; healthy data is not."""

from datetime import date, timedelta

import polars as pl
import pytest

from telemetry.presence import DEPARTED, history
from tests.validation.grids import STEP, contract, day, grid, silenced
from validation import presence
from validation.findings import Finding

EVERY = ("acme/eu", "acme/us", "bolt/eu")


def scarce(frame: pl.DataFrame, *, least_share: float = 0.2) -> tuple[Finding, ...]:
    return presence.scarce(presence.count(frame), cadence=STEP, least_share=least_share)


def stale(frame: pl.DataFrame, *, stale_hours: float = 24.0) -> tuple[Finding, ...]:
    return presence.stale(presence.count(frame), cadence=STEP, stale_hours=stale_hours)


def test_healthy_data_is_neither_scarce_nor_stale() -> None:
    for days in (1, 5, 28):
        assert scarce(grid(days=days)) == ()
        assert stale(grid(days=days)) == ()
    assert scarce(grid().clear()) == stale(grid().clear()) == ()


def test_only_observed_steps_count() -> None:
    frame = silenced(grid(days=3, entities=("acme/eu",)), since=1, until=1.25)
    told = presence.count(silenced(frame, since=2)).rows()
    assert told == [
        ("acme/eu", date(2026, 3, 2), 144, day(0), day(1) - STEP),
        ("acme/eu", date(2026, 3, 3), 108, day(1.25), day(2) - STEP),
    ]


def test_a_day_with_few_steps_is_told_with_both_numbers() -> None:
    (told,) = scarce(silenced(grid(), since=27.125))
    assert (told.expectation, told.severity, told.entity, told.parameter) == ("volume", "warn", "acme/eu", None)
    assert (told.period_start, told.period_end) == (day(27), day(28))
    assert told.found == "18 steps on 2026-03-29"
    assert told.expected == "at least 20% of 144 steps, the median of the 14 full days before"
    assert "18 steps on 2026-03-29, and in 144 (median) on the 14 full days before" in told.sentence


def test_a_day_that_has_not_ended_is_not_judged() -> None:
    unfinished = grid().filter(pl.col("at") < day(27.9))
    assert scarce(silenced(unfinished, since=27.1)) == ()
    (told,) = scarce(silenced(unfinished, since=26.1, until=27))
    assert (told.period_start, told.found) == (day(26), "15 steps on 2026-03-28")


def test_a_whole_day_of_silence_counts_as_none() -> None:
    (told,) = scarce(silenced(grid().filter(pl.col("at") < day(27.5)), since=26, until=27))
    assert told.found == "0 steps on 2026-03-28"


@pytest.mark.parametrize("last", [27, 25.5, 3])
def test_who_departed_before_the_last_day_is_not_judged(last: float) -> None:
    assert scarce(silenced(grid(), since=last)) == ()


@pytest.mark.parametrize(("arrived", "told"), [(23, 1), (24, 1), (24.5, 0), (25, 0)])
def test_three_full_days_before_are_needed(arrived: float, told: int) -> None:
    frame = silenced(silenced(grid(), since=0, until=arrived), since=27.1)
    assert len(scarce(frame)) == told


def test_the_share_is_the_contracts_and_what_is_usual_is_of_the_last_two_weeks() -> None:
    frame = silenced(grid(), since=27.5)
    assert [len(scarce(frame, least_share=share)) for share in (0, 0.5, 0.51)] == [0, 0, 1]
    thin = grid().filter((pl.col("at") < day(13)) | (pl.col("at").dt.hour() == 0))
    assert scarce(thin) == ()


def test_an_entity_that_fell_silent_is_told_with_its_age() -> None:
    (told,) = stale(silenced(grid(), since=26.5))
    assert (told.expectation, told.severity, told.entity, told.parameter) == ("freshness", "warn", "acme/eu", None)
    assert (told.period_start, told.period_end) == (day(26.5), day(28))
    assert (told.found, told.expected) == ("newest step 36.0 hours older than the newest of all", "at most 24 hours")
    assert "acme/eu was last observed at 2026-03-28 11:50 UTC, 36.0 hours before the newest step of all entities" in told.sentence


def test_an_age_is_held_against_the_newest_step_that_was_observed() -> None:
    assert stale(silenced(grid(), since=20, entities=EVERY)) == ()
    assert stale(silenced(grid(), since=27)) == ()
    assert [told.entity for told in stale(silenced(grid(), since=27), stale_hours=23.9)] == ["acme/eu"]


@pytest.mark.parametrize(("last", "departed_days", "told"), [(20, 7, 0), (20, 8, 1), (20.5, 7, 1), (26, 1, 0), (26.5, 1, 1), (3, None, 1)])
def test_who_departed_is_not_warned_of_any_more(last: float, departed_days: int | None, told: int) -> None:
    frame = silenced(grid(), since=last)
    found = presence.stale(presence.count(frame), cadence=STEP, stale_hours=24.0, departed_days=departed_days)
    assert len(found) == told


@pytest.mark.parametrize("last", range(15, 27))
def test_a_silence_is_told_either_as_a_stale_source_or_as_a_departure(last: int) -> None:
    frame, declared = silenced(grid(), since=last).filter("observed"), contract()
    days = frame.select("entity", pl.col("at").dt.date().alias("day"))
    (state,) = history(days, contract=declared, until=day(28)).filter(pl.col("entity") == "acme/eu")["state"]
    departed_days = declared.newcomer.departed_days
    found = presence.stale(presence.count(frame), cadence=STEP, stale_hours=24.0, departed_days=departed_days)
    assert [finding.entity for finding in found] == ([] if state == DEPARTED else ["acme/eu"])


def test_rows_in_any_order_are_counted_alike() -> None:
    frame = silenced(grid(days=4), since=2.5, until=2.6)
    assert presence.count(frame.sample(fraction=1, shuffle=True, seed=0)).equals(presence.count(frame))
    assert presence.count(frame).get_column("newest").max() == day(4) - timedelta(minutes=10)
