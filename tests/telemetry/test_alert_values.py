"""What an expression says of the grid is what a Prometheus server would say of the same samples."""

import itertools
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.alert_expressions import ExpressionError
from tests.telemetry.alerting import said

A, B, C = "acme/eu", "acme/us", "borealis/eu"
N = None


def test_a_comparison_keeps_the_values_for_which_it_holds() -> None:
    assert said("queries > 2", {"queries": {A: [1, 3, 2, 5]}}) == {A: [N, 3, N, 5]}
    assert said("2 < queries", {"queries": {A: [1, 3, 2, 5]}}) == {A: [N, 3, N, 5]}
    assert said("queries > bool 2", {"queries": {A: [1, 3]}}) == {A: [0, 1]}


def test_matchers_choose_series() -> None:
    told = {"queries": {A: [1], B: [2], C: [3]}}
    assert said('queries{customer="acme"}', told) == {A: [1], B: [2]}
    assert said('queries{customer!="acme"}', told) == {C: [3]}
    assert said('queries{customer=~"ac.*", region!~"u."}', told) == {A: [1]}
    assert said('queries{customer=~"ac"}', told) == {}  # anchored at both ends
    assert said('queries{env!="test"}', told) == {A: [1], B: [2], C: [3]}  # nobody has that label


def test_a_share_of_two_metrics() -> None:
    told = {"queries": {A: [10, 10, 0], B: [10, 10, 10]}, "failed": {A: [1, 0, 0]}}
    assert said("failed_queries / queries > 0.05", told) == {A: [0.1, N, N], B: [N, N, N]}  # 0 / 0 is no number, and above nothing


def test_values_are_told_in_the_units_of_the_source() -> None:
    assert said("query_time > 500", {"query_time": {A: [0.4, 0.6]}}) == {A: [N, pytest.approx(600.0)]}


def test_a_sample_counts_for_five_minutes() -> None:
    assert said("queries", {"queries": {A: [7, N, N, N, N, N, 8]}}) == {A: [7, 7, 7, 7, 7, N, 8]}


def test_a_range_ends_with_the_step_and_leaves_its_beginning_out() -> None:
    told = {"queries": {A: [1, 2, 3, N, 5, N, N]}}
    assert said("sum_over_time(queries[3m])", told) == {A: [1, 3, 6, 5, 8, 5, 5]}
    assert said("avg_over_time(queries[2m])", told) == {A: [1, 1.5, 2.5, 3, 5, 5, N]}
    assert said("max_over_time(queries[3m])", told) == {A: [1, 2, 3, 3, 5, 5, 5]}
    assert said("min_over_time(queries[3m])", told) == {A: [1, 1, 1, 2, 3, 5, 5]}
    assert said("count_over_time(queries[2m])", told) == {A: [1, 2, 2, 1, 1, 1, N]}
    assert said("last_over_time(queries[2m])", told) == {A: [1, 2, 3, 3, 5, 5, N]}
    assert said("present_over_time(queries[2m])", told) == {A: [1, 1, 1, 1, 1, 1, N]}
    assert said("quantile_over_time(0.5, queries[3m])", told) == {A: [1, 1.5, 2, 2.5, 4, 5, 5]}


def test_what_is_counted_is_in_the_grid_by_how_much_it_rose() -> None:
    told = {"failed": {A: [60, 120, 180]}}
    assert said("increase(failed_queries_total[2m])", told) == {A: [60, 180, 300]}
    assert said("rate(failed[1m])", told) == {A: [1, 2, 3]}


def test_a_gauges_delta_is_extrapolated_to_the_ends_of_its_range() -> None:
    told = {"query_time": {A: [0.001, 0.003, 0.005, 0.007]}}
    assert said("delta(query_time[3m])", told) == {A: [N, pytest.approx(3.0), pytest.approx(6.0), pytest.approx(6.0)]}
    # as promql/functions.go: 2 ms in the first minute, and half of one before it is guessed


def test_changes_are_counted_between_samples_of_the_range() -> None:
    assert said("changes(queries[3m])", {"queries": {A: [1, 1, 2, 3, 3, N, 4]}}) == {A: [0, 0, 1, 2, 1, 0, 1]}


def test_an_offset_looks_back() -> None:
    assert said("queries offset 2m", {"queries": {A: [1, 2, 3, 4]}}) == {A: [N, N, 1, 2]}
    assert said("queries < 0.5 * queries offset 1m", {"queries": {A: [10, 4, 4]}}) == {A: [N, 4, N]}


def test_aggregation_by_labels() -> None:
    told = {"queries": {A: [1, N, N, N, N, N], B: [2, 2, 2, 2, 2, 2], C: [4, 4, 4, 4, 4, N]}}
    assert said("sum by (region) (queries)", told) == {"eu": [5, 5, 5, 5, 5, 4], "us": [2, 2, 2, 2, 2, 2]}
    assert said("avg(queries) without (customer)", told)["eu"] == [2.5, 2.5, 2.5, 2.5, 2.5, 4]
    assert said("max(queries)", told) == {"": [4, 4, 4, 4, 4, 4]}
    assert said("min by (customer) (queries)", told)["acme"] == [1, 1, 1, 1, 1, 2]
    assert said("count(queries)", told) == {"": [3, 3, 3, 3, 3, 2]}
    assert said("stddev by (region) (queries)", told)["eu"][0] == pytest.approx(1.5)
    assert said("quantile(0.5, queries)", told) == {"": [2, 2, 2, 2, 2, 3]}


@pytest.mark.parametrize("op", ["sum", "avg", "count", "group", "stddev", "min"])
def test_of_nothing_an_aggregate_says_nothing(op: str) -> None:
    told = said(f"{op}(queries)", {"queries": {A: [1, N, N, N, N, N], B: [1, N, N, N, N, N]}})[""]
    assert [value is None for value in told] == [False] * 5 + [True]


def test_two_vectors_are_joined_by_their_labels() -> None:
    told = {"queries": {A: [1], B: [2], C: [3]}, "query_time": {A: [0.001], C: [0.009]}}
    assert said("queries + query_time", told) == {A: [2.0], B: [N], C: [12.0]}
    assert said("queries / on (region) group_left sum by (region) (queries)", told) == {A: [0.25], B: [1.0], C: [0.75]}
    assert said("sum by (region) (queries) - on (region) group_right queries", told) == {A: [3.0], B: [0.0], C: [1.0]}
    with pytest.raises(ExpressionError, match="several elements of the right side of '\\*' have region=eu; say group_left"):
        said("queries{customer='acme'} * on (region) queries", told)


def test_and_or_unless() -> None:
    told = {"queries": {A: [1, 5], B: [5, 1]}, "failed": {A: [9, 9], C: [9, 9]}}
    assert said("queries > 2 and failed > 2", told) == {A: [N, 5], B: [N, N], C: [N, N]}
    assert said("queries > 2 unless failed > 2", told) == {A: [N, N], B: [5, N], C: [N, N]}
    assert said("queries > 2 or failed > 2", told) == {A: [9, 5], B: [5, N], C: [9, 9]}
    assert said("queries and on (region) failed{customer='borealis'}", told)[A] == [1, 5]


def test_absence() -> None:
    told = {"queries": {A: [1, N, N, N, N, N, N], B: [1, 1, 1, 1, 1, 1, 1]}}
    assert said('absent(queries{customer="acme", region="eu"})', told) == {A: [N, N, N, N, N, 1, 1]}
    assert said('absent_over_time(queries{customer="acme", region="eu"}[2m])', told) == {A: [N, N, 1, 1, 1, 1, 1]}
    assert said("absent(queries)", told) == {"": [N] * 7}
    assert said("queries offset 5m unless queries", told) == {A: [N, N, N, N, N, 1, 1], B: [N] * 7}


def test_times_of_the_day_and_numbers() -> None:
    told = {"queries": {A: [1.4]}}
    assert said("queries and on() day_of_week() == 1 and on() hour() < 8", told) == {A: [1.4]}  # a Monday
    assert said("clamp(round(queries * 2), 0, 2) ^ 2 % 3", told) == {A: [1.0]}
    assert said("-queries + scalar(queries) * 2", told) == {A: [pytest.approx(1.4)]}
    assert said("vector(time())", told) == {"": [1767571200.0]}


def test_a_recorded_expression_is_a_metric() -> None:
    told = {"queries": {A: [10, 10], B: [10, 10]}, "failed": {A: [1, 3], B: [0, 0]}}
    assert said("max_over_time(job:share[2m]) > 0.2", told, **{"job:share": "failed / queries"}) == {A: [N, 0.3], B: [N, N]}


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=40), st.integers(1, 7))
def test_ranges_are_what_a_person_would_count(values: list[float | None], window: int) -> None:
    told = said(f"avg_over_time(queries[{window}m])", {"queries": {A: values}})[A]
    for step, found in enumerate(told):
        samples = [value for value in values[max(0, step - window + 1) : step + 1] if value is not None]
        wanted = math.fsum(samples) / len(samples) if samples else None
        assert found == (None if wanted is None else pytest.approx(wanted, abs=1e-6, rel=1e-9))


@given(st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=1, max_size=30), st.integers(1, 6))
def test_changes_are_what_a_person_would_count(values: list[int | None], window: int) -> None:
    told = said(f"changes(queries[{window}m])", {"queries": {A: [None if v is None else float(v) for v in values]}})[A]
    for step, found in enumerate(told):
        samples = [value for value in values[max(0, step - window + 1) : step + 1] if value is not None]
        wanted = sum(one != two for one, two in itertools.pairwise(samples)) if samples else None
        assert found == wanted


def test_nothing_comes_of_no_rows() -> None:
    from telemetry.alert_parser import parse
    from telemetry.alert_values import Telemetry, evaluate
    from tests.telemetry.alerting import contract, grid

    empty = grid({"queries": {A: [1.0]}}).clear()
    telemetry = Telemetry(empty, contract=contract(), recorded={})
    assert evaluate(parse("queries > 2"), telemetry=telemetry) == {}
    found = evaluate(parse("absent(queries)"), telemetry=telemetry)
    assert isinstance(found, dict)
    assert [series.len() for series in found.values()] == [0]
    assert isinstance(telemetry.at, pl.Series)
