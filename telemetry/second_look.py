"""Quarantined rows, read once more by the contract as it is now: those that can be read go into the grid, the others stay."""

import io
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from telemetry.contract import Contract
from telemetry.errors import SourceError
from telemetry.feeds import DAMAGED, ROW_INDEX, Opened, Part
from telemetry.lake import Lake
from telemetry.resample import entities_from, labels_from
from telemetry.schema import FEED, FINGERPRINT, QUARANTINED, REASON, RESOLVED, REVISION, ROW, SOURCE, SOURCES, TEXT, TIME
from telemetry.sources import read


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a second look at the quarantine did.

    Attributes:
        rows: that were looked at.
        resolved: of them, read and in the grid.
        remaining: of them, still in quarantine, with the reason that they have now.
        parts: that cannot be read at all; they are read again when their source is ingested.
    """

    rows: int
    resolved: int
    remaining: int
    parts: int


def open_rows(lake: Lake) -> pl.DataFrame:
    """QUARANTINED, the rows that were not read after all, by feed, source and row."""
    return lake.read("quarantine", schema=QUARANTINED).filter(pl.col(RESOLVED).is_null()).sort(FEED, SOURCE, ROW).collect()


def retry(lake: Lake, *, contract: Contract, now: datetime) -> Looked:
    """Read every open row again. Safe to run again at any point: rows are merged first and resolved afterwards.

    Args:
        lake: where the quarantine and the grid are.
        contract: as it is now, perhaps with another column, unit or time zone than when the rows came.
        now: the instant of the second look.
    """
    every = open_rows(lake)
    rows = every.filter(pl.col(ROW) > 0, pl.col(TEXT).str.starts_with("{"))
    revisions = dict(lake.read("sources", schema=SOURCES).select(FINGERPRINT, REVISION).collect().iter_rows())
    resolved = 0
    for part_rows in rows.partition_by(FEED, SOURCE, FINGERPRINT, maintain_order=True):
        resolved += _again(part_rows, lake=lake, contract=contract, now=now, revisions=revisions)
    parts = every.filter(pl.col(ROW) == 0).height
    return Looked(rows=every.height - parts, resolved=resolved, remaining=every.height - parts - resolved, parts=parts)


def _again(rows: pl.DataFrame, *, lake: Lake, contract: Contract, now: datetime, revisions: dict[str, int]) -> int:
    first = rows.row(0, named=True)
    part = Part(
        name=first[SOURCE],
        kind="quarantined rows",
        fingerprint=first[FINGERPRINT],
        revision=revisions.get(first[FINGERPRINT], 0),
        open=lambda: _opened(rows),
    )
    try:
        batches = list(read(part, contract=contract, now=now, most_unreadable=1.0))
    except SourceError as error:
        refused = rows.with_columns(pl.lit(error.message).alias(REASON))
        lake.quarantine(refused)
        return 0
    readings = pl.concat([batch.frame for batch in batches], how="diagonal")
    sealed = lake.merge_readings(readings, contract=contract).sealed
    if readings.height:
        lake.see(entities_from(readings.lazy()))
        if contract.label_column:
            lake.merge_labels(labels_from(readings.lazy(), contract=contract))
    remaining = pl.concat([batch.quarantine for batch in batches])
    if sealed.height:  # which row of the part it was is not known any more
        return 0
    reasons = remaining.select(ROW, pl.col(REASON).alias("now"))
    told = rows.join(reasons, on=ROW, how="left").with_columns(pl.coalesce("now", REASON).alias(REASON))
    kept = pl.when(pl.col("now").is_null()).then(pl.lit(now).cast(TIME)).otherwise(None).alias(RESOLVED)
    lake.merge("quarantine", told.with_columns(kept).select(list(QUARANTINED)), keys=(FINGERPRINT, ROW))
    return rows.height - remaining.height


def _opened(rows: pl.DataFrame) -> Opened:
    """The rows as they stood in their part, with the numbers that they had there."""
    text = "\n".join(rows[TEXT]).encode()
    frame = pl.read_ndjson(io.BytesIO(text), infer_schema_length=None).with_columns(rows[ROW].alias(ROW_INDEX))
    return Opened(frame=frame.lazy(), damaged=pl.DataFrame(schema=DAMAGED))
