"""The lake: the grid of one kind of telemetry and what belongs to it, as Delta tables.

The grid is stored by day; `revision` marks the rows that are the record of their only reading. How readings become rows, whatever
their order, is told in `telemetry.archive`.
"""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import polars as pl
from deltalake import DeltaTable

from telemetry.archive import STEP, canonical, counters, in_order, kept_apart, sealed_steps, steps, touched_by
from telemetry.contract import Contract
from telemetry.errors import EmptySourceError
from telemetry.resample import complete, fill, joined, lookback
from telemetry.schema import (
    AT,
    COHORT,
    ENTITIES,
    ENTITY,
    FEED,
    FINGERPRINT,
    FIRST_SEEN,
    KIND,
    LABEL,
    LABELS,
    LAST_SEEN,
    NEWEST,
    OBSERVED,
    QUARANTINED,
    RESOLVED,
    REVISION,
    ROW,
    SOURCE,
    SOURCES,
    START,
    TIME,
    WATERMARKS,
    Schema,
    conform,
    grid_schema,
)
from telemetry.tables import DAY, Tables

GRID: Final = "grid"
READINGS: Final = "readings"
"""Readings that the grid's rows cannot give back: below the cadence, beside a step's beginning, or of a counter."""
NEW: Final = "new"
OTHER: Final = "other"
NO_VALUES: Final = frozenset({ENTITY, COHORT, AT, OBSERVED, REVISION, DAY, LABEL})
_OLD: Final = "__old"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge did to the grid.

    Attributes:
        rows_new: steps that were not there.
        rows_changed: steps that are told otherwise now.
        sealed: `entity, at, revision` of readings that came too late: retention has removed those which they belong to.
    """

    rows_new: int
    rows_changed: int
    sealed: pl.DataFrame = field(compare=False)


@dataclass(frozen=True, slots=True)
class Lake(Tables):
    """The tables of one kind of telemetry: what was measured, of whom, from where, and what could not be read."""

    def merge_readings(self, readings: pl.DataFrame, *, contract: Contract) -> Merged:
        """Bring readings into the grid, by the law of `telemetry.archive`: the same set of readings makes the same grid.

        Those that the grid's rows cannot give back are appended to the table `readings` first, then the grid is changed in one commit: a
        kill in between costs a second merge, never a reading. Merging the same again writes nothing.

        Args:
            readings: `entity, at, revision` and parameters as Float64; columns that the contract does not declare are averaged and kept.
            contract: its cadence and aggregations.

        Raises:
            SchemaError: a column is missing or of another type.
            CommitFailedError: other writers came first, time after time.
        """
        names = tuple(name for name in readings.columns if name not in NO_VALUES)
        schema: Schema = {ENTITY: pl.String, AT: TIME, **dict.fromkeys((*contract.names, *names), pl.Float64), REVISION: pl.Int64}
        frame = conform(readings.select(pl.exclude(COHORT, LABEL)), schema, name=READINGS)
        clean = frame.with_columns(pl.col(names).fill_nan(None) + 0.0)  # there is one zero only
        told = canonical(clean, names=names)
        if not told.height:
            return Merged(rows_new=0, rows_changed=0, sealed=told.select(ENTITY, AT, REVISION))
        merged = self.commit(GRID, lambda table: self._merge(table, told, contract=contract, names=names))
        logger.info("merged into %s: %d new steps, %d changed", self.uri(GRID), merged.rows_new, merged.rows_changed)
        return merged

    def grid(
        self,
        *,
        contract: Contract,
        since: datetime | None = None,
        until: datetime | None = None,
        entities: tuple[str, ...] | None = None,
        version: int | None = None,
    ) -> pl.LazyFrame:
        """The grid of the span, sorted, complete between each entity's first and last step in it, missing values by the contract.

        Args:
            contract: its parameters; one that was never ingested is all null.
            since: first instant.
            until: end, exclusive.
            entities: those only.
            version: the table as it was then, for a run that must be repeatable.

        Raises:
            EmptySourceError: nothing was ingested yet.
        """
        table = self.open(GRID, version=version)
        if table is None:
            raise EmptySourceError(f"The lake {self.root} holds no grid.", hint="ingest a source first: tidewatch ingest.")
        frame = self.scan(table)
        stored = frame.collect_schema().names()
        if since is not None:
            first = since.astimezone(UTC) - lookback(contract)
            frame = frame.filter(pl.col(DAY) >= first.date(), pl.col(AT) >= first)
        if until is not None:
            frame = frame.filter(pl.col(DAY) <= until.astimezone(UTC).date(), pl.col(AT) < until)
        if entities is not None:
            frame = frame.filter(pl.col(ENTITY).is_in(entities))
        absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in contract.names if name not in stored]
        frame = frame.with_columns(absent).select(list(grid_schema(contract.names)))
        frame = fill(complete(frame, cadence=contract.time.cadence), contract=contract)
        return frame if since is None else frame.filter(pl.col(AT) >= since)

    def see(self, entities: pl.DataFrame) -> None:
        """Merge ENTITIES: the earliest `first_seen`, the latest `last_seen` and the cohort told then (of two, the greater name)."""
        conform(entities, ENTITIES, name="entities")

        def seen(table: DeltaTable | None) -> int:
            every = pl.concat([self.rows(table, schema=ENTITIES), entities.select(list(ENTITIES))])
            newest = pl.col(COHORT).sort_by(LAST_SEEN, COHORT).last()
            ledger = every.group_by(ENTITY, maintain_order=True).agg(newest, pl.col(FIRST_SEEN).min(), pl.col(LAST_SEEN).max())
            return self.upsert("entities", ledger, opened=table, keys=(ENTITY,))

        self.commit("entities", seen)

    def merge_labels(self, labels: pl.DataFrame) -> None:
        """Merge LABELS: those that a label column tells are joined where they touch; of others with the same start, the longest."""
        conform(labels, LABELS, name="labels")

        def marked(table: DeltaTable | None) -> None:
            known = self.rows(table, schema=LABELS)
            every = joined(pl.concat([known, labels.select(list(LABELS))]))
            if not every.equals(known.sort(ENTITY, START, KIND)):
                self.replace("labels", every, opened=table)

        if labels.height:
            self.commit("labels", marked)

    def known_sources(self) -> frozenset[str]:
        """The fingerprints of all parts that were ingested."""
        return frozenset(self.read("sources", schema=SOURCES).select(FINGERPRINT).collect()[FINGERPRINT])

    def remember(self, parts: pl.DataFrame) -> None:
        """Note that parts (SOURCES) were ingested; to be called after their rows are in the grid."""
        self.merge("sources", conform(parts, SOURCES, name="sources"), keys=(FINGERPRINT,))

    def quarantine(self, rows: pl.DataFrame) -> None:
        """Merge QUARANTINED: a row that is refused again keeps the instant at which it was first, and is open again."""
        conform(rows, QUARANTINED, name="quarantine")

        def refused(table: DeltaTable | None) -> int:
            kept = self.rows(table, schema=QUARANTINED).select(FINGERPRINT, ROW, pl.col(AT).alias(_OLD))
            told = rows.join(kept, on=[FINGERPRINT, ROW], how="left").with_columns(pl.coalesce(_OLD, AT).alias(AT))
            return self.upsert("quarantine", told.select(list(QUARANTINED)), opened=table, keys=(FINGERPRINT, ROW))

        self.commit("quarantine", refused)

    def resolve(self, *, names: list[str], feed: str, at: datetime) -> None:
        """Note that parts which could not be read at all (row 0 of their names) have been read after all."""

        def resolved(table: DeltaTable | None) -> int:
            rows = self.rows(table, schema=QUARANTINED)
            late = rows.filter(pl.col(FEED) == feed, pl.col(SOURCE).is_in(names), pl.col(ROW) == 0, pl.col(RESOLVED).is_null())
            told = late.with_columns(pl.lit(at).cast(TIME).alias(RESOLVED))
            return self.upsert("quarantine", told, opened=table, keys=(FINGERPRINT, ROW)) if told.height else 0

        self.commit("quarantine", resolved)

    def mark(self, *, feed: str, newest: datetime, at: datetime) -> None:
        """Note how far a feed has come; it never goes back."""

        def marked(table: DeltaTable | None) -> int:
            told = pl.DataFrame({FEED: [feed], NEWEST: [newest], AT: [at]}, schema=WATERMARKS)
            every = pl.concat([self.rows(table, schema=WATERMARKS), told])
            latest = every.group_by(FEED, maintain_order=True).agg(pl.col(NEWEST, AT).sort_by(NEWEST, AT).last())
            return self.upsert("watermarks", latest, opened=table, keys=(FEED,))

        self.commit("watermarks", marked)

    def _merge(self, table: DeltaTable | None, readings: pl.DataFrame, *, contract: Contract, names: tuple[str, ...]) -> Merged:
        """One attempt to merge: what is known of the touched steps, what they are now, and the difference as one commit."""
        touched = touched_by(readings, contract=contract)
        known = self._known(table, touched)
        if not known.height and counters(contract) is None:
            told, every, old, sealed, stored = names, readings, known, readings.clear(), None
            now = steps(every, contract=contract, names=told)
        else:
            stored = self._stored(touched, contract=contract)
            told = tuple(dict.fromkeys((*names, *(c for c in (*known.columns, *stored.columns) if c not in NO_VALUES))))
            closed = sealed_steps(known, stored=stored, contract=contract)
            step = pl.col(AT).dt.truncate(contract.time.cadence).alias(STEP)
            stepped = readings.with_columns(step)
            sealed = stepped.join(closed, left_on=[ENTITY, STEP], right_on=[ENTITY, AT], how="semi").drop(STEP)
            fresh = stepped.join(closed, left_on=[ENTITY, STEP], right_on=[ENTITY, AT], how="anti").drop(STEP)
            old = known.join(closed, on=[ENTITY, AT], how="anti")
            alone = old.filter(pl.col(REVISION).is_not_null()).drop(OBSERVED, DAY)
            every = canonical(pl.concat([fresh, stored, alone], how="diagonal"), names=told)
            now = steps(every, contract=contract, names=told)
            now = now.join(touched.join(closed, on=[ENTITY, AT], how="anti"), on=[ENTITY, AT], how="semi")
        self._keep(kept_apart(every, of=now, contract=contract), stored=stored)
        observed = now.filter(OBSERVED).with_columns(pl.col(AT).dt.date().alias(DAY))
        changed = _difference(observed, old=old, names=told)
        rows_new = int(changed[NEW].sum())
        if changed.height:
            self._put(table, changed.drop(NEW, OTHER), only_new=rows_new == changed.height)
        return Merged(rows_new=rows_new, rows_changed=int(changed[OTHER].sum()), sealed=sealed.select(ENTITY, AT, REVISION))

    def _known(self, table: DeltaTable | None, touched: pl.DataFrame) -> pl.DataFrame:
        """The grid's rows of the touched steps, as they are stored."""
        if table is None:
            return pl.DataFrame(schema={ENTITY: pl.String, AT: TIME, OBSERVED: pl.Boolean, REVISION: pl.Int64, DAY: pl.Date})
        days = touched[AT].dt.date().unique().to_list()
        return self.scan(table).filter(pl.col(DAY).is_in(days)).join(touched.lazy(), on=[ENTITY, AT], how="semi").collect()

    def _stored(self, touched: pl.DataFrame, *, contract: Contract) -> pl.DataFrame:
        """The readings that are kept of the touched steps, and of counters those before."""
        table = self.open(READINGS)
        if table is None:
            return pl.DataFrame(schema={ENTITY: pl.String, AT: TIME, REVISION: pl.Int64})
        reach = counters(contract)
        days = touched.select(pl.col(AT).dt.date().alias(DAY)).unique()
        if reach is not None:
            days = pl.concat([days, touched.select((pl.col(AT) - reach).dt.date().alias(DAY))]).unique()
        frame = self.scan(table).filter(pl.col(DAY).is_in(days[DAY].to_list())).drop(DAY)
        if reach is not None:
            first = touched.select(pl.col(AT).min() - reach).item()
            return frame.filter(pl.col(AT) >= first).join(touched.lazy().select(ENTITY).unique(), on=ENTITY, how="semi").collect()
        step = pl.col(AT).dt.truncate(contract.time.cadence).alias(STEP)
        return frame.with_columns(step).join(touched.lazy(), left_on=[ENTITY, STEP], right_on=[ENTITY, AT], how="semi").drop(STEP).collect()

    def _keep(self, readings: pl.DataFrame, *, stored: pl.DataFrame | None) -> None:
        """Append readings to those that are kept beside the grid; some twice where a process died in between, which does no harm."""
        if stored is not None and stored.height:
            absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in readings.columns if name not in stored.columns]
            there = stored.with_columns(absent).select(readings.columns)
            readings = readings.join(there, on=readings.columns, how="anti", nulls_equal=True)
        if readings.height:
            rows = in_order(readings).with_columns(pl.col(AT).dt.date().alias(DAY))
            self.commit(READINGS, lambda table: self.put(READINGS, rows, opened=table, partition=DAY))

    def _put(self, table: DeltaTable | None, rows: pl.DataFrame, *, only_new: bool) -> None:
        """Bring rows into the grid: add them, or replace the days in which a known one changes."""
        if table is None or only_new:
            self.put(GRID, in_order(rows), opened=table, partition=DAY)
            return
        days = rows[DAY].unique().to_list()
        others = self.scan(table).filter(pl.col(DAY).is_in(days)).join(rows.lazy(), on=[ENTITY, AT], how="anti").collect()
        whole = pl.concat([rows, others], how="diagonal")
        self.put(GRID, in_order(whole), opened=table, partition=DAY, days=sorted(days))

    def days(self) -> pl.DataFrame:
        """The days (UTC) of which the grid has a row, by entity: `entity, day`, sorted."""
        table = self.open(GRID)
        if table is None:
            return pl.DataFrame(schema={ENTITY: pl.String, DAY: pl.Date})
        return self.scan(table).select(ENTITY, DAY).unique().sort(ENTITY, DAY).collect()


def _difference(now: pl.DataFrame, *, old: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """The rows of `now` that `old` has not or records otherwise; each is `new`, or `other` where one of its values changed."""
    if not old.height:
        return now.with_columns(pl.lit(value=True).alias(NEW), pl.lit(value=False).alias(OTHER))
    told = [name for name in names if name in old.columns]
    both = now.join(old.select(ENTITY, AT, OBSERVED, REVISION, *told), on=[ENTITY, AT], how="left", suffix=_OLD)
    new = pl.col(f"{OBSERVED}{_OLD}").is_null()
    others = [pl.col(name).ne_missing(pl.col(f"{name}{_OLD}")) for name in told]
    others += [pl.col(name).is_not_null() for name in names if name not in told]
    rerecorded = pl.col(REVISION).ne_missing(pl.col(f"{REVISION}{_OLD}"))
    judged = both.with_columns(new.alias(NEW), (~new & pl.any_horizontal(others)).alias(OTHER))
    return judged.filter(pl.col(NEW) | pl.col(OTHER) | rerecorded).select(*now.columns, NEW, OTHER)
