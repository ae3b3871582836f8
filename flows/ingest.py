"""Ingest: a source's new files become rows of the grid, exactly once."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from prefect import flow, task
from pydantic import BaseModel, ConfigDict

from flows.artifacts import tell_table
from flows.lakes import lake_of
from flows.reporting import closing
from flows.retries import RETRY
from flows.runs import Run, begin
from flows.settings import Settings
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.resample import entities_from, labels_from, to_grid
from telemetry.schema import ENTITIES, ROW, SOURCE
from telemetry.sources import SourceFile, read, scan


class Ingested(BaseModel):
    """What an ingestion did, by counts; the rows themselves are in the lake."""

    model_config = ConfigDict(frozen=True)

    files: int
    files_known: int
    rows_in: int
    rows_new: int
    rows_changed: int
    rows_quarantined: int
    entities: int
    version: int | None

    @property
    def told(self) -> str:
        """For a person."""
        rows = f"{self.rows_new:,} new rows of {self.rows_in:,} read, {self.entities} entities"
        known = f", {self.files_known} of {self.files} files were known" if self.files_known else ""
        return rows + known + (f", {self.rows_quarantined:,} rows quarantined" if self.rows_quarantined else "")


@task(name="ingest files", **RETRY)
def ingest_files(*, contract: str, source: str, labels: str | None = None) -> Ingested:
    """Read every file of `source` that the lake does not know yet, and merge it into the grid. Safe to run again at any point."""
    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    found = scan(Path(source), contract=declared)
    known = lake.known_sources()
    new = tuple(file for file in found.files if file.fingerprint not in known)
    counts = (
        _merge(new, declared=declared, lake=lake) if new else dict.fromkeys(("rows_in", "rows_new", "rows_changed", "rows_quarantined"), 0)
    )
    if labels is not None:
        lake.merge_labels(pl.read_parquet(labels))
    return Ingested(
        files=len(found.files),
        files_known=len(found.files) - len(new),
        entities=lake.read("entities", schema=ENTITIES).select(pl.len()).collect().item(),
        version=lake.version("grid"),
        **counts,
    )


def _merge(files: tuple[SourceFile, ...], *, declared: Contract, lake: Lake) -> dict[str, int]:
    """The grid first, the list of known files last: a kill in between costs a second reading, never a row."""
    readings = read(files, contract=declared, now=datetime.now(UTC))
    frame = readings.frame
    merged = lake.merge_grid(to_grid(frame, contract=declared).collect(), contract=declared)
    lake.merge("quarantine", readings.quarantine, keys=(SOURCE, ROW))
    lake.see(entities_from(frame))
    if declared.label_column:
        lake.merge_labels(labels_from(frame, contract=declared))
    lake.remember(readings.files, at=datetime.now(UTC))
    return {
        "rows_in": readings.rows_in,
        "rows_new": merged.rows_new,
        "rows_changed": merged.rows_changed,
        "rows_quarantined": readings.quarantine.height,
    }


@flow(name="ingest", log_prints=True)
def ingest(contract: str = "fleet", source: str = "", labels: str | None = None) -> dict[str, Any]:  # Any: plain JSON
    """Bring the new files of a source into the grid.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
        source: Folder, file or glob of readings. Empty: `<home>/raw/<contract>`.
        labels: Parquet file of known incidents (entity, start, end, kind), if there is one.
    """
    settings = Settings()
    run = begin("ingest", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        where = source or str(default_source(contract, settings=settings))
        if not source and not Path(where).exists():
            told = f"There is nothing to ingest: no source was named, and {where} is not there."
            summary.update(verdict="idle", sentence=told, hint="name a folder, file or glob of readings as source.")
            return summary
        done = ingest_stage(run, contract=contract, source=where, labels=labels)
        summary.update(done.model_dump(), verdict="ingested", sentence=f"{done.told}.")
    return summary


def default_source(contract: str, *, settings: Settings) -> Path:
    """Where readings are looked for when no source is named: `<home>/raw/<contract's name>`."""
    return settings.home / "raw" / contracts.load(settings.contract_path(contract)).name


def ingest_stage(run: Run, *, contract: str, source: str, labels: str | None = None) -> Ingested:
    """The stage that `ingest` and `retrain` share."""
    with run.stage("ingest") as stage:
        done = ingest_files(contract=contract, source=source, labels=labels)
        stage.note = done.told
        tell_table("ingest", rows=[done.model_dump()], description=f"Ingested from {source}")
    return done
