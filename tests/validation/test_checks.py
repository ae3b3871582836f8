"""The suites run through Great Expectations: as many results as expectations, and each of them goes red for what it guards."""

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from telemetry.contract import Contract
from telemetry.errors import DataCheckError
from tests.validation.grids import STEPS_A_DAY, contract, day, grid, multiplied, silenced
from tests.validation.tensors import Scaled, scaled
from validation.findings import CheckReport, DataCheckFailed

pytestmark = pytest.mark.slow

OTHERS = ("c1/eu", "c2/eu", "c3/eu", "c4/eu", "c5/eu", "c6/eu")
Spoil = Callable[[pl.DataFrame], pl.DataFrame]


def check(frame: pl.DataFrame, *, folder: Path, declared: Contract | None = None) -> CheckReport:
    from validation.checks import check_raw

    return check_raw(frame.lazy(), contract=declared or contract(), folder=folder, name="raw grid")


def test_a_healthy_grid_passes_and_every_expectation_was_judged(tmp_path: Path) -> None:
    report = check(grid(), folder=tmp_path)
    assert (report.passed, report.findings) == (True, ())
    assert report.asked == report.results == 8 + 4 * 4 + 2  # ranges, missing, finite and unit of four; two of them intensities
    assert report.docs == tmp_path / "data_docs" / "index.html"


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda frame: frame.drop("cpu"), ("columns", "stop", None, None)),
        (lambda frame: frame.with_columns(pl.col("at").dt.epoch("us")), ("columns", "stop", None, None)),
        (lambda frame: frame.clear(), ("rows", "stop", None, None)),
        (lambda frame: pl.concat([frame, frame.tail(1)]), ("one row a step", "stop", "bolt/eu", None)),
        (lambda frame: frame.reverse(), ("time goes forward", "stop", "acme/eu", None)),
        (lambda frame: multiplied(frame, "cpu", by=5.0, since=20), ("plausible range", "quarantine", "acme/eu", "cpu")),
        (lambda frame: multiplied(frame, "latency", by=float("inf"), since=27), ("finite", "quarantine", "acme/eu", "latency")),
        (lambda frame: multiplied(frame, "latency", by=float("nan"), since=2), ("not missing", "quarantine", "acme/eu", "latency")),
        (lambda frame: multiplied(frame, "latency", by=100.0, since=18), ("same unit", "stop", "acme/eu", "latency")),
        (
            lambda frame: pl.concat([frame, multiplied(grid(entities=OTHERS), "latency", by=1e3, since=0, entities=("c3/eu",))]),
            ("unit of the others", "warn", "c3/eu", "latency"),
        ),
        (lambda frame: silenced(frame, since=27.1), ("volume", "warn", "acme/eu", None)),
        (lambda frame: silenced(frame, since=26.5), ("freshness", "warn", "acme/eu", None)),
    ],
)
def test_what_is_wrong_with_a_grid_is_found(spoil: Spoil, expected: tuple[str | None, ...], tmp_path: Path) -> None:
    report = check(spoil(grid()), folder=tmp_path)
    assert report.asked == report.results
    assert report.passed == ("stop" not in {finding.severity for finding in report.findings})
    assert report.passed or "stop" in expected
    assert expected in {(f.expectation, f.severity, f.entity, f.parameter) for f in report.findings}


def test_severities_are_the_contracts(tmp_path: Path) -> None:
    frame = multiplied(multiplied(grid(), "latency", by=100.0, since=18), "cpu", by=5.0, since=20)
    warned = check(frame, folder=tmp_path / "warn", declared=contract(unit_shift="warn", plausible_range="warn"))
    assert warned.passed
    assert {f.severity for f in warned.findings} == {"warn"}
    off = check(frame, folder=tmp_path / "off", declared=contract(unit_shift="off", plausible_range="off"))
    assert (off.findings, off.asked) == ((), 8 + 2 * 4)


RULE = {"left": "failures", "op": "<=", "right": "queries"}


def test_a_rule_between_parameters_is_an_expectation_of_its_own(tmp_path: Path) -> None:
    declared = contract(rules=(RULE, RULE | {"max_share": 0.0001, "severity": "warn"}, {**RULE, "left": "queries", "right": "failures"}))
    report = check(grid(days=4, night=0.5), folder=tmp_path, declared=declared)
    assert report.asked == report.results == 26 + 3
    assert {(f.expectation, f.severity, f.parameter) for f in report.findings} == {("rule", "stop", "queries")}
    (page,) = (tmp_path / "data_docs" / "validations").rglob("*.html")
    told = html.unescape(page.read_text(encoding="utf-8"))
    assert "In an entity's steps failures <= queries in all but 0.01 of them." in told
    assert "In an entity's steps failures <= queries in all but 0.0001 of them." in told


def test_a_rule_that_is_broken_does_what_the_contract_says(tmp_path: Path) -> None:
    frame = multiplied(grid(days=4, night=0.5), "failures", by=1e4, since=2)
    declared = [contract(rules=(RULE | {"severity": severity},), unit_shift="off") for severity in ("stop", "warn")]
    reports = [check(frame, folder=tmp_path / str(index), declared=each) for index, each in enumerate(declared)]
    told = [{(f.expectation, f.severity, f.entity, f.parameter) for f in report.findings} for report in reports]
    assert told == [{("rule", "stop", "acme/eu", "failures")}, {("rule", "warn", "acme/eu", "failures")}]
    assert [report.passed for report in reports] == [False, True]


def test_the_failure_names_what_to_look_at(tmp_path: Path) -> None:
    report = check(multiplied(grid(), "latency", by=100.0, since=18, entities=("acme/eu", "acme/us")), folder=tmp_path)
    with pytest.raises(DataCheckError, match=r"acme/eu / latency / 2026-03-20 00:00 to 2026-03-30 00:00 UTC: found x \d+.*looks like x100"):
        raise DataCheckFailed(report)


def test_suite_and_result_are_plain_json(tmp_path: Path) -> None:
    check(multiplied(grid(), "latency", by=100.0, since=18), folder=tmp_path)
    suite = json.loads((tmp_path / "great_expectations" / "suites" / "raw-grid.json").read_text())
    ranges = [told for told in suite["expectations"] if told["type"] == "expect_plausible_range"]
    assert [told["kwargs"]["column"] for told in ranges] == list(contract().names)
    (result,) = (tmp_path / "great_expectations" / "validations").rglob("*.json")
    told = json.loads(result.read_text())
    assert (told["success"], told["statistics"]["unsuccessful_expectations"]) == (False, 1)


def test_an_expectation_that_could_not_be_judged_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from validation import expectations

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(expectations.ExpectNotMissing, "findings", broken)
    with pytest.raises(RuntimeError, match=r"26 expectations were asked, 22 were judged; expect_not_missing: on purpose"):
        check(grid(days=4), folder=tmp_path)


def test_an_expectation_that_the_library_drops_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from great_expectations.core import ExpectationSuite

    from validation import checkpoint

    def dropping(name: str, expectations: list[Any]) -> Any:
        return ExpectationSuite(name=name, expectations=expectations[1:])

    monkeypatch.setattr(checkpoint, "ExpectationSuite", dropping)
    with pytest.raises(RuntimeError, match=r"26 expectations were asked, 25 were judged; some were dropped without a word"):
        check(grid(days=4), folder=tmp_path)


def tensors(panel: Scaled, *, folder: Path, **changes: Any) -> CheckReport:
    from validation.checks import check_tensor

    told = {"scales": panel.scales, "grid": panel.grid.lazy(), "contract": contract(), "entities": panel.entities, "folder": folder}
    return check_tensor(panel.panel, **told | changes)


def nan(panel: Scaled) -> Scaled:
    values = panel.values()
    values[0, 5, 3] = np.nan
    return panel.spoiled(values=values)


def stray(panel: Scaled) -> Scaled:
    values = panel.values()
    values[1, 3 * STEPS_A_DAY + 4, 2] = 1.0
    return panel.spoiled(values=values)


def variance(panel: Scaled) -> Scaled:
    values = panel.values()
    values[0, :, 0] = values[0, :, 0] / np.float32(panel.constants("acme/eu", "queries")[1]) + 0.5
    return panel.spoiled(values=values)


def swapped(panel: Scaled) -> Scaled:
    values = panel.values()
    own, other = panel.constants("acme/eu", "latency"), panel.constants("acme/us", "latency")
    values[0, :, 2] = (values[0, :, 2] * own[1] + own[0] - other[0]) / other[1]
    return panel.spoiled(values=values)


def late_clock(panel: Scaled) -> Scaled:
    return panel.spoiled(calendar=np.roll(panel.panel.calendar, 6, axis=-2))


def no_newcomer(panel: Scaled) -> Scaled:
    return panel.spoiled(newcomer=np.zeros_like(panel.panel.newcomer))


def test_a_healthy_panel_passes(tmp_path: Path) -> None:
    report = tensors(scaled(), folder=tmp_path)
    assert (report.passed, report.findings) == (True, ())
    assert report.asked == report.results == 2 + 6 * 4
    assert tensors(scaled(), folder=tmp_path, entities=None).asked == 1 + 6 * 4


@pytest.mark.parametrize(
    ("spoil", "expectations"),
    [
        (nan, {"finite tensor", "round trip"}),
        (stray, {"zero where unobserved"}),
        (variance, {"scaled deviation", "scaled mean", "round trip"}),
        (swapped, {"own scale", "scaled deviation", "scaled mean"}),
        (late_clock, {"calendar"}),
        (no_newcomer, {"newcomer flag"}),
    ],
)
def test_what_is_wrong_with_a_panel_is_found(spoil: Callable[[Scaled], Scaled], expectations: set[str], tmp_path: Path) -> None:
    report = tensors(spoil(scaled()), folder=tmp_path)
    assert not report.passed
    assert {finding.expectation for finding in report.findings} == expectations


def test_scales_of_an_earlier_release_drift_without_stopping(tmp_path: Path) -> None:
    healthy = scaled()
    drifted = healthy.scales.with_columns(pl.col("mean") * 1.5)
    mean = np.stack([[healthy.constants(entity, name)[0] * 0.5 / healthy.constants(entity, name)[1] for name in contract().names]
                     for entity in healthy.panel.entities])  # fmt: skip
    values = np.where(healthy.panel.observed, healthy.panel.values - mean[:, None, :], 0).astype(np.float32)
    report = tensors(healthy.spoiled(values=values), folder=tmp_path, scales=drifted, unfitting="warn")
    assert report.passed
    assert {finding.expectation for finding in report.findings} == {"scaled mean"}


def test_day_zero_is_where_the_grids_begin() -> None:
    assert grid()["at"].min() == day(0)
