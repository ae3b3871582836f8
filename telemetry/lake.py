"""The lake: the grid of one kind of telemetry and what belongs to it, as Delta tables."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl
from deltalake import DeltaTable

from telemetry.grid import Grid
from telemetry.resample import joined
from telemetry.schema import (
    AT,
    COHORT,
    ENTITIES,
    ENTITY,
    FEED,
    FINGERPRINT,
    FIRST_SEEN,
    KIND,
    LABELS,
    LAST_SEEN,
    NEWEST,
    QUARANTINED,
    RESOLVED,
    ROW,
    SOURCE,
    SOURCES,
    START,
    TIME,
    WATERMARKS,
    conform,
)

_OLD: Final = "__old"


@dataclass(frozen=True, slots=True)
class Lake(Grid):
    """The tables of one kind of telemetry: what was measured, of whom, from where, and what could not be read."""

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

    def remembered(self) -> pl.DataFrame:
        """SOURCES, every content of every part that was ingested."""
        return self.read("sources", schema=SOURCES).collect()

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
