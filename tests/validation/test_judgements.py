"""What is wrong with a grid is said with its entity, its period, and a sentence for a person."""

import re

import polars as pl

from telemetry.schema import grid_schema
from tests.validation.grids import contract, day, grid, multiplied
from validation import judgements
from validation.findings import Finding
from validation.profile import infinite, measure, outside
from validation.shifts import find
from validation.triage import diagnose

NAMES = contract().names


def shifted(frame: pl.DataFrame, parameter: str) -> tuple[Finding, ...]:
    profile = measure(frame)
    found = diagnose(profile, grid=frame, factor=8)
    keys = ("customer", "region")
    return judgements.miscalculated(found, profile=profile, parameter=parameter, factor=8, keys=keys, severity="stop")


def test_columns_are_told_by_what_is_missing_unknown_and_of_another_type() -> None:
    declared = judgements.as_text(grid_schema(NAMES))
    found = judgements.as_text(grid().drop("cpu").with_columns(extra=1, queries=pl.col("queries").cast(pl.Int64)).schema)
    (told,) = judgements.columns(found, expected=declared, severity="stop")
    assert told.found == "missing: cpu; unknown: extra; of another type: queries (Int64, not Float64)"
    assert judgements.columns(declared, expected=declared, severity="stop") == ()


def test_no_row_at_all_is_a_finding() -> None:
    (told,) = judgements.rows(0, severity="stop")
    assert (told.severity, told.found) == ("stop", "no row")
    assert judgements.rows(1, severity="stop") == ()


def test_repeated_rows_are_told_from_the_first() -> None:
    frame = grid(days=2)
    twice = pl.concat([frame, frame.filter(entity="acme/us", at=day(1))]).sort("entity", "at")
    (told,) = judgements.repeated(measure(twice), severity="stop")
    assert (told.entity, told.period_start, told.period_end, told.found) == ("acme/us", day(1), day(2), "1 rows too many")


def test_rows_that_go_back_in_time_are_told() -> None:
    (told,) = judgements.backward(measure(grid(days=2, entities=("acme/eu",)).reverse()), severity="warn")
    assert (told.severity, told.entity, told.found) == ("warn", "acme/eu", "287 steps back in time")


def without(parameters: list[str], *, entity: str, share: float) -> pl.DataFrame:
    gone = (pl.col("entity") == entity) & (pl.col("at") < day(10 * share))
    frame = grid(days=10).with_columns(pl.when(~gone).then(pl.col(parameters)))
    return frame.with_columns(observed=pl.any_horizontal(pl.col(NAMES).is_not_null()))


def test_a_parameter_that_is_missing_while_others_arrive_stops() -> None:
    (told,) = judgements.missing(measure(without(["cpu"], entity="bolt/eu", share=0.6)), parameter="cpu", at_most=0.5, severity="stop")
    assert (told.severity, told.entity, told.parameter, told.found) == ("stop", "bolt/eu", "cpu", "60.0% missing")
    assert (told.period_start, told.period_end) == (day(0), day(10))


def test_a_silent_entity_only_warns() -> None:
    (told,) = judgements.missing(measure(without(list(NAMES), entity="bolt/eu", share=0.6)), parameter="cpu", at_most=0.5, severity="stop")
    assert (told.severity, "silent" in told.sentence) == ("warn", True)


def test_as_much_as_is_allowed_may_be_missing() -> None:
    assert judgements.missing(measure(without(["cpu"], entity="bolt/eu", share=0.5)), parameter="cpu", at_most=0.5, severity="stop") == ()


def implausible(frame: pl.DataFrame, *, at_most: float) -> tuple[Finding, ...]:
    return judgements.implausible(
        outside(frame, parameter="cpu", minimum=0, maximum=100),
        profile=measure(frame),
        parameter="cpu",
        bounds="0 to 100 percent",
        at_most=at_most,
        severity="stop",
    )


def test_values_that_cannot_be_are_told_with_their_period_and_extent() -> None:
    frame = multiplied(grid(days=10), "cpu", by=1e3, since=5, until=5.5)
    (told,) = implausible(frame, at_most=0.0)
    assert (told.entity, told.period_start, told.period_end) == ("acme/eu", day(5), day(5.5))
    assert re.fullmatch(r"72 values outside, \d,\d{3} to \d\d,\d{3}", told.found)
    assert told.expected == "0 to 100 percent"


def test_a_share_of_them_is_allowed_where_the_contract_says_so() -> None:
    frame = multiplied(grid(days=10), "cpu", by=1e3, since=5, until=5.5)
    assert implausible(frame, at_most=0.05) == ()
    assert [told.entity for told in implausible(frame, at_most=0.04)] == ["acme/eu"]


def test_infinite_values_are_told() -> None:
    frame = multiplied(grid(days=2), "cpu", by=float("inf"), since=1.5)
    (told,) = judgements.infinite(infinite(frame, parameter="cpu"), profile=measure(frame), parameter="cpu", severity="stop")
    assert (told.entity, told.found, told.period_end) == ("acme/eu", "72 infinite values", day(2))


def test_a_unit_that_changed_is_told_with_its_factor() -> None:
    (told,) = shifted(multiplied(grid(), "latency", by=100, since=18), "latency")
    assert (told.severity, told.entity, told.parameter, told.period_start) == ("stop", "acme/eu", "latency", day(18))
    assert told.found.endswith("of its own past, looks like x100")
    assert "looks like a unit changed by x100" in told.sentence
    assert shifted(multiplied(grid(), "latency", by=100, since=18), "queries") == ()


def test_a_unit_that_changed_everywhere_at_a_customer_is_told_so() -> None:
    told = shifted(multiplied(grid(), "latency", by=100, since=18, entities=("acme/eu", "acme/us")), "latency")
    assert [finding.entity for finding in told] == ["acme/eu", "acme/us"]
    assert all("The same happened in acme/eu, acme/us: everywhere at customer acme." in finding.sentence for finding in told)


def test_business_that_grew_only_warns() -> None:
    frame = grid()
    frame = frame.with_columns(pl.col("latency").alias(f"volume{n}") for n in range(3))
    for name in ("latency", "volume0", "volume1", "volume2"):
        frame = multiplied(frame, name, by=20, since=18)
    (told,) = shifted(frame, "latency")
    assert (told.severity, "rather the customer's business" in told.sentence) == ("warn", True)


def test_an_entity_that_is_unlike_all_others_warns() -> None:
    names = tuple(f"c{n}/eu" for n in range(8))
    frame = multiplied(grid(days=3, entities=names), "cpu", by=1000, since=0, entities=("c3/eu",))
    (told,) = judgements.unlike_others(measure(frame), parameter="cpu", factor=8)
    assert (told.severity, told.entity) == ("warn", "c3/eu")
    assert judgements.unlike_others(measure(frame), parameter="latency", factor=8) == ()
    few = frame.filter(pl.col("entity") <= "c4/eu")
    assert judgements.unlike_others(measure(few), parameter="cpu", factor=8) == ()


def test_an_empty_grid_has_nothing_else_to_say() -> None:
    empty = grid(days=1).clear()
    profile = measure(empty)
    assert find(profile, grid=empty, factor=8) == ()
    assert judgements.repeated(profile, severity="stop") == ()
