"""Findings travel as JSON, and a failed check says what to look at."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from telemetry.errors import DataCheckError
from validation.findings import CheckReport, DataCheckFailed, Finding, Severity


def finding(*, severity: Severity = "stop", entity: str | None = "acme/eu") -> Finding:
    return Finding(
        expectation="same unit",
        severity=severity,
        entity=entity,
        parameter="queries",
        period_start=datetime(2026, 2, 8, tzinfo=UTC),
        period_end=datetime(2026, 3, 1, tzinfo=UTC),
        found="x 99.7 of its own past",
        expected="less than x8 away",
        sentence="queries of acme/eu is x99.7 of its own past.",
    )


def report(*findings: Finding) -> CheckReport:
    passed = all(found.severity != "stop" for found in findings)
    return CheckReport(passed=passed, findings=findings, asked=86, results=86, docs=Path("run/data_docs/index.html"), seconds=1.0)


def test_a_finding_comes_back_from_json() -> None:
    assert Finding.from_json(finding().as_json()) == finding()


def test_a_finding_without_a_period_comes_back_too() -> None:
    told = finding().as_json() | {"period_start": None, "period_end": None}
    assert Finding.from_json(told).as_json() == told
    assert Finding.from_json(told).period == ""


def test_only_stops_are_stops() -> None:
    assert report(finding(severity="warn"), finding()).stops == (finding(),)


def test_the_error_names_entity_parameter_period_found_expected_and_the_page() -> None:
    error = DataCheckFailed(report(finding(severity="warn"), *[finding(entity=f"c{n}/eu") for n in range(5)]))
    assert isinstance(error, DataCheckError)
    assert str(error) == (
        "The data failed 5 of its checks:\n"
        "  - c0/eu / queries / 2026-02-08 00:00 to 2026-03-01 00:00 UTC: found x 99.7 of its own past, expected less than x8 away.\n"
        "  - c1/eu / queries / 2026-02-08 00:00 to 2026-03-01 00:00 UTC: found x 99.7 of its own past, expected less than x8 away.\n"
        "  - c2/eu / queries / 2026-02-08 00:00 to 2026-03-01 00:00 UTC: found x 99.7 of its own past, expected less than x8 away.\n"
        "  - and 2 more\n"
        "Hint: open run/data_docs/index.html."
    )


def test_the_report_stays_with_the_error() -> None:
    with pytest.raises(DataCheckFailed, match="c7") as caught:
        raise DataCheckFailed(report(finding(entity="c7")))
    assert caught.value.report.stops[0].entity == "c7"
