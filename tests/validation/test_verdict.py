"""What becomes of a run with these findings: what it leaves out, and when that would be too much."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from telemetry.masks import masked
from tests.validation.grids import STEP, contract, day, grid, multiplied
from validation.findings import CheckReport, Finding, Severity
from validation.verdict import left_out, spans, too_much, worst_first


def finding(
    expectation: str = "same unit",
    *,
    severity: Severity = "quarantine",
    entity: str | None = "acme/eu",
    parameter: str | None = "latency",
    days: tuple[float, float] = (18, 28),
    beside: tuple[str, ...] = (),
) -> Finding:
    return Finding(
        expectation=expectation,
        severity=severity,
        entity=entity,
        parameter=parameter,
        period_start=day(days[0]),
        period_end=day(days[1]),
        found="",
        expected="",
        sentence="",
        beside=beside,
    )


def told(*findings: Finding, frame: pl.DataFrame | None = None, **checks: Any) -> list[tuple[Any, ...]]:
    rows = grid() if frame is None else frame
    return spans(findings, grid=rows.lazy(), contract=contract(**checks)).rows()


def stopped(*findings: Finding, **checks: Any) -> list[str]:
    declared, rows = contract(**checks), grid().lazy()
    found = too_much(spans(findings, grid=rows, contract=declared), grid=rows, contract=declared)
    assert {each.severity for each in found} <= {"stop"}
    return [each.found for each in found]


def test_only_what_is_quarantined_is_left_out_for_the_period_of_its_finding() -> None:
    assert told(finding(severity="warn"), finding(severity="stop")) == []
    assert told(finding(), finding()) == [("acme/eu", "latency", day(18), day(28))]
    both = told(finding("rule", parameter="failures", beside=("queries",)))
    assert [row[1] for row in both] == ["failures", "queries"]


def test_of_infinite_values_nothing_but_their_stretches_is_left_out() -> None:
    frame = multiplied(grid(), "latency", by=float("inf"), since=3, until=3.01)
    frame = multiplied(frame, "latency", by=float("inf"), since=20, until=20.001)
    frame = multiplied(frame, "latency", by=float("inf"), since=20.02, until=20.03)
    found = told(finding("finite", days=(3, 20.03)), frame=frame)
    assert [(start, end) for _, _, start, end in found] == [(day(3), day(3) + 2 * STEP), (day(20), day(20) + 5 * STEP)]
    kept = masked(frame.lazy(), spans=spans([finding("finite")], grid=frame.lazy(), contract=contract())).collect()
    assert not kept["latency"].is_infinite().any()
    assert kept["latency"].null_count() == 7


def test_implausible_values_of_one_day_make_one_stretch() -> None:
    frame = multiplied(grid(), "cpu", by=-1.0, since=5, until=5.001)
    frame = multiplied(frame, "cpu", by=-1.0, since=5.5, until=5.501)
    frame = multiplied(frame, "cpu", by=-1.0, since=9, until=9.001)
    found = told(finding("plausible range", parameter="cpu"), frame=frame)
    assert [(start, end) for _, _, start, end in found] == [(day(5), day(5.5) + STEP), (day(9), day(9) + STEP)]


def test_a_share_of_the_cells_may_be_quarantined_and_not_one_more() -> None:
    one, two = finding(), finding(entity="acme/us", parameter="cpu")
    assert stopped(one) == []  # 1 of 12
    assert stopped(one, two) == ["2 of 12 cells (entity x parameter), 16.7%"]
    assert stopped(one, two, max_quarantined_share=0.2) == []
    assert stopped(one, max_quarantined_share=0.0) == ["1 of 12 cells (entity x parameter), 8.3%"]
    assert stopped(one, one) == []  # the same cell twice
    assert stopped() == []


def test_of_every_parameter_something_must_be_left() -> None:
    everywhere = [finding(entity=entity, days=(0, 28)) for entity in ("acme/eu", "acme/us", "bolt/eu")]
    assert stopped(*everywhere, max_quarantined_share=1.0) == ["nothing left of latency"]
    parts = [finding(entity=entity, days=(0, 27)) for entity in ("acme/eu", "acme/us", "bolt/eu")]
    assert stopped(*parts, max_quarantined_share=1.0) == []


def test_what_is_left_out_is_told_in_a_sentence() -> None:
    assert left_out([finding(severity="warn")]) == ""
    assert left_out([finding(), finding()]) == "Quarantined, and left out of this run: latency of acme/eu."
    many = left_out(finding(entity=f"c{n}/eu") for n in range(5))
    assert many == "Quarantined, and left out of this run: latency of c0/eu, latency of c1/eu, latency of c2/eu and 2 more."


def test_the_worst_comes_first() -> None:
    found = worst_first([finding(severity="warn"), finding(severity="quarantine"), finding(severity="stop")])
    assert [each.severity for each in found] == ["stop", "quarantine", "warn"]


def check(frame: pl.DataFrame, *, folder: Path, **checks: Any) -> CheckReport:
    from validation.checks import check_raw

    return check_raw(frame.lazy(), contract=contract(**checks), folder=folder)


@pytest.mark.slow
def test_one_agent_that_sends_infinities_holds_nobody_up(tmp_path: Path) -> None:
    report = check(multiplied(grid(), "latency", by=float("inf"), since=27, until=27.1), folder=tmp_path)
    assert (report.passed, [finding.expectation for finding in report.quarantined]) == (True, ["finite"])
    assert report.findings[0].sentence.endswith("Quarantined: it is neither learned from nor judged by.")


@pytest.mark.slow
def test_what_strikes_too_many_stops_the_run_and_stands_on_the_page(tmp_path: Path) -> None:
    frame = multiplied(grid(), "latency", by=float("inf"), since=27, until=27.1, entities=("acme/eu", "acme/us"))
    report = check(frame, folder=tmp_path)
    assert (report.passed, report.asked) == (False, report.results)
    assert [(found.expectation, found.found) for found in report.stops] == [
        ("quarantined share", "2 of 12 cells (entity x parameter), 16.7%")
    ]
    assert report.findings[0].severity == "stop"
    (page,) = (tmp_path / "data_docs" / "validations").rglob("*.html")
    assert "so the run stops. Struck are latency of acme/eu, latency of acme/us." in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_operator_may_quarantine_changes_of_unit(tmp_path: Path) -> None:
    frame = multiplied(grid(), "latency", by=1000.0, since=18)
    assert not check(frame, folder=tmp_path / "stop").passed
    report = check(frame, folder=tmp_path / "quarantine", unit_shift="quarantine")
    assert report.passed
    (found,) = report.quarantined
    assert (found.entity, found.parameter, found.period_start) == ("acme/eu", "latency", day(18))
    (span,) = told(*report.findings, frame=frame)
    assert span == ("acme/eu", "latency", day(18), day(28))
    assert span[3] - span[2] == timedelta(days=10)


@pytest.mark.slow
def test_a_rule_that_quarantines_leaves_out_both_of_its_parameters(tmp_path: Path) -> None:
    from validation.checks import check_raw

    rule = {"left": "failures", "op": "<=", "right": "queries", "severity": "quarantine"}
    frame = multiplied(grid(days=4, night=0.5), "failures", by=1e4, since=2)
    declared = contract(rules=(rule,), unit_shift="off", max_quarantined_share=0.2)
    report = check_raw(frame.lazy(), contract=declared, folder=tmp_path)
    assert report.passed
    assert [row[1] for row in spans(report.findings, grid=frame.lazy(), contract=declared).rows()] == ["failures", "queries"]
