"""The page of an ingestion: rows by outcome, the quarantine by reason, who is watched, how far the feeds have come."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from flows import exhibits, page
from flows.quarantine import by_reason
from flows.suspensions import IMPOSSIBLE
from telemetry.presence import HISTORY
from telemetry.schema import QUARANTINED, SUSPENSIONS, WATERMARKS
from tests.flows import runs_for_pages as runs
from tests.flows.lakes import DAY

REASON = "column 'queries' has '{}', expected a finite number or nothing"


def refused(*rows: tuple[str, int, str, str]) -> pl.DataFrame:
    """QUARANTINED: source, row, reason, text."""
    told = [(source, f"of {source}", row, reason, text, "exports", DAY, None) for source, row, reason, text in rows]
    return pl.DataFrame(told, schema=QUARANTINED, orient="row")


def ingested(folder: Path) -> str:
    """The page of an ingestion in which a bit of everything happened."""
    run = runs.new_run(folder, flow="ingest")
    rows = refused(
        ("a.csv", 3, REASON.format("<b>few</b>"), '{"queries":"<b>few</b>"}'),
        ("b.csv", 9, REASON.format("many"), '{"queries":"many"}'),
        ("c.csv", 0, "c.csv lacks the column queries; it has time.", "name the column in the contract"),
    )
    seen = {"first_seen": date(2024, 1, 1), "last_seen": date(2024, 2, 1), "departed_at": None, "returned_at": None, "absences": 0}
    watched = [
        {"entity": "acme", "state": "present", **seen},
        {"entity": "brim", "state": "departed", **seen, "departed_at": date(2024, 2, 9)},
        {"entity": "core", "state": "newcomer", **seen},
        {"entity": "dune", "state": "present", **seen, "returned_at": date(2024, 1, 20)},
    ]
    runs.leave(
        run,
        **{
            exhibits.REFUSED: by_reason(rows, since=DAY),
            exhibits.WATERMARKS: pl.DataFrame([("exports", DAY, DAY + timedelta(hours=1))], schema=WATERMARKS, orient="row"),
            exhibits.WATCHED: pl.DataFrame(watched, schema=HISTORY),
        },
    )
    rows_told = {"rows_in": 14, "rows_accepted": 11, "rows_quarantined": 2, "rows_repeated": 1, "rows_new": 10}
    files = {"files": 4, "files_known": 1, "files_failed": 1, "files_copied": 2, "files_passed_over": 0}
    clocks = {"clocks_apart": 7, "clock_example": "a.csv, row 3: ts has 5 where the time is 6"}
    summary = {"verdict": "ingested", "sentence": "10 new rows.", "feed": "exports", "entities": 4, "undeclared": ["gpu"]}
    return page.render(run, summary=summary | rows_told | files | clocks)


def test_reasons_are_counted_without_what_is_of_one_row_alone() -> None:
    rows = refused(
        ("a.csv", 3, REASON.format("many"), "x"),
        ("b.csv", 9, REASON.format("it has 'a', expected 'b'"), "y"),
        ("b.csv", 10, "row 12 says something else of the same entity and instant, and the later row counts", ""),
        ("b.csv", 11, "row 13 says something else of the same entity and instant, and the later row counts", ""),
        ("b.csv", 12, "is no JSON: Expecting value at character 17", ""),
        ("a.csv", 0, "a.csv lacks the column x", ""),
        ("b.csv", 0, "b.csv lacks the column x", ""),
    )
    told = by_reason(rows, since=DAY + timedelta(hours=1))
    assert told.select("reason", "rows", "new", "parts").rows() == [
        ("... lacks the column x", 2, 0, 2),
        ("column 'queries' has ..., expected a finite number or nothing", 2, 0, 2),
        ("row ... says something else of the same entity and instant, and the later row counts", 2, 0, 1),
        ("is no JSON: Expecting value at character ...", 1, 0, 1),
    ]


@pytest.mark.parametrize(
    "told",
    [
        "14 rows read from exports",
        "4 parts: 1 ingested before, 1 not readable at all, and in quarantine as a whole, 2 beside them, the same as another.",
        "The contract does not name: gpu.",
        "7 rows have two clocks that disagree; a.csv, row 3: ts has 5 where the time is 6.",
        "3 in quarantine, 3 new in this run",
        "c.csv, as a whole: name the column in the contract",
        "4 entities: 1 newcomers, 2 present, 1 departed.",
        "Newcomers, departed, returned: 3",
        "How far each feed has come",
    ],
)
def test_everything_that_matters_is_on_the_page(tmp_path: Path, told: str) -> None:
    assert told in ingested(tmp_path)


def test_text_from_a_source_is_told_letter_by_letter(tmp_path: Path) -> None:
    html = ingested(tmp_path)
    assert "<b>few" not in html
    assert "&lt;b&gt;few" in html


def test_an_unreadable_part_marks_the_verdict(tmp_path: Path) -> None:
    marked, plain = (page.verdict_of({"verdict": "ingested", "files_failed": failed}) for failed in (1, 0))
    assert (marked.tone, plain.tone) == ("held", "good")
    assert [tile.value for tile in page.tiles({"files": 4, "files_failed": 1}) if tile.name == "Unreadable parts"] == ["1"]


def test_a_run_without_anything_of_this_has_no_such_sections(tmp_path: Path) -> None:
    html = page.render(runs.new_run(tmp_path), summary={"verdict": "done", "rows_in": 4})
    assert not [key for key in ("ingested", "quarantine", "entities", "feeds", "lake") if f'id="{key}"' in html]


def test_the_tables_of_a_lake_are_listed(tmp_path: Path) -> None:
    tables = [{"table": "grid", "rows": 12_345, "files": 2, "megabytes": 1.25, "version": 7, "oldest": DAY.date(), "newest": None}]
    html = page.render(runs.new_run(tmp_path, flow="tend"), summary={"verdict": "tended", "tables": tables})
    assert "12,345" in html
    assert "2024-01-01" in html


def test_what_is_not_believed_is_told_with_its_reason_and_what_to_do(tmp_path: Path) -> None:
    run = runs.new_run(tmp_path, flow="score")
    hour = timedelta(hours=1)
    rows = [
        ("acme/eu", "queries", DAY, None, "x1000", 1000.0, 278.2, 286_410.0, DAY, None, "r"),
        ("brim/eu", "cpu", DAY, DAY + hour, "swapped with memory", None, 40.0, 71.0, DAY, DAY + hour, "r"),
    ]
    runs.leave(
        run,
        **{
            exhibits.SUSPENDED: pl.DataFrame(rows, schema=SUSPENSIONS, orient="row"),
            exhibits.IMPOSSIBLE: pl.DataFrame([("core/us", "cpu", DAY, DAY + hour, 7)], schema=IMPOSSIBLE, orient="row"),
        },
    )
    html = page.render(run, summary={"verdict": "scored", "sentence": "", "suspended": 1})
    assert 'id="suspended"' in html
    for told in (
        "1 parameters are quarantined now.",
        "looks like a unit changed by x1000: 278.2 in the hour before, 286,410 since",
        "tells what memory should tell, as if two columns were swapped: 40 in the hour before, 71 since",
        "Ask the customer or the team that runs the agent what changed at that time.",
        "tidewatch suspensions lift",
        "Values that cannot be, left out one by one: 7",
    ):
        assert told in html
