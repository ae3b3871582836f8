"""Groups on a run's page: what is hit, who is not, in one line."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from flows import grouped, page
from telemetry.schema import GROUPS, LABEL_SET
from tests.flows import runs_for_pages as runs

START = datetime(2026, 2, 18, tzinfo=UTC)


def groups(*, hit: int, not_hit: int, label_set: str = "region=eu", minute: int = 0) -> pl.DataFrame:
    """GROUPS of one group."""
    at = START + timedelta(minutes=minute)
    rows = [
        (
            f"group of {label_set}",
            label_set,
            f"c{n:02}/eu",
            f"c{n:02}/eu@{minute}" if n < hit else None,
            at,
            at + timedelta(minutes=n),
            at + timedelta(hours=1),
            2.0 + n if n < hit else None,
            "r",
        )
        for n in range(hit + not_hit)
    ]
    return pl.DataFrame(rows, schema=GROUPS, orient="row")


def test_a_group_is_one_line_with_who_is_not_hit() -> None:
    told = grouped.shown(pl.concat([groups(hit=3, not_hit=12), groups(hit=2, not_hit=0, label_set="version=2.1", minute=30)]))
    assert told.select(LABEL_SET, "hit", "not_hit", "incidents", "peak").rows() == [
        ("version=2.1", 2, 0, 2, 3.0),
        ("region=eu", 3, 12, 3, 4.0),
    ]
    assert told["spared"].to_list() == ["", ", ".join(f"c{n:02}/eu" for n in range(3, 13)) + " and 2 more"]
    assert grouped.shown(pl.DataFrame(schema=GROUPS)).is_empty()


def test_the_page_lists_groups_before_incidents(tmp_path: Path) -> None:
    ended = runs.scored(tmp_path)
    runs.leave(ended.run, groups=grouped.shown(groups(hit=40, not_hit=2)))
    html = page.write(ended.run, summary=ended.summary).read_text(encoding="utf-8")
    assert "One group explains 40 incidents of several entities" in html
    assert html.index("Groups: 1") < html.index("Opened: 3")
    assert "c40/eu, c41/eu" in html


def test_a_run_without_groups_says_nothing_of_them(tmp_path: Path) -> None:
    ended = runs.scored(tmp_path)
    runs.leave(ended.run, groups=grouped.shown(pl.DataFrame(schema=GROUPS)))
    assert "Groups: " not in page.write(ended.run, summary=ended.summary).read_text(encoding="utf-8")
