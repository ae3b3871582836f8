"""Check: the contract's suites over the raw grid, before anything is scaled. What fails stops the run and is named."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
from prefect import flow, task

from flows import profiles
from flows.artifacts import tell_table
from flows.exhibits import FINDING, FINDING_SERIES, VALUE
from flows.ingest import ingest_stage
from flows.lakes import lake_of
from flows.reporting import closing
from flows.retries import ONCE
from flows.runs import Run, address, begin
from flows.settings import Settings
from telemetry import contract as contracts
from telemetry.schema import AT, ENTITY
from validation.advice import advice
from validation.findings import CheckReport, DataCheckFailed

DRAWN: Final = 4
"""How many findings are drawn."""


@task(name="check raw grid", **ONCE)
def check_grid(*, contract: str, folder: str, until: datetime | None = None) -> CheckReport:
    """The raw suite over the whole grid; Data Docs go to `folder`, the profiles of its days to the lake."""
    from validation import docs  # Great Expectations takes seconds to import
    from validation.checks import check_raw

    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    grid = lake.grid(contract=declared, until=until).collect(engine="in-memory").lazy()  # read once for all that look at it
    report = check_raw(grid, contract=declared, folder=Path(folder), name="raw grid")
    docs.illustrate(Path(folder), grid=grid, findings=report.findings)
    _leave(report, grid=grid, folder=Path(folder))
    drifted = profiles.keep(lake, grid=grid, contract=declared, folder=Path(folder), at=datetime.now(UTC), settings=settings)
    return replace(report, findings=(*report.findings, *drifted))


def _leave(report: CheckReport, *, grid: pl.LazyFrame, folder: Path) -> None:
    """What the page draws of the first findings that stop the run: the parameter's hourly level, under `data`."""
    drawn = [
        grid.filter(pl.col(ENTITY) == found.entity)
        .group_by(pl.col(AT).dt.truncate("1h"))
        .agg(pl.col(found.parameter).median().alias(VALUE))
        .select(pl.lit(index, dtype=pl.Int64).alias(FINDING), AT, VALUE)
        for index, found in enumerate(report.findings)
        if found.severity == "stop" and found.entity and found.parameter
    ][:DRAWN]
    if drawn:
        (folder / "data").mkdir(exist_ok=True)
        pl.concat(drawn).sort(FINDING, AT).collect().write_parquet(folder / "data" / f"{FINDING_SERIES}.parquet")


def check_stage(run: Run, *, contract: str, until: datetime | None = None) -> CheckReport:
    """The stage that `check` and `retrain` share.

    Raises:
        DataCheckFailed: a finding of the severity 'stop'.
    """
    with run.stage("check") as stage:
        report = check_grid(contract=contract, folder=str(run.folder), until=until)
        stage.note = told(report)
        tell_findings(report)
        if not report.passed:
            raise DataCheckFailed(report)
    return report


def told(report: CheckReport) -> str:
    """For a person."""
    warnings = len(report.findings) - len(report.stops)
    return f"{report.results} expectations, {len(report.stops)} findings that stop, {warnings} that warn"


def tell_findings(report: CheckReport) -> None:
    """The findings as a table in the UI, with the way to the Data Docs."""
    rows = [
        {
            "severity": finding.severity,
            "entity": finding.entity,
            "parameter": finding.parameter,
            "found": finding.found,
            "expected": finding.expected,
            "what": finding.sentence,
            "to do": advice(finding.expectation),
        }
        for finding in report.findings
    ]
    description = f"Data quality: {told(report)}. [Open the Data Docs]({address(report.docs, settings=Settings())})"
    tell_table("data-quality", rows=rows or [{"severity": "none", "what": told(report)}], description=description)


def quality_facts(report: CheckReport) -> dict[str, Any]:  # Any: plain JSON
    """The report's part of a summary."""
    return {
        "checks_passed": report.passed,
        "expectations": report.results,
        "findings": [finding.as_json() for finding in report.findings],
        "data_docs": str(report.docs),
    }


@flow(name="check", log_prints=True)
def check(contract: str = "fleet", source: str = "") -> dict[str, Any]:  # Any: plain JSON
    """Check a source without learning from it.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
        source: Folder, file or glob to ingest first. Empty: only what the lake holds.
    """
    settings = Settings()
    run = begin("check", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        if source:
            summary.update(ingest_stage(run, contract=contract, source=source).model_dump(mode="json"))
        try:
            report = check_stage(run, contract=contract)
        except DataCheckFailed as failed:
            summary.update(quality_facts(failed.report))
            raise
        summary.update(quality_facts(report), verdict="passed", sentence=f"The telemetry passes its checks: {told(report)}.")
    return summary
