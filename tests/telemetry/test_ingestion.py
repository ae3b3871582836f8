"""A feed's parts become the grid exactly once, and every row is accounted for."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from telemetry.contract import Contract
from telemetry.errors import NaiveTimeError
from telemetry.files import FileSource
from telemetry.ingestion import Ingested, Progress, ingest
from telemetry.lake import Lake
from telemetry.schema import NEWEST, QUARANTINED, REASON, RESOLVED, ROW, SOURCES, WATERMARKS
from telemetry.second_look import Looked, open_rows, retry

Declare = Callable[..., Contract]
Write = Callable[..., Path]
GOOD = "2026-01-01T00:00:00Z,acme,eu,5,0.25,10"
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def taken(lake: Lake, contract: Contract, folder: Path, **how: int) -> Ingested:
    return ingest(FileSource(str(folder), contract=contract), contract=contract, lake=lake, now=NOW, **how)


def at(minute: int, *, queries: object = 5, customer: str = "acme") -> str:
    return f"2026-01-01T00:{minute:02}:00Z,{customer},eu,{queries},0.25,10"


def test_every_row_is_accepted_quarantined_or_repeated(lake: Lake, declare: Declare, write: Write, tmp_path: Path) -> None:
    write(at(0), at(0), at(1), at(2, queries="many"), name="a.csv")
    done = taken(lake, declare(), tmp_path / "source")
    assert (done.rows_in, done.rows_accepted, done.rows_quarantined, done.rows_repeated) == (4, 2, 1, 1)
    assert (done.rows_new, done.newest) == (2, MIDNIGHT.replace(minute=1))
    assert lake.read("sources", schema=SOURCES).select("rows_in", "rows_quarantined", "rows_repeated").collect().rows() == [(4, 1, 1)]
    assert lake.read("watermarks", schema=WATERMARKS).collect()[NEWEST].to_list() == [MIDNIGHT.replace(minute=1)]


def test_a_known_part_is_not_read_again_and_nothing_is_written(lake: Lake, declare: Declare, write: Write, tmp_path: Path) -> None:
    write(at(0), name="a.csv")
    taken(lake, declare(), tmp_path / "source")
    write(at(0), name="copy of a.csv")
    again = taken(lake, declare(), tmp_path / "source")
    assert (again.parts, again.parts_known, again.rows_in, again.copies) == (1, 1, 0, ("copy of a.csv",))
    assert lake.version("grid") == 0


def test_one_bad_file_is_quarantined_and_the_others_go_in(lake: Lake, declare: Declare, write: Write, tmp_path: Path) -> None:
    write(at(0), name="a.csv")
    write(at(1).replace("Z,", ","), name="b.csv")
    done = taken(lake, declare(), tmp_path / "source")
    assert (done.parts, done.parts_failed, done.rows_new) == (2, 1, 1)
    (row,) = open_rows(lake).iter_rows(named=True)
    assert (row["source"], row[ROW]) == ("b.csv", 0)
    assert "a time without a zone" in row[REASON]
    write(at(1), name="b.csv")
    mended = taken(lake, declare(), tmp_path / "source")
    assert (mended.parts_known, mended.rows_new, open_rows(lake).height) == (1, 1, 0)


def test_where_no_file_can_be_read_the_first_error_is_told(lake: Lake, declare: Declare, write: Write, tmp_path: Path) -> None:
    write(at(1).replace("Z,", ","), name="b.csv")
    with pytest.raises(NaiveTimeError):
        taken(lake, declare(), tmp_path / "source")
    assert open_rows(lake)[ROW].to_list() == [0]


def test_any_size_of_the_buffer_says_the_same(lake: Lake, declare: Declare, write: Write, tmp_path: Path) -> None:
    for part in range(5):
        write(*(at(minute, customer=f"c{part % 2}", queries=part) for minute in range(part, part + 7)), name=f"{part}.csv")
    taken(lake, declare(), tmp_path / "source")
    other = Lake(str(tmp_path / "other"))
    pieces = taken(other, declare(), tmp_path / "source", buffer_rows=3)
    assert pieces.rows_accepted == 35
    whole, small = (each.grid(contract=declare()).collect() for each in (lake, other))
    assert whole.equals(small)


def test_progress_is_told_part_by_part(lake: Lake, declare: Declare, write: Write, tmp_path: Path) -> None:
    write(at(0), name="a.csv")
    write(at(1), name="b.csv")
    told: list[Progress] = []
    ingest(FileSource(str(tmp_path / "source"), contract=declare()), contract=declare(), lake=lake, now=NOW, progress=told.append)
    assert [(each.parts_done, each.parts, each.rows_in) for each in told] == [(1, 2, 1), (2, 2, 2)]


def test_a_second_look_reads_what_the_contract_has_come_to_allow(lake: Lake, declare: Declare, write: Write, tmp_path: Path) -> None:
    write(at(0), at(1), at(2).replace("2026-01-01T", "2026-01-01X"), at(3, queries="'7'"), name="a.csv")
    taken(lake, declare(), tmp_path / "source")
    assert retry(lake, contract=declare(), now=NOW) == Looked(rows=2, resolved=0, remaining=2, parts=0)
    wider = declare(time={"column": "time", "format": "pattern", "pattern": "%Y-%m-%dX%H:%M:%SZ", "zone": "UTC"})
    assert retry(lake, contract=wider, now=NOW) == Looked(rows=2, resolved=1, remaining=1, parts=0)
    assert lake.grid(contract=declare()).select(pl.len()).collect().item() == 3
    rows = lake.read("quarantine", schema=QUARANTINED).sort(ROW).collect()
    assert rows[RESOLVED].to_list() == [NOW, None]
    assert retry(lake, contract=wider, now=NOW).resolved == 0
