"""Whom a release does not know: scaled by its own days, and scored anew where these are told otherwise."""

from pathlib import Path

import polars as pl
import pytest

from telemetry.schema import AT, ENTITY, FORECAST
from tests.flows.places import assert_same, at, make_places, rows_of

pytestmark = pytest.mark.slow
LATE = range(100, 130)
STEPS = 420


def test_a_late_reading_of_a_stranger_is_in_all_scales_that_are_told_of_it(tmp_path: Path) -> None:
    places = make_places(tmp_path)
    found, expected = places("late"), places("whole")
    every = rows_of({"a": list(range(STEPS)), "c": list(range(STEPS))})
    far = (pl.col(ENTITY) == "c") & pl.col(AT).is_between(at(LATE.start), at(LATE.stop), closed="left")
    every = every.with_columns(pl.when(far).then(pl.col("queries") + 500.0).otherwise("queries").alias("queries"))
    found.arrive(every.filter(~far))
    found.score()
    before = found.table("scores")
    found.arrive(every)
    found.score()
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)
    long_after = (pl.col(ENTITY) == "c") & (pl.col(AT) >= at(STEPS - 20))
    changed = before.filter(long_after).get_column(FORECAST).to_list() != found.table("scores").filter(long_after)[FORECAST].to_list()
    assert changed  # its scale of the last days still has what came late
