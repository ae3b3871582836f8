"""The figures of a detector are what a person would count."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.schema import INCIDENTS, LABELS, SCORES, TIME
from validation.detection import Detected, Told, compared, detect, only

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = 7 * 24 * 60


def at(minute: float) -> datetime:
    """An instant of the period."""
    return START + timedelta(minutes=minute)


def events(*rows: tuple[str, int, int, str, float | None]) -> pl.DataFrame:
    """Entity, start, end, kind, minutes to detect (None: missed), as `match` tells labels."""
    schema = {**LABELS, "minutes_to_detect": pl.Float64}
    told = pl.DataFrame([(e, at(s), at(f), k, m) for e, s, f, k, m in rows], schema=schema, orient="row")
    return told.with_columns(pl.col("minutes_to_detect").is_not_null().alias("found"), pl.format("{}@{}", "entity", "start").alias("key"))


def incidents(*rows: tuple[str, str, bool]) -> pl.DataFrame:
    """Name, entity, whether it is false."""
    schema = {**INCIDENTS, "false": pl.Boolean}
    return pl.DataFrame([(n, e, at(0), at(1), at(2), 2.0, "x", "r", f) for n, e, f in rows], schema=schema, orient="row")


def scores(*rows: tuple[str, int, str, float, str]) -> pl.LazyFrame:
    """Entity, minute, target, surprise, verdict."""
    return pl.DataFrame([(e, at(m), t, 0.0, 0.0, s, v, "r") for e, m, t, s, v in rows], schema=SCORES, orient="row").lazy()


def watched(**minutes: int) -> pl.LazyFrame:
    """For how many minutes each entity of customer `c` was watched."""
    rows = [(f"c/{name}", at(n)) for name, many in minutes.items() for n in range(many)]
    return pl.LazyFrame(rows, schema={"entity": pl.String, "at": TIME}, orient="row")


def figures(told: Told, seen: pl.LazyFrame | None = None, *, promised: float | None = 0.01) -> Detected:
    """By minutes."""
    seen = watched(a=WEEK, b=WEEK) if seen is None else seen
    return detect(told, watched=seen, promised=promised, cadence_seconds=60, tolerance_minutes=10)


def test_events_and_incidents_are_counted() -> None:
    told = Told(
        name="one",
        labels=events(("c/a", 0, 9, "spike", 4.0), ("c/a", 50, 60, "drop", None), ("c/b", 5, 9, "spike", 10.0)),
        incidents=incidents(("1", "c/a", False), ("2", "c/b", False), ("3", "c/b", True), ("4", "c/b", True)),
    )
    found = figures(told)
    told_of = found.figures
    assert (told_of.events, told_of.found, told_of.incidents, told_of.false_incidents) == (3, 2, 4, 2)
    assert (told_of.recall, told_of.precision) == (pytest.approx(2 / 3), 0.5)
    assert (told_of.minutes_to_detect, told_of.worst_minutes_to_detect) == (7.0, 10.0)
    assert found.by_kind.rows() == [("drop", 1, 0, 0.0, None, None), ("spike", 2, 2, 1.0, 7.0, 10.0)]
    by_entity = {row["entity"]: row for row in found.by_entity.iter_rows(named=True)}
    assert [by_entity["c/a"][name] for name in ("events", "found", "recall", "false_incidents")] == [2, 1, 0.5, 0]
    assert [by_entity["c/b"][name] for name in ("incidents", "false_incidents", "false_per_week")] == [3, 2, 2.0]


def test_weeks_are_counted_by_what_was_watched() -> None:
    told = Told(name="one", labels=events(), incidents=incidents(("1", "c/a", True), ("2", "c/b", True), ("3", "c/b", True)))
    found = figures(told, watched(a=WEEK, b=WEEK // 2)).figures
    assert (found.entity_weeks, found.customer_weeks) == (pytest.approx(1.5), pytest.approx(1.0))
    assert (found.false_per_entity_week, found.false_per_customer_week) == (pytest.approx(2.0), pytest.approx(3.0))
    assert (found.recall, found.precision, found.minutes_to_detect, found.vus_pr, found.realised_rate) == (None,) * 5


def test_an_alert_of_many_entities_is_one_incident_and_right_where_one_of_them_is() -> None:
    told = Told(
        name="rules",
        labels=events(("c/a", 0, 9, "spike", 1.0)),
        incidents=incidents(("eu", "c/a", False), ("eu", "c/b", True), ("us", "c/a", True), ("us", "c/b", True)),
    )
    found = figures(told)
    assert (found.figures.incidents, found.figures.false_incidents, found.figures.precision) == (2, 1, 0.5)
    assert dict(found.by_entity.select("entity", "false_incidents").rows()) == {"c/a": 1, "c/b": 1}


def test_the_promise_is_held_against_normal_minutes_that_were_judged() -> None:
    told = Told(
        name="one",
        labels=events(("c/a", 10, 20, "spike", 1.0)),
        incidents=incidents(),
        scores=scores(
            ("c/a", 9, "x", 1.5, "anomalous"),
            ("c/a", 10, "x", 5.0, "anomalous"),  # labelled
            ("c/a", 29, "x", 5.0, "anomalous"),  # within ten minutes of it
            ("c/a", 30, "x", 0.5, "normal"),
            ("c/a", 30, "y", 1.2, "normal"),  # excused by the operator, and above the threshold all the same
            ("c/b", 10, "x", 0.2, "normal"),
            ("c/b", 11, "x", 9.0, "warming"),
            ("c/b", 12, "x", 1.0, "normal"),  # on the bar is not above it
            ("c/b", 12, "standstill", 3.0, "anomalous"),  # nothing is promised of it
        ),
    )
    found = figures(told)
    assert found.figures.realised_rate == pytest.approx(2 / 5)
    assert found.figures.promised_rate == 0.01
    assert found.by_target.rows() == [("x", 4, 0.25), ("y", 1, 1.0)]
    assert dict(found.by_entity.select("entity", "realised_rate").rows()) == {"c/a": pytest.approx(2 / 3), "c/b": 0.0}


def test_labels_that_overlap_leave_out_what_the_longest_of_them_holds() -> None:
    told = Told(
        name="one",
        labels=events(("c/a", 0, 100, "drop", None), ("c/a", 5, 6, "spike", None)),
        incidents=incidents(),
        scores=scores(("c/a", 50, "x", 5.0, "anomalous"), ("c/a", 200, "x", 0.5, "normal")),
    )
    assert figures(told).figures.realised_rate == 0.0


def test_who_gives_no_score_promises_nothing() -> None:
    found = figures(Told(name="rules", labels=events(("c/a", 0, 9, "spike", 1.0)), incidents=incidents(("1", "c/a", False)))).figures
    assert (found.promised_rate, found.realised_rate, found.vus_pr) == (None, None, None)


def test_the_worst_tenth_is_the_mean_of_the_worst() -> None:
    names = [chr(97 + n) for n in range(20)]
    labels = events(*((f"c/{name}", 0, 9, "x", None if n in (3, 4) else 1.0) for n, name in enumerate(names)))
    wrong = [(str(k), f"c/{names[0]}", True) for k in range(3)] + [("z", f"c/{names[1]}", True)]
    found = figures(Told(name="one", labels=labels, incidents=incidents(*wrong)), watched(**dict.fromkeys(names, WEEK))).figures
    assert found.worst_decile_recall == 0.0
    assert found.worst_decile_false_per_week == pytest.approx(2.0)


def test_vus_pr_is_the_mean_over_the_entities_that_have_an_event() -> None:
    random = np.random.default_rng(0)
    marked = {"a": np.arange(300) // 20 == 7, "b": np.arange(300) // 20 == 7, "c": np.zeros(300, dtype=bool)}
    rows = [(f"c/{e}", at(n), random.random(), bool(label[n])) for e, label in marked.items() for n in range(300)]
    ranks = pl.DataFrame(rows, schema={"entity": pl.String, "at": TIME, "score": pl.Float64, "label": pl.Boolean}, orient="row")
    perfect = ranks.with_columns(pl.when(entity="c/a").then(pl.col("label").cast(pl.Float64)).otherwise("score").alias("score"))
    told = Told(name="one", labels=events(), incidents=incidents(), ranks=perfect)
    found = figures(told, watched(a=300, b=300, c=300))
    by_entity = dict(found.by_entity.select("entity", "vus_pr").rows())
    assert by_entity["c/a"] > 0.9
    assert by_entity["c/b"] < 0.4
    assert by_entity["c/c"] is None
    assert found.figures.vus_pr == pytest.approx((by_entity["c/a"] + by_entity["c/b"]) / 2)


def test_nothing_at_all_is_told_as_nothing() -> None:
    found = figures(Told(name="one", labels=events(), incidents=incidents(), scores=scores()), watched())
    assert (found.figures.entity_weeks, found.figures.false_per_entity_week, found.figures.realised_rate) == (0.0, None, None)
    assert found.by_entity.is_empty()


def test_who_found_what_is_told_side_by_side() -> None:
    one = Told(name="one", labels=events(("c/a", 0, 9, "spike", 4.0), ("c/b", 5, 9, "drop", 1.0)), incidents=incidents())
    two = Told(name="two", labels=events(("c/a", 0, 9, "spike", None), ("c/b", 5, 9, "drop", 2.0)), incidents=incidents())
    assert compared([one, two]).select("entity", "one", "two").rows() == [("c/a", 4.0, None), ("c/b", 1.0, 2.0)]
    assert only([one, two], one="one", other="two")["entity"].to_list() == ["c/a"]
    assert only([one, two], one="two", other="one").is_empty()


@given(st.lists(st.tuples(st.sampled_from(["1", "2", "3"]), st.sampled_from(["c/a", "c/b"]), st.booleans()), max_size=12))
def test_an_incident_is_false_or_it_is_not(rows: list[tuple[str, str, bool]]) -> None:
    found = figures(Told(name="one", labels=events(("c/a", 0, 9, "x", None)), incidents=incidents(*rows)), watched(a=9, b=9)).figures
    names = {name for name, _, _ in rows}
    right = {name for name, _, false in rows if not false}
    assert (found.incidents, found.false_incidents) == (len(names), len(names - right))
    assert found.precision == (pytest.approx(len(right) / len(names)) if names else None)
