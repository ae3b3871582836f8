"""Fleets whose world changes, as tests/benchmarks/staleness.py has them."""

import numpy as np
import polars as pl
import pytest

from telemetry.rhythms import MINUTES_OF_DAY, UTC_OFFSET_HOURS
from tests.benchmarks.learner.worlds import arriving, world

HOW = {"customers": 3, "learned_days": 8, "judged_days": 6, "clocks_day": 10}


@pytest.mark.slow
def test_clocks_go_forward_on_their_day_and_not_before() -> None:
    same, clocks = world("same", **HOW), world("clocks", **HOW)  # type: ignore[arg-type]
    day = 10 * MINUTES_OF_DAY
    np.testing.assert_array_equal(clocks.conditional[:day], same.conditional[:day])
    assert np.abs(clocks.conditional[day:] / same.conditional[day:] - 1).max() > 0.2
    at = same.config.start.replace(day=11)
    before = pl.col("time") < at
    assert clocks.readings.filter(before).equals(same.readings.filter(before))
    assert not clocks.readings.filter(~before).equals(same.readings.filter(~before))
    assert UTC_OFFSET_HOURS["eu"] == 1


def test_customers_arrive_after_the_model_was_learned() -> None:
    made = world("customers", **HOW)  # type: ignore[arg-type]
    first = made.readings.group_by("customer").agg(pl.col("time").min()).sort("time")["time"].dt.day().to_list()
    assert first == [1, 1, 10]


def test_customers_arrive_on_the_days_that_are_told() -> None:
    config = arriving(customers=4, days=10, arrival_days=(2.5, 7.0))
    assert (config.arrivals / MINUTES_OF_DAY).tolist() == [0, 0, 2.5, 7]
