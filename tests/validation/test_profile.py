"""The statistics of a grid, against what a few rows say."""

from datetime import timedelta

import polars as pl
import pytest

from tests.validation.grids import day, grid
from validation.profile import infinite, measure, outside

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
