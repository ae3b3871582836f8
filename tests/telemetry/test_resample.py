"""The grid: a step a row, sums of nothing are null, no step missing, filled only where the contract says so."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from telemetry import contract as contracts
from telemetry.archive import canonical
from telemetry.archive import steps as steps_of
from telemetry.contract import Contract
from telemetry.errors import BadValueError
from telemetry.resample import complete, entities_from, fill, labels_from, lookback, refuse_emptiness
from telemetry.schema import AT, COHORT, ENTITY, LABEL, OBSERVED, REVISION, TIME, conform, grid_schema

Declare = Callable[..., Contract]
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def readings_schema(contract: Contract) -> dict[str, Any]:
    label = {LABEL: pl.Boolean} if contract.label_column else {}
    return {ENTITY: pl.String, COHORT: pl.String, AT: TIME, **dict.fromkeys(contract.names, pl.Float64), **label}


def to_grid(readings: pl.LazyFrame, *, contract: Contract) -> pl.LazyFrame:
    """Readings as the grid that they make."""
    told = readings.collect().select(ENTITY, AT, *contract.names, pl.lit(1, dtype=pl.Int64).alias(REVISION))
    grid = steps_of(canonical(told, names=contract.names), contract=contract, names=contract.names)
    return complete(grid.drop(REVISION).lazy(), cadence=contract.time.cadence)


def arrived(contract: Contract, *rows: tuple[Any, ...], entity: str = "acme/eu") -> pl.LazyFrame:
    """Readings of one entity: (seconds after midnight, queries, query_time, cpu[, label])."""
    told = [(entity, "eu", MIDNIGHT + timedelta(seconds=row[0]), *row[1:]) for row in rows]
    return pl.LazyFrame(told, schema=readings_schema(contract), orient="row")


def steps(grid: pl.LazyFrame) -> list[tuple[Any, ...]]:
    """(minute, observed, queries, query_time, cpu)."""
    return grid.with_columns((pl.col(AT) - MIDNIGHT).dt.total_minutes()).drop(ENTITY).collect().rows()


def test_a_step_is_the_sum_or_the_mean_of_its_readings(declare: Declare) -> None:
    contract = declare()
    readings = arrived(contract, (40, 2.0, 30.0, None), (0, 1.0, 10.0, 5.0), (59, None, 20.0, None), (60, 7.0, 1.0, 1.0))
    assert steps(to_grid(readings, contract=contract)) == [(0, True, 3.0, 20.0, 5.0), (1, True, 7.0, 1.0, 1.0)]


def test_the_sum_of_nothing_is_null_and_of_zeros_is_zero(declare: Declare) -> None:
    contract = declare()
    readings = arrived(contract, (0, None, 1.0, None), (1, None, None, None), (60, 0.0, 0.0, 0.0), (61, 0.0, None, None))
    assert steps(to_grid(readings, contract=contract)) == [(0, True, None, 1.0, None), (1, True, 0.0, 0.0, 0.0)]


def test_every_step_between_first_and_last_reading_is_there_and_none_beyond(declare: Declare) -> None:
    contract = declare()
    readings = pl.concat(
        [arrived(contract, (180, 1.0, 1.0, 1.0), (0, 1.0, 1.0, 1.0)), arrived(contract, (900, 2.0, 2.0, 2.0), entity="bolt/us")]
    )
    grid = to_grid(readings, contract=contract).collect()
    assert conform(grid, grid_schema(contract.names), name="grid").select(ENTITY, OBSERVED).rows() == [
        ("acme/eu", True),
        ("acme/eu", False),
        ("acme/eu", False),
        ("acme/eu", True),
        ("bolt/us", True),
    ]


def test_a_reading_without_any_value_is_not_observed(declare: Declare) -> None:
    contract = declare()
    assert steps(to_grid(arrived(contract, (0, None, None, None)), contract=contract)) == []


def test_the_cadence_of_the_contract_is_the_step(declare: Declare) -> None:
    contract = declare(time={"column": "time", "cadence_seconds": 300})
    readings = arrived(contract, (0, 1.0, 1.0, 1.0), (299, 1.0, 1.0, 1.0), (600, 1.0, 1.0, 1.0))
    assert [row[:3] for row in steps(to_grid(readings, contract=contract))] == [(0, True, 2.0), (5, False, None), (10, True, 1.0)]


def test_missing_values_are_marked_ignored_zero_or_the_previous_one_as_declared(declare: Declare) -> None:
    policies = {"queries": {"missing": "zero"}, "query_time": {"missing": "ignore"}, "cpu": {"missing": "previous", "previous_steps": 2}}
    contract = declare(parameters=policies)
    readings = arrived(contract, (0, 4.0, 4.0, 4.0), (240, 5.0, 5.0, None), (300, 6.0, 6.0, 6.0))
    assert steps(fill(to_grid(readings, contract=contract), contract=contract)) == [
        (0, True, 4.0, 4.0, 4.0),
        (1, False, 0.0, None, 4.0),
        (2, False, 0.0, None, 4.0),
        (3, False, 0.0, None, None),
        (4, True, 5.0, 5.0, None),
        (5, True, 6.0, 6.0, 6.0),
    ]
    assert lookback(contract) == 2 * MINUTE


def test_a_previous_value_is_never_another_entitys(declare: Declare) -> None:
    contract = declare(parameters={"cpu": {"missing": "previous"}})
    readings = pl.concat([arrived(contract, (0, 1.0, 1.0, 9.0)), arrived(contract, (0, 1.0, 1.0, None), entity="bolt/us")])
    assert [row[-1] for row in steps(fill(to_grid(readings, contract=contract), contract=contract))] == [9.0, None]


def test_one_stray_time_does_not_make_millions_of_empty_steps(declare: Declare) -> None:
    contract = declare()
    readings = arrived(contract, (-20 * 366 * 86400, 1.0, 1.0, 1.0), (0, 1.0, 1.0, 1.0))
    with pytest.raises(BadValueError, match=r"acme/eu has 2 readings since 2005-.*nearly all empty\.\nHint: a time is probably wrong"):
        refuse_emptiness(readings.collect(), cadence=contract.time.cadence)


def test_labels_are_runs_of_labelled_steps_per_entity(declare: Declare) -> None:
    contract = declare(label_column="anomaly")
    told = {0: True, 60: True, 90: None, 120: False, 180: True, 300: True}
    one = arrived(contract, *((second, 1.0, 1.0, 1.0, label) for second, label in told.items()))
    other = arrived(contract, (360, 1.0, 1.0, 1.0, True), entity="bolt/us")
    found = labels_from(pl.concat([one, other]), contract=contract)
    assert [(entity, (start - MIDNIGHT) // MINUTE, (end - MIDNIGHT) // MINUTE, kind) for entity, start, end, kind in found.rows()] == [
        ("acme/eu", 0, 2, "labelled"),
        ("acme/eu", 3, 4, "labelled"),
        ("acme/eu", 5, 6, "labelled"),
        ("bolt/us", 6, 7, "labelled"),
    ]


def test_without_a_label_column_there_are_no_labels(declare: Declare) -> None:
    assert labels_from(arrived(declare(), (0, 1.0, 1.0, 1.0)), contract=declare()).is_empty()


def test_an_entity_is_seen_from_its_first_reading(declare: Declare) -> None:
    contract = declare()
    assert entities_from(arrived(contract, (60, 1.0, 1.0, 1.0), (0, 1.0, 1.0, 1.0))).rows() == [
        ("acme/eu", "eu", MIDNIGHT, MIDNIGHT + MINUTE)
    ]


_value = st.one_of(st.none(), st.integers(0, 100).map(float))
_arrival = st.tuples(st.integers(0, 1800), _value, _value, _value, st.sampled_from(["a", "b"]))
_arrivals = st.lists(_arrival, min_size=1, max_size=40, unique_by=lambda told: (told[0], told[-1]))


@given(arrivals=_arrivals, order=st.randoms())
def test_the_grid_keeps_every_sum_whatever_the_order_of_arrival(arrivals: list[tuple[Any, ...]], order: Any) -> None:
    contract = contracts.parse(
        {
            "name": "small",
            "entity": {"keys": ["customer"]},
            "time": {"column": "time"},
            "parameters": {name: {"unit": "count", "aggregation": "sum", "target": True} for name in ("queries", "query_time", "cpu")},
        }
    )
    rows = [(entity, "all", MIDNIGHT + timedelta(seconds=second), *values) for second, *values, entity in arrivals]
    readings = pl.LazyFrame(rows, schema=readings_schema(contract), orient="row")
    order.shuffle(rows)
    shuffled = pl.LazyFrame(rows, schema=readings_schema(contract), orient="row")
    grid = to_grid(readings, contract=contract).collect()
    assert_frame_equal(grid, to_grid(shuffled, contract=contract).collect())
    assert grid.select(contract.names).sum().row(0) == readings.select(contract.names).sum().collect().row(0)
    apart = grid.select(pl.col(AT).diff().over(ENTITY).drop_nulls().unique())[AT].to_list()
    assert apart in ([], [MINUTE])
