"""Rows in quarantine are read once more, by the contract as it is now; those that read now are merged and marked resolved.

A row is read from what the quarantine holds of it, so its source need not be there any more. Left alone are lines that have no columns,
rows that a later row of their part overrules, rows that would have to be aggregated with others of their instant, readings of sealed
steps, and parts that are not ingested as a whole: these are read from their source again with the next ingestion.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import polars as pl

from telemetry.arrivals import SEALED, bring_in
from telemetry.contract import Contract
from telemetry.errors import SourceError
from telemetry.feeds import DAMAGED, ROW_INDEX, Opened, Part
from telemetry.lake import Lake
from telemetry.pieces import INDEX
from telemetry.quarantine import NOT_A_ROW, put_aside, resolve, still_open
from telemetry.repeats import OVERRULED
from telemetry.schema import FEED, FINGERPRINT, QUARANTINE, REASON, REVISION, ROW, SOURCE, SOURCES, TEXT
from telemetry.sections import CLOCKS
from telemetry.sources import read

KIND: Final = "quarantine"
EPOCHS: Final = frozenset(CLOCKS) - {"iso"}
_SAMPLE: Final = 100
_ZONED: Final = "%Y-%m-%dT%H:%M:%S%.f%#z"
_NAIVE: Final = "%Y-%m-%d %H:%M:%S%.f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """What a second reading did; `rows = rows_resolved + rows_left`.

    Attributes:
        rows: open rows of the quarantine that were read again.
        rows_resolved: those of them that are readings now.
        rows_left: those that stay, with the reason as it is now.
        rows_passed_over: open rows that nobody can read again from what is kept of them.
        rows_new: steps that the grid had not.
        rows_changed: steps that are told otherwise now.
    """

    rows: int = 0
    rows_resolved: int = 0
    rows_left: int = 0
    rows_passed_over: int = 0
    rows_new: int = 0
    rows_changed: int = 0

    def __add__(self, other: "Retried") -> "Retried":
        return Retried(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})


def retry(*, contract: Contract, lake: Lake, now: datetime | None = None) -> Retried:
    """Read the open rows of the quarantine again. Safe to run again at any point.

    Args:
        contract: as it is now.
        lake: whose quarantine it is.
        now: the instant of the second reading; the clock's by default.
    """
    at = now or datetime.now(UTC)
    rows = still_open(lake).join(lake.read("sources", schema=SOURCES).select(FINGERPRINT, REVISION).collect(), on=FINGERPRINT, how="left")
    asked = rows.filter(
        pl.lit(value=contract.time.repeated == "last"),
        pl.col(ROW) != NOT_A_ROW,
        pl.col(REVISION).is_not_null(),
        pl.col(TEXT).str.starts_with("{") & pl.col(TEXT).str.json_path_match("$").is_not_null(),
        ~pl.col(REASON).str.contains(OVERRULED, literal=True),
        ~pl.col(FINGERPRINT).str.starts_with(SEALED),
    )
    parts = [_retried(part, contract=contract, lake=lake, at=at) for part in asked.partition_by(FINGERPRINT, maintain_order=True)]
    return sum(parts, Retried(rows_passed_over=rows.height - asked.height))


def _retried(rows: pl.DataFrame, *, contract: Contract, lake: Lake, at: datetime) -> Retried:
    """One part's rows. They count for less than what was read of it at once: of two rows for an instant one could be told before."""
    feed, source, fingerprint, revision = rows.select(FEED, SOURCE, FINGERPRINT, REVISION).row(0)
    frame = _frame(rows, contract=contract)
    damaged = pl.DataFrame(schema=DAMAGED)
    part = Part(
        name=source,
        kind=KIND,
        fingerprint=fingerprint,
        revision=revision - 1,
        open=lambda: Opened(frame=frame.lazy(), damaged=damaged),
    )
    try:
        batches = list(read(part, contract=contract, now=at, most_unreadable=1.0))
    except SourceError as error:
        put_aside(rows.with_columns(pl.lit(error.message).alias(REASON)).select(list(QUARANTINE)), feed=feed, at=at, lake=lake)
        return Retried(rows=rows.height, rows_left=rows.height)
    left = pl.concat([batch.quarantine for batch in batches])
    readings = pl.concat([batch.frame for batch in batches], how="diagonal")
    arrived = bring_in(readings, feed=feed, contract=contract, lake=lake)
    if arrived.newest is not None:
        lake.mark(feed=feed, newest=arrived.newest, at=at)
    as_before = rows.select(FINGERPRINT, ROW, TEXT)
    reasons = left.drop(TEXT).join(as_before, on=[FINGERPRINT, ROW]).select(list(QUARANTINE))
    put_aside(pl.concat([reasons, arrived.sealed]), feed=feed, at=at, lake=lake)
    resolve(rows.join(left, on=[FINGERPRINT, ROW], how="anti"), at=at, lake=lake)
    return Retried(
        rows=rows.height,
        rows_resolved=rows.height - left.height,
        rows_left=left.height,
        rows_new=arrived.rows_new,
        rows_changed=arrived.rows_changed,
    )


def _frame(rows: pl.DataFrame, *, contract: Contract) -> pl.DataFrame:
    """The rows' own columns as text, under the row numbers that they had."""
    sample = [json.loads(text) for text in rows[TEXT].head(_SAMPLE)]
    names = dict.fromkeys(name for row in sample for name in row if name != ROW_INDEX)
    told = rows.select(
        pl.col(ROW).cast(INDEX).alias(ROW_INDEX),
        *(pl.col(TEXT).str.json_path_match(f"$[{json.dumps(name, ensure_ascii=False)}]").alias(name) for name in names),
    )
    return (
        told
        if contract.time.format not in EPOCHS or contract.time.column not in names
        else _with_instants(told, column=contract.time.column)
    )


def _with_instants(told: pl.DataFrame, *, column: str) -> pl.DataFrame:
    """A column of instants, which JSON tells as text, made one again; others stay as they are."""
    texts = told[column].drop_nulls()
    for form, zone in ((_ZONED, "UTC"), (_NAIVE, None)):
        instants = texts.str.to_datetime(form, time_unit="us", time_zone=zone, strict=False)
        if texts.len() and not instants.null_count():
            return told.with_columns(pl.col(column).str.to_datetime(form, time_unit="us", time_zone=zone, strict=False))
    return told
