"""What became of a table since one of its versions, and a stretch of a table replaced in one commit."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError

from telemetry.schema import AT, ENTITY, RELEASE, TIME, Schema
from telemetry.tables import Tables

_ONE_COMMIT: Final = CommitProperties(max_commit_retries=0)  # `Tables.commit` reads again before it writes again
_PARQUET: Final = WriterProperties(compression="ZSTD", compression_level=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Rows of a table by release, time and entity.

    Attributes:
        release: whose rows.
        since: first instant.
        until: end, exclusive; null for no end.
        entities: those only; null for all.
        column: the instant that counts.
    """

    release: str
    since: datetime
    until: datetime | None = None
    entities: tuple[str, ...] | None = None
    column: str = AT

    @property
    def rows(self) -> pl.Expr:
        """True for its rows."""
        told = (pl.col(RELEASE) == self.release) & (pl.col(self.column) >= pl.lit(self.since).cast(TIME))
        if self.until is not None:
            told &= pl.col(self.column) < pl.lit(self.until).cast(TIME)
        return told if self.entities is None else told & pl.col(ENTITY).is_in(self.entities)

    @property
    def sql(self) -> str:
        """The same as a condition in SQL.

        >>> from datetime import UTC
        >>> print(Span(release="r1", since=datetime(2026, 1, 1, tzinfo=UTC), entities=("o'hara/eu",)).sql)
        release = 'r1' AND "at" >= '2026-01-01T00:00:00.000000+00:00' AND entity IN ('o''hara/eu')
        """
        told = [f"{RELEASE} = {_quoted(self.release)}", f'"{self.column}" >= {_instant(self.since)}']
        if self.until is not None:
            told.append(f'"{self.column}" < {_instant(self.until)}')
        if self.entities is not None:
            told.append(f"{ENTITY} IN ({', '.join(_quoted(entity) for entity in self.entities)})")
        return " AND ".join(told)


def replace(tables: Tables, table: str, frame: pl.DataFrame, *, span: Span, schema: Schema) -> int:
    """Let the rows of `span` be those of `frame`, by one commit, or by none where they are so already.

    Args:
        tables: where the table is; it is created if need be.
        table: its name.
        frame: what the span holds from now on, in the order of `schema`; rows beyond it are an error of Delta's.
        span: which rows are replaced.
        schema: the table's.

    Returns:
        How many rows came, went, or are told otherwise (which counts twice).
    """

    def attempt(opened: DeltaTable | None) -> int:
        if opened is None:
            if frame.height:
                tables.put(table, frame, opened=None)
            return frame.height
        there = tables.scan(opened).filter(span.rows).select(list(schema)).collect()
        came = frame.join(there, on=list(schema), how="anti", nulls_equal=True).height
        went = there.join(frame, on=list(schema), how="anti", nulls_equal=True).height
        if went or there.height != frame.height - came:
            write_deltalake(opened, frame, mode="overwrite", predicate=span.sql, writer_properties=_PARQUET, commit_properties=_ONE_COMMIT)
        elif came:
            fresh = frame if not there.height else frame.join(there, on=list(schema), how="anti", nulls_equal=True)
            tables.put(table, fresh, opened=opened)
        return came + went

    return tables.commit(table, attempt)


def as_of(tables: Tables, table: str, *, version: int, schema: Schema) -> pl.DataFrame | None:
    """A table as it was; null where that version can no longer be read."""
    try:
        opened = tables.open(table, version=version)
        return None if opened is None else tables.scan(opened).select(list(schema)).collect()
    except (DeltaError, FileNotFoundError):  # forgotten on purpose by retention; the caller looks at more than it would have to
        return None


def changed(tables: Tables, table: str, *, since: int, until: int, names: tuple[str, ...]) -> pl.DataFrame | None:
    """`entity, at` of the rows that version `until` of a table has and version `since` has not, or tells otherwise.

    Only files that one of the two versions has and the other has not are read: the work is that of what changed, not of what is there.

    Args:
        tables: where the table is.
        table: its name.
        since: the version that is known.
        until: the version that is asked about.
        names: the numbers (Float64) that matter; one that a file lacks is null there.

    Returns:
        Null where the older version can no longer be read: its files or its log were cleared away.
    """
    schema: Schema = {ENTITY: pl.String, AT: TIME, **dict.fromkeys(names, pl.Float64)}
    try:
        before, after = (tables.open(table, version=version) for version in (since, until))
        if before is None or after is None:
            return None
        was, now = set(before.file_uris()), set(after.file_uris())
        old = _read(tables, was - now, schema=schema)
    except (DeltaError, FileNotFoundError):  # as above
        return None
    new = _read(tables, now - was, schema=schema)
    return new.join(old, on=list(schema), how="anti", nulls_equal=True).select(ENTITY, AT).unique().sort(ENTITY, AT)


def _read(tables: Tables, files: set[str], *, schema: Schema) -> pl.DataFrame:
    if not files:
        return pl.DataFrame(schema=schema)
    options = dict(tables.storage_options) or None
    frame = pl.scan_parquet(
        sorted(files), schema=schema, hive_partitioning=False, missing_columns="insert", extra_columns="ignore", storage_options=options
    )
    return frame.collect()


def _instant(at: datetime) -> str:
    return f"'{at.isoformat(timespec='microseconds')}'"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
