"""Before anything is learned: is it about to learn an outage? Findings for the check of a run, and what is known to be none."""

from dataclasses import replace

import polars as pl

from flows.lakes import labels_of
from flows.unconfirmed import raised
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.maintenance import PERIODS
from telemetry.schema import END, START
from validation.findings import CheckReport
from validation.outages import outages, unconfirmed


def looked_at(report: CheckReport, *, lake: Lake, grid: pl.LazyFrame, contract: Contract) -> CheckReport:
    """The report with what looks like an outage that nobody has labelled, and with the incidents that nobody has confirmed.

    Args:
        report: of the raw suite over `grid`.
        lake: its labels and incidents.
        grid: rows of `grid_schema`, without what was told in maintenance.
        contract: what such a finding does.
    """
    severity = contract.checks.outage
    if severity == "off":
        return report
    labels, incidents = labels_of(lake).select(list(PERIODS)), raised(lake)
    margin = contract.thresholds.close_minutes * contract.time.cadence
    known = pl.concat([labels, incidents.with_columns(pl.col(START) - margin, pl.col(END) + margin)])
    found = (*outages(grid, contract=contract, known=known, severity=severity), *unconfirmed(incidents, known=labels))
    stopped = any(finding.severity == "stop" for finding in found)
    return replace(report, passed=report.passed and not stopped, findings=(*report.findings, *found))
