"""Ingest: a source's new parts become rows of the grid, exactly once."""

import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import polars as pl
from prefect import flow, task
from pydantic import BaseModel, ConfigDict

from flows import console, entities, exhibits
from flows.artifacts import Bar, tell_table
from flows.lakes import lake_of
from flows.locations import instant, open_source, shown
from flows.quarantine import by_reason
from flows.reporting import closing
from flows.retries import RETRY
from flows.runs import Run, begin
from flows.settings import Settings
from telemetry import contract as contracts
from telemetry import ingestion
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.presence import DEPARTED, HISTORY, NEWCOMER, RETURNED_AT
from telemetry.quarantine import still_open
from telemetry.schema import ENTITIES, FEED, FIRST_SEEN, LABELS, NEWEST, STATE, WATERMARKS, conform

REASONS_LISTED: Final = 100
NAMES_TOLD: Final = 3
SOON_SECONDS: Final = 5.0
"""An ingestion that is over sooner draws no bar in the UI; a longer one moves it this often."""


class Ingested(BaseModel):
    """What an ingestion did, by counts; the rows themselves are in the lake."""

    model_config = ConfigDict(frozen=True)

    feed: str
    files: int
    files_known: int
    files_failed: int
    files_copied: int
    files_passed_over: int
    rows_in: int
    rows_accepted: int
    rows_quarantined: int
    rows_repeated: int
    rows_new: int
    rows_changed: int
    undeclared: list[str]
    clocks_apart: int
    clock_example: str
    newest: datetime | None
    entities: int
    newcomers: int
    departed: int
    returned: int
    version: int | None

    @property
    def told(self) -> str:
        """For a person."""
        rows = f"{self.rows_new:,} new rows of {self.rows_in:,} read, {self.entities} entities"
        more = (
            (self.rows_changed, "changed"),
            (self.rows_quarantined, "quarantined"),
            (self.rows_repeated, "repeated"),
            (self.clocks_apart, "with two clocks that disagree"),
            (self.files_failed, f"of {self.files} files unreadable"),
            (self.files_known, f"of {self.files} files known"),
            (self.files_copied, "copied"),
        )
        names = ", ".join(self.undeclared[:NAMES_TOLD]) + (" ..." if len(self.undeclared) > NAMES_TOLD else "")
        undeclared = [f"not declared: {names}"] if names else []
        return ", ".join([rows, *(f"{count:,} {what}" for count, what in more if count), *undeclared])


@task(name="ingest files", **RETRY)
def ingest_files(
    *,
    contract: str,
    source: str,
    labels: str | None = None,
    since: str | None = None,
    until: str | None = None,
    folder: str | None = None,
) -> Ingested:
    """Read every part of `source` that the lake does not know yet, and merge it into the grid. Safe to run again at any point.

    Args:
        contract: name of a contract that ships, or path of a TOML file.
        source: a location; of its variables only the environment knows the values.
        labels: Parquet file of known incidents.
        since: servers are asked from this instant on.
        until: end, exclusive.
        folder: of the run, for what its page shows.
    """
    settings, now = Settings(), datetime.now(UTC)
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    known = None if labels is None else conform(pl.read_parquet(labels), LABELS, name=labels)
    feed = open_source(source, contract=declared, now=now)
    first, end = instant(since, now=now, name="since"), instant(until, now=now, name="until")
    with _Shown(feed.name) as progress:
        done = ingestion.ingest(feed, contract=declared, lake=lake, now=now, since=first, until=end, progress=progress)
    if known is not None:
        lake.merge_labels(known)
    watched = _watched(lake, contract=contract, settings=settings)
    if folder is not None:
        _leave(Path(folder), lake=lake, feed=done.feed, now=now, watched=watched)
    return _told(done, lake=lake, watched=watched, contract=declared)


def _told(done: ingestion.Ingested, *, lake: Lake, watched: pl.DataFrame, contract: Contract) -> Ingested:
    return Ingested(
        feed=done.feed,
        files=done.parts,
        files_known=done.parts_known,
        files_failed=done.parts_failed,
        files_copied=len(done.copies),
        files_passed_over=done.passed_over,
        rows_in=done.rows_in,
        rows_accepted=done.rows_accepted,
        rows_quarantined=done.rows_quarantined,
        rows_repeated=done.rows_repeated,
        rows_new=done.rows_new,
        rows_changed=done.rows_changed,
        undeclared=list(done.undeclared),
        clocks_apart=done.clocks_apart,
        clock_example=done.clock_example,
        newest=done.newest,
        entities=lake.read("entities", schema=ENTITIES).select(pl.len()).collect().item(),
        newcomers=watched.filter(pl.col(STATE) == NEWCOMER).height,
        departed=watched.filter(pl.col(STATE) == DEPARTED).height,
        returned=watched.filter(_returned(contract)).height,
        version=lake.version("grid"),
    )


def _watched(lake: Lake, *, contract: str, settings: Settings) -> pl.DataFrame:
    """HISTORY, as of the newest reading of the lake."""
    if lake.version("grid") is None:
        return pl.DataFrame(schema=HISTORY)
    told = entities.told(contract, settings=settings)
    return pl.DataFrame(told["entities"], schema_overrides=dict(HISTORY), infer_schema_length=None)


def _returned(contract: Contract) -> pl.Expr:
    """Who came back within the time after which an entity counts as departed."""
    today = pl.col("last_seen").max()
    return (pl.col(STATE) != DEPARTED) & (today - pl.col(RETURNED_AT) <= pl.duration(days=contract.newcomer.departed_days))


def _leave(folder: Path, *, lake: Lake, feed: str, now: datetime, watched: pl.DataFrame) -> None:
    """What the page shows, under `data`."""
    (folder / "data").mkdir(exist_ok=True)
    rows = still_open(lake).filter(pl.col(FEED) == feed)
    frames = {
        exhibits.REFUSED: by_reason(rows, since=now).head(REASONS_LISTED),
        exhibits.WATERMARKS: lake.read("watermarks", schema=WATERMARKS).collect().sort(NEWEST, FEED, descending=[True, False]),
        exhibits.WATCHED: watched.sort(FIRST_SEEN, descending=True),
    }
    for name, frame in frames.items():
        frame.write_parquet(exhibits.path_of(folder, name=name))


class _Shown(AbstractContextManager["_Shown"]):
    """Progress at a terminal, and in the UI where it takes longer."""

    def __init__(self, feed: str) -> None:
        self._feed, self._moved = feed, time.monotonic()
        self._bar: Bar | None = None
        self._line = console.Parts()

    def __call__(self, progress: ingestion.Progress) -> None:
        self._line.move(done=progress.parts_done, total=progress.parts, told=f"{progress.rows_in:,} rows")
        if time.monotonic() - self._moved > SOON_SECONDS:
            self._bar = self._bar or Bar("ingest-progress", description=f"Ingesting {self._feed}")
            self._bar.advance(progress.parts_done / max(progress.parts, 1))
            self._moved = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._line.close()
        if self._bar is not None and error is None:
            self._bar.advance(1.0)


@flow(name="ingest", log_prints=True)
def ingest(
    contract: str = "fleet", source: str = "", labels: str | None = None, since: str | None = None, until: str | None = None
) -> dict[str, Any]:  # Any: plain JSON
    """Bring what is new at a source into the grid.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
        source: Folder, file or glob of readings, local or by URL (s3://, gs://, az://); a Delta table; postgresql://...; the http(s)://
            address of a Prometheus server. Empty: `<home>/raw/<contract>`. Credentials belong into the worker's environment:
            postgresql://${PGUSER}:${PGPASSWORD}@db/fleet names its variables, and PROMETHEUS_TOKEN is sent to a Prometheus server.
        labels: Parquet file of known incidents (entity, start, end, kind), if there is one.
        since: Servers are asked from this instant on: 2026-01-31T06:00:00Z, or 2d for the last two days. Files are always read whole.
        until: End of what servers are asked for, exclusive.
    """
    settings = Settings()
    run = begin("ingest", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        where = source or str(default_source(contract, settings=settings))
        if not source and not Path(where).exists():
            told = f"There is nothing to ingest: no source was named, and {where} is not there."
            summary.update(verdict="idle", sentence=told, hint="name a folder, file, glob or URL of readings as source.")
            return summary
        done = ingest_stage(run, contract=contract, source=where, labels=labels, since=since, until=until)
        summary.update(done.model_dump(mode="json"), verdict="ingested", sentence=f"{done.told}.")
    return summary


def default_source(contract: str, *, settings: Settings) -> Path:
    """Where readings are looked for when no source is named: `<home>/raw/<contract's name>`."""
    return settings.home / "raw" / contracts.load(settings.contract_path(contract)).name


def ingest_stage(
    run: Run, *, contract: str, source: str, labels: str | None = None, since: str | None = None, until: str | None = None
) -> Ingested:
    """The stage that `ingest`, `check`, `retrain` and `score` share."""
    with run.stage("ingest") as stage:
        done = ingest_files(contract=contract, source=source, labels=labels, since=since, until=until, folder=str(run.folder))
        stage.note = done.told
        tell_table("ingest", rows=[done.model_dump(mode="json")], description=f"Ingested from {shown(source)}")
    return done
