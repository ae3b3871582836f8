"""Accuracy, its lower bound, and skill: worked by hand on small frames."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.schema import ENTITY, FORECASTS, TARGET
from validation.metrics import ACCURACY, ACCURACY_ORACLE, ACCURACY_PERSISTENCE, ORACLES, ROWS, SKILL, measure, wilson_lower

START = datetime(2026, 1, 1, tzinfo=UTC)
HALF_PAST = timedelta(minutes=30)


def rows(*changes: dict[str, Any]) -> pl.DataFrame:
    """One row a minute of entity a, target q, with a perfect forecast and a last value two sigma away, but for `changes`."""
    usual = {
        "entity": "a",
        "target": "q",
        "lead_minutes": 1,
        "actual": 10.0,
        "forecast": 10.0,
        "persistence": 14.0,
        "sigma": 2.0,
        "newcomer": False,
        "label": False,
    }
    told = [{"at": START + index * timedelta(minutes=1)} | usual | change for index, change in enumerate(changes)]
    return pl.DataFrame(told, schema=FORECASTS)


def entity(name: str, *, hits: int, misses: int) -> pl.DataFrame:
    return rows(*[{"entity": name}] * hits, *[{"entity": name, "forecast": 20.0}] * misses)


def test_accuracy_is_the_share_within_one_sigma_and_the_edge_counts() -> None:
    metrics = measure(rows({"forecast": 12.0}, {"forecast": 8.0}, {"forecast": 12.1}, {"forecast": 7.9}), block_minutes=60).metrics
    assert (metrics.accuracy, metrics.rows) == (0.5, 4)


def test_only_mature_unlabelled_rows_of_the_next_step_count() -> None:
    wrong = {"forecast": 99.0}
    metrics = measure(rows({}, wrong | {"newcomer": True}, wrong | {"label": True}, wrong | {"lead_minutes": 15}), block_minutes=60).metrics
    assert (metrics.accuracy, metrics.rows) == (1.0, 1)


def test_skill_compares_with_the_last_value_on_the_same_rows_in_units_of_sigma() -> None:
    # errors in sigma: model 0.5 and 1, last value 2 and 3; the third row has no last value and counts for accuracy alone
    told = rows({"forecast": 11.0}, {"forecast": 110.0, "actual": 10.0, "persistence": 310.0, "sigma": 100.0}, {"persistence": None})
    metrics = measure(told, block_minutes=60).metrics
    assert metrics.skill == pytest.approx(1 - 1.5 / 5)
    assert metrics.accuracy_persistence == 0.0
    assert metrics.rows == 3


@pytest.mark.parametrize(("forecast", "expected"), [(10.0, 0.0), (10.1, -1.0)])
def test_on_a_constant_target_skill_is_nought_or_minus_one(forecast: float, expected: float) -> None:
    assert measure(rows({"persistence": 10.0, "forecast": forecast}), block_minutes=60).metrics.skill == expected


@pytest.mark.parametrize("forecast", [None, math.nan, math.inf])
def test_a_forecast_that_is_no_number_is_a_miss_and_is_counted(forecast: float | None) -> None:
    metrics = measure(rows({}, {"forecast": forecast}), block_minutes=60).metrics
    assert (metrics.accuracy, metrics.not_finite, metrics.rows) == (0.5, 1, 2)
    assert metrics.skill == 1.0


def test_without_a_row_every_figure_is_nought_and_finite() -> None:
    metrics = measure(rows({"newcomer": True}), block_minutes=60).metrics
    assert (metrics.rows, metrics.blocks, metrics.accuracy, metrics.accuracy_lower, metrics.skill) == (0, 0, 0.0, 0.0, 0.0)
    assert (metrics.worst_decile_accuracy, metrics.entity_skill_share, metrics.accuracy_oracle) == (0.0, 0.0, None)


def test_groups_are_told_worst_first() -> None:
    told = pl.concat([rows({}, {}), rows({"target": "t"}, {"target": "t", "forecast": 15.0}), rows({"entity": "b", "target": "t"})])
    measured = measure(told, block_minutes=60)
    by_entity, by_target, both = measured.by_entity, measured.by_target, measured.by_entity_target
    assert by_entity.select(ENTITY, ROWS, ACCURACY, ACCURACY_PERSISTENCE).rows() == [("a", 4, 0.75, 0.0), ("b", 1, 1.0, 0.0)]
    assert by_target.select(TARGET, ROWS, ACCURACY).rows() == [("t", 3, 2 / 3), ("q", 2, 1.0)]
    assert both.select(ENTITY, TARGET, ROWS, ACCURACY).rows() == [("a", "t", 2, 0.5), ("a", "q", 2, 1.0), ("b", "t", 1, 1.0)]
    assert by_entity.get_column(SKILL).to_list() == [pytest.approx(1 - 2.5 / 8), 1.0]


def test_the_oracle_is_measured_where_it_is_known() -> None:
    told = rows({}, {}, {})
    known = pl.DataFrame({"entity": ["a", "a"], "at": told["at"][:2], "target": ["q", "q"], "oracle": [11.0, 13.0]}, schema=ORACLES)
    measured = measure(told, block_minutes=60, oracle=known)
    metrics = measured.metrics
    assert metrics.accuracy_oracle == 0.5
    assert measured.by_entity.get_column(ACCURACY_ORACLE).to_list() == [0.5]


def test_the_worst_decile_is_the_mean_of_the_worst_tenth_of_the_entities() -> None:
    fleet = [entity(f"good-{index:02}", hits=10, misses=0) for index in range(18)]
    told = pl.concat([*fleet, entity("bad", hits=1, misses=1), entity("poor", hits=8, misses=2)])
    assert measure(told, block_minutes=60).metrics.worst_decile_accuracy == pytest.approx((0.5 + 0.8) / 2)


def test_wilson_bound_of_independent_rows() -> None:
    assert wilson_lower(0.5, size=100) == pytest.approx(0.41885, abs=1e-5)  # (p + z2/2n - z sqrt(pq/n + z2/4n2)) / (1 + z2/n)
    assert wilson_lower(1.0, size=100) == pytest.approx(100 / (100 + 1.6448536269514722**2))


def test_the_lower_bound_counts_what_clustered_rows_are_worth() -> None:
    def bound(missed: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
        told = rows(*[{"forecast": 20.0} if miss else {} for miss in missed])
        return measure(told, block_minutes=30).metrics.accuracy_lower

    minutes = np.arange(3000)
    scattered, clustered = minutes % 30 == 7, (minutes < 60) | (minutes >= 2960)  # 100 misses each
    assert bound(scattered) == pytest.approx(wilson_lower(1 - 1 / 30, size=100))  # no spread between blocks is no proof of more rows
    assert bound(clustered) < 0.96 - 0.03 < bound(minutes % 29 == 7)


def test_the_effective_size_is_that_of_a_ratio_over_clusters() -> None:
    # two blocks of 4 and 2 rows with 3 and 2 hits: p = 5/6, v = 2/1 * ((3 - 10/3)^2 + (2 - 5/3)^2) / 36, n = p q / v = 11.25 -> 6 rows
    told = rows({}, {}, {}, {"forecast": 20.0}, {"at": START + HALF_PAST}, {"at": START + HALF_PAST + timedelta(minutes=1)})
    assert measure(told, block_minutes=30).metrics.accuracy_lower == pytest.approx(wilson_lower(5 / 6, size=6))
    # with 1 and 2 hits: p = 1/2, v = 2 * ((1 - 2)^2 + (2 - 1)^2) / 36 = 1/9, n = 1/4 / (1/9) = 2.25
    told = rows({}, *[{"forecast": 20.0}] * 3, {"at": START + HALF_PAST}, {"at": START + HALF_PAST + timedelta(minutes=1)})
    assert measure(told, block_minutes=30).metrics.accuracy_lower == pytest.approx(wilson_lower(0.5, size=2.25))


@pytest.mark.parametrize(("blocks", "size"), [(1, 1), (5, 5)])
def test_without_a_miss_every_block_counts_as_one_row(blocks: int, size: int) -> None:
    metrics = measure(rows(*[{}] * (30 * blocks)), block_minutes=30).metrics
    assert metrics.blocks == blocks
    assert metrics.accuracy_lower == pytest.approx(wilson_lower(1.0, size=size))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=60))
def test_the_lower_bound_is_below_the_accuracy_and_everything_is_finite(told: list[tuple[str, bool]]) -> None:
    measured = measure(rows(*[{"entity": e, "forecast": 10.0 if hit else 20.0} for e, hit in told]), block_minutes=7)
    metrics = measured.metrics
    assert 0 <= metrics.accuracy_lower <= metrics.accuracy <= 1
    assert math.isfinite(metrics.skill)
    assert measured.by_entity_target.select(pl.col(ACCURACY, SKILL).is_finite().all()).row(0) == (True, True)
