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
from telemetry import ingestion
from telemetry.feeds import find, public
from telemetry.schema import ENTITIES


class Ingested(BaseModel):
    """What an ingestion did, by counts; the rows themselves are in the lake."""

    model_config = ConfigDict(frozen=True)

    feed: str
    files: int
    files_known: int
    files_failed: int
    rows_in: int
    rows_accepted: int
    rows_quarantined: int
    rows_repeated: int
    rows_new: int
    rows_changed: int
    undeclared: list[str]
    clocks_apart: int
    clock_example: str
    entities: int
    version: int | None

    @property
    def told(self) -> str:
        """For a person."""
        rows = f"{self.rows_new:,} new rows of {self.rows_in:,} read, {self.entities} entities"
        more = (
            (self.files_known, f"{self.files_known} of {self.files} files were known"),
            (self.files_failed, f"{self.files_failed} files cannot be read"),
            (self.rows_quarantined, f"{self.rows_quarantined:,} rows quarantined"),
            (self.rows_repeated, f"{self.rows_repeated:,} rows repeated"),
            (self.clocks_apart, f"{self.clocks_apart:,} rows with two clocks that disagree"),
        )
        return ", ".join([rows, *(text for count, text in more if count)])


@task(name="ingest files", **RETRY)
def ingest_files(
    *, contract: str, source: str, labels: str | None = None, since: datetime | None = None, until: datetime | None = None
) -> Ingested:
    """Read every part of `source` that the lake does not know yet, and merge it into the grid. Safe to run again at any point."""
    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    now = datetime.now(UTC)
    feed = find(source, contract=declared, now=now)
    done = ingestion.ingest(feed, contract=declared, lake=lake, now=now, since=since, until=until)
    if labels is not None:
        lake.merge_labels(pl.read_parquet(labels))
    return Ingested(
        feed=done.feed,
        files=done.parts,
        files_known=done.parts_known,
        files_failed=done.parts_failed,
        rows_in=done.rows_in,
        rows_accepted=done.rows_accepted,
        rows_quarantined=done.rows_quarantined,
        rows_repeated=done.rows_repeated,
        rows_new=done.rows_new,
        rows_changed=done.rows_changed,
        undeclared=list(done.undeclared),
        clocks_apart=done.clocks_apart,
        clock_example=done.clock_example,
        entities=lake.read("entities", schema=ENTITIES).select(pl.len()).collect().item(),
        version=lake.version("grid"),
    )


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
        tell_table("ingest", rows=[done.model_dump()], description=f"Ingested from {public(source)}")
    return done
