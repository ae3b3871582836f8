"""Values that are taken out of a grid: those of the spans, and no others."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from telemetry.errors import SchemaError
from telemetry.masks import SPANS, masked
from telemetry.schema import AT, ENTITY, PARAMETER, TIME, grid_schema

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def minute(number: int) -> datetime:
    """The beginning of a step."""
    return START + number * MINUTE


def grid_of(entities: tuple[str, ...], *, steps: int, names: tuple[str, ...] = ("x", "y"), seed: int = 0) -> pl.DataFrame:
    """Random values, some of them missing."""
    random = np.random.default_rng(seed)
    rows = pl.DataFrame({ENTITY: entities}).join(pl.DataFrame({AT: [minute(step) for step in range(steps)]}), how="cross")
    values = {name: pl.Series(random.normal(size=rows.height)).set(pl.Series(random.random(rows.height) < 0.1), None) for name in names}
    observed = pl.Series(random.random(rows.height) < 0.9)
    return rows.with_columns(pl.col(AT).cast(TIME), observed=observed, **values).select(list(grid_schema(names)))


def spans_of(*told: tuple[str, str, int, int | None]) -> pl.DataFrame:
    """SPANS by the numbers of their steps."""
    rows = [(entity, name, minute(start), None if end is None else minute(end)) for entity, name, start, end in told]
    return pl.DataFrame(rows, schema=SPANS, orient="row")


def test_the_values_of_a_span_are_null_and_nothing_else_changes() -> None:
    grid = grid_of(("a", "b"), steps=6).with_columns(x=pl.lit(1.0), y=pl.lit(2.0))
    found = masked(grid.lazy(), spans=spans_of(("a", "x", 2, 4), ("b", "y", 5, None))).collect()
    assert found.filter(pl.col(ENTITY) == "a")["x"].to_list() == [1.0, 1.0, None, None, 1.0, 1.0]
    assert found.filter(pl.col(ENTITY) == "b")["y"].to_list() == [2.0] * 5 + [None]
    assert_frame_equal(found.drop("x", "y"), grid.drop("x", "y"))
    assert found["x"].null_count() + found["y"].null_count() == 3
    assert found.columns == grid.columns


def test_without_spans_the_grid_is_as_it_was() -> None:
    grid = grid_of(("a",), steps=5).lazy()
    assert masked(grid, spans=pl.DataFrame(schema=SPANS)) is grid
    others = spans_of(("a", "unknown", 0, 9), ("a", "x", 3, 3), ("a", "x", 4, 2), ("nobody", "x", 0, None))
    assert_frame_equal(masked(grid, spans=others).collect(), grid.collect())


def test_a_span_between_two_rows_takes_nothing_out() -> None:
    rows = grid_of(("a",), steps=5).with_columns(x=pl.lit(1.0)).filter(pl.col(AT) != minute(2))
    assert masked(rows.lazy(), spans=spans_of(("a", "x", 2, 3))).collect()["x"].null_count() == 0


def test_a_filter_may_come_after() -> None:
    grid = grid_of(("a", "b"), steps=6).with_columns(x=pl.lit(1.0))
    told = masked(grid.lazy(), spans=spans_of(("a", "x", 2, None))).filter(pl.col(ENTITY) == "a", pl.col(AT) >= minute(3)).select("x")
    assert told.collect()["x"].to_list() == [None] * 3


@pytest.mark.parametrize("seed", range(20))
def test_a_value_is_null_where_it_was_or_where_a_span_holds_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    entities, names, steps = ("a", "b/eu", "c"), ("x", "y", "z"), 40
    grid = grid_of(entities, steps=steps, names=names, seed=seed)
    told = []
    for _ in range(int(random.integers(0, 60))):
        start, length = (int(number) for number in random.integers(-5, steps, size=2))
        told.append((str(random.choice(entities)), str(random.choice(names)), start, None if length == 0 else start + length))
    spans = spans_of(*told)
    found = masked(grid.lazy(), spans=spans).collect()
    hit = {
        (entity, name, at)
        for entity, name, start, end in told
        for at in (minute(step) for step in range(steps))
        if minute(start) <= at and (end is None or at < minute(end))
    }
    for row, was in zip(found.iter_rows(named=True), grid.iter_rows(named=True), strict=True):
        for name in names:
            assert row[name] == (None if (row[ENTITY], name, row[AT]) in hit else was[name])
    assert_frame_equal(found.drop(names), grid.drop(names))


def test_spans_are_of_their_schema() -> None:
    with pytest.raises(SchemaError, match="'spans'"):
        masked(grid_of(("a",), steps=2).lazy(), spans=pl.DataFrame({ENTITY: ["a"], PARAMETER: ["x"]}))
