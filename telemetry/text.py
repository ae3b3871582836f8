r"""Delimited text that is damaged, packed or oddly encoded -> frames of its sound rows, and the rows that are none.

Every line that is not blank is a row, or a line of one: a quoted field may go on over line ends, if its closing quote comes soon and
the row has the right number of fields then. Otherwise that line alone is damaged, and reading goes on behind it.
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.errors import BadValueError
from telemetry.feeds import ROW_INDEX
from telemetry.pieces import INDEX, Piece, as_text, damaged_rows
from telemetry.survey import Shape, lines_of, shape_of
from telemetry.unpacking import BLOCK_BYTES, BrokenOffError, ahead, whole_lines

BROKEN_OFF: Final = "the packed data break off here, or are damaged from here on"
_BLANK: Final = b" \t\x1a"  # 1A ends a file that DOS has written
_LEADING: Final = re.compile(rb"(?:[ \t\x1a]*\n)*")
_FARTHEST_LINES: Final = 100
_FARTHEST_BYTES: Final = 1 << 20
"""How far away a closing quote is looked for."""
_LOOKED_AT: Final = 1000
_UNCLOSED: Final = "has a quote that is never closed"

Columns = Callable[[Shape], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A row that was looked at by itself: its fields, or why it has none."""

    lines: int
    fields: list[str] | None = None
    reason: str = ""
    text: bytes = b""


def pieces(
    text: Iterator[bytes], *, name: str, columns: Columns, separator: bytes, header: bool, block_bytes: int = BLOCK_BYTES
) -> Iterator[Piece]:
    """A text's rows, a block at a time and in order.

    Args:
        text: its bytes in UTF-8, as `telemetry.unpacking.text_of` gives them.
        name: of the part, for messages.
        columns: names for a shape's fields.
        separator: one byte.
        header: whether the first line that is not blank names the columns.
        block_bytes: how much is read at a time; the rows are the same whatever it is.

    Raises:
        BadValueError: the header cannot be read.
    """
    shape: Shape | None = None
    number, kept, broken = 0, b"", None
    blocks = ahead(whole_lines(text, block_bytes=block_bytes))
    ended = False
    while not ended:
        try:
            block = next(blocks, None)
        except BrokenOffError as error:
            block, broken = None, bytes(error.args[0])
        ended = block is None
        body = kept + (block or b"")
        if shape is None:
            shape, body = _begin(body, separator=separator, header=header, name=name)
        if shape is not None and body:
            piece, rows, kept = _block(body, shape=shape, columns=columns(shape), number=number, ended=ended)
            number += rows
            yield piece
    if broken is not None:
        if shape is None:
            hint = "copy or export it again."
            raise BadValueError(f"{name} cannot be unpacked: it breaks off before its first row.", hint=hint)
        empty = pl.DataFrame(schema=_schema(columns(shape)))
        yield Piece(frame=empty, damaged=damaged_rows([(number + 1, BROKEN_OFF, as_text(broken))]))


def names_of(shape: Shape) -> tuple[str, ...]:
    """The columns as the header spells them; without one, column_1, column_2, and so on."""
    return shape.names or tuple(f"column_{number}" for number in range(1, shape.fields + 1))


def _schema(columns: tuple[str, ...]) -> dict[str, type[pl.DataType]]:
    return {ROW_INDEX: INDEX, **dict.fromkeys(columns, pl.String)}


def _begin(body: bytes, *, separator: bytes, header: bool, name: str) -> tuple[Shape | None, bytes]:
    """The shape that the header declares, or that most of the first lines have, and the body below the header."""
    alone = not header and separator not in body[:_FARTHEST_BYTES]  # an empty line of a single column is a row
    found = _LEADING.match(body)
    body = body if alone or found is None else body[found.end() :]
    if not body.strip():
        return None, b""
    if not header:
        shapes = (shape_of(line, separator=separator, header=False) for line in body.split(b"\n", _LOOKED_AT)[:_LOOKED_AT])
        widths = [shape.fields for shape in shapes if shape is not None]
        fields = max(sorted(set(widths)), key=widths.count) if widths else 1
        return Shape(names=(), fields=fields, separator=separator, header=None), body
    first, _, below = body.partition(b"\n")
    shape = shape_of(first, separator=separator, header=True)
    if shape is None:
        message = f"{name} cannot be read as delimited text: it begins with {as_text(first)[:60]!r}, expected a header in UTF-8."
        raise BadValueError(message, hint="the file is damaged, binary, or not what its ending says; export it again.")
    return shape, below


def _block(body: bytes, *, shape: Shape, columns: tuple[str, ...], number: int, ended: bool) -> tuple[Piece, int, bytes]:
    """The rows of whole lines, how many they are, and the lines at the end that must wait for what follows them."""
    lines = lines_of(body, shape=shape)
    starts = np.append(lines.starts, len(body))
    sound, begins = ~lines.faulty, ~lines.faulty
    singly: dict[int, _Row] = {}
    free, cut = 0, lines.starts.size
    for line in np.flatnonzero(lines.faulty).tolist():
        if line < free:
            continue
        row = _row(body, starts=starts, line=line, shape=shape)
        if row is None and not ended:
            cut = line
            break
        row = row or _Row(lines=1, reason=_UNCLOSED, text=body[starts[line] : starts[line + 1] - 1])
        if row.fields is not None or row.reason:
            singly[line] = row
            begins[line] = True
        free = line + row.lines
        sound[line:free] = False
        begins[line + 1 : free] = False
    sound, begins = sound[:cut], begins[:cut]
    numbers = np.cumsum(begins) + number
    told = {int(numbers[line]): row for line, row in singly.items()}
    frame = _frame(body, starts=starts, sound=sound, numbers=numbers, told=told, shape=shape, columns=columns)
    damaged = damaged_rows([(at, row.reason, as_text(row.text)) for at, row in told.items() if row.fields is None])
    return Piece(frame=frame, damaged=damaged), int(begins.sum()), body[int(starts[cut]) :]


def _row(body: bytes, *, starts: NDArray[np.intp], line: int, shape: Shape) -> _Row | None:
    """The row that begins with a faulty line; null where its closing quote may still come behind the body."""
    text = body[starts[line] : starts[line + 1] - 1]
    if not text.strip(_BLANK):
        return _Row(lines=1)
    row = _parsed(text, lines=1, shape=shape)
    if row.reason != _UNCLOSED:
        return row
    for last in range(line + 1, line + _FARTHEST_LINES):
        if last + 1 >= starts.size:
            return None
        longer = body[starts[line] : starts[last + 1] - 1]
        if len(longer) > _FARTHEST_BYTES:
            return row
        if longer.count(b'"') % 2 == 0:
            joined = _parsed(longer, lines=last + 1 - line, shape=shape)
            return joined if joined.fields is not None else row
    return row


def _parsed(text: bytes, *, lines: int, shape: Shape) -> _Row:
    """The fields of a row's text, or why it has none."""
    if b"\0" in text:
        return _Row(lines=lines, reason="holds zero bytes", text=text)
    if text == shape.header:
        return _Row(lines=lines, reason="repeats the header", text=text)
    separator = shape.separator.decode()
    try:
        fields = next(csv.reader([text.decode()], delimiter=separator, strict=True, skipinitialspace=separator != " "))
    except UnicodeDecodeError as error:
        return _Row(lines=lines, reason=f"is no UTF-8 text at byte {error.start + 1}", text=text)
    except csv.Error as error:
        reason = _UNCLOSED if "unexpected end of data" in str(error) else f"is no delimited text: {error}"
        return _Row(lines=lines, reason=reason, text=text)
    if len(fields) != shape.fields:
        reason = f"has {len(fields)} field{'s' if len(fields) != 1 else ''}, expected {shape.fields}"
        return _Row(lines=lines, reason=reason, text=text)
    return _Row(lines=lines, fields=fields, text=text)


def _frame(
    body: bytes,
    *,
    starts: NDArray[np.intp],
    sound: NDArray[np.bool_],
    numbers: NDArray[np.intp],
    told: dict[int, _Row],
    shape: Shape,
    columns: tuple[str, ...],
) -> pl.DataFrame:
    """The sound lines as the fast reader reads them, the others by the fields that were found in them."""
    end = int(starts[sound.size])
    text = body[:end]
    if not sound.all():
        kept = np.repeat(sound, np.diff(starts[: sound.size + 1]))
        text = np.frombuffer(body, dtype=np.uint8, count=end)[kept].tobytes()
    schema = _schema(columns)
    fast = _fast(text, shape=shape, columns=columns)
    rows = fast.with_columns(pl.Series(ROW_INDEX, numbers[sound], dtype=INDEX)).select(list(schema))
    others = [(at, *(field or None for field in row.fields)) for at, row in told.items() if row.fields is not None]
    if not others:
        return rows
    return pl.concat([rows, pl.DataFrame(others, schema=schema, orient="row")]).sort(ROW_INDEX)


def _fast(text: bytes, *, shape: Shape, columns: tuple[str, ...]) -> pl.DataFrame:
    """Sound lines."""
    schema = dict.fromkeys(columns, pl.String)
    if not text:
        return pl.DataFrame(schema=schema)
    return pl.read_csv(text, has_header=False, schema=schema, separator=shape.separator.decode(), infer_schema=False)
