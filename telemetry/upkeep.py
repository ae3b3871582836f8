"""The lake stays healthy: what its tables hold, many small files made few, and rows that are older than is declared removed.

Every change is one commit a table. Compaction changes no row; retention removes whole days, and what a newer version has replaced can be
read by an older one until `retention.history_hours` have passed.
"""

import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import polars as pl
from deltalake import DeltaTable

from telemetry.contract import Contract
from telemetry.lake import GRID, READINGS, Lake
from telemetry.tables import DAY

TABLES: Final = (GRID, READINGS, "quarantine", "sources", "entities", "labels", "watermarks", "scores", "coverage", "incidents", "ledger")
MOST_FILES_A_DAY: Final = 4
"""A day in more files than this is written anew."""
MOST_FILES: Final = 16
"""Likewise a table that is not stored by day."""

DAYS_AT_A_TIME: Final = 7
"""Days that are held in memory while they are written anew."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatus:
    """What a table holds.

    Attributes:
        table: its name.
        rows: of the newest version.
        files: that it is made of.
        megabytes: their size, in MB.
        version: of its newest commit.
        oldest: its first day, where it is stored by day.
        newest: its last day.
        scattered: days (of another table: 1) in so many files that compaction would write them anew.
    """

    table: str
    rows: int
    files: int
    megabytes: float
    version: int
    oldest: date | None
    newest: date | None
    scattered: int


def status(lake: Lake) -> tuple[TableStatus, ...]:
    """Every table that is there, told from its log alone: no row is read."""
    return tuple(_status(name, table) for name in TABLES if (table := lake.open(name)) is not None)


def compact(lake: Lake) -> dict[str, int]:
    """Turn many small files into few; what the tables say stays the same.

    Returns:
        By table, by how many files it has become smaller; only where there was something to do.
    """
    saved: dict[str, int] = {}
    for name in TABLES:
        table = lake.open(name)
        if table is None:
            continue
        files = _files(table)
        if DAY in files.columns:
            scattered = _scattered(files)
            for first in range(0, len(scattered), DAYS_AT_A_TIME):
                lake.rewrite(name, days=scattered[first : first + DAYS_AT_A_TIME])
        elif files.height > MOST_FILES:
            lake.compact(name)
        after = lake.open(name)
        assert after is not None  # noqa: S101  (it was there)
        gone = files.height - _files(after).height
        if gone:
            after.create_checkpoint()
            saved[name] = gone
            logger.info("%s is in %d files fewer", name, gone)
    return saved


def retain(lake: Lake, *, contract: Contract, now: datetime) -> dict[str, int]:
    """Remove the rows that are older than the contract's retention says, and files that no version in reach needs.

    A step whose readings are removed is sealed: later readings of it go to quarantine.

    Returns:
        By table, how many rows were removed; only where there were some.
    """
    kept = contract.retention
    old = {
        GRID: f"{DAY} < '{_day(now, kept.grid_days)}'",
        READINGS: f"{DAY} < '{_day(now, kept.readings_days)}'",
        "scores": f"at < '{_instant(now, kept.scores_days)}'",
        "coverage": f"at < '{_instant(now, kept.scores_days)}'",
        "incidents": f"\"end\" < '{_instant(now, kept.scores_days)}'",
        "quarantine": f"at < '{_instant(now, kept.quarantine_days)}'",
    }
    removed: dict[str, int] = {}
    for name, predicate in old.items():
        table = lake.open(name)
        if table is None:
            continue
        gone = int(table.delete(predicate).get("num_deleted_rows") or 0)
        if gone:
            removed[name] = gone
            logger.info("%d rows of %s were older than is kept", gone, name)
    for name in TABLES:
        if (table := lake.open(name)) is not None:
            table.vacuum(retention_hours=kept.history_hours, dry_run=False, enforce_retention_duration=False)
    return removed


def _status(name: str, table: DeltaTable) -> TableStatus:
    files = _files(table)
    days: list[date] = files[DAY].sort().to_list() if DAY in files.columns else []
    return TableStatus(
        table=name,
        rows=int(files["num_records"].fill_null(0).sum()),
        files=files.height,
        megabytes=round(float(files["size_bytes"].sum()) / 1e6, 3),
        version=table.version(),
        oldest=days[0] if days else None,
        newest=days[-1] if days else None,
        scattered=len(_scattered(files)) if DAY in files.columns else int(files.height > MOST_FILES),
    )


def _files(table: DeltaTable) -> pl.DataFrame:
    """The live files: `path, size_bytes, num_records`, and `day` where the table is stored by day."""
    files = pl.DataFrame(table.get_add_actions(flatten=True))
    partition = f"partition.{DAY}"
    return files.rename({partition: DAY}).with_columns(pl.col(DAY).cast(pl.Date)) if partition in files.columns else files


def _scattered(files: pl.DataFrame) -> list[date]:
    days = files.group_by(DAY).agg(pl.len().alias("files")).filter(pl.col("files") > MOST_FILES_A_DAY)
    return sorted(days[DAY].to_list())


def _day(now: datetime, days: int) -> str:
    return (now - timedelta(days=days)).date().isoformat()


def _instant(now: datetime, days: int) -> str:
    return (now - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
