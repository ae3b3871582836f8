"""A feed's new parts become rows of the grid, exactly once, in bounded memory.

A part is remembered after all its rows are in the grid: a kill at any instant costs a second reading, never a row and never a double one.
While some readings are merged, the next ones are read.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from telemetry.arrivals import Arrived, bring_in
from telemetry.contract import Contract
from telemetry.errors import BadValueError, SourceError
from telemetry.feeds import Part, Parts, Source
from telemetry.lake import Lake
from telemetry.ledger import unread
from telemetry.quarantine import NOT_A_ROW, put_aside, still_open
from telemetry.resample import ROOM_STEPS, refuse_emptiness
from telemetry.schema import (
    AT,
    ENTITIES,
    ENTITY,
    FEED,
    FINGERPRINT,
    FIRST_SEEN,
    LAST_SEEN,
    QUARANTINE,
    REASON,
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
BUFFER_BYTES: Final = 512 * 1024**2
"""Likewise for readings of many parameters."""
FARTHEST: Final = timedelta(days=5 * 365)
"""A part that is this far from all that is known of an entity has a wrong clock, if it would also make millions of empty steps."""

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
        progress: told after each batch of rows.

    Raises:
        SourceError: there is nothing to be read; or not a single new part can be read, and this was not told before of all of them.
    """
    at = now or datetime.now(UTC)
    found = source.parts(since=since, until=until)
    new = unread(found.parts, feed=source.name, remembered=lake.remembered())
    refused = frozenset(still_open(lake).filter(pl.col(ROW) == NOT_A_ROW)[FINGERPRINT]) if new else frozenset()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="merge") as aside:
        work = _Work(feed=source.name, contract=contract, lake=lake, at=at, buffer_rows=buffer_rows, seen=_spans(lake), aside=aside)
        for number, part in enumerate(new, start=1):
            for rows_in in work.take(part):
                if progress is not None:
                    progress(Progress(parts_done=number - 1, parts=len(new), rows_in=rows_in))
        work.finish()
    if progress is not None:
        progress(Progress(parts_done=len(new), parts=len(new), rows_in=work.rows_in))
    told_before = len(new) < len(found.parts) and work.failed.keys() <= refused
    if work.failed and len(work.failed) == len(new) and not told_before:
        raise next(iter(work.failed.values()))
    return work.told(found, parts_known=len(found.parts) - len(new))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What was read and belongs together: readings, refused rows, and the parts that are complete with them."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    refused: list[pl.DataFrame] = field(default_factory=list)
    done: list[dict[str, object]] = field(default_factory=list)

    def merge(self, *, feed: str, contract: Contract, lake: Lake, at: datetime) -> Arrived | None:
        """Bring it into the lake: the grid first, the list of known parts last. Null where there are no readings."""
        arrived, refused = None, self.refused
        if self.frames:
            readings = pl.concat(self.frames, how="diagonal")
            self.frames.clear()
            refuse_emptiness(readings, cadence=contract.time.cadence)
            arrived = bring_in(readings, feed=feed, contract=contract, lake=lake)
            refused = [*refused, arrived.sealed]
        put_aside(pl.concat([pl.DataFrame(schema=QUARANTINE), *refused]), feed=feed, at=at, lake=lake)
        if arrived is not None and arrived.newest is not None:
            lake.mark(feed=feed, newest=arrived.newest, at=at)
        if self.done:
            lake.resolve(names=[str(part[SOURCE]) for part in self.done], feed=feed, at=at)
            lake.remember(pl.DataFrame(self.done, schema=SOURCES))
        return arrived


@dataclass(slots=True, kw_only=True)
class _Work:
    """What has been read and is not merged yet, what is being merged, and the counts of all that was."""

    feed: str
    contract: Contract
    lake: Lake
    at: datetime
    buffer_rows: int
    seen: pl.DataFrame
    """`entity, first_seen, last_seen` as the lake knew them when this began."""
    aside: ThreadPoolExecutor
    """One thread: merges follow each other."""
    merging: Future[Arrived | None] | None = None
    held: _Held = field(default_factory=_Held)
    failed: dict[str, SourceError] = field(default_factory=dict)
    """By fingerprint."""
    undeclared: set[str] = field(default_factory=set)
    held_rows: int = 0
    held_bytes: int = 0
    rows_in: int = 0
    rows_quarantined: int = 0
    rows_repeated: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    clocks_apart: int = 0
    clock_example: str = ""
    newest: datetime | None = None

    def take(self, part: Part) -> Iterator[int]:
        """Read a part; one that cannot be read stands in quarantine, and the others go on. Yields all rows so far, from time to time."""
        counts = {ROWS_IN: 0, ROWS_QUARANTINED: 0, ROWS_REPEATED: 0}
        batches = read(part, contract=self.contract, now=self.at)
        while True:
            try:
                batch = next(batches, None)
                if batch is not None:
                    _refuse_strays(batch.frame, seen=self.seen, part=part, cadence=self.contract.time.cadence)
            except SourceError as error:
                self._refuse(part, error=error)
                return
            if batch is None:
                break
            self._hold(batch)  # out here: what goes wrong with a merge is no fault of this part
            told = (batch.rows_in, batch.quarantine.height, batch.repeated)
            counts = {name: counts[name] + count for name, count in zip(counts, told, strict=True)}
            yield self.rows_in
        self.held.done.append(
            {FEED: self.feed, SOURCE: part.name, FINGERPRINT: part.fingerprint, REVISION: part.revision, **counts, AT: self.at}
        )

    def _refuse(self, part: Part, *, error: SourceError) -> None:
        logger.warning("a part of %s cannot be read and is in quarantine", self.feed)
        self.failed[part.fingerprint] = error
        row = {SOURCE: part.name, FINGERPRINT: part.fingerprint, ROW: NOT_A_ROW, REASON: error.message, TEXT: error.hint or ""}
        self.held.refused.append(pl.DataFrame([row], schema=QUARANTINE))

    def _hold(self, batch: Batch) -> None:
        self.held.frames.append(batch.frame)
        self.held.refused.append(batch.quarantine)
        self.undeclared |= set(batch.undeclared)
        self.rows_in += batch.rows_in
        self.rows_quarantined += batch.quarantine.height
        self.rows_repeated += batch.repeated
        self.clocks_apart += batch.clocks_apart
        self.clock_example = self.clock_example or batch.clock_example
        self.held_rows += batch.frame.height
        self.held_bytes += int(batch.frame.estimated_size())
        if self.held_rows >= self.buffer_rows or self.held_bytes >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Have what is held merged, once what was held before is."""
        self._settle()
        held, self.held = self.held, _Held()
        self.held_rows = self.held_bytes = 0
        self.merging = self.aside.submit(held.merge, feed=self.feed, contract=self.contract, lake=self.lake, at=self.at)

    def finish(self) -> None:
        """Merge the rest."""
        self.flush()
        self._settle()

    def _settle(self) -> None:
        """Wait for the merge that is under way, and count what came of it."""
        arrived = self.merging.result() if self.merging is not None else None
        self.merging = None
        if arrived is not None:
            self.rows_new += arrived.rows_new
            self.rows_changed += arrived.rows_changed
            self.rows_quarantined += arrived.sealed.height
            self.newest = max(filter(None, (self.newest, arrived.newest)), default=None)

    def told(self, found: Parts, *, parts_known: int) -> Ingested:
        """All of it, by counts."""
        return Ingested(
            feed=self.feed,
            parts=len(found.parts),
            parts_known=parts_known,
            parts_failed=len(self.failed),
            rows_in=self.rows_in,
            rows_accepted=self.rows_in - self.rows_quarantined - self.rows_repeated,
            rows_quarantined=self.rows_quarantined,
            rows_repeated=self.rows_repeated,
            rows_new=self.rows_new,
            rows_changed=self.rows_changed,
            passed_over=found.passed_over,
            copies=found.copies,
            undeclared=tuple(sorted(self.undeclared)),
            clocks_apart=self.clocks_apart,
            clock_example=self.clock_example,
            newest=self.newest,
        )


def _spans(lake: Lake) -> pl.DataFrame:
    return lake.read("entities", schema=ENTITIES).select(ENTITY, FIRST_SEEN, LAST_SEEN).collect()


def _refuse_strays(readings: pl.DataFrame, *, seen: pl.DataFrame, part: Part, cadence: timedelta) -> None:
    """One stray time of years ago would make millions of empty steps, whenever the grid is read.

    Raises:
        BadValueError: a reading is that far from the others of its entity, here or in the lake.
    """
    refuse_emptiness(readings, cadence=cadence)
    farthest = max(FARTHEST, cadence * ROOM_STEPS)
    near = (pl.col(AT).min() >= pl.lit(seen[FIRST_SEEN].max(), dtype=TIME) - farthest) & (
        pl.col(AT).max() <= pl.lit(seen[LAST_SEEN].min(), dtype=TIME) + farthest
    )
    if not seen.height or readings.select(near).item():  # whoever they are of
        return
    spans = readings.group_by(ENTITY).agg(pl.col(AT).min().alias("first"), pl.col(AT).max().alias("last")).join(seen, on=ENTITY)
    away = pl.max_horizontal(pl.col(FIRST_SEEN) - pl.col("first"), pl.col("last") - pl.col(LAST_SEEN)).alias("away")
    worst = spans.with_columns(away).filter(pl.col("away") > farthest).sort("away", ENTITY)
    if worst.height:
        told = worst.row(-1, named=True)
        raise BadValueError(
            f"{part.name}: {told[ENTITY]} has readings from {told['first']} to {told['last']}, and all that is known of it is from "
            f"{told[FIRST_SEEN]} to {told[LAST_SEEN]}.",
            hint="a clock is probably wrong; otherwise ingest what lies between first.",
        )
