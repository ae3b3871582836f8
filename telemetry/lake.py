"""The lake: Delta tables under one root, a local folder or an object store's URL.

Every write is one Delta commit on the version that was read. A process killed at any instant leaves the last commit in force, and
of two writers that meet, the later one reads again and repeats. What is there already is not written a second time.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final, TypeVar

import polars as pl
from deltalake import ColumnProperties, CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from telemetry.contract import Contract
from telemetry.errors import EmptySourceError
from telemetry.resample import complete, fill, lookback
from telemetry.schema import (
    AT,
    COHORT,
    END,
    ENTITIES,
    ENTITY,
    FINGERPRINT,
    FIRST_SEEN,
    KIND,
    LABELS,
    OBSERVED,
    SOURCES,
    START,
    Schema,
    conform,
    grid_schema,
)

GRID: Final = "grid"
DAY: Final = "day"
"""The grid's partition, the UTC date of `at`: how it is stored, not what it says."""
_OLD: Final = "__old"
_ATTEMPTS: Final = 6
_ONE_COMMIT: Final = CommitProperties(max_commit_retries=0)  # the retry is ours: it reads again before it writes again
_PARQUET: Final = WriterProperties(  # a dictionary of doubles costs four times the time and more space than the doubles
    compression="ZSTD",
    compression_level=1,
    default_column_properties=ColumnProperties(dictionary_enabled=False),
    column_properties={ENTITY: ColumnProperties(dictionary_enabled=True)},
)

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge did to the grid: steps that were not there, and steps of which a value changed."""

    rows_new: int
    rows_changed: int


@dataclass(frozen=True, slots=True)
class Lake:
    """Delta tables `<root>/<table>`.

    Attributes:
        root: a folder, or a URL such as `s3://bucket/lake`.
        storage_options: what the object store asks for, see the documentation of delta-rs.
    """

    root: str
    storage_options: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def merge_grid(self, grid: pl.DataFrame, *, contract: Contract) -> Merged:
        """Bring measured steps into the grid; a value that is measured again replaces the old one, a null replaces nothing.

        The days in which something changes are replaced in one commit. Merging the same grid again writes nothing.

        Raises:
            SchemaError: `grid` is not of the contract's grid schema.
            CommitFailedError: other writers came first, time after time.
        """
        frame = conform(grid, grid_schema(contract.names), name=GRID).with_columns(pl.col(contract.names).fill_nan(None))
        measured = frame.filter(OBSERVED).with_columns(pl.col(AT).dt.date().alias(DAY))
        merged = self._commit(GRID, lambda table: self._replace_days(table, measured, names=contract.names))
        logger.info("merged into %s: %d new steps, %d changed", self._uri(GRID), merged.rows_new, merged.rows_changed)
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
        table = self._open(GRID, version=version)
        if table is None:
            raise EmptySourceError(f"The lake {self.root} holds no grid.", hint="ingest a source first: tidewatch ingest.")
        frame = self._scan(table)
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

    def append(self, table: str, frame: pl.DataFrame) -> None:
        """Add rows to a table, which is created if need be."""
        if frame.height:
            self._commit(table, lambda opened: self._add(table, frame, opened=opened))

    def merge(self, table: str, frame: pl.DataFrame, *, keys: tuple[str, ...]) -> int:
        """Insert rows, replacing those with the same keys; of several rows with the same keys the last one counts.

        Returns:
            How many rows were new or different; with none, nothing is written.
        """
        return self._commit(table, lambda opened: self._upsert(table, frame, opened=opened, keys=keys))

    def read(self, table: str, *, schema: Schema, version: int | None = None) -> pl.LazyFrame:
        """The columns of `schema` of a table; no rows if the table is not there yet."""
        opened = self._open(table, version=version)
        return pl.LazyFrame(schema=schema) if opened is None else self._scan(opened).select(list(schema))

    def version(self, table: str) -> int | None:
        """The number of the table's newest commit; null if the table is not there."""
        opened = self._open(table)
        return None if opened is None else opened.version()

    def compact(self, table: str) -> None:
        """Turn a table's many small files into few; what it says stays the same."""
        opened = self._open(table)
        if opened is not None:
            opened.optimize.compact(writer_properties=_PARQUET)

    def see(self, entities: pl.DataFrame) -> None:
        """Merge ENTITIES: the newest cohort, the earliest `first_seen`."""
        conform(entities, ENTITIES, name="entities")

        def seen(table: DeltaTable | None) -> int:
            every = pl.concat([self._rows(table, schema=ENTITIES), entities.select(list(ENTITIES))])
            earliest = every.group_by(ENTITY, maintain_order=True).agg(pl.col(COHORT).last(), pl.col(FIRST_SEEN).min())
            return self._upsert("entities", earliest, opened=table, keys=(ENTITY,))

        self._commit("entities", seen)

    def merge_labels(self, labels: pl.DataFrame) -> None:
        """Merge LABELS: of those of an entity with the same start, the longest."""
        conform(labels, LABELS, name="labels")

        def marked(table: DeltaTable | None) -> int:
            every = pl.concat([self._rows(table, schema=LABELS), labels.select(list(LABELS))])
            longest = every.group_by(ENTITY, START, maintain_order=True).agg(pl.col(END).max(), pl.col(KIND).last())
            return self._upsert("labels", longest, opened=table, keys=(ENTITY, START))

        self._commit("labels", marked)

    def known_sources(self) -> frozenset[str]:
        """The fingerprints of all files that were ingested."""
        return frozenset(self.read("sources", schema=SOURCES).select(FINGERPRINT).collect()[FINGERPRINT])

    def remember(self, files: pl.DataFrame, *, at: datetime) -> None:
        """Note that files (`Readings.files`) were ingested at `at`; to be called after their rows are in the grid."""
        stamped = files.with_columns(pl.lit(at).cast(SOURCES[AT]).alias(AT))
        self.merge("sources", conform(stamped, SOURCES, name="sources"), keys=(FINGERPRINT,))

    def _replace_days(self, table: DeltaTable | None, measured: pl.DataFrame, *, names: tuple[str, ...]) -> Merged:
        """One attempt to merge: read the days of `measured`, replace those in which something changes."""
        if table is None:
            self._write(GRID, measured.sort(DAY, maintain_order=True), opened=None, partition=DAY)
            return Merged(rows_new=measured.height, rows_changed=0)
        days = measured[DAY].unique().to_list()
        old = self._scan(table).filter(pl.col(DAY).is_in(days)).collect()
        told = [name for name in names if name in old.columns]
        difference = _difference(measured, old=old, names=names, told=told)
        if not difference.height:
            return Merged(rows_new=0, rows_changed=0)
        touched = difference[DAY].unique()
        of_days = pl.col(DAY).is_in(touched.implode())
        both = measured.filter(of_days).join(old.filter(of_days), on=[ENTITY, AT, DAY], how="full", coalesce=True, suffix=_OLD)
        newest = both.with_columns(pl.coalesce(name, f"{name}{_OLD}") for name in (OBSERVED, *told)).select(pl.exclude(f"^.*{_OLD}$"))
        self._write(GRID, newest.sort(DAY, ENTITY, AT), opened=table, partition=DAY, days=sorted(touched.to_list()))
        rows_new = int(difference["new"].sum())
        return Merged(rows_new=rows_new, rows_changed=difference.height - rows_new)

    def _add(self, name: str, frame: pl.DataFrame, *, opened: DeltaTable | None) -> None:
        if opened is None:
            self._write(name, frame, opened=None)
        else:
            write_deltalake(opened, frame, mode="append", writer_properties=_PARQUET)

    def _upsert(self, name: str, frame: pl.DataFrame, *, opened: DeltaTable | None, keys: tuple[str, ...]) -> int:
        """One attempt to merge rows by their keys."""
        last = frame.unique(keys, keep="last", maintain_order=True)
        if opened is None:
            if last.height:
                self._write(name, last, opened=None)
            return last.height
        old = self._scan(opened).select(frame.columns)
        fresh = last.lazy().join(old, on=frame.columns, how="anti", nulls_equal=True, maintain_order="left").collect()
        if fresh.height:
            same = " AND ".join(f't."{key}" = s."{key}"' for key in keys)
            merger = opened.merge(
                fresh, predicate=same, source_alias="s", target_alias="t", writer_properties=_PARQUET, commit_properties=_ONE_COMMIT
            )
            merger.when_matched_update_all().when_not_matched_insert_all().execute()
        return fresh.height

    def _write(
        self,
        name: str,
        frame: pl.DataFrame,
        *,
        opened: DeltaTable | None,
        partition: str | None = None,
        days: list[date] | None = None,
    ) -> None:
        """Create a table, or replace its `days`, by one commit."""
        if opened is None:
            options = dict(self.storage_options) or None
            write_deltalake(
                self._uri(name), frame, mode="error", partition_by=partition, storage_options=options, writer_properties=_PARQUET
            )
            return
        told = ", ".join(f"'{day.isoformat()}'" for day in days or [])
        write_deltalake(
            opened,
            frame,
            mode="overwrite",
            predicate=f"{DAY} IN ({told})",
            schema_mode="merge",
            partition_by=partition,
            writer_properties=_PARQUET,
            commit_properties=_ONE_COMMIT,
        )

    def _commit(self, name: str, attempt: Callable[[DeltaTable | None], T]) -> T:
        """The outcome of `attempt` on the table's newest version, tried again where another writer came first."""
        for _ in range(_ATTEMPTS - 1):
            opened = self._open(name)
            try:
                return attempt(opened)
            except CommitFailedError:
                logger.info("another writer came first in %s; reading it again", name)
            except DeltaError:
                if opened is not None or self._open(name) is None:  # otherwise both created it
                    raise
        return attempt(self._open(name))

    def _uri(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def _open(self, name: str, *, version: int | None = None) -> DeltaTable | None:
        try:
            return DeltaTable(self._uri(name), version=version, storage_options=dict(self.storage_options) or None)
        except TableNotFoundError:
            return None

    def _scan(self, table: DeltaTable) -> pl.LazyFrame:
        return pl.scan_delta(table)

    def _rows(self, table: DeltaTable | None, *, schema: Schema) -> pl.DataFrame:
        return pl.DataFrame(schema=schema) if table is None else self._scan(table).select(list(schema)).collect()


def _difference(measured: pl.DataFrame, *, old: pl.DataFrame, names: tuple[str, ...], told: list[str]) -> pl.DataFrame:
    """The steps of `measured` that are new, or say a value that `old` does not: `entity, at, day, new`."""
    both = measured.join(old.select(ENTITY, AT, OBSERVED, *told), on=[ENTITY, AT], how="left", suffix=_OLD)
    new = pl.col(f"{OBSERVED}{_OLD}").is_null()
    others = [pl.col(name).is_not_null() & pl.col(name).ne_missing(pl.col(f"{name}{_OLD}")) for name in told]
    others += [pl.col(name).is_not_null() for name in names if name not in told]
    return both.filter(new | pl.any_horizontal(others)).select(ENTITY, AT, DAY, new.alias("new"))
