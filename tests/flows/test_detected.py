"""The section on detection says who found what, whatever is missing, and shows every name letter by letter."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import detected, detectors
from flows.blocks import Block, Note, Plot, Table
from flows.detectors import Comparison, apart, cells, comparison, leave, verdict
from flows.exhibits import Told as Run
from telemetry.schema import ENTITY
from tests.validation.test_detection import events, figures, incidents, scores
from validation.detection import Told

NASTY = "<b>PCA</b>"


def compared() -> Comparison:
    """A release that finds two of three, and another that finds one that it misses."""
    release = Told(
        name="release r1",
        labels=events(("c/a", 0, 9, "spike", 4.0), ("c/a", 50, 60, "drop", None), ("c/b", 5, 9, "spike", 10.0)),
        incidents=incidents(("1", "c/a", False), ("2", "c/b", False), ("3", "c/b", True)),
        scores=scores(("c/a", 30, "x", 0.5, "normal"), ("c/b", 30, "x", 1.5, "anomalous")),
    )
    other = Told(
        name=NASTY,
        labels=events(("c/a", 0, 9, "spike", None), ("c/a", 50, 60, "drop", 1.0), ("c/b", 5, 9, "spike", None)),
        incidents=incidents(("1", "c/a", False)),
    )
    return comparison([release, other], detected=[figures(release), figures(other)])


def blocks(folder: Path, **summary: Any) -> list[Block]:  # Any: plain JSON
    """The section of a run."""
    return list(detected.section(Run(folder=folder, flow="backtest", summary=summary)))


def table(told: list[Block], *, caption: str) -> list[list[str]]:
    """The cells of a table."""
    found = next(block for block in told if isinstance(block, Table) and caption in block.caption)
    return [[cell.text for cell in row] for row in found.rows]


def test_who_found_what_is_told(tmp_path: Path) -> None:
    found = compared()
    leave(found, folder=tmp_path)
    told = blocks(tmp_path, **found.facts(), rules_refused=[{"name": "Top", "group": "g", "line": 4, "sentence": "No."}])
    assert table(told, caption="Detectors beside each other")[0][:2] == ["release r1", "2 of 3"]
    assert table(told, caption="beside each of the others") == [[NASTY, "0", "2", "1", "0"]]
    assert [row[4:] for row in table(told, caption="Minutes until")] == [["4", "missed"], ["10", "missed"], ["missed", "1"]]
    assert table(told, caption="by kind") == [["drop", "0 of 1", "1 of 1 (1.0)"], ["spike", "2 of 2 (7.0)", "0 of 2"]]
    assert table(told, caption="promise")[0] == ["release r1", "0.010000", "0.500000", "50.00"]
    assert table(told, caption="The same by target") == [["x", "2", "0.500000", "50.00"]]
    assert table(told, caption="by entity")[0][:3] == ["c/a", "1.00", "1 of 2"]
    assert table(told, caption="cannot be followed") == [["Top", "4", "No."]]
    figure = next(block for block in told if isinstance(block, Plot))
    assert [trace["name"] for trace in json.loads(figure.figure)["data"]] == ["release r1", "&lt;b&gt;PCA&lt;/b&gt;"]


def test_a_figure_in_sample_is_marked(tmp_path: Path) -> None:
    first = blocks(tmp_path, detectors=compared().rows, in_sample=True)[0]
    assert isinstance(first, Note)
    assert "no test of it" in first.text
    assert first.tone == "held"


@pytest.mark.parametrize("summary", [{}, {"detectors": None}, {"detectors": []}, {"detectors": 3}])
def test_a_run_that_compared_nobody_has_no_such_section(tmp_path: Path, summary: dict[str, Any]) -> None:
    assert blocks(tmp_path, **summary) == []


def test_without_its_exhibits_the_figures_are_still_told(tmp_path: Path) -> None:
    assert any(isinstance(block, Table) for block in blocks(tmp_path, detectors=compared().rows))


def test_the_verdict_in_a_line() -> None:
    rows = compared().rows
    assert verdict(rows) == (
        "release r1 found 2 of 3 incidents (median 7.0 minutes), 1.00 false a customer-week; "
        "<b>PCA</b>, the best of the others, 1 of 3, 0.00 false a customer-week."
    )
    assert verdict(rows[:1]).endswith("customer-week.")
    unlabelled = [row | {"events": 0, "found": 0, "recall": None} for row in rows]
    assert "none is labelled" in verdict(unlabelled)


def test_the_best_of_the_others_finds_most_and_then_tells_least_falsely() -> None:
    first, other = compared().rows
    rivals = [
        other | {"detector": "many", "found": 2, "false_per_customer_week": 9.0},
        other | {"detector": "few", "found": 2, "false_per_customer_week": 0.1},
        other | {"detector": "none", "found": 0, "false_per_customer_week": 0.0},
    ]
    assert "few, the best of the others" in verdict([first, *rivals])


def test_the_rows_fit_their_heads() -> None:
    assert {len(row) for row in cells(compared().rows)} == {len(detectors.HEADS)}


def test_events_are_counted_by_who_found_them() -> None:
    table = pl.DataFrame({ENTITY: ["a", "b", "c", "d"], "one": [1.0, 1.0, None, None], "two": [1.0, None, 1.0, None]})
    assert apart(table, names=["one", "two"]) == [{"detector": "two", "both": 1, "first_alone": 1, "other_alone": 1, "neither": 1}]
