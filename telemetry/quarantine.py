"""The rows that could not be read: put aside, found again, and marked resolved once they were read after all."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import polars as pl
from deltalake import DeltaTable

from telemetry.lake import Lake
from telemetry.schema import AT, FEED, FINGERPRINT, QUARANTINED, RESOLVED, ROW, SOURCE, TEXT, TIME

TABLE: Final = "quarantine"
NOT_A_ROW: Final = 0
"""The row number under which a part stands here that cannot be read at all."""
_KEYS: Final = (FINGERPRINT, ROW)
_NEWER: Final = "__newer__"


def put_aside(rows: pl.DataFrame, *, feed: str, at: datetime, lake: Lake) -> None:
    """Add rows that cannot be read (QUARANTINE). What an older content of the same part said word for word is told once only.

    Args:
        rows: of any parts of the feed.
        feed: the source's name.
        at: since when.
        lake: whose quarantine it is.
    """
    if not rows.height:
        return
    kept = [pl.lit(feed).alias(FEED), pl.lit(at).cast(TIME).alias(AT), pl.lit(None, dtype=TIME).alias(RESOLVED)]
    lake.quarantine(rows.with_columns(kept).select(list(QUARANTINED)))
    whole = pl.when(pl.col(ROW) != NOT_A_ROW).then(pl.col(TEXT)).alias(TEXT)  # of a part there is one reason at a time
    told = rows.select(SOURCE, whole, pl.col(FINGERPRINT).alias(_NEWER)).unique()

    def superseded(found: pl.DataFrame) -> pl.DataFrame:
        again = found.filter(pl.col(FEED) == feed).with_columns(whole).join(told, on=[SOURCE, TEXT], nulls_equal=True)
        older = again.group_by(_KEYS).agg((pl.col(_NEWER) != pl.col(FINGERPRINT)).all().alias(_NEWER)).filter(_NEWER)
        return found.join(older, on=_KEYS, how="semi")

    _resolve(superseded, at=at, lake=lake)


def resolve(rows: pl.DataFrame, *, at: datetime, lake: Lake) -> None:
    """Note that rows (`fingerprint, row`) have been read after all."""
    _resolve(lambda found: found.join(rows.select(_KEYS), on=_KEYS, how="semi"), at=at, lake=lake)


def still_open(lake: Lake) -> pl.DataFrame:
    """QUARANTINED, what is not resolved: of each part the latest last."""
    every = lake.read(TABLE, schema=QUARANTINED)
    return every.filter(pl.col(RESOLVED).is_null()).sort(FEED, SOURCE, AT, FINGERPRINT, ROW).collect()


def _resolve(which: Callable[[pl.DataFrame], pl.DataFrame], *, at: datetime, lake: Lake) -> None:
    def attempt(table: DeltaTable | None) -> None:
        rows = lake.rows(table, schema=QUARANTINED)
        told = which(rows.filter(pl.col(RESOLVED).is_null())).with_columns(pl.lit(at).cast(TIME).alias(RESOLVED))
        if told.height:
            lake.upsert(TABLE, told, opened=table, keys=_KEYS)

    lake.commit(TABLE, attempt)
