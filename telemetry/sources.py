"""Parts of a feed -> readings: rows keyed by entity and UTC time, in the parameters' canonical units.

A row that cannot be read goes to the quarantine with its part, row number, reason and text. Every row is accounted for:
rows in = accepted + quarantined + repeated.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl

from telemetry.columns import Check, Plan, output, plan, required, shown, time_column
from telemetry.contract import Contract
from telemetry.errors import BadValueError, MissingColumnError, NaiveTimeError, NewColumnsError
from telemetry.feeds import ROW_INDEX, Part
from telemetry.files import columns_of_path
from telemetry.formats import refusals
from telemetry.layouts import melted, pivoted
from telemetry.pieces import nothing
from telemetry.repeats import settle
from telemetry.schema import AT, COHORT, ENTITY, FINGERPRINT, LABEL, QUARANTINE, REASON, REVISION, ROW, SOURCE, TEXT

BATCH_ROWS: Final = 1_000_000
_FAULT: Final = "__fault__"
_FOUND: Final = "__found__"
MOST_UNREADABLE: Final = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What came out of some rows of a part.

    Attributes:
        frame: entity, cohort, at, every parameter as Float64 in its canonical unit (null = not observed), undeclared columns that are
            kept, `label` (null where the part tells none) if the contract names a label column, and revision; one row for each entity
            and instant.
        quarantine: QUARANTINE, the rows that could not be read; ROW counts data rows from 1, without a header.
        rows_in: rows of the part.
        accepted: those that `frame` is made of.
        repeated: those that say word for word what another one says.
        undeclared: columns (in the long layout: parameters) that the contract does not name.
        clocks_apart: rows whose second clock disagrees with the first.
        clock_example: what the first of them says; empty if there is none.
    """

    frame: pl.DataFrame
    quarantine: pl.DataFrame
    rows_in: int
    accepted: int
    repeated: int
    undeclared: tuple[str, ...] = ()
    clocks_apart: int = 0
    clock_example: str = ""


def read(
    part: Part,
    *,
    contract: Contract,
    now: datetime | None = None,
    batch_rows: int = BATCH_ROWS,
    most_unreadable: float = MOST_UNREADABLE,
) -> Iterator[Batch]:
    """The readings of a part, batch by batch, and the rows that are none.

    Args:
        part: as a source tells it.
        contract: says which columns are the keys, the time and the parameters, and in which units.
        now: times more than a day after it are quarantined.
        batch_rows: how many rows are held at a time.
        most_unreadable: the share of its first rows that may go to quarantine before the part is refused as a whole.

    Raises:
        MissingColumnError: the part lacks a column that the contract names.
        NewColumnsError: it has one that the contract does not name, and new columns are frozen.
        EmptySourceError: it holds no row.
        NaiveTimeError: times come without a zone, and the contract declares none.
        BadValueError: it is damaged, or most of its first rows cannot be read.
    """
    of_path = columns_of_path(part.name, pattern=contract.entity.path_pattern)
    with refusals(part.name, told=part.kind):
        opened = part.open()
        columns = opened.frame.collect_schema()
    missing = tuple(name for name in required(contract, of_path=of_path) if name not in columns)
    if missing:
        raise MissingColumnError(source=part.name, missing=missing, found=tuple(c for c in columns if c != ROW_INDEX))
    how = plan(columns, contract=contract, of_path=of_path, now=now)
    if how.undeclared and contract.new_columns == "freeze":
        raise NewColumnsError(source=part.name, columns=how.undeclared)
    reader = _Reader(part=part, contract=contract, how=how, most_unreadable=most_unreadable)
    damaged = opened.damaged
    for raw in _batches(opened.frame, part=part, rows=batch_rows):
        yield reader.batch(raw, damaged=damaged)
        damaged = damaged.clear()
    if not reader.rows:
        raise nothing(part.name, damaged=damaged)


def _batches(frame: pl.LazyFrame, *, part: Part, rows: int) -> Iterator[pl.DataFrame]:
    with refusals(part.name, told=part.kind):
        batches = iter(frame.collect_batches(chunk_size=rows))
    while True:
        with refusals(part.name, told=part.kind):
            raw = next(batches, None)
        if raw is None:
            return
        yield raw


@dataclass(slots=True, kw_only=True)
class _Reader:
    """How the batches of one part are read, and how many rows there were."""

    part: Part
    contract: Contract
    how: Plan
    most_unreadable: float
    rows: int = field(default=0)

    def batch(self, raw: pl.DataFrame, *, damaged: pl.DataFrame) -> Batch:
        told = self._told(raw)
        checks = self._open_checks(told)
        fails = told.select(pl.any_horizontal(check.fails for check in checks)).to_series().fill_null(value=False) if checks else None
        faulty = told.clear() if fails is None else told.filter(fails)
        refused = _reasons(faulty, checks=checks) if faulty.height else _nothing_refused()
        apart = told.filter(self.how.clock & (~fails if fails is not None else True)) if self.how.clock is not None else told.clear()
        undeclared = self.how.undeclared
        if self.contract.layout.kind == "long":
            rows = melted(told.filter(~fails) if faulty.height and fails is not None else told, contract=self.contract, part=self.part.name)
            undeclared, refused = rows.undeclared, pl.concat([refused, rows.refused])
            settled = settle(rows.frame, by=(ENTITY, AT, rows.name), contract=self.contract)
            frame = pivoted(settled.frame, names=rows.names, name=rows.name)
        else:
            names = tuple(name for name in self.how.outputs if name not in (ENTITY, COHORT, LABEL))
            label = (LABEL,) if self.contract.label_column else ()
            rows_told = told.select(ROW_INDEX, *(pl.col(output(name)).alias(name) for name in (ENTITY, COHORT, AT, *names, *label)))
            sound = rows_told.filter(~fails) if faulty.height and fails is not None else rows_told
            settled = settle(sound, by=(ENTITY, AT), contract=self.contract)
            frame = settled.frame
        refused = pl.concat([refused, settled.refused])
        quarantine = self._quarantine(raw, refused=refused, damaged=damaged)
        rows_in = raw.height + damaged.height
        if not self.rows and quarantine.height > self.most_unreadable * rows_in:
            raise _unreadable(self.part, quarantine=quarantine, rows=rows_in)
        self.rows += rows_in
        return Batch(
            frame=frame.drop(ROW_INDEX, strict=False).with_columns(pl.lit(self.part.revision, dtype=pl.Int64).alias(REVISION)),
            quarantine=quarantine,
            rows_in=rows_in,
            accepted=rows_in - quarantine.height - settled.repeated,
            repeated=settled.repeated,
            undeclared=undeclared,
            clocks_apart=apart.height,
            clock_example=self._example(apart),
        )

    def _told(self, raw: pl.DataFrame) -> pl.DataFrame:
        """The rows with what was read of them; a naive time is refused as a whole, for nobody knows what any of them means."""
        time, column = self.how.time, time_column(self.contract)
        careful = {AT: time.at, **self.how.outputs}
        usual = self.how.usual if time.usual is None else {AT: (column, time.usual), **self.how.usual}
        first = [(usual[name][1] if name in usual else value).alias(output(name)) for name, value in careful.items()]
        told = raw.lazy().with_columns(first).collect(engine="in-memory")
        unread = _unread(told, name=AT, column=column)
        naive = told.filter(unread).filter(time.naive) if unread.any() else told.clear()
        if naive.height:
            raise _naive(self.part, row=naive.head(1), column=column)
        told = told.with_columns(_read_again(told, name=name, column=source, value=careful[name]) for name, (source, _) in usual.items())
        reals = [output(name) for name in self.how.outputs if told.schema[output(name)] == pl.Float64]
        with_nan = [name for name, found in told.select(pl.col(reals).is_nan().any()).row(0, named=True).items() if found] if reals else []
        return told.with_columns(pl.col(with_nan).fill_nan(None)) if with_nan else told

    def _open_checks(self, told: pl.DataFrame) -> list[Check]:
        """The checks that some row may fail."""
        clear = (
            told.lazy().select(check.clear.alias(str(number)) for number, check in enumerate(self.how.checks)).collect(engine="in-memory")
        )
        return [check for check, sure in zip(self.how.checks, clear.row(0), strict=True) if not sure]

    def _quarantine(self, raw: pl.DataFrame, *, refused: pl.DataFrame, damaged: pl.DataFrame) -> pl.DataFrame:
        """The refused rows as they stood in the part, and those that had no columns."""
        every = damaged
        if refused.height:
            numbers = refused[ROW].cast(raw.schema[ROW_INDEX]).implode()
            rows = raw.filter(pl.col(ROW_INDEX).is_in(numbers))
            told = rows.select(pl.col(ROW_INDEX).cast(pl.Int64).alias(ROW), _as_text(rows).alias(TEXT))
            every = pl.concat([damaged, told.join(refused, on=ROW).select(ROW, REASON, TEXT)])
        named = every.with_columns(pl.lit(self.part.name).alias(SOURCE), pl.lit(self.part.fingerprint).alias(FINGERPRINT))
        return named.select(list(QUARANTINE)).sort(ROW)

    def _example(self, apart: pl.DataFrame) -> str:
        clock = self.contract.time.clock
        if clock is None or not apart.height:
            return ""
        first = apart.row(0, named=True)
        return f"{self.part.name}, row {first[ROW_INDEX]}: {clock.column} has {first[clock.column]} where the time is {first[output(AT)]}"


def _reasons(faulty: pl.DataFrame, *, checks: list[Check]) -> pl.DataFrame:
    """Row numbers and reasons of rows that fail a check: the first that does."""
    fault = pl.coalesce(pl.when(check.fails).then(pl.lit(number, dtype=pl.UInt16)) for number, check in enumerate(checks))
    there = [(number, check) for number, check in enumerate(checks) if check.column in faulty.columns]
    found = pl.coalesce(
        pl.when(pl.col(_FAULT) == number).then(shown(check.column, dtype=faulty.schema[check.column])) for number, check in there
    ).fill_null("nothing")
    before = {number: f"column '{check.column}' has " for number, check in enumerate(checks)}
    after = {number: f", expected {check.expected}" for number, check in enumerate(checks)}
    number = pl.col(_FAULT)
    reason = pl.concat_str(number.replace_strict(before), pl.col(_FOUND), number.replace_strict(after))
    told = faulty.with_columns(fault.alias(_FAULT)).with_columns(found.alias(_FOUND))
    return told.select(pl.col(ROW_INDEX).cast(pl.Int64).alias(ROW), reason.alias(REASON))


def _as_text(rows: pl.DataFrame) -> pl.Expr:
    """The rows' columns as JSON, which knows no infinite number: a column with one is told as text."""
    plain = [name for name, dtype in rows.schema.items() if name != ROW_INDEX and dtype != pl.Binary]
    infinite = {name for name in plain if rows.schema[name].is_float() and rows[name].is_infinite().any()}
    told = [pl.col(name).cast(pl.String) if name in infinite else pl.col(name) for name in plain]
    return pl.struct(told).struct.json_encode() if told else pl.lit("{}")


def _unread(told: pl.DataFrame, *, name: str, column: str) -> pl.Series:
    """True where a cell says something and nothing was read of it."""
    return told[output(name)].is_null() & told[column].is_not_null()


def _read_again(told: pl.DataFrame, *, name: str, column: str, value: pl.Expr) -> pl.Series:
    """A column of a reading with `value` where the way that serves most cells gave nothing."""
    read, unread = told[output(name)], _unread(told, name=name, column=column)
    if not unread.any():
        return read
    return read.scatter(unread.arg_true(), told.select(column).filter(unread).select(value).to_series())


def _nothing_refused() -> pl.DataFrame:
    return pl.DataFrame(schema={ROW: pl.Int64, REASON: pl.String})


def _naive(part: Part, *, row: pl.DataFrame, column: str) -> NaiveTimeError:
    found = row.select(shown(column, dtype=row.schema[column])).item()
    message = (
        f"{part.name}: column '{column}' has {found} in row {row[ROW_INDEX].item()}, a time without a zone, and the contract declares none."
    )
    return NaiveTimeError(
        message, hint="set time.zone in the contract to the zone of these times, such as 'UTC', or export them with an offset."
    )


def _unreadable(part: Part, *, quarantine: pl.DataFrame, rows: int) -> BadValueError:
    first = quarantine.row(0, named=True)
    message = f"{part.name}: {quarantine.height} of {rows} rows cannot be read; the first, row {first[ROW]}: {first[REASON]}."
    hint = "fix the export, or say in the contract how it is told: time.format, time.zone, parameters.<name>.column and source_unit."
    return BadValueError(message, hint=hint)
