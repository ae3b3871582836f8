"""Changes of unit are found with their minute and their factor, and life is not taken for one."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.validation.grids import STEP, day, grid, multiplied
from validation.profile import measure
from validation.shifts import Shift, conversion, find


def shifts(frame: pl.DataFrame, *, factor: float = 8.0) -> tuple[Shift, ...]:
    return find(measure(frame), grid=frame, factor=factor)


@pytest.mark.parametrize("by", [100.0, 1000.0, 0.001, 1024.0, 60.0, 1 / 3600])
@pytest.mark.parametrize("parameter", ["queries", "latency"])
def test_a_multiple_of_the_own_past_is_found_with_its_start_and_factor(parameter: str, by: float) -> None:
    (shift,) = shifts(multiplied(grid(), parameter, by=by, since=18))
    assert (shift.entity, shift.parameter, shift.start, shift.end) == ("acme/eu", parameter, day(18), day(28))
    assert shift.factor == pytest.approx(by, rel=0.1)
    assert conversion(shift.factor) is not None


@pytest.mark.parametrize("by", [8.0, 0.125])
def test_bits_for_bytes_are_found_although_they_are_just_the_factor_asked_for(by: float) -> None:
    (shift,) = shifts(multiplied(grid(), "latency", by=by, since=18))
    assert (shift.start, conversion(shift.factor)) == (day(18), "x8" if by > 1 else "x0.125 (1/8)")


@pytest.mark.parametrize("hour", [1, 9.5, 15, 23])
def test_the_minute_is_found_within_the_day(hour: float) -> None:
    (shift,) = shifts(multiplied(grid(), "latency", by=1000, since=16 + hour / 24))
    assert shift.start == day(16 + hour / 24)


def test_a_shift_that_was_repaired_ends() -> None:
    (shift,) = shifts(multiplied(grid(), "latency", by=1000, since=15.25, until=19.5))
    assert (shift.start, shift.end) == (day(15.25), day(19.5))


def test_a_large_shift_is_found_in_the_first_week() -> None:
    (shift,) = shifts(multiplied(grid(days=7), "queries", by=100, since=4.5))
    assert (shift.entity, shift.start) == ("acme/eu", day(4.5))


@pytest.mark.parametrize("hours", [7, 12, 20, 30])
def test_the_end_of_the_data_is_enough_for_a_known_conversion(hours: float) -> None:
    (shift,) = shifts(multiplied(grid(), "latency", by=1000, since=28 - hours / 24))
    assert abs(shift.start - day(28 - hours / 24)) <= 2 * STEP


def test_a_single_day_of_another_factor_is_no_unit() -> None:
    assert shifts(multiplied(grid(), "latency", by=20, since=27)) == ()
    assert shifts(multiplied(grid(), "latency", by=1000, since=20, until=21)) == ()


def test_whole_numbers_that_turn_into_fractions_are_found_near_zero() -> None:
    (shift,) = shifts(multiplied(grid(), "failures", by=0.001, since=18))
    assert (shift.parameter, shift.start.date()) == ("failures", day(18).date())
    assert conversion(shift.factor) == "x0.001 (1/1000)"


@pytest.mark.parametrize("weekend", [0.08, 0.3, 3.0])
@pytest.mark.parametrize("first", [0, 2, 5])
def test_the_week_is_no_change_of_unit(weekend: float, first: int) -> None:
    assert shifts(grid(weekend=weekend, start=day(first), days=21)) == ()


def test_the_night_is_no_change_of_unit_where_the_data_end_in_it() -> None:
    frame = grid(night=0.01)
    assert shifts(frame.filter(pl.col("at") < day(27) + timedelta(hours=7))) == ()


@pytest.mark.parametrize("by", [0.01, 20.0, 1000.0])
def test_incidents_of_three_hours_are_no_change_of_unit(by: float) -> None:
    frame = grid()
    for number in (10, 11, 12, 27):
        frame = multiplied(frame, "latency", by=by, since=number + 14 / 24, until=number + 17 / 24)
    assert shifts(frame) == ()
    assert shifts(frame.filter(pl.col("at") < day(27) + timedelta(hours=17))) == ()


def test_growth_and_months_are_no_change_of_unit() -> None:
    age = (pl.col("at") - day(0)).dt.total_minutes() / 1440
    grown = grid(days=60).with_columns((pl.col("queries") * 1.04**age * (1 + 0.7 * (age * 2 * np.pi / 30).sin())).round())
    assert shifts(grown) == ()


def test_a_silence_is_no_change_of_unit() -> None:
    silent = (pl.col("at") >= day(9)) & (pl.col("at") < day(16)) | pl.col("at").is_between(day(20), day(20.9))
    names = ["queries", "failures", "latency", "cpu"]
    frame = grid().with_columns(pl.when(~silent).then(pl.col(names))).with_columns(observed=~silent)
    assert shifts(frame) == ()
    assert shifts(frame.filter("observed")) == ()


def test_counts_near_zero_are_no_change_of_unit() -> None:
    rng = np.random.default_rng(1)
    frame = grid()
    bad = ((pl.col("at") >= day(15)) & (pl.col("at") < day(20))).alias("bad")
    worse = pl.Series("failures", rng.poisson(12.0, len(frame)).astype(np.float64))
    assert shifts(frame.with_columns(pl.when(bad).then(worse).otherwise(pl.col("failures")).alias("failures"))) == ()


def test_a_customer_that_brings_in_its_vehicles_is_no_change_of_unit() -> None:
    age = (pl.col("at") - day(0)).dt.total_minutes() / 1440
    arriving = grid(days=20).with_columns((pl.col("queries") * (1 - 0.95 * (-age / 3).exp())).round())
    assert shifts(arriving) == ()


def test_parameters_that_move_together_are_told_as_business() -> None:
    rng = np.random.default_rng(2)
    frame = grid().with_columns(pl.Series(f"volume{n}", rng.lognormal(3, 0.1, 28 * 144 * 3)) for n in range(4))
    for name in ("queries", *(f"volume{n}" for n in range(4))):
        frame = multiplied(frame, name, by=20, since=18)
    found = shifts(frame)
    assert len(found) == 5
    assert all(len(shift.together) == 4 for shift in found)


def test_a_parameter_of_both_signs_has_no_ratio_to_its_past() -> None:
    frame = grid().with_columns((pl.col("cpu") - 20).alias("cpu"))
    assert shifts(multiplied(frame, "cpu", by=100, since=18)) == ()


def test_an_empty_past_says_nothing() -> None:
    assert shifts(grid(days=2)) == ()
    assert shifts(grid().with_columns(pl.lit(0.0).alias(name) for name in ("queries", "failures", "latency", "cpu"))) == ()


def test_slower_cadences_are_judged_too() -> None:
    hourly = grid(days=40).group_by_dynamic("at", every="1h", group_by="entity").agg(
        pl.col("observed").any(), pl.col("queries", "failures").sum(), pl.col("latency", "cpu").mean()
    )  # fmt: skip
    assert shifts(hourly) == ()
    (shift,) = shifts(multiplied(hourly, "latency", by=1000, since=30.5))
    assert shift.start == day(30.5)
