"""Rows of a part that are read a piece at a time -> one lazy frame of them, and the rows that are none.

Small parts are held in memory; of large ones only the damaged rows are, and the others are read again whenever they are asked for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl
from polars.io.plugins import register_io_source

from telemetry.errors import BadValueError, EmptySourceError
from telemetry.feeds import DAMAGED, ROW_INDEX, Opened
from telemetry.schema import REASON, ROW

HELD_BYTES: Final = 1 << 27
"""Of frames, as Polars holds them."""
SHOWN: Final = 20_000
"""Characters of a damaged row that are kept."""
INDEX: Final = pl.UInt32
_MANY: Final = 100_000
"""Of damaged rows: a part that has more of them than of others is not read to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some rows of a part.

    Attributes:
        frame: ROW_INDEX and the part's own columns.
        damaged: DAMAGED.
    """

    frame: pl.DataFrame
    damaged: pl.DataFrame


def settled(pieces: Callable[[], Iterator[Piece]], *, name: str, held_bytes: int = HELD_BYTES) -> Opened:
    """All pieces as the rows of one part.

    Args:
        pieces: reads them from the beginning, the same each time.
        name: of the part, for messages.
        held_bytes: of larger parts nothing but the damaged rows stays in memory.

    Raises:
        EmptySourceError: there is no row.
        BadValueError: there is no row but damaged ones, or, of very many, more than half are.
    """
    held: list[pl.DataFrame] = []
    found: list[pl.DataFrame] = []
    types: dict[str, set[pl.DataType]] = {}
    rows = bad = size = 0
    for piece in pieces():
        found.append(piece.damaged)
        rows, bad = rows + piece.frame.height, bad + piece.damaged.height
        if bad > max(rows, _MANY):
            raise nothing(name, damaged=pl.concat(found), rows=rows)
        for column, dtype in piece.frame.schema.items():
            types.setdefault(column, set()).add(dtype)
        size += int(piece.frame.estimated_size())
        held = [*held, piece.frame] if size <= held_bytes else []
    damaged = pl.concat([pl.DataFrame(schema=DAMAGED), *found])
    if not rows:
        raise nothing(name, damaged=damaged)
    schema = {column: _common(each) for column, each in types.items()}
    if size <= held_bytes:
        return Opened(frame=pl.concat([_as(schema, frame) for frame in held]).lazy(), damaged=damaged)
    return Opened(frame=_again(pieces, schema=schema), damaged=damaged)


def nothing(name: str, *, damaged: pl.DataFrame, rows: int = 0) -> EmptySourceError | BadValueError:
    """The error to raise for a part in which no row can be read, or too few."""
    if not damaged.height:
        hint = "see whether the export ran; leave the file out if it is meant to be empty."
        return EmptySourceError(f"{name} holds no row.", hint=hint)
    first = damaged.row(0, named=True)
    told = f"{damaged.height} of its first {damaged.height + rows} rows cannot" if rows else f"none of its {damaged.height} rows can"
    message = f"{name}: {told} be read; the first, row {first[ROW]}: {first[REASON]}."
    return BadValueError(message, hint="the file is damaged, still being written, or not what its ending says; export it again.")


def damaged_rows(rows: list[tuple[int, str, str]]) -> pl.DataFrame:
    """DAMAGED of row numbers, reasons and texts; very long texts are cut."""
    shown = [(row, reason, text if len(text) <= SHOWN else f"{text[:SHOWN]} ... ({len(text)} characters)") for row, reason, text in rows]
    return pl.DataFrame(shown, schema=DAMAGED, orient="row")


def as_text(line: bytes) -> str:
    """A line as it stands; bytes that are no text, and zero bytes, as escapes."""
    return line.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def distinct(names: tuple[str, ...], *, wanted: frozenset[str], name: str) -> tuple[str, ...]:
    """Columns without blanks around their names, no two alike, none without a name.

    Args:
        names: as the part spells them.
        wanted: those that must not be there twice.
        name: of the part, for messages.

    Raises:
        BadValueError: one that is wanted is there twice.

    >>> distinct((" cpu", "", "load", "load"), wanted=frozenset({"cpu"}), name="a.csv")
    ('cpu', 'column_2', 'load', 'load (2)')
    """
    plain = [_literal(each.strip()) or f"column_{place}" for place, each in enumerate(names, start=1)]
    twice = sorted({each for each in plain if each in wanted and plain.count(each) > 1}) if len(set(plain)) < len(plain) else []
    if twice:
        hint = "leave one of them out of the export, or name them apart."
        raise BadValueError(f"{name} has the column {', '.join(twice)} twice, and the contract reads it.", hint=hint)
    taken, found = {*plain, ROW_INDEX}, dict[str, None]()
    for each in plain:
        chosen, count = each, 1
        while chosen in found or chosen == ROW_INDEX or (count > 1 and chosen in taken):
            count += 1
            chosen = f"{each} ({count})"
        found[chosen] = None
    return tuple(found)


def _literal(name: str) -> str:
    """The name in quotes where Polars would take it for a pattern that stands for several columns."""
    return f"'{name}'" if name == "*" or (name.startswith("^") and name.endswith("$")) else name


def _common(types: set[pl.DataType]) -> pl.DataType:
    """What values of several types can all be told as: numbers as numbers, anything else as text."""
    told = types - {pl.Null()} or {pl.Null()}
    if len(told) == 1:
        return next(iter(told))
    return pl.Float64() if all(dtype.is_numeric() for dtype in told) else pl.String()


def _as(schema: dict[str, pl.DataType], frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with all columns of the schema, in its order."""
    return frame.select(
        _told(column, dtype=frame.schema[column], wanted=dtype) if column in frame.columns else pl.lit(None, dtype=dtype).alias(column)
        for column, dtype in schema.items()
    )


def _told(column: str, *, dtype: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    if dtype == wanted:
        return pl.col(column)
    if wanted == pl.String and dtype.is_nested():
        return pl.col(column).struct.json_encode() if dtype == pl.Struct else pl.struct(column).struct.json_encode().alias(column)
    return pl.col(column).cast(wanted)


def _again(pieces: Callable[[], Iterator[Piece]], *, schema: dict[str, pl.DataType]) -> pl.LazyFrame:
    """The pieces' rows, read when they are asked for, and as many as are asked for."""

    def read(columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _: int | None) -> Iterator[pl.DataFrame]:
        wanted = schema if columns is None else {column: schema[column] for column in columns}
        left = rows
        for piece in pieces():
            frame = _as(wanted, piece.frame)
            frame = frame if left is None else frame.head(left)
            left = None if left is None else left - frame.height
            yield frame if predicate is None else frame.filter(predicate)
            if left == 0:
                return

    return register_io_source(read, schema=schema, is_pure=True)
