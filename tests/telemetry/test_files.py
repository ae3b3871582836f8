"""A source is the files that the contract wants, each known again by what it says, and each of its rows there or told."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from telemetry.contract import Contract
from telemetry.errors import BadValueError, EmptySourceError, SourceError, SourceMissingError
from telemetry.feeds import ROW_INDEX, Opened, Part, Parts
from telemetry.files import FileSource

Declare = Callable[..., Contract]
Write = Callable[..., Path]
ROW = "2026-01-01T00:00:00Z,acme,eu,5,0.1,10"
BY_PATH = {"keys": ["machine"], "path_pattern": r"(?P<machine>m\d)\.csv$"}


def scan(location: Path | str, *, contract: Contract) -> Parts:
    return FileSource(str(location), contract=contract).parts(since=None, until=None)


def only(location: Path | str, *, contract: Contract) -> Part:
    (part,) = scan(location, contract=contract).parts
    return part


def cells(found: Opened) -> list[tuple[Any, ...]]:
    return found.frame.collect().rows()


def test_a_folder_is_read_to_any_depth_but_for_truth_hidden_and_foreign_files(declare: Declare, write: Write, tmp_path: Path) -> None:
    for name in ("b/c/two.csv", "a.csv", "truth/oracle.csv", "x/truth/labels.csv", ".tmp.csv", "_temporary/part.csv", "notes.txt"):
        write(ROW, name, name=name)
    assert [part.name for part in scan(tmp_path / "source", contract=declare()).parts] == ["a.csv", "b/c/two.csv"]


def test_a_folder_named_truth_is_not_read_even_when_asked_for(declare: Declare, write: Write) -> None:
    truth = write(ROW, name="truth/oracle.csv").parent
    for location in (truth, truth / "oracle.csv", truth / "*.csv"):
        with pytest.raises(SourceMissingError, match=r"no telemetry at .*truth"):
            scan(location, contract=declare())


def test_a_file_a_glob_and_a_file_url_name_what_they_name(declare: Declare, write: Write, tmp_path: Path) -> None:
    one = write(ROW, name="a1.csv")
    write(ROW, "", name="a2.csv")
    write(ROW, "", "", name="b.csv")
    assert only(one, contract=declare()).name == one.as_posix()
    assert only(one.as_uri(), contract=declare()).name == one.as_posix()
    found = scan(tmp_path / "source" / "a*.csv", contract=declare())
    assert [Path(part.name).name for part in found.parts] == ["a1.csv", "a2.csv"]


def test_a_part_tells_its_format_and_when_it_was_written(declare: Declare, write: Write) -> None:
    path = write(ROW)
    os.utime(path, ns=(0, 1_767_225_600_123_456_789))
    part = only(path, contract=declare())
    assert (part.kind, part.revision) == ("CSV", 1_767_225_600_123_456)


def test_files_that_do_not_match_the_pattern_are_passed_over_and_counted(declare: Declare, write: Write, tmp_path: Path) -> None:
    write(ROW, name="m1.csv")
    write(ROW, name="readme.csv")
    found = scan(tmp_path / "source", contract=declare(entity=BY_PATH))
    assert ([part.name for part in found.parts], found.passed_over) == (["m1.csv"], 1)


def test_a_pattern_that_nothing_matches_is_shown_beside_a_path(declare: Declare, write: Write, tmp_path: Path) -> None:
    write(ROW, name="readme.csv")
    with pytest.raises(SourceMissingError, match=r"such as readme\.csv, matches path_pattern .*\nHint: "):
        scan(tmp_path / "source", contract=declare(entity=BY_PATH))


def test_a_source_that_is_not_there_says_what_would_be_read(declare: Declare, tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match=r"no telemetry at .*none\.\nHint: name a file, folder or glob with \.csv"):
        scan(tmp_path / "none", contract=declare())


def test_a_copy_of_a_file_is_told_and_not_read_twice(declare: Declare, write: Write, tmp_path: Path) -> None:
    write(ROW, name="a.csv")
    write(ROW, name="backup/a.csv")
    found = scan(tmp_path / "source", contract=declare())
    assert ([part.name for part in found.parts], found.copies) == (["a.csv"], ("backup/a.csv",))


def test_the_same_bytes_of_another_machine_are_no_copy(declare: Declare, write: Write, tmp_path: Path) -> None:
    write(ROW, name="m1.csv")
    write(ROW, name="m2.csv")
    assert len(scan(tmp_path / "source", contract=declare(entity=BY_PATH)).parts) == 2


def test_a_file_is_known_again_under_another_name_until_the_contract_reads_it_otherwise(declare: Declare, write: Write) -> None:
    def fingerprint(path: Path, contract: Contract) -> str:
        return only(path, contract=contract).fingerprint

    first = fingerprint(write(ROW, name="a.csv"), declare())
    assert first == fingerprint(write(ROW, name="b.csv"), declare(gate={"accuracy": 0.9}))
    assert first != fingerprint(write(ROW, name="a.csv"), declare(parameters={"query_time": {"source_unit": "ms"}}))
    assert first != fingerprint(write(ROW, name="a.csv"), declare(time={"column": "time", "zone": "UTC"}))
    assert first != fingerprint(write(ROW, name="a.csv"), declare(files={"decimal_comma": True}))
    assert first != fingerprint(write(ROW, "", name="a.csv"), declare())


@pytest.mark.parametrize("change", [b"more\n", b""])
def test_a_file_that_changes_after_it_was_listed_is_refused(declare: Declare, write: Write, change: bytes) -> None:
    part = only(path := write(ROW), contract=declare())
    path.write_bytes(path.read_bytes() + change)
    os.utime(path, ns=(0, 1))
    with pytest.raises(SourceError, match=r"readings\.csv has changed since it was listed\.\nHint: it is still being written"):
        part.open()


def test_a_file_that_goes_after_it_was_listed_is_told(declare: Declare, write: Write) -> None:
    part = only(path := write(ROW), contract=declare())
    path.unlink()
    with pytest.raises(SourceError, match=r"readings\.csv cannot be read: No such file.*\nHint: "):
        part.open()


def test_a_healthy_file_is_left_to_the_fast_reader(declare: Declare, write: Write) -> None:
    found = only(write(ROW, '2026-01-01T00:01:00Z,"acme, inc",eu,,0.1,10'), contract=declare()).open()
    assert "Csv SCAN" in found.frame.explain()
    assert (found.damaged.height, cells(found)[1][2:5]) == (0, ("acme, inc", "eu", None))


def test_what_the_fast_reader_would_get_wrong_without_a_word_is_told(declare: Declare, write: Write) -> None:
    path = write(ROW, "2026-01-01T00:01:00Z,acme", ROW, "", "", "2026-01-01T00:02:00Z,ac\0me,eu,1,1,1")
    silent = pl.read_csv(path, infer_schema=False)
    assert silent.height == 6  # if this fails, the fast reader has become stricter
    found = only(path, contract=declare()).open()
    assert ([row[0] for row in cells(found)], found.damaged.rows()) == (
        [1, 3],
        [(2, "has 2 fields, expected 6", "2026-01-01T00:01:00Z,acme"), (4, "holds zero bytes", "2026-01-01T00:02:00Z,ac\\x00me,eu,1,1,1")],
    )


def test_every_text_format_says_the_same(declare: Declare, write: Write) -> None:
    plain = write(ROW, ROW.replace("acme", '"a, b"'))
    expected = only(plain, contract=declare()).open().frame.collect()
    content = plain.read_bytes()
    for name, written in {
        "b.csv.gz": gzip.compress(content),
        "c.CSV": content,
        "[d]{1}.csv": content,
        "e.csv": gzip.compress(content),
    }.items():
        (path := plain.with_name(name)).write_bytes(written)
        assert_frame_equal(only(path, contract=declare()).open().frame.collect(), expected)
    (path := plain.with_name("f.tsv")).write_bytes(content.replace(b",", b"\t").replace(b"\t ", b", "))
    assert_frame_equal(only(path, contract=declare()).open().frame.collect(), expected)


@pytest.mark.parametrize("damage", [b"", b"surplus;\n"])
def test_separator_and_header_are_as_the_contract_says(declare: Declare, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(b"1;a,b;\n2;c;\n" + damage)
    found = only(tmp_path, contract=declare(files={"header": False, "separator": ";"})).open()
    assert found.frame.collect().columns == [ROW_INDEX, "column_1", "column_2", "column_3"]
    assert (cells(found), found.damaged.height) == ([(1, "1", "a,b", None), (2, "2", "c", None)], bool(damage))


def test_empty_lines_of_a_single_column_are_rows(declare: Declare, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a\n\n\n1\n\n")
    assert cells(only(tmp_path, contract=declare()).open()) == [(1, None), (2, None), (3, "1"), (4, None)]


def test_a_separator_that_can_be_none_is_refused(declare: Declare, write: Write) -> None:
    for separator in ("é", '"', "\n"):
        with pytest.raises(SourceError, match=r"cannot separate fields\.\nHint: name one ASCII character as files\.separator"):
            scan(write(ROW), contract=declare(files={"separator": separator}))


def test_columns_without_a_name_or_named_twice_are_told_apart_unless_the_contract_reads_them(declare: Declare, write: Write) -> None:
    found = only(write("1,2,3,4,5", header="cpu, note,,note,__row__"), contract=declare()).open()
    assert found.frame.collect().columns == [ROW_INDEX, "cpu", "note", "column_3", "note (2)", "__row__ (2)"]
    with pytest.raises(BadValueError, match=r"has the column cpu twice, and the contract reads it\.\nHint: "):
        only(write("1,2", header="cpu, cpu"), contract=declare()).open()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"PAR1....", r"a\.csv cannot be read as CSV: it is Parquet"),
        ("a.csv", b"PK\x03\x04..", r"a\.csv cannot be read as CSV: it is a ZIP archive or a spreadsheet"),
        ("a.jsonl", b"time,cpu\n1,2\n", r"a\.jsonl: none of its 2 rows can be read; the first, row 1: is no JSON"),
        ("a.parquet", b"time,cpu\n1,2\n" * 5, r"a\.parquet cannot be read as Parquet: "),
        ("a.parquet", b"", r"a\.parquet cannot be read as Parquet: "),
    ],
)
def test_a_file_that_is_not_what_its_ending_says_is_refused_with_a_hint(
    declare: Declare, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadValueError, match=rf"{message}(.|\n)*Hint: "):
        only(tmp_path, contract=declare()).open()


@pytest.mark.parametrize(("name", "content"), [("a.csv", b""), ("a.csv", b"time,cpu\n"), ("a.jsonl", b""), ("a.jsonl", b"\n \n")])
def test_a_file_without_a_row_is_told(declare: Declare, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EmptySourceError, match=rf"{name} holds no row\.\nHint: see whether the export ran"):
        only(tmp_path, contract=declare()).open()


@pytest.mark.parametrize("name", ["a.jsonl", "[a].ndjson", "a.jsonl.gz"])
def test_json_lines_are_typed_by_all_of_their_lines(declare: Declare, tmp_path: Path, name: str) -> None:
    content = b'{"a": 1, " b ": "x"}\n{"a": 2.5}\n'
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    found = only(tmp_path, contract=declare()).open().frame.collect()
    assert (found.columns, found["a"].to_list(), found["b"].to_list()) == ([ROW_INDEX, "a", "b"], [1.0, 2.5], ["x", None])


@pytest.mark.parametrize("held_bytes", [0, 1 << 20])
def test_json_values_that_the_fast_reader_refuses_cost_no_other_row(
    declare: Declare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_bytes: int
) -> None:
    monkeypatch.setattr("telemetry.formats.HELD_BYTES", held_bytes)
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a": true}\n')
    assert cells(only(tmp_path, contract=declare()).open()) == [(1, "1"), (2, "true")]
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a": true}\n7\n{"a": 2}\n')
    found = only(tmp_path, contract=declare()).open()
    assert (cells(found), found.damaged.rows()) == ([(1, "1"), (2, "true"), (4, "2")], [(3, "is JSON, but no object", "7")])


def test_parquet_keeps_its_types_and_loses_the_blanks_in_its_names(declare: Declare, tmp_path: Path) -> None:
    pl.DataFrame({" a ": [1, 2], "b": [[1], []]}).write_parquet(tmp_path / "a[1].parquet")
    found = only(tmp_path, contract=declare()).open().frame.collect()
    assert dict(found.schema) == {ROW_INDEX: pl.UInt32, "a": pl.Int64, "b": pl.List(pl.Int64)}


def test_a_name_that_is_no_utf8_is_no_obstacle(declare: Declare, tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.csv"), "wb") as stream:
        stream.write(b"a,b\n1,2\n")
    assert cells(only(tmp_path, contract=declare()).open()) == [(1, "1", "2")]
