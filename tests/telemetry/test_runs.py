"""What runs of rows that stand together say, whatever else stands beside them."""

from collections.abc import Callable

import polars as pl
import pytest

from telemetry.runs import Runs

ROWS = pl.DataFrame({"key": ["a", "a", "a", "b", "c", "c", "a"], "value": [1.5, None, 3.0, None, -2.0, -4.0, 7.0]})


def test_each_run_of_neighbours_has_one_value() -> None:
    runs, values = Runs.of(ROWS, by=("key",)), ROWS["value"]
    assert runs.lengths.tolist() == [3, 1, 2, 1]
    assert runs.first(ROWS)["key"].to_list() == ["a", "b", "c", "a"]
    assert runs.total(values).to_list() == [4.5, None, -6.0, 7.0]
    assert runs.mean(values).to_list() == [2.25, None, -3.0, 7.0]
    assert runs.greatest(values).to_list() == [3.0, None, -2.0, 7.0]
    assert runs.last(values).to_list() == [3.0, None, -4.0, 7.0]
    assert runs.spread(runs.last(values)).to_list() == [3.0, 3.0, 3.0, None, -4.0, -4.0, 7.0]


def test_whole_numbers_stay_whole_where_some_are_not_told() -> None:
    runs, revisions = Runs.of(ROWS, by=("key",)), pl.Series("revision", [2**60 + 1, None, 2**60, None, -5, -7, 1])
    assert runs.greatest(revisions).to_list() == [2**60 + 1, None, -5, 1]


@pytest.mark.parametrize("told", [Runs.total, Runs.mean, Runs.greatest, Runs.last])
def test_single_rows_and_none_at_all_say_what_they_said(told: Callable[[Runs, pl.Series], pl.Series]) -> None:
    for rows in (ROWS.head(0), ROWS.filter(pl.col("value") > 2).tail(1)):
        runs = Runs.of(rows, by=("key",))
        assert runs.single
        assert told(runs, rows["value"]).to_list() == rows["value"].to_list()
