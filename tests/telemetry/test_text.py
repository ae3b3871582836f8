"""Damaged text gives its sound rows and tells every other one: none vanishes, none is read as what it is not."""

import bz2
import csv
import gzip
import io
import lzma
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from telemetry import jsonlines, text
from telemetry.errors import BadValueError, EmptySourceError
from telemetry.feeds import ROW_INDEX, Opened
from telemetry.pieces import settled
from telemetry.survey import lines_of, shape_of
from telemetry.unpacking import BrokenOffError, text_of, whole_lines

HEALTHY = b"a,b\n1,2\n3,4\n"


def gzipped(content: bytes) -> bytes:
    """Without the time of day, which would go into the names of tests: workers that share a run must agree on those."""
    return gzip.compress(content, mtime=0)


def delimited(content: bytes, *, header: bool = True, chunk: int = 1 << 20, block_bytes: int = 1 << 20, **how: Any) -> Opened:
    return settled(
        lambda: text.pieces(
            text_of(chunks(content, chunk)), name="x.csv", columns=text.names_of, separator=b",", header=header, block_bytes=block_bytes
        ),
        name="x.csv",
        **how,
    )


def objects(content: bytes, *, block_bytes: int = 1 << 20, **how: Any) -> Opened:
    return settled(lambda: jsonlines.pieces(text_of(chunks(content)), block_bytes=block_bytes), name="x.jsonl", **how)


def chunks(content: bytes, size: int = 1 << 20) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def rows(found: Opened) -> list[tuple[Any, ...]]:
    return found.frame.collect().rows()


def told(found: Opened) -> list[tuple[Any, ...]]:
    return found.damaged.rows()


@pytest.mark.parametrize(
    ("line", "reason", "shown"),
    [
        (b"5", "has 1 field, expected 2", "5"),
        (b"5,6,7", "has 3 fields, expected 2", "5,6,7"),
        (b'5,"6', "has a quote that is never closed", '5,"6'),
        (b'"5"x,6', """is no delimited text: ',' expected after '"'""", '"5"x,6'),
        (b"5,\x006", "holds zero bytes", "5,\\x006"),
        (b"\0\0\0\0", "holds zero bytes", "\\x00" * 4),
        (b"5,caf\xe9", "is no UTF-8 text at byte 6", "5,caf\\xe9"),
        (b"a,b", "repeats the header", "a,b"),
        (b"5," * 257 + b"6", "has 258 fields, expected 2", "5," * 257 + "6"),  # 256 too many
    ],
)
def test_a_damaged_line_is_told_with_its_number_reason_and_text_and_reading_goes_on(line: bytes, reason: str, shown: str) -> None:
    found = delimited(b"a,b\n1,2\n" + line + b"\n3,4\n")
    assert (rows(found), told(found)) == ([(1, "1", "2"), (3, "3", "4")], [(2, reason, shown)])


def test_a_file_that_was_cut_in_its_last_line_loses_that_line_only() -> None:
    found = delimited(HEALTHY + b"5")
    assert (len(rows(found)), told(found)) == (2, [(3, "has 1 field, expected 2", "5")])


def test_a_quoted_field_may_hold_separators_quotes_and_line_ends() -> None:
    found = delimited(b'a,b\n"1\n\n1","2, ""2"""\n3,4\n')
    assert (rows(found), told(found)) == ([(1, "1\n\n1", '2, "2"'), (2, "3", "4")], [])


@pytest.mark.parametrize("block_bytes", range(1, 24))
def test_a_closing_quote_is_found_in_the_next_block(block_bytes: int) -> None:
    found = delimited(b'a,b\n1,2\n"3\n\n3",4\n5,6\n', block_bytes=block_bytes)
    assert (rows(found), told(found)) == ([(1, "1", "2"), (2, "3\n\n3", "4"), (3, "5", "6")], [])


def test_a_closing_quote_is_not_looked_for_without_end() -> None:
    found = delimited(b'a,b\n"1\n' + b"x,y\n" * 200 + b'",2\n3,4\n')
    assert ([row[0] for row in told(found)], len(rows(found))) == ([1, 202], 201)


def test_a_return_alone_within_a_line_is_no_part_of_a_healthy_one() -> None:
    shape = shape_of(b"a,b", separator=b",", header=True)
    assert shape is not None
    assert lines_of(b"1,2\r\n1\r,2\n\r1,2\n1,2\r\r\n1,2\n", shape=shape).faulty.tolist() == [False, True, True, True, False]


def test_utf16_that_is_cut_within_a_character_shows_it() -> None:
    found = delimited(HEALTHY.decode().encode("utf-16") + b"5")
    assert (len(rows(found)), told(found)) == (2, [(3, "has 1 field, expected 2", "\ufffd")])


def test_of_two_quotes_that_are_opened_apart_each_costs_its_own_row() -> None:
    found = delimited(b'a,b\n"1,2\n3,4\n5,"6\n7,8\n')
    assert ([row[0] for row in rows(found)], [row[0] for row in told(found)]) == ([2, 4], [1, 3])


def test_a_line_end_of_two_bytes_may_come_in_two_chunks() -> None:
    found = delimited(b"a\r\n" + b"1\r\n" * 3000, chunk=7)
    assert len(rows(found)) == 3000


def test_a_quote_within_a_field_is_a_character_of_it() -> None:
    assert rows(delimited(b'a,b\n5" pipe,2\n')) == [(1, '5" pipe', "2")]


@pytest.mark.parametrize(
    "content",
    [
        HEALTHY.replace(b"\n", b"\r\n"),
        HEALTHY.replace(b"\n", b"\r"),
        b"a,b\r\n1,2\r3,4\n",
        b"\n  \na,b\n\n1,2\n\t\n3,4\n\n\n\x1a",
        b"\xef\xbb\xbf" + HEALTHY,
        HEALTHY.decode().encode("utf-16"),
        HEALTHY.decode().encode("utf-16-le"),
        HEALTHY.decode().encode("utf-16-be"),
        gzipped(HEALTHY),
        gzipped(HEALTHY[:8]) + gzipped(HEALTHY[8:]) + b"\0" * 100,
        bz2.compress(HEALTHY),
        lzma.compress(HEALTHY),
        pa.compress(HEALTHY, codec="zstd", asbytes=True),
        gzipped(HEALTHY.decode().encode("utf-16")),
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_line_ends_blank_lines_encodings_and_packings_do_not_matter(content: bytes, chunk: int) -> None:
    if chunk == 1 and content[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5"):
        chunk = 8  # a packing is known by its first bytes, which come together
    found = delimited(content, chunk=chunk)
    assert (rows(found), told(found)) == ([(1, "1", "2"), (2, "3", "4")], [])


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("chunk", [1, 20])
def test_in_a_single_column_an_empty_line_is_a_value_that_is_missing(end: bytes, chunk: int) -> None:
    content = b"a\n\n1\n\n".replace(b"\n", end)
    assert rows(delimited(content, chunk=chunk)) == [(1, None), (2, "1"), (3, None)]
    assert rows(delimited(content, chunk=chunk, block_bytes=1)) == [(1, None), (2, "1"), (3, None)]
    assert rows(delimited(b"\n1\n", header=False)) == [(1, None), (2, "1")]


def test_without_a_header_the_width_is_that_of_most_rows() -> None:
    found = delimited(b"1\n1,2\n3,4\n", header=False)
    assert (found.frame.collect().columns, rows(found)) == ([ROW_INDEX, "column_1", "column_2"], [(2, "1", "2"), (3, "3", "4")])


@pytest.mark.parametrize("cut", range(1, 9))
def test_packed_text_that_breaks_off_gives_the_rows_before_and_one_that_tells_it(cut: int) -> None:
    content = b"a,b\n" + b"".join(b"%d,%d\n" % (number, number * 7919 % 104729) for number in range(5000))
    packed = gzip.compress(content)
    found = delimited(packed[: len(packed) * cut // 9])
    (last,) = told(found)
    assert rows(found) == [(n + 1, str(n), str(n * 7919 % 104729)) for n in range(last[0] - 1)]
    assert (last[0] > 200, last[1]) == (True, text.BROKEN_OFF)


def test_a_wrong_sum_at_the_end_of_packed_text_costs_no_row_and_is_told() -> None:
    packed = bytearray(gzip.compress(HEALTHY))
    packed[-6] ^= 1
    found = delimited(bytes(packed))
    assert (len(rows(found)), told(found)) == (2, [(3, text.BROKEN_OFF, "")])


@pytest.mark.parametrize("content", [b"", b"\n", b"a,b\n", b"\xef\xbb\xbfa,b", gzipped(b"")])
def test_text_without_a_row_is_empty(content: bytes) -> None:
    with pytest.raises(EmptySourceError, match=r"x\.csv holds no row\.\nHint: "):
        delimited(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)), r"x\.csv cannot be read as delimited text: it begins with .*, expected a header in UTF-8"),
        ("a,é\n1,2\n".encode("latin-1"), r"begins with 'a,\\\\xe9', expected a header in UTF-8"),
        (gzipped(HEALTHY)[:11], r"x\.csv cannot be unpacked: it breaks off before its first row"),
        (b"a,b\n1\n2\n", r"x\.csv: none of its 2 rows can be read; the first, row 1: has 1 field, expected 2"),
    ],
)
def test_text_that_cannot_be_read_at_all_is_refused_with_a_hint(content: bytes, message: str) -> None:
    with pytest.raises(BadValueError, match=rf"{message}(.|\n)*Hint: "):
        delimited(content)


def test_a_part_of_which_very_many_rows_are_damaged_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.pieces._MANY", 50)
    assert delimited(HEALTHY + b"5\n" * 50, block_bytes=10).damaged.height == 50
    with pytest.raises(BadValueError, match=r"5\d of its first 5\d rows cannot be read; the first, row 3: has 1 field"):
        delimited(HEALTHY + b"5\n" * 60, block_bytes=10)


def test_a_row_of_any_length_is_kept_up_to_a_length() -> None:
    found = delimited(HEALTHY + b'"' + b"x" * 100_000 + b"\n")
    assert told(found)[0][2] == f'"{"x" * 19_999} ... (100001 characters)'


_texts = st.text(alphabet='ab1,"\n\r\0 é', max_size=60).map(str.encode)
_bytes = st.lists(st.sampled_from([b"1", b",", b'"', b"\n", b"\r", b"\0", b"\xe9", b"\xc3\xa9", b" ", b"a,b\n"]), max_size=40).map(b"".join)


@given(content=st.one_of(_texts, _bytes))
def test_every_line_is_found_sound_or_faulty_as_one_by_one(content: bytes) -> None:
    shape = shape_of(b"a,b", separator=b",", header=True)
    assert shape is not None
    lines = content.split(b"\n")
    body = content + b"\n"

    def sound(line: bytes) -> bool:
        plain = line.removesuffix(b"\r")
        if b"\0" in line or b"\r" in plain or plain == b"a,b":
            return False
        try:
            fields = next(csv.reader([plain.decode()], strict=True), [])
        except (csv.Error, UnicodeDecodeError):
            return False
        return len(fields) == 2 and all(
            '"' not in field or plain.count(f'"{field.replace(chr(34), chr(34) * 2)}"'.encode()) > 0 for field in fields
        )

    assert (~lines_of(body, shape=shape).faulty).tolist() == [sound(line) for line in lines]


@settings(max_examples=40)
@given(content=st.one_of(_texts, _bytes), block_bytes=st.integers(1, 40))
def test_the_rows_do_not_depend_on_how_much_is_read_at_a_time(content: bytes, block_bytes: int) -> None:
    def found(block: int) -> Any:
        try:
            opened = delimited(b"a,b\n7,8\n" + content, block_bytes=block)
        except BadValueError as error:
            return str(error)
        return rows(opened), told(opened)

    assert found(block_bytes) == found(1 << 20)


@settings(max_examples=40)
@given(content=st.one_of(_texts, _bytes))
def test_rows_are_numbered_without_a_gap(content: bytes) -> None:
    found = delimited(b"a,b\n7,8\n" + content)
    numbers = sorted([row[0] for row in rows(found)] + [row[0] for row in told(found)])
    assert numbers == list(range(1, len(numbers) + 1))
    if b'"' not in content:
        lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        assert len(numbers) == 1 + sum(bool(line.strip(b" \t\x1a")) for line in lines)


_cells = st.text(alphabet='x1, "\n', max_size=5)


@settings(max_examples=40)
@given(table=st.lists(st.tuples(_cells, _cells), min_size=1, max_size=8))
def test_what_a_writer_of_csv_writes_is_read_back(table: list[tuple[str, str]]) -> None:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(("a", "b"))
    writer.writerows(table)
    found = delimited(target.getvalue().encode())
    assert ([tuple(cell or "" for cell in row[1:]) for row in rows(found)], told(found)) == (table, [])


def test_a_large_part_is_read_again_when_asked_and_says_the_same() -> None:
    content = b"a,b\n" + b"".join(b"%d,x\n" % number if number % 7 else b"%d\n" % number for number in range(1000))
    held = delimited(content, block_bytes=500)
    again = delimited(content, block_bytes=500, held_bytes=0)
    assert_frame_equal(again.frame.collect(), held.frame.collect())
    assert_frame_equal(again.damaged, held.damaged)
    asked: list[Callable[[pl.LazyFrame], pl.LazyFrame]] = [
        lambda frame: frame.filter(pl.col(ROW_INDEX) > 900).select("a"),
        lambda frame: frame.head(10),
        lambda frame: frame.filter(pl.col("b") == "x").head(3),
        lambda frame: frame.slice(100, 5),
        lambda frame: frame.select(pl.len()),
    ]
    for ask in asked:
        assert_frame_equal(ask(again.frame).collect(), ask(held.frame).collect())
    assert_frame_equal(pl.concat(list(again.frame.collect_batches(chunk_size=100))), held.frame.collect())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"5", "is JSON, but no object"),
        (b"[1]", "is JSON, but no object"),
        (b"null", "is JSON, but no object"),
        (b'{"a": 1', "is no JSON: Expecting ',' delimiter at character 8"),
        (b'{"a": 1}{"a": 2}', "is no JSON: Extra data at character 9"),
        (b'{"a": "caf\xe9"}', "is no UTF-8 text at byte 11"),
        (b'{"a": ' + b"[" * 50_000, "is nested too deeply"),
    ],
)
def test_a_line_that_is_no_object_is_told_and_reading_goes_on(line: bytes, reason: str) -> None:
    found = objects(b'{"a": 1}\n\n' + line + b'\n{"a": 2.5}\n')
    assert ([row[0] for row in rows(found)], [row[:2] for row in told(found)]) == ([1, 3], [(2, reason)])


@pytest.mark.parametrize("bad", [0, 1, 16, 33, 98, 99])
def test_one_bad_line_among_many_is_found_where_it_is(bad: int) -> None:
    found = objects(b"".join(b"7\n" if number == bad else b'{"a": %d}\n' % number for number in range(100)))
    assert ([row[0] for row in told(found)], [row[0] for row in rows(found)]) == ([bad + 1], [n + 1 for n in range(100) if n != bad])


def test_values_that_are_told_in_kinds_that_do_not_mix_are_text_as_it_stands() -> None:
    lines = (b'{"a": 1}', b'{"a": NaN, "b": true}', b'{"a": 1e400}', b'{"a": [1, null], "c": "x"}', b'{"a": 99999999999999999999}')
    found = objects(b"\n".join(lines)).frame.collect()
    assert found["a"].to_list() == ["1", "NaN", "1e400", '["1", null]', "99999999999999999999"]
    assert (found["b"].to_list(), found["c"].to_list()) == ([None, "true", None, None, None], [None, None, None, "x", None])


@pytest.mark.parametrize("held_bytes", [0, 1 << 20])
def test_numbers_stay_numbers_over_pieces_until_one_is_none(held_bytes: int) -> None:
    whole = b"".join(b'{"a": %d}\n' % number for number in range(100))
    mixed = objects(whole + b'{"a": 0.5, "b": {"c": 1}}\n', block_bytes=200, held_bytes=held_bytes).frame.collect()
    assert (mixed.schema["a"], mixed.schema["b"], mixed["a"].sum()) == (pl.Float64, pl.Struct({"c": pl.Int64}), 4950.5)
    text_too = objects(whole + b'{"a": "none"}\n', block_bytes=200, held_bytes=held_bytes).frame.collect()
    assert text_too["a"].to_list() == [*map(str, range(100)), "none"]


def test_whole_lines_end_where_the_text_breaks_off() -> None:
    def broken() -> Iterator[bytes]:
        yield b"1\n2\n3"
        raise BrokenOffError

    lines = whole_lines(broken())
    assert next(lines) == b"1\n2\n"
    with pytest.raises(BrokenOffError) as caught:
        next(lines)
    assert caught.value.args == (b"3",)
