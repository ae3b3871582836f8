"""A source is the files that the contract wants, each known again by what it says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from telemetry.contract import Contract
from telemetry.errors import SourceMissingError
from telemetry.files import scan

Declare = Callable[..., Contract]
Write = Callable[..., Path]
ROW = "2026-01-01T00:00:00Z,acme,eu,5,0.1,10"
BY_PATH = {"keys": ["machine"], "path_pattern": r"(?P<machine>m\d)\.csv$"}


def test_a_folder_is_read_to_any_depth_but_for_truth_hidden_and_foreign_files(declare: Declare, write: Write, tmp_path: Path) -> None:
    for name in ("b/c/two.csv", "a.csv", "truth/oracle.csv", "x/truth/labels.csv", ".tmp.csv", "_temporary/part.csv", "notes.txt"):
        write(ROW, name, name=name)
    assert [file.name for file in scan(tmp_path / "source", contract=declare()).files] == ["a.csv", "b/c/two.csv"]


def test_a_folder_named_truth_is_not_read_even_when_asked_for(declare: Declare, write: Write) -> None:
    truth = write(ROW, name="truth/oracle.csv").parent
    for source in (truth, truth / "oracle.csv", truth / "*.csv"):
        with pytest.raises(SourceMissingError, match=r"no telemetry at .*truth"):
            scan(source, contract=declare())


def test_a_file_and_a_glob_name_what_they_name(declare: Declare, write: Write, tmp_path: Path) -> None:
    one = write(ROW, name="a1.csv")
    write(ROW, "", name="a2.csv")
    write(ROW, "", "", name="b.csv")
    assert [file.path for file in scan(one, contract=declare()).files] == [one]
    assert [file.path.name for file in scan(tmp_path / "source" / "a*.csv", contract=declare()).files] == ["a1.csv", "a2.csv"]


def test_files_that_do_not_match_the_pattern_are_passed_over_and_counted(declare: Declare, write: Write, tmp_path: Path) -> None:
    write(ROW, name="m1.csv")
    write(ROW, name="readme.csv")
    source = scan(tmp_path / "source", contract=declare(entity=BY_PATH))
    assert ([file.name for file in source.files], source.passed_over) == (["m1.csv"], 1)


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
    source = scan(tmp_path / "source", contract=declare())
    assert ([file.name for file in source.files], source.copies) == (["a.csv"], ("backup/a.csv",))


def test_the_same_bytes_of_another_machine_are_no_copy(declare: Declare, write: Write, tmp_path: Path) -> None:
    write(ROW, name="m1.csv")
    write(ROW, name="m2.csv")
    assert len(scan(tmp_path / "source", contract=declare(entity=BY_PATH)).files) == 2


def test_a_file_is_known_again_under_another_name_until_the_contract_reads_it_otherwise(declare: Declare, write: Write) -> None:
    def fingerprint(path: Path, contract: Contract) -> str:
        return scan(path, contract=contract).files[0].fingerprint

    first = fingerprint(write(ROW, name="a.csv"), declare())
    assert first == fingerprint(write(ROW, name="b.csv"), declare(gate={"accuracy": 0.9}))
    assert first != fingerprint(write(ROW, name="a.csv"), declare(parameters={"query_time": {"source_unit": "ms"}}))
    assert first != fingerprint(write(ROW, "", name="a.csv"), declare())
