"""Check: the suites over the raw grid, before anything is scaled. What fails is named; it stops the run, or is left out of it."""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
from prefect import flow, task

from flows import outages, profiles
from flows.artifacts import tell_table
from flows.exhibits import FINDING, FINDING_SERIES, VALUE, path_of, read
from flows.ingest import ingest_stage
from flows.lakes import lake_of
from flows.reporting import closing
from flows.retries import ONCE
from flows.runs import Run, address, begin
from flows.settings import Settings
from serving.release import load
from telemetry import contract as contracts
from telemetry import maintenance
from telemetry.archive import canonical, settled
from telemetry.contract import Contract
from telemetry.grid import READINGS
from telemetry.lake import Lake
from telemetry.masks import masked
from telemetry.schema import AT, ENTITY, OBSERVED, REVISION
from validation import verdict
from validation.advice import advice_of
from validation.findings import CheckReport, DataCheckFailed, Finding

logger = logging.getLogger(__name__)
DRAWN: Final = 4
"""How many findings are drawn."""
QUARANTINED: Final = "quarantined"
"""The exhibit of what the run leaves out, SPANS of `telemetry.masks`; there is none where it takes all."""
MAINTENANCE: Final = "maintenance"
"""The exhibit of who was worked on, PERIODS of `telemetry.maintenance`, which are left out too; there is none where nobody was."""


@task(name="check raw grid", **ONCE)
def check_grid(*, contract: str, folder: str, until: datetime | None = None, release: str | None = None) -> CheckReport:
    """The raw suite over the whole grid; Data Docs go to `folder`, the profiles of its days to the lake.

    Args:
        contract: of the telemetry.
        folder: of the run.
        until: end of what is looked at.
        release: id of the one by whose own contract is checked, instead of the one that is declared now.

    Raises:
        ReleaseError: the release is damaged, or was guarded by expectations that are not known any more.
    """
    from validation import docs  # Great Expectations takes seconds to import
    from validation.checks import check_raw

    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    changed: tuple[Finding, ...] = ()
    if release is not None:
        declared, changed = _of_release(release, settings=settings)
    lake = lake_of(declared, settings=settings)
    told = lake.grid(contract=declared, until=until).collect(engine="in-memory").lazy()  # read once for all that look at it
    worked_on = maintenance.of_grid(lake, told)
    grid = masked(told, spans=maintenance.spans(worked_on, parameters=declared.names))
    readings = counters_told(lake, contract=declared, until=until)
    report = check_raw(grid, contract=declared, folder=Path(folder), name="raw grid", readings=readings)
    report = outages.looked_at(report, lake=lake, grid=grid, contract=declared)
    docs.illustrate(Path(folder), grid=grid, findings=report.findings)
    _leave(report, grid=grid, folder=Path(folder))
    _leave_out(verdict.spans(report.findings, grid=grid, contract=declared), worked_on=worked_on, folder=Path(folder))
    drifted = profiles.keep(lake, grid=grid, contract=declared, folder=Path(folder), at=datetime.now(UTC), settings=settings)
    return replace(report, findings=(*report.findings, *changed, *drifted))


def counters_told(lake: Lake, *, contract: Contract, until: datetime | None = None) -> pl.LazyFrame | None:
    """`entity, at` and the contract's counters as they were told, sorted; the grid says by how much they rose. None without any."""
    table = lake.open(READINGS)
    names = tuple(name for name, parameter in contract.parameters.items() if parameter.aggregation == "counter")
    if table is None or not names:
        return None
    stored = lake.scan(table)
    there = tuple(name for name in names if name in stored.collect_schema().names())
    absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in names if name not in there]
    told = stored.select(ENTITY, AT, REVISION, *there).filter(pl.lit(value=True) if until is None else pl.col(AT) < until)
    rows = settled(canonical(told.collect(), names=there), names=there) if there else told.collect()
    return rows.lazy().with_columns(absent).select(ENTITY, AT, *names)


def _of_release(identifier: str, *, settings: Settings) -> tuple[Contract, tuple[Finding, ...]]:
    """The contract of a release, and what is to be told where its suites are others today."""
    from validation import recorded  # as above

    release = load(identifier, folder=settings.releases_folder)
    learned = contracts.parse(release.contract, path=f"of release {release.id}")
    found = recorded.differences(release.suites, contract=learned, release=release.id)
    for finding in found:
        logger.warning("%s", finding.sentence)
    return learned, found


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


def _leave_out(spans: pl.DataFrame, *, worked_on: pl.DataFrame, folder: Path) -> None:
    """Write down what this run must not believe."""
    for name, frame in ((QUARANTINED, spans), (MAINTENANCE, worked_on)):
        if frame.height:
            path_of(folder, name=name).parent.mkdir(exist_ok=True)
            frame.write_parquet(path_of(folder, name=name))


def believed(grid: pl.LazyFrame, *, folder: str | Path) -> pl.LazyFrame:
    """`grid` without what the check of this run has quarantined, or what was told in maintenance: null, as if it had not been observed."""
    spans, worked_on = read(Path(folder), name=QUARANTINED), maintained(folder)
    names = tuple(name for name in grid.collect_schema().names() if name not in (ENTITY, AT, OBSERVED))
    parts = [maintenance.spans(worked_on, parameters=names), *([] if spans is None else [spans])]
    return masked(grid, spans=pl.concat(parts))


def maintained(folder: str | Path) -> pl.DataFrame:
    """PERIODS of `telemetry.maintenance`, as they were when this run checked its telemetry."""
    told = read(Path(folder), name=MAINTENANCE)
    return maintenance.empty() if told is None else told


def check_stage(run: Run, *, contract: str, until: datetime | None = None, release: str | None = None) -> CheckReport:
    """The stage that `check`, `retrain` and `recalibrate` share; by the contract of `release`, if one is named.

    Raises:
        DataCheckFailed: a finding of the severity 'stop'.
    """
    with run.stage("check") as stage:
        report = check_grid(contract=contract, folder=str(run.folder), until=until, release=release)
        stage.note = told(report)
        tell_findings(report)
        if not report.passed:
            raise DataCheckFailed(report)
    return report


def told(report: CheckReport) -> str:
    """For a person."""
    quarantined = len(report.quarantined)
    warnings = len(report.findings) - len(report.stops) - quarantined
    left_out = f"{quarantined} that quarantine, " if quarantined else ""
    return f"{report.results} expectations, {len(report.stops)} findings that stop, {left_out}{warnings} that warn"


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
            "to do": advice_of(finding),
        }
        for finding in report.findings
    ]
    words = f"{told(report)}. {verdict.left_out(report.findings)}".strip()
    description = f"Data quality: {words} [Open the Data Docs]({address(report.docs, settings=Settings())})"
    tell_table("data-quality", rows=rows or [{"severity": "none", "what": told(report)}], description=description)


def passed(report: CheckReport) -> str:
    """The sentence of a check that passes; it says what would be left out of a run."""
    return f"The telemetry passes its checks: {told(report)}. {verdict.left_out(report.findings)}".strip()


def quality_facts(report: CheckReport) -> dict[str, Any]:  # Any: plain JSON
    """The report's part of a summary."""
    return {
        "checks_passed": report.passed,
        "expectations": report.results,
        "findings": [finding.as_json() for finding in report.findings],
        "quarantined": verdict.cells(report.findings),
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
        summary.update(quality_facts(report), verdict="passed", sentence=passed(report))
    return summary
