"""Maintenance windows: whom a pattern names, what is taken out, and how one is taken back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from telemetry import maintenance
from telemetry.lake import Lake
from telemetry.schema import AT, END, ENTITY, START, TIME

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def declare(lake: Lake, pattern: str, *, start: datetime = NOON, hours: float = 1, reason: str = "disks") -> None:
    """A window of some hours."""
    maintenance.declare(lake, pattern=pattern, start=start, end=start + hours * HOUR, reason=reason, now=NOON)


def test_a_pattern_names_entities_as_a_shell_does(tmp_path: Path) -> None:
    entities = ["acme/eu", "acme/us", "elm/eu"]
    for number, (pattern, named) in enumerate(
        {"acme/*": ["acme/eu", "acme/us"], "*/eu": ["acme/eu", "elm/eu"], "elm/eu": ["elm/eu"], "*": entities, "fir": []}.items()
    ):
        lake = Lake(str(tmp_path / str(number)))
        declare(lake, pattern)
        assert maintenance.periods(maintenance.windows(lake), entities=entities)[ENTITY].to_list() == named


def test_a_window_is_told_anew_by_its_entities_and_start_and_can_be_taken_back(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    declare(lake, "acme/*")
    declare(lake, "acme/*", hours=3, reason="took longer")
    declare(lake, "elm/eu")
    told = maintenance.windows(lake)
    assert told.select(maintenance.PATTERN, END).rows() == [("acme/*", NOON + 3 * HOUR), ("elm/eu", NOON + HOUR)]
    before = lake.version(maintenance.TABLE)
    assert maintenance.withdraw(lake, pattern="acme/*", start=NOON, now=NOON) == 1
    assert maintenance.withdraw(lake, pattern="acme/*", start=NOON, now=NOON) == 0
    assert maintenance.windows(lake)[maintenance.PATTERN].to_list() == ["elm/eu"]
    assert maintenance.windows(lake, version=before).height == 2
    assert maintenance.windows(lake, version=99).is_empty()


def test_a_minute_is_within_from_the_start_on_and_not_at_the_end(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    declare(lake, "a")
    declare(lake, "a", start=NOON + HOUR / 2)
    told = maintenance.periods(maintenance.windows(lake), entities=["a", "b"])
    minutes = (-1, 0, 45, 89, 90)
    rows = pl.DataFrame({ENTITY: ["a"] * 5, AT: [NOON + timedelta(minutes=m) for m in minutes]}, schema={ENTITY: pl.String, AT: TIME})
    assert maintenance.within(rows, told=told).to_list() == [False, True, True, True, False]
    assert not maintenance.within(rows.with_columns(pl.lit("b").alias(ENTITY)), told=told).any()
    spans = maintenance.spans(told, parameters=("x", "y"))
    assert spans.select(START, END).unique().height == 2
    assert spans.height == 4
