"""Maintenance windows: when somebody works on whom, so that what is told then is neither learned from nor judged.

A window names entities by a pattern as a shell does: `acme/*` is every region of acme, `*/eu` every customer in eu, `*` everybody.
"""

from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final

import polars as pl

from telemetry.lake import Lake
from telemetry.masks import SPANS
from telemetry.revisions import as_of
from telemetry.schema import AT, END, ENTITY, PARAMETER, REASON, START, TIME, Schema, conform

TABLE: Final = "maintenance"
PATTERN: Final = "entities"
REMOVED_AT: Final = "removed_at"
MAINTENANCE: Final[Schema] = {PATTERN: pl.String, START: TIME, END: TIME, REASON: pl.String, AT: TIME, REMOVED_AT: TIME}
"""Windows: of whom, from when until when (exclusive), why, when it was declared, and when it was taken back (null while it stands)."""
KEYS: Final = (PATTERN, START)
PERIODS: Final[Schema] = {ENTITY: pl.String, START: TIME, END: TIME}
"""The same of single entities."""
_WITHIN: Final = "__within__"


def windows(lake: Lake, *, version: int | None = None) -> pl.DataFrame:
    """MAINTENANCE that stands, now or as of a version of the table; none where that version can no longer be read."""
    if version is not None:
        told = as_of(lake, TABLE, version=version, schema=MAINTENANCE)
        told = pl.DataFrame(schema=MAINTENANCE) if told is None else told
    else:
        told = lake.read(TABLE, schema=MAINTENANCE).collect()
    return told.filter(pl.col(REMOVED_AT).is_null()).sort(START, PATTERN)


def periods(told: pl.DataFrame, *, entities: list[str]) -> pl.DataFrame:
    """PERIODS of the entities that MAINTENANCE names; of one entity they may overlap.

    >>> from datetime import UTC, datetime, timedelta
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> told = pl.DataFrame([("acme/*", noon, noon + timedelta(hours=1), "", noon, None)], schema=MAINTENANCE, orient="row")
    >>> periods(told, entities=["acme/eu", "elm/eu", "acme/us"])[ENTITY].to_list()
    ['acme/eu', 'acme/us']
    """
    pairs = [(pattern, entity) for pattern in told[PATTERN].unique() for entity in entities if fnmatchcase(entity, pattern)]
    named = pl.DataFrame(pairs, schema={PATTERN: pl.String, ENTITY: pl.String}, orient="row")
    return conform(told.join(named, on=PATTERN).select(list(PERIODS)).unique().sort(ENTITY, START, END), PERIODS, name="maintenance")


def of_grid(lake: Lake, grid: pl.LazyFrame) -> pl.DataFrame:
    """PERIODS of those who have rows in a grid."""
    told = windows(lake)
    return periods(told, entities=grid.select(ENTITY).unique().collect()[ENTITY].sort().to_list()) if told.height else empty()


def empty() -> pl.DataFrame:
    """No PERIODS."""
    return pl.DataFrame(schema=PERIODS)


def spans(told: pl.DataFrame, *, parameters: tuple[str, ...]) -> pl.DataFrame:
    """SPANS of `telemetry.masks`: nothing that is told within PERIODS is believed."""
    every = told.join(pl.DataFrame({PARAMETER: pl.Series(parameters, dtype=pl.String)}), how="cross")
    return conform(every.select(list(SPANS)), SPANS, name="spans")


def within(rows: pl.DataFrame, *, told: pl.DataFrame) -> pl.Series:
    """For every row, `entity, at`, whether it lies within PERIODS."""
    numbered = rows.select(ENTITY, AT).with_row_index(_WITHIN)
    hit = numbered.join(told, on=ENTITY).filter(pl.col(AT) >= pl.col(START), pl.col(AT) < pl.col(END))[_WITHIN]
    return numbered[_WITHIN].is_in(hit.unique().implode())


def declare(lake: Lake, *, pattern: str, start: datetime, end: datetime, reason: str, now: datetime) -> None:
    """Add a window; one of the same entities and the same start is told anew."""
    row = pl.DataFrame([(pattern, start, end, reason, now, None)], schema=MAINTENANCE, orient="row")
    lake.merge(TABLE, row, keys=KEYS)


def withdraw(lake: Lake, *, pattern: str, start: datetime, now: datetime) -> int:
    """Take a window back; how many there were."""
    told = windows(lake).filter(pl.col(PATTERN) == pattern, pl.col(START) == pl.lit(start).cast(TIME))
    lake.merge(TABLE, told.with_columns(pl.lit(now).cast(TIME).alias(REMOVED_AT)), keys=KEYS)
    return told.height
