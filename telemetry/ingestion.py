"""A feed's new parts become rows of the grid, exactly once, in bounded memory.

A part is remembered after all its rows are in the grid: a kill at any instant costs a second reading, never a row and never a double one.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import polars as pl

from telemetry.contract import Contract
from telemetry.errors import SourceError
from telemetry.feeds import Part, Source
from telemetry.lake import Lake
from telemetry.resample import entities_from, labels_from, refuse_emptiness
from telemetry.schema import (
    AT,
    ENTITY,
    FEED,
    FINGERPRINT,
    LABEL,
    QUARANTINE,
    QUARANTINED,
    REASON,
    RESOLVED,
    REVISION,
    ROW,
    ROWS_IN,
    ROWS_QUARANTINED,
    ROWS_REPEATED,
    SOURCE,
    SOURCES,
    TEXT,
    TIME,
)
from telemetry.sources import Batch, read

BUFFER_ROWS: Final = 2_000_000
"""So many readings are merged at a time: enough for few commits, and little beside the memory of a laptop."""
NOT_A_ROW: Final = 0
"""The row number under which a part stands in quarantine that cannot be read at all."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What an ingestion did; `rows_in = rows_accepted + rows_quarantined + rows_repeated`.

    Attributes:
        feed: the source's name.
        parts: what the source is made of.
        parts_known: of them, ingested before.
        parts_failed: of them, not readable at all; they are in quarantine as row 0.
        rows_in: rows of the new parts.
        rows_accepted: rows that the grid's values are made of.
        rows_quarantined: rows that could not be read, or came when their step was sealed.
        rows_repeated: rows that say word for word what another row of their part says.
        rows_new: steps that the grid had not.
        rows_changed: steps that are told otherwise now.
        passed_over: files that the contract does not want.
        copies: parts that say what another one says.
        undeclared: columns that the contract does not name.
        clocks_apart: rows whose second clock disagrees.
        clock_example: what the first of them says.
        newest: the newest reading of the new parts.
    """

    feed: str
    parts: int
    parts_known: int
    parts_failed: int = 0
    rows_in: int = 0
    rows_accepted: int = 0
    rows_quarantined: int = 0
    rows_repeated: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    passed_over: int = 0
    copies: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()
    clocks_apart: int = 0
    clock_example: str = ""
    newest: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an ingestion is."""

    parts_done: int
    parts: int
    rows_in: int


def ingest(
    source: Source,
    *,
    contract: Contract,
    lake: Lake,
    now: datetime | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    buffer_rows: int = BUFFER_ROWS,
    progress: Callable[[Progress], None] | None = None,
) -> Ingested:
    """Read every part of `source` that the lake does not know yet, and merge it into the grid. Safe to run again at any point.

    Args:
        source: as `telemetry.feeds.find` gives it.
        contract: what its rows mean.
        lake: where they go.
        now: the instant of the ingestion; the clock's by default.
        since: servers are asked for readings from this instant on.
        until: end, exclusive.
        buffer_rows: how many readings are held before they are merged.
        progress: told after each part.

    Raises:
        SourceError: there is nothing to be read, or not a single new part can be read.
    """
    at = now or datetime.now(UTC)
    found = source.parts(since=since, until=until)
    known = lake.known_sources()
    new = tuple(part for part in found.parts if part.fingerprint not in known)
    work = _Work(feed=source.name, contract=contract, lake=lake, at=at, buffer_rows=buffer_rows)
    for number, part in enumerate(new, start=1):
        work.take(part)
        if progress is not None:
            progress(Progress(parts_done=number, parts=len(new), rows_in=work.rows_in))
    work.flush()
    if work.failed and len(work.failed) == len(new):
        raise work.failed[0]
    return Ingested(
        feed=source.name,
        parts=len(found.parts),
        parts_known=len(found.parts) - len(new),
        parts_failed=len(work.failed),
        rows_in=work.rows_in,
        rows_accepted=work.rows_in - work.rows_quarantined - work.rows_repeated,
        rows_quarantined=work.rows_quarantined,
        rows_repeated=work.rows_repeated,
        rows_new=work.rows_new,
        rows_changed=work.rows_changed,
        passed_over=found.passed_over,
        copies=found.copies,
        undeclared=tuple(sorted(work.undeclared)),
        clocks_apart=work.clocks_apart,
        clock_example=work.clock_example,
        newest=work.newest,
    )


@dataclass(slots=True, kw_only=True)
class _Work:
    """What has been read and is not merged yet, and the counts of all that was."""

    feed: str
    contract: Contract
    lake: Lake
    at: datetime
    buffer_rows: int
    frames: list[pl.DataFrame] = field(default_factory=list)
    refused: list[pl.DataFrame] = field(default_factory=list)
    done: list[dict[str, object]] = field(default_factory=list)
    failed: list[SourceError] = field(default_factory=list)
    undeclared: set[str] = field(default_factory=set)
    held: int = 0
    rows_in: int = 0
    rows_quarantined: int = 0
    rows_repeated: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    clocks_apart: int = 0
    clock_example: str = ""
    newest: datetime | None = None

    def take(self, part: Part) -> None:
        """Read a part; what cannot be read at all stands in quarantine, and the others go on."""
        counts = {ROWS_IN: 0, ROWS_QUARANTINED: 0, ROWS_REPEATED: 0}
        try:
            for batch in read(part, contract=self.contract, now=self.at):
                self._hold(batch)
                told = (batch.rows_in, batch.quarantine.height, batch.repeated)
                counts = {name: counts[name] + told for name, told in zip(counts, told, strict=True)}
        except SourceError as error:
            logger.warning("%s cannot be read and is in quarantine", part.name)
            self.failed.append(error)
            row = {SOURCE: part.name, FINGERPRINT: part.fingerprint, ROW: NOT_A_ROW, REASON: error.message, TEXT: error.hint or ""}
            self.refused.append(pl.DataFrame([row], schema=QUARANTINE))
            return
        self.done.append(
            {FEED: self.feed, SOURCE: part.name, FINGERPRINT: part.fingerprint, REVISION: part.revision, **counts, AT: self.at}
        )

    def _hold(self, batch: Batch) -> None:
        self.frames.append(batch.frame)
        self.refused.append(batch.quarantine)
        self.undeclared |= set(batch.undeclared)
        self.rows_in += batch.rows_in
        self.rows_quarantined += batch.quarantine.height
        self.rows_repeated += batch.repeated
        self.clocks_apart += batch.clocks_apart
        self.clock_example = self.clock_example or batch.clock_example
        self.held += batch.frame.height
        if self.held >= self.buffer_rows:
            self.flush()

    def flush(self) -> None:
        """Merge what is held: the grid first, the list of known parts last."""
        if self.frames:
            readings = pl.concat(self.frames, how="diagonal")
            self.frames.clear()
            refuse_emptiness(readings, cadence=self.contract.time.cadence)
            merged = self.lake.merge_readings(readings, contract=self.contract)
            self.rows_new += merged.rows_new
            self.rows_changed += merged.rows_changed
            self._refuse_sealed(merged.sealed, readings=readings)
            self.lake.see(entities_from(readings.lazy()))
            if self.contract.label_column:
                self.lake.merge_labels(labels_from(readings.lazy(), contract=self.contract))
            newest = readings[AT].max()
            assert newest is None or isinstance(newest, datetime)  # noqa: S101  (the column's type)
            self.newest = max(filter(None, (self.newest, newest)), default=None)
        self._quarantine()
        self.held = 0
        if self.done:
            self.lake.remember(pl.DataFrame(self.done, schema=SOURCES))
            self.lake.resolve(names=[str(part[SOURCE]) for part in self.done], feed=self.feed, at=self.at)
            self.done.clear()
        if self.newest is not None:
            self.lake.mark(feed=self.feed, newest=self.newest, at=self.at)

    def _quarantine(self) -> None:
        rows = pl.concat([pl.DataFrame(schema=QUARANTINE), *self.refused])
        self.refused.clear()
        if rows.height:
            kept = [pl.lit(self.feed).alias(FEED), pl.lit(self.at).cast(TIME).alias(AT), pl.lit(None, dtype=TIME).alias(RESOLVED)]
            self.lake.quarantine(rows.with_columns(kept).select(list(QUARANTINED)))

    def _refuse_sealed(self, sealed: pl.DataFrame, *, readings: pl.DataFrame) -> None:
        if not sealed.height:
            return
        self.rows_quarantined += sealed.height
        reason = f"the step is sealed: its readings were removed after {self.contract.retention.readings_days} days"
        rows = readings.join(sealed, on=[ENTITY, AT, REVISION], how="semi").unique([ENTITY, AT, REVISION], keep="last", maintain_order=True)
        texts = [json.dumps(row, default=str) for row in rows.drop(LABEL, strict=False).iter_rows(named=True)]  # few, and rarely any
        told = pl.format("sealed {} {}", ENTITY, pl.col(AT).dt.to_string("iso"))
        constants = [pl.lit(self.feed).alias(SOURCE), pl.lit(1, dtype=pl.Int64).alias(ROW), pl.lit(reason).alias(REASON)]
        self.refused.append(
            rows.select(told.alias(FINGERPRINT), *constants, pl.Series(TEXT, texts, dtype=pl.String)).select(list(QUARANTINE))
        )
