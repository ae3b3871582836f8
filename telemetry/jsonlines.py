"""JSON lines -> typed frames of the lines that are objects, and the lines that are none.

Lines are read many at a time by a strict parser. Where it refuses, the lines are halved until those that it refuses are alone; a few
lines are then read by a second parser, which tells every value as text, as it stands there: `NaN`, 1e400 and all.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from telemetry.feeds import ROW_INDEX
from telemetry.pieces import INDEX, Piece, as_text, damaged_rows
from telemetry.text import BROKEN_OFF
from telemetry.unpacking import BLOCK_BYTES, BrokenOffError, ahead, whole_lines

_FEW: Final = 16
_REFUSALS: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError)


def pieces(text: Iterator[bytes], *, block_bytes: int = BLOCK_BYTES) -> Iterator[Piece]:
    """The lines that are not blank, a block at a time and in order.

    Args:
        text: its bytes in UTF-8, as `telemetry.unpacking.text_of` gives them.
        block_bytes: how much is read at a time.
    """
    number = 0
    blocks = ahead(whole_lines(text, block_bytes=block_bytes))
    while True:
        try:
            block = next(blocks, None)
        except BrokenOffError as error:
            row = (number + 1, BROKEN_OFF, as_text(bytes(error.args[0])))
            yield Piece(frame=pl.DataFrame(schema={ROW_INDEX: INDEX}), damaged=damaged_rows([row]))
            return
        if block is None:
            return
        lines = [line for line in block.split(b"\n") if line.strip()]
        yield from _read(lines, number=number)
        number += len(lines)


def _read(lines: list[bytes], *, number: int) -> Iterator[Piece]:
    """Lines of which the first is row `number + 1`, by halves where they are not all sound."""
    frame = _fast(lines) if lines else None
    if frame is not None:
        index = pl.int_range(number + 1, number + 1 + frame.height, dtype=INDEX, eager=True).alias(ROW_INDEX)
        yield Piece(frame=frame.select(index, pl.all()), damaged=damaged_rows([]))
    elif len(lines) > _FEW:
        half = len(lines) // 2
        yield from _read(lines[:half], number=number)
        yield from _read(lines[half:], number=number + half)
    elif lines:
        yield _slow(lines, number=number)


def _fast(lines: list[bytes]) -> pl.DataFrame | None:
    """Typed columns; null where the strict parser refuses a line, or where values of one column are of kinds that do not mix."""
    try:
        frame = pl.read_ndjson(b"\n".join(lines), infer_schema_length=None)
    except _REFUSALS:
        return None
    sound = frame.height == len(lines) and ROW_INDEX not in frame.columns
    return frame if sound else None


def _slow(lines: list[bytes], *, number: int) -> Piece:
    """Every value as text."""
    good: list[dict[str, str | None]] = []
    bad: list[tuple[int, str, str]] = []
    for at, line in enumerate(lines, start=number + 1):
        told = _told(line)
        if isinstance(told, str):
            bad.append((at, told, as_text(line)))
        else:
            good.append({name: value for name, value in told.items() if name != ROW_INDEX} | {ROW_INDEX: str(at)})
    columns = dict.fromkeys(name for row in good for name in row if name != ROW_INDEX)
    schema = {ROW_INDEX: pl.String, **dict.fromkeys(columns, pl.String)}
    frame = pl.DataFrame(good, schema=schema, orient="row").with_columns(pl.col(ROW_INDEX).cast(INDEX))
    return Piece(frame=frame, damaged=damaged_rows(bad))


def _told(line: bytes) -> dict[str, str | None] | str:
    """The values of an object, or why the line is none."""
    try:
        found = json.loads(line.decode(), parse_int=str, parse_float=str, parse_constant=str)
        if not isinstance(found, dict):
            return "is JSON, but no object"
        told = {name: _as_text(value) for name, value in found.items()}
        json.dumps(told, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        return f"is no UTF-8 text at byte {error.start + 1}"
    except UnicodeEncodeError:
        return "holds half of a character"
    except json.JSONDecodeError as error:
        return f"is no JSON: {error.msg} at character {error.pos + 1}"
    except RecursionError:
        return "is nested too deeply"
    return told


def _as_text(value: Any) -> str | None:  # Any: JSON
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
