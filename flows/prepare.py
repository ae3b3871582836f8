"""Prepare: from the checked grid to the scaled panel of a run, checked once more. Everything is handed on by path."""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from prefect import task

from flows.artifacts import tell_table
from flows.check import believed, tell_findings
from flows.lakes import lake_of
from flows.retries import ONCE
from flows.runs import Run
from flows.settings import Settings
from flows.unconfirmed import unconfirmed as incidents_of_releases
from serving import ledger
from serving.release import load
from telemetry import contract as contracts
from telemetry import panel as panels
from telemetry import scaling, windows
from telemetry.contract import Contract
from telemetry.errors import ReleaseError
from telemetry.lake import Lake
from telemetry.panel import Panel, Part
from telemetry.schema import ENTITIES, LABELS
from validation.findings import CheckReport, DataCheckFailed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a run learns from, by counts; the arrays are under `work/panel` in the run's folder."""

    rows: int
    entities: int
    parameters: int
    targets: int
    train_steps: int
    calibrate_steps: int
    test_steps: int
    newcomer_steps: int
    lake_version: int
    checks_passed: bool
    expectations: int

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """Its part of a summary."""
        return {"rows": self.rows, "entities": self.entities, "lake_version": self.lake_version}


def work(folder: str | Path) -> Path:
    """Where the steps of a run leave things for each other; removed when the run ends."""
    return Path(folder) / "work"


@task(name="prepare panel", **ONCE)
def prepare_panel(*, contract: str, folder: str, until: datetime | None = None, scales: str | None = None) -> tuple[Prepared, CheckReport]:
    """Cut time, fit the scales on the training part (or take those of `scales`), build the panel and run the tensor suite over it.

    What the check of the run has quarantined counts as not observed.
    """
    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    version = lake.version("grid") or 0
    grid = believed(lake.grid(contract=declared, until=until), folder=folder)
    parts = windows.cuts(grid, contract=declared)
    entities = lake.read("entities", schema=ENTITIES).collect()
    told = scaling.fit(grid, contract=declared, entities=entities, cuts=parts) if scales is None else pl.read_parquet(scales)
    hidden = incidents_of_releases(lake, parts=parts, contract=declared)
    panel = build(grid, lake=lake, contract=declared, scales=told, parts=parts, unconfirmed=hidden)
    stale = scales_in_force(lake, settings=settings) if scales is None else None
    report = _checked(panel, scales=told, grid=grid, entities=entities, contract=declared, folder=folder, refit=scales is None, stale=stale)
    panels.save(panel, folder=work(folder) / "panel")
    told.write_parquet(work(folder) / "scales.parquet")
    parts.write_parquet(work(folder) / "parts.parquet")
    return _counts(panel, report=report, version=version), report


def scales_in_force(lake: Lake, *, settings: Settings) -> pl.DataFrame | None:
    """The champion's SCALES, which a run that fits its own must not have used; None where there is no champion that can be read."""
    standing = ledger.champion(lake)
    try:
        return None if standing is None else load(standing.release, folder=settings.releases_folder).scales
    except ReleaseError as error:  # a damaged champion must not hold up the run that replaces it
        logger.warning("whether old scales were used is not looked at: %s", error.message)
        return None


def build(
    grid: pl.LazyFrame,
    *,
    lake: Lake,
    contract: Contract,
    scales: pl.DataFrame,
    parts: pl.DataFrame | None,
    unconfirmed: pl.DataFrame | None = None,
) -> Panel:
    """The panel of a grid with what the lake knows of its entities and labels; `unconfirmed` as `flows.unconfirmed` tells it."""
    return windows.panel(
        grid,
        contract=contract,
        scales=scales,
        entities=lake.read("entities", schema=ENTITIES).collect(),
        labels=lake.read("labels", schema=LABELS).collect(),
        parts=parts,
        unconfirmed=unconfirmed,
    )


def _checked(
    panel: Panel,
    *,
    scales: pl.DataFrame,
    grid: pl.LazyFrame,
    entities: pl.DataFrame,
    contract: Contract,
    folder: str,
    refit: bool,
    stale: pl.DataFrame | None,
) -> CheckReport:
    from validation.checks import check_tensor  # Great Expectations takes seconds to import

    name = "scaled panel" if refit else "scaled panel by the champion"
    unfitting: Literal["stop", "warn"] = "stop" if refit else "warn"
    return check_tensor(
        panel,
        scales=scales,
        grid=grid,
        contract=contract,
        folder=Path(folder),
        name=name,
        entities=entities,
        unfitting=unfitting,
        stale=stale,
    )


def _counts(panel: Panel, *, report: CheckReport, version: int) -> Prepared:
    def steps(part: Part) -> int:
        return int(np.count_nonzero(panel.part == part))

    return Prepared(
        rows=int(np.count_nonzero(panel.part != Part.ABSENT)),
        entities=len(panel.entities),
        parameters=len(panel.parameters),
        targets=len(panel.targets),
        train_steps=steps(Part.TRAIN),
        calibrate_steps=steps(Part.CALIBRATE),
        test_steps=steps(Part.TEST),
        newcomer_steps=int(np.count_nonzero(panel.newcomer & (panel.part != Part.ABSENT))),
        lake_version=version,
        checks_passed=report.passed,
        expectations=report.results,
    )


def prepare_stage(run: Run, *, contract: str, until: datetime | None = None, scales: str | None = None) -> Prepared:
    """The stage that `retrain` and `recalibrate` share.

    Raises:
        DataCheckFailed: the tensor suite found what stops a run.
    """
    with run.stage("prepare") as stage:
        prepared, report = prepare_panel(contract=contract, folder=str(run.folder), until=until, scales=scales)
        stage.note = (
            f"{prepared.rows:,} entity-minutes: {prepared.train_steps:,} train, {prepared.calibrate_steps:,} calibrate, "
            f"{prepared.test_steps:,} test; {report.results} expectations on the tensors"
        )
        if not report.passed:
            tell_findings(report)
            raise DataCheckFailed(report)
        tell_table("panel", rows=[prepared.facts()], description="What this run learns from")
    return prepared
