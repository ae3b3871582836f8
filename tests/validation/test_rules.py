"""A rule between two parameters is held against every step that tells both."""

import polars as pl
import pytest

from tests.validation.grids import day, grid, multiplied
from validation import rules
from validation.findings import Finding
from validation.profile import measure

RULE = "failures <= queries"


def steps(**columns: list[float | None]) -> pl.DataFrame:
    """One entity, a step a row."""
    told = {name: pl.Series(values, dtype=pl.Float64) for name, values in columns.items()}
    at = grid(days=1, entities=("acme/eu",)).select("entity", "at", "observed").head(len(next(iter(told.values()))))
    return at.with_columns(**told)


def count(frame: pl.DataFrame, *, or_equal: bool = True, tolerance: float = 0.0) -> list[tuple[int, int]]:
    return rules.breaches(frame, left="a", right="b", or_equal=or_equal, tolerance=tolerance).select("told", "broken").rows()


def broken(frame: pl.DataFrame, *, at_most: float = 0.01) -> tuple[Finding, ...]:
    breaches = rules.breaches(frame, left="failures", right="queries", or_equal=True, tolerance=0.0)
    return rules.broken(breaches, profile=measure(frame), rule=RULE, parameter="failures", at_most=at_most, severity="stop")


def test_a_rule_that_holds_has_nothing_to_say() -> None:
    assert broken(grid(night=0.5)) == ()


def test_who_breaks_a_rule_is_told_with_how_often_since_when_and_with_which_values() -> None:
    frame = grid(days=10).with_columns(
        failures=pl.when(pl.col("at").is_between(day(8), day(9), closed="left"), entity="acme/us")
        .then(900 + pl.col("at").dt.hour())
        .otherwise(0.0),
        queries=pl.lit(300.0),
    )
    (told,) = broken(frame)
    assert (told.expectation, told.severity, told.entity, told.parameter) == ("rule", "stop", "acme/us", "failures")
    assert (told.period_start, told.period_end) == (day(8), day(9))
    assert told.found == "144 steps (10.00%) that break it, such as 900 against 300, 900 against 300, 900 against 300"
    assert told.expected == "failures <= queries in all but 0.01 of the steps"
    assert "acme/us breaks the rule failures <= queries in 144 of 1,440 steps (10.00%), first at 2026-03-10 00:00 UTC" in told.sentence


def test_as_much_as_is_allowed_may_break_a_rule() -> None:
    frame = multiplied(grid(days=10).with_columns(failures=1.0, queries=300.0), "failures", by=1e3, since=9.5)
    assert broken(frame, at_most=0.05) == ()
    assert [told.entity for told in broken(frame, at_most=0.04)] == ["acme/eu"]


def test_equal_values_break_only_what_must_be_below() -> None:
    frame = steps(a=[1, 2, 3], b=[1, 2, 4])
    assert count(frame) == []
    assert count(frame, or_equal=False) == [(3, 2)]


@pytest.mark.parametrize(("tolerance", "told"), [(0.0, [(4, 2)]), (0.1, [(4, 1)]), (0.25, [])])
def test_a_tolerance_is_a_share_of_the_right_side_whatever_its_sign(tolerance: float, told: list[tuple[int, int]]) -> None:
    assert count(steps(a=[105, -80, 5, -120], b=[100, -100, 5, -100]), tolerance=tolerance) == told


def test_only_steps_that_tell_both_as_finite_numbers_are_judged() -> None:
    frame = steps(a=[9, None, 9, float("inf"), 9, 0], b=[1, 1, None, 1, float("-inf"), 1])
    assert count(frame) == [(2, 1)]
    assert count(frame.with_columns(observed=pl.lit(value=False))) == []


def test_the_tolerance_is_told_with_the_rule() -> None:
    assert (rules.in_words(RULE, tolerance=0.0), rules.in_words(RULE, tolerance=0.1)) == (RULE, f"{RULE} + 10%")
