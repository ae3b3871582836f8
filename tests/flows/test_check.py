"""What a check leaves in the UI: its findings, what to do, and the way to the Data Docs."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import check
from telemetry import contract as contracts
from tests.flows.lakes import DAY, Edge, make_edge, minute
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


def counting_edge(folder: Path) -> Edge:
    """Whose queries are a counter."""
    edge = make_edge(folder)
    contract = Path(edge.contract)
    contract.write_text(contract.read_text().replace('unit = "count"', 'unit = "count"\naggregation = "counter"'), encoding="utf-8")
    return edge


def test_the_readings_of_counters_are_told_as_they_came(home: Path, tmp_path: Path) -> None:
    edge = counting_edge(tmp_path)
    edge.write("a.csv", minute(0, queries="100"), minute(1, queries="130"), minute(2, queries="90"))
    edge.take()
    edge.write("b.csv", minute(3, queries="95"))
    edge.take()
    declared = contracts.load(Path(edge.contract))
    told = check.counters_told(edge.lake, contract=declared)
    assert told is not None
    assert told.collect()["queries"].to_list() == [100, 130, 90, 95]
    assert edge.lake.grid(contract=declared).collect()["queries"].to_list() == [30, 90, 5]  # 90 that never were
    early = check.counters_told(edge.lake, contract=declared, until=DAY + timedelta(minutes=2))
    assert early is not None
    assert early.collect().height == 2


@pytest.mark.slow
def test_a_check_looks_at_the_readings_of_counters(home: Path, tmp_path: Path) -> None:
    edge = counting_edge(tmp_path)
    edge.write("a.csv", minute(0, queries="100"), minute(1, queries="130"), minute(2, queries="90"))
    edge.take()
    report = check.check_grid.fn(contract=edge.contract, folder=str(tmp_path / "run"))
    assert [(found.expectation, found.parameter) for found in report.quarantined] == [("counter", "queries")]


def test_without_counters_no_readings_are_looked_at(home: Path, tmp_path: Path) -> None:
    edge = make_edge(tmp_path)
    edge.write("a.csv", minute(0))
    edge.take()
    assert check.counters_told(edge.lake, contract=contracts.load(Path(edge.contract))) is None
