"""Delta tables under one root, a local folder or an object store's URL.

Every write is one Delta commit on the version that was read. A process killed at any instant leaves the last commit in force, and
of two writers that meet, the later one reads again and repeats. What is there already is not written a second time.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import polars as pl
from deltalake import ColumnProperties, CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from telemetry.feeds import scheme_of
from telemetry.schema import ENTITY, Schema

DAY: Final = "day"
"""The partition of large tables, the UTC date of `at`: how they are stored, not what they say."""
ROWS: Final = "rows"
BYTES: Final = "bytes"
_ATTEMPTS: Final = 6
_ONE_COMMIT: Final = CommitProperties(max_commit_retries=0)  # the retry is ours: it reads again before it writes again
_ROW_GROUP: Final = 32_768  # sorted by entity: a customer's day is found by the statistics of one or two of them
_PARQUET: Final = WriterProperties(  # a dictionary of doubles costs four times the time and more space than the doubles
    compression="ZSTD",
    compression_level=1,
    max_row_group_size=_ROW_GROUP,
    default_column_properties=ColumnProperties(dictionary_enabled=False),
    column_properties={ENTITY: ColumnProperties(dictionary_enabled=True)},
)

_CONFIGURATION: Final = {"delta.checkpointInterval": "25"}  # a table that grows every minute is opened without reading a hundred commits

logger = logging.getLogger(__name__)
T = TypeVar("T")


class _Table(DeltaTable):
    """A table that tells where its files are by its folder's own name, as those who open them need it, not as a URL spells it."""

    def file_uris(self, *which: Any, **how: Any) -> list[str]:  # Any: as it is inherited
        """The addresses of the data files; the escapes of partitions are part of their names."""
        told = super().file_uris(*which, **how)
        root = self.table_uri.removeprefix("file://")
        return told if scheme_of(root) else [unquote(root) + uri.removeprefix(root) for uri in told]


@dataclass(frozen=True, slots=True)
class Tables:
    """Delta tables `<root>/<table>`.

    Attributes:
        root: a folder, or a URL such as `s3://bucket/lake`.
        storage_options: what the object store asks for, see the documentation of delta-rs.
    """

    root: str
    storage_options: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def append(self, table: str, frame: pl.DataFrame) -> None:
        """Add rows to a table, which is created if need be."""
        if frame.height:
            self.commit(table, lambda opened: self._add(table, frame, opened=opened))

    def merge(self, table: str, frame: pl.DataFrame, *, keys: tuple[str, ...]) -> int:
        """Insert rows, replacing those with the same keys; of several rows with the same keys the last one counts.

        Returns:
            How many rows were new or different; with none, nothing is written.
        """
        return self.commit(table, lambda opened: self.upsert(table, frame, opened=opened, keys=keys))

    def read(self, table: str, *, schema: Schema, version: int | None = None) -> pl.LazyFrame:
        """The columns of `schema` of a table; no rows if the table is not there yet."""
        opened = self.open(table, version=version)
        return pl.LazyFrame(schema=schema) if opened is None else self.scan(opened).select(list(schema))

    def version(self, table: str) -> int | None:
        """The number of the table's newest commit; null if the table is not there."""
        opened = self.open(table)
        return None if opened is None else opened.version()

    def compact(self, table: str) -> None:
        """Turn a table's many small files into few; what it says stays the same."""

        def attempt(opened: DeltaTable | None) -> None:
            if opened is not None:
                opened.optimize.compact(writer_properties=_PARQUET, commit_properties=_ONE_COMMIT)

        self.commit(table, attempt)

    def remove(self, table: str, *, where: str) -> int:
        """Remove the rows that a condition in SQL is true of; how many there were."""

        def attempt(opened: DeltaTable | None) -> int:
            if opened is None:
                return 0
            told = opened.delete(where, writer_properties=_PARQUET, commit_properties=_ONE_COMMIT)
            return int(told.get("num_deleted_rows") or 0)

        return self.commit(table, attempt)

    def _add(self, name: str, frame: pl.DataFrame, *, opened: DeltaTable | None) -> None:
        if opened is None:
            self.put(name, frame, opened=None)
        else:
            write_deltalake(opened, frame, mode="append", writer_properties=_PARQUET)

    def upsert(self, name: str, frame: pl.DataFrame, *, opened: DeltaTable | None, keys: tuple[str, ...]) -> int:
        """One attempt to merge rows by their keys."""
        last = frame.unique(keys, keep="last", maintain_order=True)
        if opened is None:
            if last.height:
                self.put(name, last, opened=None)
            return last.height
        old = self.scan(opened).select(frame.columns)
        fresh = last.lazy().join(old, on=frame.columns, how="anti", nulls_equal=True, maintain_order="left").collect()
        if fresh.height:
            same = " AND ".join(f't."{key}" = s."{key}"' for key in keys)
            merger = opened.merge(
                fresh, predicate=same, source_alias="s", target_alias="t", writer_properties=_PARQUET, commit_properties=_ONE_COMMIT
            )
            merger.when_matched_update_all().when_not_matched_insert_all().execute()
        return fresh.height

    def put(
        self,
        name: str,
        frame: pl.DataFrame,
        *,
        opened: DeltaTable | None,
        partition: str | None = None,
        days: list[date] | None = None,
    ) -> None:
        """Create a table, add rows to it, or replace its `days`, by one commit on the version that was opened."""
        if opened is None:
            options = dict(self.storage_options) or None
            write_deltalake(
                self.uri(name),
                frame,
                mode="error",
                partition_by=partition,
                storage_options=options,
                writer_properties=_PARQUET,
                configuration=_CONFIGURATION,
                commit_properties=_ONE_COMMIT,
            )
            return
        if days is None:
            write_deltalake(
                opened,
                frame,
                mode="append",
                schema_mode="merge",
                partition_by=partition,
                writer_properties=_PARQUET,
                commit_properties=_ONE_COMMIT,
            )
            return
        told = ", ".join(f"'{day.isoformat()}'" for day in days)
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

    def replace(self, name: str, frame: pl.DataFrame, *, opened: DeltaTable | None) -> None:
        """Put `frame` in the place of all rows of a small table, by one commit on the version that was opened."""
        if opened is None:
            self.put(name, frame, opened=None)
        else:
            write_deltalake(opened, frame, mode="overwrite", writer_properties=_PARQUET, commit_properties=_ONE_COMMIT)

    def commit(self, name: str, attempt: Callable[[DeltaTable | None], T]) -> T:
        """The outcome of `attempt` on the table's newest version, tried again where another writer came first."""
        for _ in range(_ATTEMPTS - 1):
            opened = self.open(name)
            try:
                return attempt(opened)
            except CommitFailedError:
                logger.info("another writer came first in %s; reading it again", name)
            except DeltaError:
                if opened is not None or self.open(name) is None:  # otherwise both created it
                    raise
        return attempt(self.open(name))

    def uri(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def open(self, name: str, *, version: int | None = None) -> DeltaTable | None:
        try:
            return _Table(self.uri(name), version=version, storage_options=dict(self.storage_options) or None)
        except TableNotFoundError:
            return None

    def scan(self, table: DeltaTable) -> pl.LazyFrame:
        return pl.scan_delta(table)

    def files(self, table: DeltaTable) -> pl.DataFrame:
        """The files that a table is made of, from its log: `path, rows, bytes`, and `day` where it is stored by day."""
        told = pl.DataFrame(table.get_add_actions(flatten=True)).rename({"num_records": ROWS, "size_bytes": BYTES})
        by_day = [pl.col(f"partition.{DAY}").cast(pl.Date).alias(DAY)] if f"partition.{DAY}" in told.columns else []
        return told.select("path", pl.col(ROWS, BYTES).cast(pl.Int64), *by_day)

    def rows(self, table: DeltaTable | None, *, schema: Schema) -> pl.DataFrame:
        return pl.DataFrame(schema=schema) if table is None else self.scan(table).select(list(schema)).collect()
