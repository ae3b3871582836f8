"""The grid is a function of the set of readings: not of their order, their batches, their files or how often they came."""

import random
import tempfile
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from telemetry.contract import Contract, parse
from telemetry.lake import Lake
from telemetry.schema import AT, ENTITY, OBSERVED, REVISION, TIME

Row = tuple[str, int, float | None, float | None, int]
MIDNIGHT = datetime(2026, 1, 1, 23, 57, tzinfo=UTC)
VALUES = ("total", "level")


def a_contract(*, total: str = "sum", previous_steps: int = 2) -> Contract:
    parameters = {
        "total": {"unit": "count", "aggregation": total, "target": True, "previous_steps": previous_steps},
        "level": {"unit": "ms", "aggregation": "mean"},
    }
    keys = {"entity": {"keys": ["customer", "region"]}, "time": {"column": "time"}}
    return parse({"name": "readings", "parameters": parameters, **keys})


def frame_of(rows: list[Row]) -> pl.DataFrame:
    told = [(entity, MIDNIGHT + timedelta(seconds=second), total, level, revision) for entity, second, total, level, revision in rows]
    schema = {ENTITY: pl.String, AT: TIME, "total": pl.Float64, "level": pl.Float64, REVISION: pl.Int64}
    return pl.DataFrame(told, schema=schema, orient="row")


def naive(rows: list[Row], *, contract: Contract) -> list[tuple[Any, ...]]:
    """The grid by the law, from a list that holds every reading."""
    best: dict[tuple[str, int], dict[str, tuple[int, float]]] = defaultdict(dict)
    for entity, second, total, level, revision in rows:
        for name, value in zip(VALUES, (total, level), strict=True):
            if value is not None:
                told = best[entity, second]
                told[name] = max(told.get(name, (revision, value)), (revision, value))
    values = {name: {key: told[name][1] for key, told in sorted(best.items()) if name in told} for name in VALUES}
    if contract.parameters["total"].aggregation == "counter":
        values["total"] = rises(values["total"], since=60 * contract.parameters["total"].previous_steps)
    steps: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name in VALUES:
        for (entity, second), value in values[name].items():
            steps[entity, second // 60][name].append(value)
    return sorted(
        (entity, MIDNIGHT + timedelta(minutes=minute), sum(told["total"]) if told["total"] else None, mean(told["level"]))
        for (entity, minute), told in steps.items()
    )


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def rises(values: dict[tuple[str, int], float], *, since: int) -> dict[tuple[str, int], float]:
    found, before = {}, {}
    for (entity, second), value in values.items():
        last = before.get(entity)
        if last is not None and second - last[0] <= since:
            found[entity, second] = value if value < last[1] else value - last[1]
        before[entity] = (second, value)
    return found


def grid_of(batches: list[list[Row]], *, contract: Contract) -> pl.DataFrame:
    """The grid as it is stored after merging batch after batch."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        for batch in batches:
            lake.merge_readings(frame_of(batch), contract=contract)
        table = lake.open("grid")
        empty = pl.DataFrame(schema={ENTITY: pl.String, AT: TIME, OBSERVED: pl.Boolean, "total": pl.Float64, "level": pl.Float64})
        return empty if table is None else lake.scan(table).sort(ENTITY, AT).collect()


def bits(grid: pl.DataFrame) -> pl.DataFrame:
    """The numbers as they are stored: two zeros are equal, and differ in one bit."""
    return grid.with_columns(pl.col(pl.Float64).reinterpret(dtype=pl.Int64))


def dealt(rows: list[Row], *, seed: int) -> list[list[Row]]:
    """The same readings in another order, in other batches, some of them twice."""
    chance = random.Random(seed)  # noqa: S311  (an order, not a secret)
    cards = rows + chance.choices(rows, k=chance.randrange(len(rows) + 1))
    chance.shuffle(cards)
    batches: list[list[Row]] = [[] for _ in range(chance.randrange(1, 5))]
    for card in cards:
        chance.choice(batches).append(card)
    return [batch for batch in batches if batch]


# Sums of tenths in another order would differ in their last bits.
VALUE = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 0.1, 0.2, 0.3, 0.7, 5.0, 9.0]))
ROWS = st.lists(
    st.tuples(st.sampled_from(["a/eu", "b/us"]), st.sampled_from([0, 10, 20, 60, 61, 120, 180, 240, 480]), VALUE, VALUE, st.integers(1, 3)),
    min_size=1,
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 1000), total=st.sampled_from(["sum", "counter"]))
def test_the_same_readings_make_the_same_grid_bit_for_bit(rows: list[Row], seed: int, total: str) -> None:
    contract = a_contract(total=total)
    first, second = grid_of([rows], contract=contract), grid_of(dealt(rows, seed=seed), contract=contract)
    assert_frame_equal(bits(first), bits(second), check_column_order=False)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 1000), total=st.sampled_from(["sum", "counter"]))
def test_the_grid_is_what_a_list_of_all_readings_says(rows: list[Row], seed: int, total: str) -> None:
    contract = a_contract(total=total)
    found = grid_of(dealt(rows, seed=seed), contract=contract).select(ENTITY, AT, "total", "level").rows()
    expected = [row for row in naive(rows, contract=contract) if row[2:] != (None, None)]
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for told, due in zip(found, expected, strict=True):
        assert all(a == b if b is None else a == pytest.approx(b, rel=1e-12) for a, b in zip(told[2:], due[2:], strict=True)), (told, due)


@pytest.mark.parametrize("total", ["sum", "counter"])
def test_the_many_readings_of_a_step_sum_to_the_same_bits_whatever_was_merged_with_them(total: str) -> None:
    """The last bits of a sum depend on how it is taken: a hash aggregation takes it another way for one step than for a hundred."""
    chance, contract = random.Random(7), a_contract(total=total)  # noqa: S311  (values, no secrets)
    rows: list[Row] = [
        (entity, second, chance.gauss(0, 1) * 10 ** chance.randrange(-3, 6), None if second % 7 == 0 else chance.random(), 1)
        for entity in ("a/eu", "b/us")
        for second in range(3600)
    ]
    whole = grid_of([rows], contract=contract)
    steps = [[row for row in rows if row[:1] == ("a/eu",) and row[1] // 60 == minute] for minute in range(6)]
    for deal in (dealt(rows, seed=1), [rows[k::3] for k in range(3)], [*steps, rows[360:]]):
        assert_frame_equal(bits(whole), bits(grid_of(deal, contract=contract)), check_column_order=False)


def test_a_step_longer_than_a_day_finds_all_its_readings() -> None:
    week = a_contract().model_copy(update={"time": a_contract().time.model_copy(update={"cadence_seconds": 7 * 86_400})})
    rows: list[Row] = [("a/eu", day * 86_400, float(day), None, 1) for day in range(21)]
    whole = grid_of([rows], contract=week)
    assert whole["total"].sum() == sum(range(21))
    assert_frame_equal(bits(whole), bits(grid_of([rows[:9], rows[16:], rows[9:16]], contract=week)), check_column_order=False)


def test_more_than_fits_into_memory_is_merged_portion_by_portion(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Row] = [("a/eu", 20_000 * number, 1.0, 2.0, 1) for number in range(40)]
    later: list[Row] = [(entity, second + 10, total, level, 2) for entity, second, total, level, _ in rows]
    whole = grid_of([[*rows, *later]], contract=a_contract())
    monkeypatch.setattr("telemetry.grid.PORTION_ROWS", 8)
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        lake.merge_readings(frame_of(rows), contract=a_contract())
        merged = lake.merge_readings(frame_of(later), contract=a_contract())
        assert (merged.rows_new, merged.rows_changed, lake.version("grid")) == (0, 40, 6)
        assert_frame_equal(whole, lake.scan(lake.open("grid")).sort(ENTITY, AT).collect(), check_column_order=False)  # type: ignore[arg-type]


def test_a_counter_is_sealed_as_far_as_it_reaches_back_into_what_was_removed(tmp_path: Path) -> None:
    contract, lake = a_contract(total="counter"), Lake(str(tmp_path))
    rows: list[Row] = [("a/eu", 60 * minute, float(minute), 1.0, 1) for minute in range(10)]  # midnight is after three of them
    lake.merge_readings(frame_of(rows), contract=contract)
    before = lake.grid(contract=contract).collect()
    lake.remove("readings", where="day < '2026-01-02'")
    late: list[Row] = [("a/eu", 60 * minute + 30, float(minute), None, 2) for minute in (1, 3, 4, 5)]
    merged = lake.merge_readings(frame_of(late), contract=contract)
    assert merged.sealed[AT].to_list() == [MIDNIGHT + timedelta(seconds=60 * minute + 30) for minute in (1, 3, 4)]
    assert (merged.rows_new, merged.rows_changed) == (0, 0)  # the fifth fell between two readings and changes no sum
    assert_frame_equal(lake.grid(contract=contract).collect(), before)


def test_there_is_one_zero_only() -> None:
    rows: list[Row] = [("a/eu", 0, 0.0, -0.0, 1), ("a/eu", 60, -0.0, 0.0, 1)]
    assert bits(grid_of([rows], contract=a_contract())).select(VALUES).rows() == [(0, 0), (0, 0)]


def test_of_three_revisions_each_value_is_the_latest_told_in_whatever_order_they_come() -> None:
    rows: list[Row] = [("a/eu", 0, 1.0, 2.0, 1), ("a/eu", 0, 9.0, None, 2), ("a/eu", 0, 3.0, None, 3)]
    for order in permutations(rows):
        grid = grid_of([[row] for row in order], contract=a_contract())
        assert grid.select(*VALUES, REVISION).rows() == [(3.0, 2.0, None)], order


def test_a_corrected_reading_is_its_own_record_again(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    for revision in (1, 2):
        lake.merge_readings(frame_of([("a/eu", 0, 1.0, float(revision), revision)]), contract=a_contract())
    assert lake.version("readings") is None
    assert lake.grid(contract=a_contract()).select("level").collect().item() == 2.0
