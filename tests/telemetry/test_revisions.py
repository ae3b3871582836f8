"""What became of a table, and spans of it replaced."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake.exceptions import DeltaError

from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.revisions import Span, as_of, changed, replace
from telemetry.schema import AT, COVERAGE, ENTITY, RELEASE, REVISION, STATE, TIME

Declare = Callable[..., Contract]
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("queries", "query_time", "cpu")


def at(minute: float) -> datetime:
    """So many minutes after midnight."""
    return MIDNIGHT + timedelta(minutes=minute)


def readings(*told: tuple[str, float, float], revision: int = 1) -> pl.DataFrame:
    """Entity, minute and cpu of each reading."""
    columns = {ENTITY: [e for e, _, _ in told], AT: [at(m) for _, m, _ in told], "cpu": [value for _, _, value in told]}
    frame = pl.DataFrame(columns, schema={ENTITY: pl.String, AT: TIME, "cpu": pl.Float64})
    nothing = [pl.lit(None, dtype=pl.Float64).alias(name) for name in NAMES[:2]]
    return frame.select(ENTITY, AT, *nothing, "cpu", pl.lit(revision, dtype=pl.Int64).alias(REVISION))


def states(*told: tuple[str, float, str], release: str = "r") -> pl.DataFrame:
    """COVERAGE of entity, minute and state."""
    return pl.DataFrame([(entity, at(minute), state, release) for entity, minute, state in told], schema=COVERAGE, orient="row")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty one."""
    return Lake(str(tmp_path / "lake"))


def since(lake: Lake, version: int) -> list[tuple[str, datetime]] | None:
    """What changed in the grid since a version."""
    newest = lake.version("grid")
    assert newest is not None
    rows = changed(lake, "grid", since=version, until=newest, names=NAMES)
    return None if rows is None else rows.rows()


def test_what_came_and_what_is_told_otherwise_is_changed(lake: Lake, declare: Declare) -> None:
    contract = declare()
    lake.merge_readings(readings(("a", 0, 1.0), ("b", 0, 1.0), ("a", 1500, 1.0)), contract=contract)
    assert since(lake, 0) == []
    lake.merge_readings(readings(("a", 1, 1.0), ("a", 1501, 2.0)), contract=contract)
    assert since(lake, 0) == [("a", at(1)), ("a", at(1501))]
    lake.merge_readings(readings(("b", 0, 5.0), revision=2), contract=contract)
    assert since(lake, 0) == [("a", at(1)), ("a", at(1501)), ("b", at(0))]
    assert since(lake, 1) == [("b", at(0))]
    assert changed(lake, "grid", since=0, until=1, names=NAMES).rows() == [("a", at(1)), ("a", at(1501))]  # type: ignore[union-attr]


def test_what_is_only_stored_otherwise_is_not_changed(lake: Lake, declare: Declare) -> None:
    for minute in range(4):
        lake.merge_readings(readings(("a", minute, 1.0)), contract=declare())
    lake.compact("grid")
    assert since(lake, 3) == []
    assert since(lake, 1) == [("a", at(2)), ("a", at(3))]


def test_a_number_that_does_not_matter_does_not_change_a_row(lake: Lake, declare: Declare) -> None:
    lake.merge_readings(readings(("a", 0, 1.0)), contract=declare())
    lake.merge_readings(readings(("a", 0, 2.0), revision=2), contract=declare())
    found = changed(lake, "grid", since=0, until=1, names=("queries", "never told"))
    assert found is not None
    assert found.is_empty()


def test_what_was_cleared_away_cannot_be_told(lake: Lake, declare: Declare, tmp_path: Path) -> None:
    contract = declare()
    lake.merge_readings(readings(("a", 0, 1.0)), contract=contract)
    lake.merge_readings(readings(("a", 0, 2.0), revision=2), contract=contract)
    opened = lake.open("grid")
    assert opened is not None
    opened.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert since(lake, 0) is None
    opened.create_checkpoint()
    (tmp_path / "lake" / "grid" / "_delta_log" / "00000000000000000000.json").unlink()
    assert since(lake, 0) is None
    assert as_of(lake, "grid", version=0, schema={ENTITY: pl.String}) is None
    told = as_of(lake, "grid", version=lake.version("grid") or 0, schema={ENTITY: pl.String})
    assert told is not None
    assert told.rows() == [("a",)]


def test_a_span_is_replaced_and_the_rest_stays(lake: Lake) -> None:
    rows = states(("o'hara", 0, "scored"), ("o'hara", 1, "no data"), ("b", 1, "scored"), ("o'hara", 2, "scored"))
    whole = Span(release="r", since=at(0))
    assert replace(lake, "coverage", rows, span=whole, schema=COVERAGE) == 4
    assert (
        replace(lake, "coverage", states(("o'hara", 1, "no data"), release="s"), span=Span(release="s", since=at(0)), schema=COVERAGE) == 1
    )
    span = Span(release="r", since=at(1), until=at(2), entities=("o'hara",))
    assert replace(lake, "coverage", states(("o'hara", 1, "scored")), span=span, schema=COVERAGE) == 2
    found = lake.read("coverage", schema=COVERAGE).collect().sort(RELEASE, AT, ENTITY, descending=[False, False, True])
    assert found.select(RELEASE, ENTITY, STATE).rows() == [
        ("r", "o'hara", "scored"),
        ("r", "o'hara", "scored"),
        ("r", "b", "scored"),
        ("r", "o'hara", "scored"),
        ("s", "o'hara", "no data"),
    ]
    assert replace(lake, "coverage", states(), span=span, schema=COVERAGE) == 1
    assert lake.read("coverage", schema=COVERAGE).collect().height == 4


def test_rows_that_are_there_already_are_not_written_again(lake: Lake) -> None:
    rows = states(("o'hara", 0, "scored"), ("a", 0, "scored"))
    span = Span(release="r", since=at(0), entities=("o'hara", "a"))
    replace(lake, "coverage", rows, span=span, schema=COVERAGE)
    assert replace(lake, "coverage", rows.reverse(), span=span, schema=COVERAGE) == 0
    assert lake.version("coverage") == 0
    assert replace(lake, "coverage", pl.concat([rows, states(("a", 1, "scored"))]), span=span, schema=COVERAGE) == 1
    assert lake.read("coverage", schema=COVERAGE).collect().height == 3


def test_a_row_that_stands_twice_stands_once_after_it_was_replaced(lake: Lake) -> None:
    row = states(("a", 0, "scored"))
    for _ in range(2):
        lake.append("coverage", row)
    replace(lake, "coverage", row, span=Span(release="r", since=at(0)), schema=COVERAGE)
    assert lake.read("coverage", schema=COVERAGE).collect().height == 1


def test_rows_beyond_the_span_are_refused(lake: Lake) -> None:
    replace(lake, "coverage", states(("a", 1, "scored")), span=Span(release="r", since=at(0)), schema=COVERAGE)
    with pytest.raises(DeltaError, match="validation"):
        replace(lake, "coverage", states(("a", 9, "scored")), span=Span(release="r", since=at(0), until=at(5)), schema=COVERAGE)
