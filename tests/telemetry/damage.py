"""Files as they come out of real exports on a bad day, with the number of their rows as whoever damaged them knows it.

Every kind takes healthy rows and does one thing to them. What it says of its rows is counted while it writes them, by nothing that reads.
"""

import gzip
import io
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import polars as pl

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
WIDE: Final = ("time", "customer", "region", "queries", "query_time", "cpu", "note")
LONG: Final = ("time", "customer", "region", "metric", "value", "note")
LAYOUT: Final = {"wide": WIDE, "long": LONG, "headerless": WIDE}

Refused = Literal["never", "always", "maybe"]
Row = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A file.

    Attributes:
        content: its bytes.
        rows: data rows, whatever became of them.
        bad: how many of them cannot become a reading; null where that is a matter of luck.
        refused: whether the file is to be refused as a whole.
    """

    content: bytes
    rows: int
    bad: int | None = 0
    refused: Refused = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A file with the kind of its damage, its name (which tells its format) and the layout by which it is to be read.

    Attributes:
        cpu: the value of `cpu` at every instant of the healthy rows, which no damage of a row may change in a reading of another one;
            empty in the long layout.
    """

    kind: str
    name: str
    layout: str
    file: Damaged
    cpu: dict[datetime, float]


@dataclass(frozen=True, slots=True)
class Draw:
    """Healthy rows, the header above them, and chance."""

    header: Row
    rows: list[Row]
    chance: random.Random

    def lines(self) -> list[bytes]:
        """The rows as lines without their ends."""
        return [",".join(row).encode() for row in self.rows]

    def some(self, most: int = 4) -> list[int]:
        """A few places among the rows, less than half of them."""
        return sorted(self.chance.sample(range(len(self.rows)), self.chance.randint(1, most)))

    def text(self, lines: list[bytes], *, end: bytes = b"\n", last: bytes | None = None) -> bytes:
        """The lines below the header, if there is one."""
        above = [",".join(self.header).encode()] if self.header else []
        return end.join([*above, *lines]) + (end if last is None else last)


TextKind = Callable[[Draw], Damaged]


def contracts() -> dict[str, dict[str, Any]]:
    """The contracts of the layouts, as they would be parsed from TOML."""
    common = {"entity": {"keys": ["customer", "region"], "cohort": "region"}}
    parameters = {
        "queries": {"unit": "count", "aggregation": "sum", "target": True},
        "query_time": {"unit": "ms", "source_unit": "s"},
        "cpu": {"unit": "percent"},
    }
    places = {name: {**told, "column": f"column_{WIDE.index(name) + 1}"} for name, told in parameters.items()}
    return {
        "wide": {"name": "wide", **common, "time": {"column": "time"}, "parameters": parameters},
        "long": {
            "name": "long",
            **common,
            "time": {"column": "time"},
            "layout": {"kind": "long", "parameter_column": "metric", "value_column": "value"},
            "parameters": parameters,
        },
        "headerless": {
            "name": "headerless",
            "entity": {"keys": ["column_2", "column_3"], "cohort": "column_3"},
            "time": {"column": "column_1"},
            "files": {"header": False},
            "parameters": places,
        },
    }


def rows_of(layout: str, *, count: int, customer: str, chance: random.Random) -> list[Row]:
    """Healthy rows, a minute (long: a minute and metric) each."""
    if layout == "long":
        metrics = ("queries", "query_time", "cpu")
        return [[_at(n // 3), customer, "eu", metrics[n % 3], f"{chance.uniform(0, 100):.3f}", "ok"] for n in range(count)]
    return [[_at(n), customer, "eu", *(f"{chance.uniform(0, 100):.3f}" for _ in range(3)), "ok"] for n in range(count)]


def _at(minute: int) -> str:
    return (START + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")


# Delimited text: lines.


def lines_changed(change: Callable[[bytes, random.Random], bytes], *, bad: bool = True) -> TextKind:
    """Some lines are changed, and each remains one row."""

    def kind(draw: Draw) -> Damaged:
        lines, places = draw.lines(), draw.some()
        for place in places:
            lines[place] = change(lines[place], draw.chance)
        return Damaged(content=draw.text(lines), rows=len(lines), bad=len(places) if bad else 0)

    return kind


def lines_between(line: Callable[[Draw], bytes], *, row: bool) -> TextKind:
    """Lines are put between others; they are rows, or nothing at all."""

    def kind(draw: Draw) -> Damaged:
        lines, places = draw.lines(), draw.some()
        for place in reversed(places):
            lines.insert(place + 1, line(draw))
        return Damaged(content=draw.text(lines), rows=len(draw.rows) + (len(places) if row else 0), bad=len(places) if row else 0)

    return kind


def cells_changed(column: str, value: str, *, bad: bool = True) -> TextKind:
    """Some rows have another value in a column; `value` stands for itself, and for `number` in the long layout too."""

    def kind(draw: Draw) -> Damaged:
        names = LONG if len(draw.rows[0]) == len(LONG) else WIDE
        place = names.index("value" if names is LONG and column == "query_time" else column)
        places = draw.some()
        for row in places:
            draw.rows[row][place] = value
        return Damaged(content=draw.text(draw.lines()), rows=len(draw.rows), bad=len(places) if bad else 0)

    return kind


def whole(change: Callable[[bytes, random.Random], bytes], *, refused: Refused = "never", bad: int | None = 0) -> TextKind:
    """The whole text is written in another way; the rows are the same."""

    def kind(draw: Draw) -> Damaged:
        return Damaged(content=change(draw.text(draw.lines()), draw.chance), rows=len(draw.rows), bad=bad, refused=refused)

    return kind


def _too_few(line: bytes, chance: random.Random) -> bytes:
    fields = line.split(b",")
    return b",".join(fields[: chance.randint(1, len(fields) - 1)])


def _within(line: bytes, chance: random.Random, what: bytes) -> bytes:
    place = chance.randint(1, len(line) - 1)
    return line[:place] + what + line[place:]


def _opened(line: bytes, chance: random.Random) -> bytes:
    fields = line.split(b",")
    place = chance.randrange(len(fields))
    fields[place] = b'"' + fields[place]
    return b",".join(fields)


def _noted(note: bytes) -> Callable[[bytes, random.Random], bytes]:
    return lambda line, _: line.rpartition(b",")[0] + b"," + note


def cut_last_line(draw: Draw) -> Damaged:
    """The export was stopped in the middle of a row."""
    lines = draw.lines()
    lines[-1] = _too_few(lines[-1], draw.chance)
    return Damaged(content=draw.text(lines, last=b""), rows=len(lines), bad=1)


def mixed_line_ends(draw: Draw) -> Damaged:
    """Lines end by LF, CR LF and CR."""
    lines = [line + draw.chance.choice((b"\n", b"\r\n", b"\r")) for line in draw.lines()]
    above = ",".join(draw.header).encode() + b"\n" if draw.header else b""
    return Damaged(content=above + b"".join(lines), rows=len(lines))


def two_quotes_apart(draw: Draw) -> Damaged:
    """A quote is opened in one row, and another one in a later row."""
    lines = draw.lines()
    for place in (3, 3 + draw.chance.randint(1, 20)):
        lines[place] = lines[place].replace(b",eu,", b',"eu,')
    return Damaged(content=draw.text(lines), rows=len(lines), bad=2)


def quoted_line_ends(draw: Draw) -> Damaged:
    """A quoted note goes on over several lines."""
    lines, places = draw.lines(), draw.some()
    for place in places:
        lines[place] = lines[place].rpartition(b",")[0] + b',"first\nsecond, and\n\nlast"'
    return Damaged(content=draw.text(lines), rows=len(lines))


def all_quoted(draw: Draw) -> Damaged:
    """Every field is quoted, and one row has a field too many."""
    lines = [b'"' + line.replace(b",", b'","') + b'"' for line in draw.lines()]
    lines[5] += b',"surplus"'
    return Damaged(content=draw.text(lines), rows=len(lines), bad=1)


def rows_repeated(draw: Draw) -> Damaged:
    """Some rows come twice, word for word."""
    lines = draw.lines()
    lines += [lines[place] for place in draw.some()]
    return Damaged(content=draw.text(lines), rows=len(lines))


def header_only(draw: Draw) -> Damaged:
    """The export found nothing."""
    return Damaged(content=draw.text([]) if draw.header else b"", rows=0, refused="always")


def columns_named_twice(draw: Draw) -> Damaged:
    """A column that is read is there twice."""
    if not draw.header:
        return header_only(draw)
    draw.header[-1] = "customer"
    return Damaged(content=draw.text(draw.lines()), rows=len(draw.rows), bad=None, refused="always")


def column_missing(draw: Draw) -> Damaged:
    """The last but one column was left out."""
    header = [*draw.header[:-2], *draw.header[-1:]]
    lines = [",".join([*row[:-3], *row[-1:]]).encode() for row in draw.rows]
    text = Draw(header, draw.rows, draw.chance).text(lines)
    return Damaged(content=text, rows=len(lines), bad=None, refused="always")


def trailing_separators(draw: Draw) -> Damaged:
    """Every row has an empty field too many."""
    lines = [line + b",,,"[: draw.chance.randint(1, 3)] for line in draw.lines()]
    return Damaged(content=draw.text(lines), rows=len(lines), bad=None, refused="maybe" if not draw.header else "always")


def preamble(draw: Draw) -> Damaged:
    """Three lines about the export stand above the header, and count as rows since they are none of it."""
    about = b"# exported by hand\n# on a Monday\n"
    return Damaged(content=about + draw.text(draw.lines()), rows=len(draw.rows) + 2, bad=None, refused="always" if draw.header else "maybe")


def bytes_flipped(draw: Draw) -> Damaged:
    """Bytes of rows are others, but no line end, quote or separator comes or goes."""
    lines = draw.lines()
    for _ in range(draw.chance.randint(1, 12)):
        place = draw.chance.randrange(len(lines))
        line = bytearray(lines[place])
        free = [at for at, byte in enumerate(line) if byte not in b',"\r\n']
        line[draw.chance.choice(free)] = draw.chance.choice([byte for byte in range(256) if byte not in b',"\r\n'])
        lines[place] = bytes(line)
    return Damaged(content=draw.text(lines), rows=len(lines), bad=None)


def wholly_damaged(draw: Draw) -> Damaged:
    """No row has the right number of fields."""
    lines = [line + b",x" * (1 + place % 2) if draw.header else b'"' + line for place, line in enumerate(draw.lines())]
    return Damaged(content=draw.text(lines), rows=len(lines), bad=None, refused="always")


_TIME_BAD: Final = ("soon", "", "2026-13-45T00:00:00Z", "1970-01-01T00:00:00Z", "2199-01-01T00:00:00Z", "1767225600")
_NUMBER_BAD: Final = ("many", "1.2.3", "inf", "-Infinity", "1e400", "0x1F", "12 ms", "--", "1_000")
_NUMBER_NONE: Final = ("", "NaN", "NA", "null", "N/A")
_NUMBER_GOOD: Final = ("99999999999999999999999", "1e3", "-0", " 5 ", "+7", ".5", "0005")

DELIMITED: Final[dict[str, TextKind]] = {
    "too many fields": lines_changed(lambda line, chance: line + b",x" * chance.randint(1, 300)),
    "too few fields": lines_changed(_too_few),
    "last line cut": cut_last_line,
    "no last line end": lambda draw: Damaged(content=draw.text(draw.lines(), last=b""), rows=len(draw.rows)),
    "quote never closed": lines_changed(_opened),
    "quotes opened twice": two_quotes_apart,
    "text behind a quote": lines_changed(lambda line, _: line.replace(b",eu,", b',"eu"x,')),
    "quote in a note": lines_changed(_noted(b'5" pipe'), bad=False),
    "separator in quotes": lines_changed(_noted(b'"one, two"'), bad=False),
    "quotes in quotes": lines_changed(_noted(b'"say ""no"""'), bad=False),
    "line ends in quotes": quoted_line_ends,
    "all quoted": all_quoted,
    "zero bytes": lines_changed(lambda line, chance: _within(line, chance, b"\0" * chance.randint(1, 300))),
    "a hole of zeros": lines_between(lambda draw: b"\0" * draw.chance.randint(10, 3000), row=True),
    "no UTF-8": lines_changed(lambda line, chance: _within(line, chance, chance.choice((b"\xe9", b"\xff", b"\xc3", b"\xed\xa0\x80")))),
    "mark of UTF-8": whole(lambda text, _: b"\xef\xbb\xbf" + text),
    "UTF-16": whole(lambda text, chance: text.decode().encode(chance.choice(("utf-16", "utf-16-le", "utf-16-be")))),
    "CR LF": whole(lambda text, _: text.replace(b"\n", b"\r\n")),
    "CR": whole(lambda text, _: text.replace(b"\n", b"\r")),
    "mixed line ends": mixed_line_ends,
    "empty lines": lines_between(lambda _: b"", row=False),
    "blank lines": lines_between(lambda draw: b" " * draw.chance.randint(1, 9), row=False),
    "empty lines at the end": whole(lambda text, chance: text + b"\n" * chance.randint(1, 9)),
    "end of file as DOS has it": whole(lambda text, _: text + b"\x1a"),
    "header repeated": lines_between(lambda draw: ",".join(draw.header or WIDE).encode(), row=True),
    "only separators": lines_between(lambda draw: b"," * (len(draw.rows[0]) - 1), row=True),
    "header named twice": columns_named_twice,
    "header only": header_only,
    "nothing but blank lines": lambda draw: Damaged(content=b"\n \n" * draw.chance.randint(1, 9), rows=0, refused="always"),
    "column missing": column_missing,
    "trailing separators": trailing_separators,
    "preamble": preamble,
    "other separator": whole(lambda text, _: text.replace(b",", b";"), refused="always", bad=None),
    "huge note": lines_changed(_noted(b"x" * 300_000), bad=False),
    "huge quote": lines_changed(_noted(b'"' + b"x" * 300_000)),
    "blanks around": whole(lambda text, _: text.replace(b",", b" , ")),
    "bytes flipped": bytes_flipped,
    "wholly damaged": wholly_damaged,
    "rows repeated": rows_repeated,
    "no zone": whole(lambda text, _: text.replace(b"Z,", b",", 1), refused="maybe", bad=None),
    "no key": cells_changed("customer", ""),
    "slash in a key": cells_changed("customer", "a/b"),
    **{f"time {value or 'missing'}": cells_changed("time", value) for value in _TIME_BAD},
    **{f"number {value}": cells_changed("query_time", value) for value in _NUMBER_BAD},
    **{f"number {value or 'missing'} is nothing": cells_changed("query_time", value, bad=False) for value in _NUMBER_NONE},
    **{f"number {value.strip()} is one": cells_changed("query_time", value, bad=False) for value in _NUMBER_GOOD},
}


# Packed text.


def packed_and_cut(draw: Draw) -> Damaged:
    """The copy of a packed file ended too early: the rows that can be unpacked, and one that breaks off."""
    packed = gzip.compress(draw.text(draw.lines()), mtime=0)
    cut = packed[: draw.chance.randint(len(packed) // 2, len(packed) - 9)]
    there = zlib.decompressobj(wbits=31).decompress(cut)
    return Damaged(content=cut, rows=there.count(b"\n") - bool(draw.header) + 1, bad=1)


def packed_with_wrong_sum(draw: Draw) -> Damaged:
    """The sum at the end does not agree: all rows are there, and what is wrong is told as one more."""
    packed = bytearray(gzip.compress(draw.text(draw.lines()), mtime=0))
    packed[-7] ^= 0xFF
    return Damaged(content=bytes(packed), rows=len(draw.rows) + 1, bad=1)


def packed_twice_over(draw: Draw) -> Damaged:
    """Two packed files, one behind the other; the second has no header."""
    lines = draw.lines()
    half = len(lines) // 2
    second = b"\n".join(lines[half:]) + b"\n"
    return Damaged(content=gzip.compress(draw.text(lines[:half]), mtime=0) + gzip.compress(second, mtime=0), rows=len(lines))


PACKED: Final[dict[str, TextKind]] = {
    "packed and cut": packed_and_cut,
    "packed, wrong sum": packed_with_wrong_sum,
    "packed, two in one": packed_twice_over,
    "packed, zeros behind": whole(lambda text, _: gzip.compress(text, mtime=0) + b"\0" * 512),
    "packed, not at all": whole(lambda text, _: text),
    "packed, cut in the header": lambda draw: Damaged(
        content=gzip.compress(draw.text(draw.lines()), mtime=0)[:12], rows=0, bad=None, refused="always"
    ),
}


# JSON lines.


def json_lines(draw: Draw, layout: str) -> list[dict[str, Any]]:
    """The rows as objects, numbers as numbers."""
    names = LAYOUT[layout]
    numbers = {"queries", "query_time", "cpu", "value"}
    return [{name: float(cell) if name in numbers else cell for name, cell in zip(names, row, strict=True)} for row in draw.rows]


JsonKind = Callable[[Draw, str], Damaged]


def json_changed(change: Callable[[bytes, random.Random], bytes], *, bad: bool | None = True) -> JsonKind:
    """Some lines are changed, and each remains one row."""

    def kind(draw: Draw, layout: str) -> Damaged:
        lines = [json.dumps(row).encode() for row in json_lines(draw, layout)]
        places = draw.some()
        for place in places:
            lines[place] = change(lines[place], draw.chance)
        return Damaged(content=b"\n".join(lines) + b"\n", rows=len(lines), bad=None if bad is None else len(places) if bad else 0)

    return kind


def json_whole(change: Callable[[bytes, random.Random], bytes], *, refused: Refused = "never", bad: int | None = 0) -> JsonKind:
    """The whole text is written in another way; the rows are the same."""

    def kind(draw: Draw, layout: str) -> Damaged:
        text = b"\n".join(json.dumps(row).encode() for row in json_lines(draw, layout)) + b"\n"
        return Damaged(content=change(text, draw.chance), rows=len(draw.rows), bad=bad, refused=refused)

    return kind


def json_value(column: str, value: bytes, *, bad: bool | None = True) -> JsonKind:
    """Some lines have another value in a column."""

    def change(line: bytes, _: random.Random) -> bytes:
        row = json.loads(line)
        row["value" if column == "query_time" and "value" in row else column] = "@"
        return json.dumps(row).encode().replace(b'"@"', value)

    return json_changed(change, bad=bad)


def json_cut(draw: Draw, layout: str) -> Damaged:
    """The export was stopped in the middle of an object."""
    lines = [json.dumps(row).encode() for row in json_lines(draw, layout)]
    lines[-1] = lines[-1][: draw.chance.randint(1, len(lines[-1]) - 1)]
    return Damaged(content=b"\n".join(lines), rows=len(lines), bad=1)


def json_packed_and_cut(draw: Draw, layout: str) -> Damaged:
    """As of delimited text."""
    packed = gzip.compress(b"\n".join(json.dumps(row).encode() for row in json_lines(draw, layout)) + b"\n", mtime=0)
    cut = packed[: draw.chance.randint(len(packed) // 2, len(packed) - 9)]
    return Damaged(content=cut, rows=zlib.decompressobj(wbits=31).decompress(cut).count(b"\n") + 1, bad=1)


def json_list(draw: Draw, layout: str) -> Damaged:
    """One list over many lines, each of which counts as a row though only the last but one is an object."""
    lines = [json.dumps(row).encode() for row in json_lines(draw, layout)]
    return Damaged(content=b"[\n" + b",\n".join(lines) + b"\n]\n", rows=len(lines) + 2, bad=None, refused="always")


_NO_OBJECT: Final = (b"5", b"[1, 2]", b'"text"', b"null", b"true", b"{", b"nothing", b"{'a': 1}", b"// a comment", b'{"a": 1,}', b"NaN")

JSON: Final[dict[str, JsonKind]] = {
    **{f"line {text.decode()}": json_changed(lambda _, __, text=text: text) for text in _NO_OBJECT},  # type: ignore[misc]
    "line cut": json_changed(lambda line, chance: line[: chance.randint(1, len(line) - 1)]),
    "two on a line": json_changed(lambda line, _: line + line),
    "comma behind": json_changed(lambda line, _: line + b","),
    "no UTF-8": json_changed(lambda line, _: line.replace(b'"ok"', b'"caf\xe9"')),
    "zero bytes": json_changed(lambda line, chance: _within(line, chance, b"\0")),
    "nested too deeply": json_changed(lambda _, __: b'{"time": ' + b"[" * 50_000),
    "nothing in it": json_changed(lambda _, __: b"{}"),
    "half a character": json_changed(lambda line, _: line.replace(b'"ok"', b'"\\ud800"'), bad=None),
    "last line cut": json_cut,
    "mark of UTF-8": json_whole(lambda text, _: b"\xef\xbb\xbf" + text),
    "UTF-16": json_whole(lambda text, _: text.decode().encode("utf-16")),
    "CR LF": json_whole(lambda text, _: text.replace(b"\n", b"\r\n")),
    "empty lines": json_whole(lambda text, _: text.replace(b"\n", b"\n\n")),
    "blank lines": json_whole(lambda text, _: text.replace(b"\n", b"\n  \n")),
    "one list": json_whole(lambda text, _: b"[" + text.strip().replace(b"\n", b",") + b"]", refused="always", bad=None),
    "one list over lines": json_list,
    "nothing": lambda _, __: Damaged(content=b"", rows=0, refused="always"),
    "number as text": json_value("query_time", b'"5.5"', bad=False),
    "text for a number": json_value("query_time", b'"many"'),
    "bool for a number": json_value("query_time", b"true", bad=None),
    "list for a number": json_value("query_time", b"[1, 2]"),
    "object for a number": json_value("query_time", b'{"a": 1}'),
    "null for a number": json_value("query_time", b"null", bad=False),
    "NaN": json_value("query_time", b"NaN", bad=False),
    "Infinity": json_value("query_time", b"Infinity"),
    "1e400": json_value("query_time", b"1e400"),
    "beyond 64 bits": json_value("query_time", b"99999999999999999999999", bad=False),
    "number for a key": json_value("customer", b"17", bad=False),
    "null for a key": json_value("customer", b"null"),
    "number for a time": json_value("time", b"1767225600"),
    "null for a time": json_value("time", b"null"),
    "list for a note": json_value("note", b"[1, {}]", bad=False),
    "huge note": json_value("note", b'"' + b"x" * 300_000 + b'"', bad=False),
    "another column": json_changed(lambda line, chance: line[:-1] + b', "extra %d": 1}' % chance.randint(0, 9), bad=False),
}


# Parquet.


def typed(draw: Draw, layout: str) -> pl.DataFrame:
    """The rows with times and numbers."""
    frame = pl.DataFrame(json_lines(draw, layout))
    return frame.with_columns(pl.col("time").str.to_datetime(time_zone="UTC"))


ParquetKind = Callable[[Draw, str], Damaged]


def parquet(change: Callable[[pl.DataFrame], pl.DataFrame], *, bad: int | None = 0, refused: Refused = "never") -> ParquetKind:
    """The table is another one."""

    def kind(draw: Draw, layout: str) -> Damaged:
        frame = change(typed(draw, layout))
        return Damaged(content=_written(frame), rows=frame.height, bad=bad, refused=refused)

    return kind


def parquet_bytes(change: Callable[[bytes, random.Random], bytes], *, refused: Refused = "always") -> ParquetKind:
    """The bytes of the file are others."""

    def kind(draw: Draw, layout: str) -> Damaged:
        frame = typed(draw, layout)
        return Damaged(content=change(_written(frame), draw.chance), rows=frame.height, bad=None, refused=refused)

    return kind


def _written(frame: pl.DataFrame) -> bytes:
    target = io.BytesIO()
    frame.write_parquet(target)
    return target.getvalue()


def _garbled(content: bytes, chance: random.Random) -> bytes:
    garbled = bytearray(content)
    for _ in range(chance.randint(1, 40)):
        garbled[chance.randrange(4, len(garbled) - 8)] ^= 1 << chance.randrange(8)
    return bytes(garbled)


def _first(column: str, value: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 0).then(value).otherwise(pl.col(column)).alias(column) if column in frame.columns else pl.all()
    )


def _number(frame: pl.DataFrame) -> str:
    return "value" if "value" in frame.columns else "query_time"


def _number_as(dtype: pl.DataType | type[pl.DataType]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.col(_number(frame)).cast(dtype))


PARQUET: Final[dict[str, ParquetKind]] = {
    "cut": parquet_bytes(lambda content, chance: content[: chance.randrange(len(content))]),
    "without its end": parquet_bytes(lambda content, _: content[:-8]),
    "without its beginning": parquet_bytes(lambda content, _: content[100:], refused="maybe"),
    "no magic": parquet_bytes(lambda content, _: content[:-4] + b"XXXX"),
    "length of the footer": parquet_bytes(lambda content, _: content[:-8] + b"\xff\xff\xff\x7f" + content[-4:]),
    "bits flipped": parquet_bytes(_garbled, refused="maybe"),
    "zeros in the middle": parquet_bytes(lambda content, _: content[:50] + b"\0" * 200 + content[250:], refused="maybe"),
    "another format": lambda draw, _: Damaged(content=draw.text(draw.lines()), rows=len(draw.rows), bad=None, refused="always"),
    "nothing": lambda _, __: Damaged(content=b"", rows=0, refused="always"),
    "no row": parquet(lambda frame: frame.clear(), refused="always"),
    "numbers as text": parquet(_number_as(pl.String)),
    "numbers as decimals": parquet(_number_as(pl.Decimal(20, 3))),
    "numbers in 32 bits": parquet(_number_as(pl.Float32)),
    "numbers in lists": parquet(
        lambda frame: frame.with_columns(pl.concat_list(_number(frame)).alias(_number(frame))), refused="always", bad=None
    ),
    "numbers as bytes": parquet(
        lambda frame: frame.with_columns(pl.col(_number(frame)).cast(pl.String).cast(pl.Binary)), refused="always", bad=None
    ),
    "NaN": parquet(lambda frame: _first(_number(frame), pl.lit(float("nan")))(frame)),
    "infinite": parquet(lambda frame: _first(_number(frame), pl.lit(float("inf")))(frame), bad=1),
    "no time": parquet(_first("time", pl.lit(None)), bad=1),
    "no key": parquet(_first("customer", pl.lit(None)), bad=1),
    "time of another age": parquet(_first("time", pl.lit(datetime(1970, 1, 1, tzinfo=UTC))), bad=1),
    "time without a zone": parquet(lambda frame: frame.with_columns(pl.col("time").dt.replace_time_zone(None)), refused="always", bad=None),
    "time in milliseconds": parquet(lambda frame: frame.with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC")))),
    "time in nanoseconds": parquet(lambda frame: frame.with_columns(pl.col("time").cast(pl.Datetime("ns", "UTC")))),
    "time in another zone": parquet(lambda frame: frame.with_columns(pl.col("time").dt.convert_time_zone("Europe/Helsinki"))),
    "keys as categories": parquet(lambda frame: frame.with_columns(pl.col("customer").cast(pl.Categorical))),
    "keys as numbers": parquet(lambda frame: frame.with_columns(pl.lit(17).alias("customer"))),
    "note nested": parquet(lambda frame: frame.with_columns(pl.struct(pl.lit(1).alias("a"), pl.lit([1, 2]).alias("b")).alias("note"))),
    "column missing": parquet(lambda frame: frame.drop(_number(frame)), refused="always", bad=None),
    "columns in another order": parquet(lambda frame: frame.select(reversed(frame.columns))),
    "blanks in names": parquet(lambda frame: frame.rename({name: f" {name} " for name in frame.columns})),
    "a column of our own": parquet(lambda frame: frame.with_columns(pl.lit(1).alias("__row__")), refused="maybe", bad=None),
}

STRANGE_ENDINGS: Final[dict[str, tuple[str, Refused, Callable[[Draw, str], bytes]]]] = {
    "Parquet called CSV": ("csv", "always", lambda draw, layout: _written(typed(draw, layout))),
    "packed called CSV": ("csv", "never", lambda draw, _: gzip.compress(draw.text(draw.lines()), mtime=0)),
    "JSON called CSV": (
        "csv",
        "always",
        lambda draw, layout: b"\n".join(json.dumps(row).encode() for row in json_lines(draw, layout)) + b"\n",
    ),
    "CSV called JSON": ("jsonl", "always", lambda draw, _: draw.text(draw.lines())),
    "binary": ("csv", "always", lambda draw, _: b"\0" + draw.chance.randbytes(5000)),
    "a spreadsheet": ("csv", "always", lambda draw, _: b"PK\x03\x04" + draw.chance.randbytes(5000)),
}


def planted(*, seed: int = 0, variations: int = 1, only: frozenset[str] = frozenset()) -> Iterator[Planted]:
    """Every kind in every format and layout that it fits; the same for the same seed."""
    number = 0
    for layout in LAYOUT:
        for format_, kinds in _KINDS.items():
            if layout == "headerless" and format_ not in ("csv", "csv.gz"):
                continue
            for kind, make in kinds.items():
                for variation in range(variations):
                    number += 1
                    if only and kind not in only:
                        continue
                    told = f"{seed} {layout} {format_} {kind} {variation}"
                    chance = random.Random(told)  # noqa: S311  (repeatable on purpose)
                    rows = rows_of(layout, count=chance.randint(30, 90), customer=f"c{number}", chance=chance)
                    header = [] if layout == "headerless" else list(LAYOUT[layout])
                    draw = Draw(header, rows, chance)
                    cpu = {START + timedelta(minutes=n): float(row[5]) for n, row in enumerate(rows)} if layout != "long" else {}
                    ending, file = make(draw, layout, format_)
                    yield Planted(kind=kind, name=f"f{number:04d}.{ending}", layout=layout, file=file, cpu=cpu)


Make = Callable[[Draw, str, str], tuple[str, Damaged]]


def _of_text(kind: TextKind) -> Make:
    def make(draw: Draw, _: str, format_: str) -> tuple[str, Damaged]:
        file = kind(draw)
        if format_ == "csv.gz" and kind not in PACKED.values():
            packed = gzip.compress(file.content, mtime=0)
            return format_, Damaged(content=packed, rows=file.rows, bad=file.bad, refused=file.refused)
        return format_, file

    return make


def _of_object(kind: Callable[[Draw, str], Damaged]) -> Make:
    return lambda draw, layout, format_: (format_, kind(draw, layout))


def _of_ending(ending: str, refused: Refused, write: Callable[[Draw, str], bytes]) -> Make:
    def make(draw: Draw, layout: str, _: str) -> tuple[str, Damaged]:
        binary = ending == "csv" and refused == "always" and write is not STRANGE_ENDINGS["JSON called CSV"][2]
        rows = 0 if binary else len(draw.rows)
        return ending, Damaged(content=write(draw, layout), rows=rows, bad=None if refused == "always" else 0, refused=refused)

    return make


_KINDS: Final[dict[str, dict[str, Make]]] = {
    "csv": {kind: _of_text(make) for kind, make in DELIMITED.items()},
    "csv.gz": {kind: _of_text(make) for kind, make in {**DELIMITED, **PACKED}.items()},
    "jsonl": {kind: _of_object(make) for kind, make in JSON.items()},
    "jsonl.gz": {"packed and cut": _of_object(json_packed_and_cut)},
    "parquet": {kind: _of_object(make) for kind, make in PARQUET.items()},
    "other": {kind: _of_ending(*told) for kind, told in STRANGE_ENDINGS.items()},
}
