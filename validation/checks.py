"""The suites of a contract, run: over the raw grid before anything is scaled, and over the tensors after.

Suites are never loaded from a store: the library drops expectations whose class it does not know, and still says success. So many results
as expectations were asked for must come back, or the check refuses.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.expectations.expectation import Expectation

from telemetry.contract import Contract
from telemetry.panel import Panel
from telemetry.schema import grid_schema
from validation import checkpoint, docs, expectations, suites, tensor_profile, verdict
from validation.checkpoint import Verdict
from validation.findings import CheckReport, Finding
from validation.measures import as_batch, packed
from validation.verdict import worst_first

_ONE_AT_A_TIME: Final = threading.Lock()
"""Great Expectations keeps one current context per process."""


def check_raw(
    grid: pl.LazyFrame, *, contract: Contract, folder: Path, name: str = "raw-grid", readings: pl.LazyFrame | None = None
) -> CheckReport:
    """What the contract says about the grid, held against it, in canonical units.

    Args:
        grid: rows of `grid_schema`, sorted by entity and time.
        contract: what is plausible, and what each kind of finding does.
        folder: results go to `folder`/great_expectations, pages to `folder`/data_docs.
        name: of the suite.
        readings: `entity, at` and the contract's counters as they were told, sorted so; without them these are not looked at. They are
            a suite of their own, with a page of its own.
    """
    frame = grid.collect(engine="in-memory")
    counted = _check_counters(readings, contract=contract, folder=folder, name=f"{name}, counters")
    sound = pl.Schema(grid_schema(contract.names)) == frame.schema and not frame.is_empty()
    asked = [*suites.door(contract), *(suites.of_grid(contract) if sound else ())]
    before = counted.findings if counted else ()
    told = partial(_too_much, before=before, grid=frame.lazy(), contract=contract)
    report = _run(packed(frame) if sound else frame.head(1), asked=asked, folder=folder, name=name, verdict=told if sound else None)
    return report if counted is None else _together(report, counted)


def _check_counters(readings: pl.LazyFrame | None, *, contract: Contract, folder: Path, name: str) -> CheckReport | None:
    """The report on the counters' own readings; None where there is nothing to ask, or nobody to ask it of."""
    asked = [*suites.of_counters(contract)]
    frame = None if readings is None or not asked else readings.collect(engine="in-memory")
    return None if frame is None or frame.is_empty() else _run(packed(frame), asked=asked, folder=folder, name=name)


def _together(report: CheckReport, counted: CheckReport) -> CheckReport:
    """One report of two suites."""
    return replace(
        report,
        passed=report.passed and counted.passed,
        findings=worst_first((*report.findings, *counted.findings)),
        asked=report.asked + counted.asked,
        results=report.results + counted.results,
        seconds=report.seconds + counted.seconds,
    )


def _too_much(found: Sequence[Finding], *, before: Sequence[Finding], grid: pl.LazyFrame, contract: Contract) -> tuple[Finding, ...]:
    return verdict.too_much(verdict.spans((*before, *found), grid=grid, contract=contract), grid=grid, contract=contract)


def check_tensor(
    panel: Panel,
    *,
    scales: pl.DataFrame,
    grid: pl.LazyFrame,
    contract: Contract,
    folder: Path,
    name: str = "tensors",
    entities: pl.DataFrame | None = None,
    unfitting: Literal["stop", "warn"] = "stop",
    stale: pl.DataFrame | None = None,
) -> CheckReport:
    """Whether the panel is what the scales make of the grid.

    Args:
        panel: what the network is to learn from.
        scales: SCALES, with which it was made.
        grid: from which it was made.
        contract: newcomer days and cadence.
        folder: as of `check_raw`.
        name: of the suite.
        entities: ENTITIES; without them the newcomer flag is not checked.
        unfitting: what a mean other than 0 or a deviation other than 1 over training does. Scales that were fitted on this very panel must
            fit; those of an earlier release drift away, which is a reason to retrain and none to stop.
        stale: SCALES of an earlier release, so that their use by mistake can be named.
    """
    statistics = tensor_profile.measure(panel, scales=scales, grid=grid, contract=contract, entities=entities, stale=stale)
    return _run(
        statistics, asked=[*suites.of_tensors(contract, newcomers=entities is not None, unfitting=unfitting)], folder=folder, name=name
    )


def _run(frame: pl.DataFrame, *, asked: Sequence[Expectation], folder: Path, name: str, verdict: Verdict | None = None) -> CheckReport:
    began = time.perf_counter()
    with _ONE_AT_A_TIME:
        context = docs.context(folder)
        batch = as_batch(frame)
        results = checkpoint.run(batch, asked=asked, context=context, folder=folder, name=name, verdict=verdict)
    _all_judged(results, asked=len(asked))
    found = tuple(finding for result in results.results for finding in expectations.findings_of(result))
    return CheckReport(
        passed=all(finding.severity != "stop" for finding in found),
        findings=worst_first(found),
        asked=len(asked),
        results=len(results.results),
        docs=folder / docs.PAGES / "index.html",
        seconds=time.perf_counter() - began,
    )


def _all_judged(results: ExpectationSuiteValidationResult, *, asked: int) -> None:
    """Refuse where the library left an expectation out or could not judge it, which it may call a success.

    Raises:
        RuntimeError: with the first reason.
    """
    unjudged = [result for result in results.results if "details" not in result.result]
    judged = len(results.results) - len(unjudged)
    if judged == asked:
        return
    why = _reason(unjudged[0]) if unjudged else "some were dropped without a word"
    raise RuntimeError(f"{asked} expectations were asked, {judged} were judged; {why}")


def _reason(result: ExpectationValidationResult) -> str:
    told: dict[str, Any] = result.exception_info  # Any: one exception's facts, or those of several by the metric that raised them
    facts = told if "exception_message" in told else next(iter(told.values()), {})
    name = result.expectation_config.type if result.expectation_config else "an expectation"
    return f"{name}: {facts.get('exception_message', 'no reason was given')}"
