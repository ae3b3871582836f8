"""A file or folder that nobody has described yet -> its first rows, how its text is written, and what its files are named after."""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from telemetry import jsonlines, text
from telemetry.columns import NO_NUMBER
from telemetry.errors import EmptySourceError, SourceMissingError
from telemetry.feeds import ROW_INDEX
from telemetry.files import NEVER_READ
from telemetry.formats import ENDINGS, Format, format_of, refusals
from telemetry.pieces import distinct
from telemetry.survey import Shape
from telemetry.unpacking import BrokenOffError, text_of

ROWS: Final = 100_000
"""Rows that are looked at, of all files together."""
_LEAST_ROWS: Final = 500
"""Of each file."""
_HEAD_BYTES: Final = 1 << 22
_CHUNK_BYTES: Final = 1 << 16
_SNIFFED_LINES: Final = 200
_SEPARATORS: Final = ("\t", ";", "|", ",")
"""The comma comes last: it may be a decimal comma."""
_NUMBER: Final = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*")
_DECIMAL_COMMA: Final = re.compile(r"\s*[+-]?\d+,\d+\s*")
_DECIMAL_POINT: Final = re.compile(r"\s*[+-]?\d+\.\d+\s*")
_DATE: Final = re.compile(r"\s*\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T].*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How delimited text is written; the defaults are those of a contract."""

    header: bool = True
    separator: str = ","
    decimal_comma: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The first rows of a file.

    Attributes:
        name: its path within the sample.
        frame: its own columns, with ROW_INDEX.
        writing: of delimited text.
    """

    name: str
    frame: pl.DataFrame
    writing: Writing

    @property
    def columns(self) -> frozenset[str]:
        """Its own."""
        return frozenset(self.frame.columns) - {ROW_INDEX}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a file or folder looks like.

    Attributes:
        heads: of the files that hold the same columns, the largest such group.
        others: names of files that hold something else.
    """

    heads: tuple[Head, ...]
    others: tuple[str, ...]

    @property
    def writing(self) -> Writing:
        """How their text is written."""
        return self.heads[0].writing


def look(location: Path, *, rows: int = ROWS) -> Sample:
    """The first rows of a file, or of the files of a folder.

    Raises:
        SourceMissingError: there is no file of a known format.
        EmptySourceError: no file holds a row.
        BadValueError, SourceError: a file is damaged, or cannot be read.
    """
    files = _files(location)
    if not files:
        hint = f"name a file or folder with {', '.join(ENDINGS)} files."
        raise SourceMissingError(f"There is no telemetry at {location}.", hint=hint)
    each = max(rows // len(files), _LEAST_ROWS)
    heads = tuple(_head(name, path, rows=each) for name, path in files.items())
    if not any(head.frame.height for head in heads):
        raise EmptySourceError(f"{location} holds no row.", hint="name a file with some hours of readings.")
    return _alike(heads)


def _files(location: Path) -> dict[str, Path]:
    if location.is_file():
        return {location.name: location} if format_of(location.name) else {}
    paths = (path for path in sorted(location.rglob("*")) if path.is_file())
    found = {os.fsencode(path.relative_to(location).as_posix()).decode("utf-8", "replace"): path for path in paths}
    return {name: path for name, path in found.items() if format_of(name) and _seen(name)}


def _seen(name: str) -> bool:
    parts = name.split("/")
    return NEVER_READ not in parts[:-1] and not any(part.startswith((".", "_")) for part in parts)


def _alike(heads: tuple[Head, ...]) -> Sample:
    """The files whose columns are those of most rows; some of them may tell a few more, such as labels."""
    rows: Counter[frozenset[str]] = Counter()
    for head in heads:
        rows[head.columns] += head.frame.height
    least = min((columns for columns in rows if rows[columns] == max(rows.values())), key=len)
    alike = (head for head in heads if least <= head.columns or (head.columns <= least and len(least - head.columns) == 1))
    chosen = tuple(head for head in alike if head.frame.height)
    return Sample(heads=chosen, others=tuple(head.name for head in heads if head not in chosen))


def _head(name: str, path: Path, *, rows: int) -> Head:
    form = format_of(name)
    assert form is not None  # noqa: S101  (others are not looked at)
    with refusals(name, told=form.told):
        if form.kind == "Parquet":
            frame = pl.scan_parquet(path, row_index_name=ROW_INDEX, row_index_offset=1, glob=False, hive_partitioning=False).head(rows)
            return _named(name, frame.collect())
        body = _beginning(path)
        if form.kind == "JSON lines":
            piece = next(jsonlines.pieces(iter([body])), None)
            return _named(name, pl.DataFrame() if piece is None else piece.frame.head(rows))
        return _delimited(name, body, form=form, rows=rows)


def _named(name: str, frame: pl.DataFrame) -> Head:
    """A head of typed columns, without blanks around their names."""
    own = tuple(column for column in frame.columns if column != ROW_INDEX)
    plain = distinct(own, wanted=frozenset(), name=name)
    return Head(name=name, frame=frame.rename(dict(zip(own, plain, strict=True))), writing=Writing())


def _beginning(path: Path) -> bytes:
    """The whole lines of some megabytes of text."""
    body = b""
    with path.open("rb") as stream:
        chunks = text_of(iter(lambda: stream.read(_CHUNK_BYTES), b""))
        try:
            while len(body) < _HEAD_BYTES and (chunk := next(chunks, None)) is not None:
                body += chunk
        except BrokenOffError:
            return body  # what was unpacked before tells enough
        ended = next(chunks, None) is None
    return body if ended else body[: body.rfind(b"\n") + 1]


def _delimited(name: str, body: bytes, *, form: Format, rows: int) -> Head:
    lines = [line for line in re.split("\r?\n|\r", body.decode("utf-8", "replace"), maxsplit=_SNIFFED_LINES) if line.strip()][
        :_SNIFFED_LINES
    ]
    separator = _separator(lines)
    header, fields = _header(lines, separator=separator), list(_fields(lines, separator=separator))
    below = [field for line in fields[1:] for field in line]
    comma = separator != "," and any(map(_DECIMAL_COMMA.fullmatch, below)) and not any(map(_DECIMAL_POINT.fullmatch, below))
    declared = "," if form.kind == "TSV" and separator == "\t" else separator

    def columns(shape: Shape) -> tuple[str, ...]:
        return distinct(text.names_of(shape), wanted=frozenset(), name=name)

    pieces = text.pieces(iter([body]), name=name, columns=columns, separator=separator.encode(), header=header)
    piece = next(pieces, None)
    frame = pl.DataFrame(schema={ROW_INDEX: pl.UInt32}) if piece is None else piece.frame.head(rows)
    return Head(name=name, frame=frame, writing=Writing(header=header, separator=declared, decimal_comma=comma))


def _separator(lines: list[str]) -> str:
    """The character that cuts most lines into equally many fields, more than one.

    >>> _separator(["time;cpu", "10:00;1,5", "10:01;2,5"]), _separator(["just", "one"])
    (';', ',')
    """

    def agreement(separator: str) -> float:
        widths = Counter(len(fields) for fields in _fields(lines, separator=separator))
        width, count = widths.most_common(1)[0] if widths else (1, 0)
        return round(count / len(lines), 1) if width > 1 else 0.0

    best = max(_SEPARATORS, key=agreement)
    return best if agreement(best) else ","


def _fields(lines: list[str], *, separator: str) -> Iterator[list[str]]:
    for line in lines:
        try:
            yield next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
        except csv.Error:
            yield []


def _header(lines: list[str], *, separator: str) -> bool:
    """Whether the first line names columns: a text above numbers or dates, or nothing but different texts.

    >>> _header(["time,cpu", "2026-01-01,1"], separator=","), _header(["0.5,0.7", "0.6,0.8"], separator=",")
    (True, False)
    """
    first, *below = [[field.strip() for field in fields] for fields in _fields(lines, separator=separator)] or [[]]
    columns = [[field for field in column if field] for column in zip(*(each for each in below if len(each) == len(first)), strict=True)]
    above_values = any(
        name and not _is_value(name) and sum(map(_is_value, column)) > len(column) / 2 for name, column in zip(first, columns, strict=False)
    )
    return above_values or (bool(first) and not any(map(_is_value, first)) and len(set(first)) == len(first))


def _is_value(field: str) -> bool:
    return bool(_NUMBER.fullmatch(field) or _DATE.fullmatch(field)) or field in NO_NUMBER[1:]
