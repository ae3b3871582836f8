"""The lake stays healthy: what its tables hold, many small files made few, and what is older than is declared removed.

Every change is one commit on the version that was read: a writer that came first is read again, a kill leaves the last commit in force.
Compaction changes nothing that a table says. Retention removes whole days of the grid and its readings, and what a newer version
replaced can be read by an older one until `retention.history_hours` have passed.
"""

import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import polars as pl
from deltalake import DeltaTable

from telemetry.contract import Contract
from telemetry.grid import GRID, PORTION_ROWS, READINGS
from telemetry.lake import Lake
from telemetry.schema import AT, END
from telemetry.tables import BYTES, DAY, ROWS

TABLES: Final = (
    GRID,
    READINGS,
    "quarantine",
    "sources",
    "entities",
    "labels",
    "watermarks",
    "scores",
    "coverage",
    "incidents",
    "groups",
    "suspensions",
    "lifts",
    "progress",
    "profiles",
    "shadow",
    "releases",
)
MOST_FILES_A_DAY: Final = 4
"""A day in more files than this is written anew."""
MOST_FILES: Final = 16
"""Likewise a table that is not stored by day."""
ORPHANED_HOURS: Final = 24
"""A file of this age that no commit names was left by a writer that was killed; a younger one may be about to be committed."""

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
    return tuple(_status(name, table, lake=lake) for name in TABLES if (table := lake.open(name)) is not None)


def compact(lake: Lake) -> dict[str, int]:
    """Turn many small files into few, sorted; what the tables say stays the same. Safe beside writers, and to be killed.

    Returns:
        By table, by how many files it has become smaller; only where there was something to do.
    """
    saved: dict[str, int] = {}
    for name in TABLES:
        table = lake.open(name)
        if table is None:
            continue
        files = lake.files(table)
        if DAY in files.columns:
            for days in _portions(_scattered(files)):
                lake.rewrite(name, days=days)
        elif files.height > MOST_FILES:
            lake.compact(name)
        after = lake.open(name) or table
        gone = files.height - lake.files(after).height
        if gone:
            after.create_checkpoint()
            saved[name] = gone
            logger.info("%s is in %d files fewer", name, gone)
    return saved


def retain(lake: Lake, *, contract: Contract, now: datetime) -> dict[str, int]:
    """Remove the rows that are older than the contract's retention says, and what only versions out of reach would need.

    A step whose readings are removed is sealed: later readings of it go to quarantine.

    Args:
        lake: whose tables.
        contract: its retention.
        now: from when its days and hours are counted back.

    Returns:
        By table, how many rows were removed; only where there were some.
    """
    kept = contract.retention
    old = {
        GRID: f"{DAY} < '{_day(now, kept.grid_days)}'",
        READINGS: f"{DAY} < '{_day(now, kept.readings_days)}'",
        "scores": f'"{AT}" < {_instant(now, kept.scores_days)}',
        "coverage": f'"{AT}" < {_instant(now, kept.scores_days)}',
        "incidents": f'"{END}" < {_instant(now, kept.scores_days)}',
        "groups": f'"{END}" < {_instant(now, kept.scores_days)}',
        "shadow": f'"{AT}" < {_instant(now, kept.scores_days)}',
        "profiles": f"{DAY} < '{_day(now, kept.scores_days)}'",
        "quarantine": f'"{AT}" < {_instant(now, kept.quarantine_days)}',
    }
    removed = {name: gone for name, where in old.items() if (gone := lake.remove(name, where=where))}
    for name, gone in removed.items():
        logger.info("%d rows of %s were older than is kept", gone, name)
    for name in TABLES:
        if (table := lake.open(name)) is not None:
            _forget(table, hours=kept.history_hours)
    return removed


def _forget(table: DeltaTable, *, hours: int) -> None:
    """Clear away the files and the log of versions that are older, and files that a killed writer never committed."""
    table.vacuum(retention_hours=hours, dry_run=False, enforce_retention_duration=False)
    table.vacuum(retention_hours=max(hours, ORPHANED_HOURS), dry_run=False, enforce_retention_duration=False, full=True)
    span = {"delta.logRetentionDuration": f"interval {hours} hours"}
    if not span.items() <= table.metadata().configuration.items():
        table.alter.set_table_properties(span)
    table.create_checkpoint()
    table.cleanup_metadata()


def _status(name: str, table: DeltaTable, *, lake: Lake) -> TableStatus:
    files = lake.files(table)
    days: list[date] = files[DAY].sort().to_list() if DAY in files.columns else []
    return TableStatus(
        table=name,
        rows=int(files[ROWS].fill_null(0).sum()),
        files=files.height,
        megabytes=round(float(files[BYTES].sum()) / 1e6, 3),
        version=table.version(),
        oldest=days[0] if days else None,
        newest=days[-1] if days else None,
        scattered=_scattered(files).height if DAY in files.columns else int(files.height > MOST_FILES),
    )


def _scattered(files: pl.DataFrame) -> pl.DataFrame:
    """Days in many files: `day, rows`, sorted."""
    days = files.group_by(DAY).agg(pl.len().alias("files"), pl.col(ROWS).sum())
    return days.filter(pl.col("files") > MOST_FILES_A_DAY).select(DAY, ROWS).sort(DAY)


def _portions(days: pl.DataFrame) -> list[list[date]]:
    """The days, as many at a time as fit into memory."""
    portions = days.with_columns(pl.col(ROWS).cum_sum() // PORTION_ROWS).partition_by(ROWS, maintain_order=True)
    return [portion[DAY].to_list() for portion in portions]


def _day(now: datetime, days: int) -> str:
    return (now - timedelta(days=days)).date().isoformat()


def _instant(now: datetime, days: int) -> str:
    return f"'{(now - timedelta(days=days)).isoformat(timespec='microseconds')}'"
