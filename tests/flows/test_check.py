"""What a check leaves in the UI: its findings, what to do, and the way to the Data Docs."""

from pathlib import Path
from typing import Any

import pytest

from flows import check
from validation.findings import CheckReport, Finding

FOUND = Finding(
    expectation="same unit",
    severity="stop",
    entity="acme/eu",
    parameter="latency",
    period_start=None,
    period_end=None,
    found="x 100 of its own past",
    expected="less than x8 away from its own past",
    sentence="latency of acme/eu is x100 of its own past.",
)


@pytest.fixture
def left(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the last table told; filled by `tell_findings`."""
    told: dict[str, Any] = {}
    monkeypatch.setattr(check, "tell_table", lambda key, **table: told.update(key=key, **table))
    return told


def report(folder: Path, *findings: Finding) -> CheckReport:
    docs = folder / "runs" / "check" / "1" / "data_docs" / "index.html"
    return CheckReport(passed=not findings, findings=findings, asked=3, results=3, docs=docs, seconds=0.1)


def test_the_table_of_findings_leads_to_the_data_docs(left: dict[str, Any], home: Path) -> None:
    made = report(home, FOUND)
    check.tell_findings(made)
    assert left["key"] == "data-quality"
    assert left["description"].startswith("Data quality: 3 expectations, 1 findings that stop, 0 that warn.")
    assert left["description"].endswith(f" [Open the Data Docs]({made.docs.as_uri()})")
    (row,) = left["rows"]
    assert (row["severity"], row["what"]) == ("stop", FOUND.sentence)
    assert "declare source_unit" in row["to do"]


def test_where_pages_are_served_the_link_leads_there(left: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWATCH_PAGES_URL", "http://127.0.0.1:4201/")
    check.tell_findings(report(home))
    assert "(http://127.0.0.1:4201/check/1/data_docs/index.html)" in left["description"]
    assert left["rows"] == [{"severity": "none", "what": "3 expectations, 0 findings that stop, 0 that warn"}]
