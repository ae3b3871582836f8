"""Source files -> readings: rows as they arrived, keyed by entity and UTC time, in the parameters' canonical units.

A row that cannot be read goes to the quarantine with its file, row number, reason and text: rows in = readings + quarantined.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from telemetry.columns import Check, output, plan, readings_schema, required
from telemetry.contract import Contract
from telemetry.errors import BadValueError, MissingColumnError, NaiveTimeError
from telemetry.files import ROW_INDEX, SourceFile, columns_of_path, no_rows, open_lazily, reading, scan
from telemetry.schema import (
    AT,
    ENTITY,
    FINGERPRINT,
    QUARANTINE,
    REASON,
    ROW,
    ROWS_IN,
    ROWS_QUARANTINED,
    SOURCE,
    SOURCES,
    TEXT,
    conform,
)

__all__ = ["Readings", "SourceFile", "read", "scan"]

_FAULT: Final = "__fault__"
_NAIVE: Final = "__naive__"
_FOUND: Final = "__found__"
_MOST_UNREADABLE: Final = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What came out of source files.

    Attributes:
        frame: `telemetry.columns.readings_schema`: entity, cohort, at, every parameter as Float64 in its canonical unit (null =
            not observed), and `label` (null where a file tells none) if the contract names a label column.
        quarantine: QUARANTINE, the rows that could not be read; ROW counts data rows from 1, without a CSV's header.
        files: SOURCES without `at`, one row a file.
        rows_in: rows of the files: those of `frame` and those of `quarantine`.
        repeated: rows beyond the first of the same entity and instant; the grid aggregates them.
    """

    frame: pl.LazyFrame
    quarantine: pl.DataFrame
    files: pl.DataFrame
    rows_in: int
    repeated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _FileReadings:
    frame: pl.DataFrame
    quarantine: pl.DataFrame


def read(files: tuple[SourceFile, ...], *, contract: Contract, now: datetime | None = None) -> Readings:
    """The readings of `files`, and the rows that are none.

    Args:
        files: as `telemetry.files.scan` found them.
        contract: says which columns are the keys, the time and the parameters, and in which units.
        now: times more than a day after it are quarantined.

    Raises:
        MissingColumnError: a file lacks a column that the contract names.
        EmptySourceError: a file holds no row.
        NaiveTimeError: times come without a zone, and the contract declares none.
        BadValueError: a file is damaged, or more than half of its rows cannot be read.
    """
    parts = [_read_file(file, contract=contract, now=now) for file in files]
    schema = readings_schema(contract)
    frame = conform(pl.concat([pl.DataFrame(schema=schema), *(part.frame for part in parts)]), schema, name="readings")
    quarantine = pl.concat([pl.DataFrame(schema=QUARANTINE), *(part.quarantine for part in parts)])
    counts = {
        SOURCE: [file.name for file in files],
        FINGERPRINT: [file.fingerprint for file in files],
        ROWS_IN: [part.frame.height + part.quarantine.height for part in parts],
        ROWS_QUARANTINED: [part.quarantine.height for part in parts],
    }
    rows_in = frame.height + quarantine.height
    logger.info("read %d rows of %d files, %d quarantined", rows_in, len(files), quarantine.height)
    return Readings(
        frame=frame.lazy(),
        quarantine=conform(quarantine, QUARANTINE, name="quarantine"),
        files=pl.DataFrame(counts, schema={column: dtype for column, dtype in SOURCES.items() if column != AT}),
        rows_in=rows_in,
        repeated=frame.height - frame.select(ENTITY, AT).unique().height,
    )


def _read_file(file: SourceFile, *, contract: Contract, now: datetime | None) -> _FileReadings:
    of_path = columns_of_path(file.name, pattern=contract.entity.path_pattern)
    raw = open_lazily(file)
    with reading(file):
        columns = raw.collect_schema()
        missing = tuple(name for name in required(contract, of_path=of_path) if name not in columns)
        if missing:
            raise MissingColumnError(source=file.name, missing=missing, found=tuple(c for c in columns if c != ROW_INDEX))
        how = plan(columns, contract=contract, of_path=of_path, now=now)
        fault = pl.coalesce(pl.when(check.fails).then(pl.lit(number, dtype=pl.UInt16)) for number, check in enumerate(how.checks))
        kept = [pl.col(output(name)).alias(name) for name in readings_schema(contract)]
        judged = raw.with_columns(how.outputs).select(ROW_INDEX, *kept, fault.alias(_FAULT), how.naive.alias(_NAIVE)).collect()
        if not judged.height:
            raise no_rows(file)
        naive = judged.filter(_NAIVE).select(ROW_INDEX)
        if naive.height:
            raise _naive(file, raw=raw, row=naive.head(1), column=contract.time.column)
        faulty = judged.filter(pl.col(_FAULT).is_not_null()).select(ROW_INDEX, _FAULT)
        quarantine = _quarantine(file, raw=raw, faulty=faulty, checks=how.checks)
    if quarantine.height > _MOST_UNREADABLE * judged.height:
        raise _unreadable(file, quarantine=quarantine, rows=judged.height)
    readable = judged.filter(pl.col(_FAULT).is_null()) if faulty.height else judged
    return _FileReadings(frame=readable.select(list(readings_schema(contract))), quarantine=quarantine)


def _quarantine(file: SourceFile, *, raw: pl.LazyFrame, faulty: pl.DataFrame, checks: tuple[Check, ...]) -> pl.DataFrame:
    """The faulty rows as they stood in the file, read a second time: only they pay for their text."""
    if not faulty.height:
        return pl.DataFrame(schema=QUARANTINE)
    columns = raw.collect_schema()
    found = pl.coalesce(
        pl.when(pl.col(_FAULT) == number).then(_shown(check.column, dtype=columns[check.column]))
        for number, check in enumerate(checks)
        if check.column in columns
    ).fill_null("nothing")
    told = {number: (f"column '{check.column}' has ", f", expected {check.expected}") for number, check in enumerate(checks)}
    before, after = ({number: parts[side] for number, parts in told.items()} for side in (0, 1))
    fault = pl.col(_FAULT)
    reason = pl.concat_str(fault.replace_strict(before), pl.col(_FOUND), fault.replace_strict(after))
    plain = [name for name, dtype in columns.items() if name != ROW_INDEX and dtype != pl.Binary]
    return (
        raw.join(faulty.lazy(), on=ROW_INDEX)
        .select(ROW_INDEX, _FAULT, found.alias(_FOUND), pl.struct(plain).struct.json_encode().alias(TEXT))
        .sort(ROW_INDEX)
        .select(pl.lit(file.name).alias(SOURCE), pl.col(ROW_INDEX).cast(pl.Int64).alias(ROW), reason.alias(REASON), TEXT)
        .collect()
    )


def _shown(column: str, *, dtype: pl.DataType) -> pl.Expr:
    """A cell as a message shows it."""
    if dtype == pl.Binary:
        return pl.lit("bytes")
    if dtype.is_nested() or dtype == pl.Duration:
        return pl.struct(column).struct.json_encode()
    return pl.format("'{}'", pl.col(column).cast(pl.String))


def _naive(file: SourceFile, *, raw: pl.LazyFrame, row: pl.DataFrame, column: str) -> NaiveTimeError:
    shown = _shown(column, dtype=raw.collect_schema()[column])
    found = raw.join(row.lazy(), on=ROW_INDEX).select(shown).collect().item()
    message = f"{file.name}: column '{column}' has {found} in row {row.item()}, a time without a zone, and the contract declares none."
    return NaiveTimeError(
        message, hint="set time.zone in the contract to the zone of these times, such as 'UTC', or export them with an offset."
    )


def _unreadable(file: SourceFile, *, quarantine: pl.DataFrame, rows: int) -> BadValueError:
    first = quarantine.row(0, named=True)
    message = f"{file.name}: {quarantine.height} of {rows} rows cannot be read; the first, row {first[ROW]}: {first[REASON]}."
    hint = "fix the export, or say in the contract how it is told: time.format, time.zone, parameters.<name>.column and source_unit."
    return BadValueError(message, hint=hint)
