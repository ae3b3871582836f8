"""The statistics of a grid, against what a few rows say."""

import sys
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.validation import grouped
from tests.validation.grids import day, grid
from validation import places
from validation.presence import count
from validation.profile import infinite, measure, outside, reaching

ROWS = {
    "entity": ["a", "a", "a", "b"],
    "at": [day(0), day(0) + timedelta(minutes=30), day(0) + timedelta(minutes=60), day(0)],
    "observed": [True, True, False, True],
    "load": [1.0, 0.0, None, -4.5],
}


def rows(**changes: list[object]) -> pl.DataFrame:
    types = {"load": pl.Float64, "at": pl.Datetime("us", "UTC")}
    return pl.DataFrame(ROWS | changes, schema_overrides=types)


def test_cells_count_what_is_missing_and_what_is_missing_while_others_are_told() -> None:
    cells = measure(rows(observed=[True, True, True, True])).cells
    assert cells.to_dicts() == [
        {"entity": "a", "parameter": "load", "rows": 3, "missing": 1, "missing_while_observed": 1, "lowest": 0.0, "highest": 1.0},
        {"entity": "b", "parameter": "load", "rows": 1, "missing": 0, "missing_while_observed": 0, "lowest": -4.5, "highest": -4.5},
    ]
    assert measure(rows()).cells["missing_while_observed"].to_list() == [0, 0]


def test_hours_leave_zeros_out_and_forget_the_sign() -> None:
    hours = measure(rows()).hours.select("entity", "level", "told", "whole").to_dicts()
    assert hours == [{"entity": "a", "level": 1.0, "told": 1, "whole": True}, {"entity": "b", "level": 4.5, "told": 1, "whole": False}]


def test_repeated_and_backward_times_are_counted_per_entity() -> None:
    at = [day(1), day(0), day(0), day(0)]
    told = measure(rows(at=at)).entities.select("entity", "rows", "repeated", "first_repeated", "backward", "first_backward")
    assert told.row(0) == ("a", 3, 1, day(0), 1, day(0))
    assert told.row(1) == ("b", 1, 0, None, 0, None)


def test_the_cadence_is_the_commonest_step() -> None:
    assert measure(grid(days=1)).cadence == timedelta(minutes=10)
    assert measure(rows().head(1)).cadence == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("minimum", "maximum", "told"),
    [(0, None, {"b": 1}), (None, 0.5, {"a": 1}), (0, 0.5, {"a": 1, "b": 1}), (-5, 1, {}), (None, None, {})],
)
def test_only_what_lies_beyond_a_bound_is_outside(minimum: float | None, maximum: float | None, told: dict[str, int]) -> None:
    found = outside(rows(), parameter="load", minimum=minimum, maximum=maximum)
    assert dict(found.select("entity", "outside").iter_rows()) == told


def test_infinite_values_are_told_apart_from_those_outside() -> None:
    frame = rows(load=[float("inf"), 2.0, float("-inf"), 9.0])
    assert outside(frame, parameter="load", minimum=0, maximum=5).select("entity", "outside").rows() == [("b", 1)]
    assert infinite(frame, parameter="load").select("entity", "outside", "first", "last").rows() == [
        ("a", 2, day(0), day(0) + timedelta(minutes=60))
    ]


VALUES = (0.0, -0.0, 1.0, 2.0, 3.0, 0.1, 2.5, -0.7, -3.0, 1e-300, 1e300, float("inf"), float("-inf"), None, None)


@st.composite
def grids(draw: st.DrawFn) -> pl.DataFrame:
    """Entities in any order of name, steps in any order of time or sorted, hours of any number of steps, in one piece or several."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, span = draw(st.integers(1, 300)), draw(st.sampled_from([10, 60, 600, 6000]))
    frame = pl.DataFrame(
        {
            "entity": random.choice(["b", "a", "c/d"], rows),
            "at": random.integers(-span, span, rows) * 60_000_000,
            "observed": random.random(rows) < 0.8,
            "load": pl.Series([VALUES[index] for index in random.integers(0, len(VALUES), rows)], dtype=pl.Float64),
            "queries": pl.Series(random.integers(0, 4, rows)).cast(pl.Float64),
            "silent": pl.Series([None] * rows, dtype=pl.Float64),
        }
    ).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    match draw(st.sampled_from(["sorted", "once", "backward", "mixed"])):
        case "sorted":
            frame = frame.sort("entity", "at", maintain_order=True)
        case "once":
            frame = frame.sort("entity", "at", descending=[True, False]).unique(["entity", "at"], keep="first", maintain_order=True)
        case "backward":
            frame = frame.sort("entity", maintain_order=True)
    middle = len(frame) // 3
    return pl.concat([frame[:middle], frame[middle:]], rechunk=draw(st.booleans()))


@pytest.mark.slow
@settings(max_examples=50)
@given(frame=grids(), block=st.sampled_from([1, 100, places.BLOCK]))
def test_the_statistics_are_those_of_plain_groups(frame: pl.DataFrame, block: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(places, "BLOCK", block)
        profile = measure(frame)
    assert_frame_equal(profile.entities, grouped.entities(frame))
    assert_frame_equal(profile.cells, grouped.cells(frame))
    assert_frame_equal(profile.hours, grouped.hours(frame), check_exact=True)


@pytest.mark.slow
@settings(max_examples=50)
@given(frame=grids(), block=st.sampled_from([1, 100, places.BLOCK]))
def test_the_days_are_those_of_plain_groups(frame: pl.DataFrame, block: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(places, "BLOCK", block)
        counted = count(frame)
    assert_frame_equal(counted, grouped.days(frame))


@pytest.mark.parametrize("ordered", [True, False])
def test_a_row_without_a_time_tells_nothing(ordered: bool) -> None:
    frame = grid(days=1) if ordered else grid(days=1).reverse()
    lost = pl.concat([frame[:100], frame[:1].with_columns(at=pl.lit(None, dtype=frame.schema["at"])), frame[100:]])
    assert_frame_equal(measure(lost).hours, measure(frame).hours)
    assert_frame_equal(measure(lost).cells, measure(frame).cells)
    assert_frame_equal(count(lost), count(frame))


def test_a_grid_without_a_row_has_an_empty_profile() -> None:
    profile = measure(rows().clear())
    assert (len(profile.entities), len(profile.cells), len(profile.hours), profile.cadence) == (0, 0, 0, timedelta(minutes=1))
    assert profile.hours.schema == measure(rows()).hours.schema
    assert profile.cells.schema == measure(rows()).cells.schema
    assert profile.entities.schema == measure(rows()).entities.schema


def test_hours_of_one_three_and_four_rows_are_told_apart_in_one_block() -> None:
    minutes = [0, 60, 61, 62, 120, 121, 122, 123]  # 2 x 4 places for the longer two: as many as there are rows
    frame = pl.DataFrame(
        {"entity": "a", "at": [day(0) + timedelta(minutes=minute) for minute in minutes], "observed": True, "load": [5.0, *range(1, 8)]},
        schema_overrides={"at": pl.Datetime("us", "UTC"), "load": pl.Float64},
    )
    assert measure(frame).hours.select("told", "level").rows() == [(1, 5.0), (3, 2.0), (4, 5.5)]
    assert measure(frame).cells["missing"].to_list() == [0]


@pytest.mark.slow
@given(frame=grids(), minimum=st.sampled_from([None, -3.0, 0.0, 0.1]), maximum=st.sampled_from([None, 3.0, 2.5, 1e308]))
@settings(max_examples=50)
def test_rows_that_the_profile_rules_out_hold_nothing_odd(frame: pl.DataFrame, minimum: float | None, maximum: float | None) -> None:
    profile = measure(frame)
    for name in ("load", "queries", "silent"):
        told = outside(frame, parameter=name, minimum=minimum, maximum=maximum)
        steps = reaching(frame, profile=profile, parameter=name, minimum=minimum, maximum=maximum)
        assert outside(steps, parameter=name, minimum=minimum, maximum=maximum).equals(told)
        steps = reaching(frame, profile=profile, parameter=name, minimum=-sys.float_info.max, maximum=sys.float_info.max)
        assert infinite(steps, parameter=name).equals(infinite(frame, parameter=name))
    assert reaching(frame, profile=profile, parameter="silent", minimum=0, maximum=0).is_empty()
    assert reaching(frame, profile=profile, parameter="queries", minimum=0, maximum=3).is_empty()
