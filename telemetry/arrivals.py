"""Readings -> all that the lake says of them: the grid, who was seen, what was labelled. Those that came too late are given back."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl

from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.resample import entities_from, labels_from
from telemetry.schema import AT, ENTITY, FINGERPRINT, LABEL, QUARANTINE, REASON, REVISION, ROW, SOURCE, TEXT

SEALED: Final = "sealed "
"""How the fingerprint of a reading begins whose step is sealed; it stands in quarantine by itself, not as a row of its part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What came of readings.

    Attributes:
        rows_new: steps that the grid had not.
        rows_changed: steps that are told otherwise now.
        newest: the newest reading; null if there was none.
        sealed: QUARANTINE, the readings that are not in the grid because retention has removed those beside them.
    """

    rows_new: int
    rows_changed: int
    newest: datetime | None
    sealed: pl.DataFrame = field(compare=False)


def bring_in(readings: pl.DataFrame, *, feed: str, contract: Contract, lake: Lake) -> Arrived:
    """Merge readings into the lake. The same readings again change nothing.

    Args:
        readings: as `telemetry.sources.read` gives them, of any number of batches.
        feed: whose they are.
        contract: what they mean.
        lake: where they go.
    """
    merged = lake.merge_readings(readings, contract=contract)
    lake.see(entities_from(readings.lazy()))
    if contract.label_column:
        lake.merge_labels(labels_from(readings.lazy(), contract=contract))
    newest = readings[AT].max()
    assert newest is None or isinstance(newest, datetime)  # noqa: S101  (the column's type)
    sealed = _sealed(readings, sealed=merged.sealed, feed=feed, contract=contract)
    return Arrived(rows_new=merged.rows_new, rows_changed=merged.rows_changed, newest=newest, sealed=sealed)


def _sealed(readings: pl.DataFrame, *, sealed: pl.DataFrame, feed: str, contract: Contract) -> pl.DataFrame:
    if not sealed.height:
        return pl.DataFrame(schema=QUARANTINE)
    told = readings.join(sealed, on=[ENTITY, AT, REVISION], how="semi").unique([ENTITY, AT, REVISION], keep="last", maintain_order=True)
    reason = f"its step is sealed: the readings beside it were removed after {contract.retention.readings_days} days"
    return told.select(
        pl.lit(feed).alias(SOURCE),
        pl.format(f"{SEALED}{{}} {{}} {{}}", ENTITY, pl.col(AT).dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ"), REVISION).alias(FINGERPRINT),
        pl.lit(1, dtype=pl.Int64).alias(ROW),
        pl.lit(reason).alias(REASON),
        pl.struct(pl.exclude(LABEL)).struct.json_encode().alias(TEXT),
    ).select(list(QUARANTINE))
