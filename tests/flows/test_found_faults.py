"""The page tells what was found of injected faults, and does not hide what was missed."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from flows import exhibits, page
from flows.blocks import NONE, Plot, Table
from flows.exhibits import Told
from flows.found_faults import section
from flows.found_faults_plot import recall_by_strength
from flows.runs import Run
from telemetry.injection import DRAW, NOTHING, SHIFT, SILENCE, SPIKE, STRENGTH
from telemetry.schema import AT, END, ENTITY, KIND, RELEASE, START, TIME
from tests.flows import runs_for_pages as runs
from tests.flows.runs_for_pages import Ended
from validation.injected import FAULTS, FOUND, MATURE, MET, MINUTES_TO_DETECT, NEWCOMERS, WHO, grade

CELLS = ((SPIKE, 4.0, 9), (SPIKE, 8.0, 10), (SHIFT, 4.0, 3), (SHIFT, 0.5, 0), (SILENCE, 10.0, 10), (NOTHING, 0.0, 1))
"""Class, strength, how many of ten were found."""


def graded(*, model: str, worse: int = 0) -> pl.DataFrame:
    rows = [
        {
            KIND: kind,
            STRENGTH: strength,
            WHO: who,
            FOUND: number < found - worse,
            MINUTES_TO_DETECT: 3.0 if number < found - worse else None,
        }
        for kind, strength, found in CELLS
        for who in (MATURE, NEWCOMERS)
        for number in range(10)
    ]
    frame = pl.DataFrame(rows).with_columns(
        pl.lit("acme/eu").alias(ENTITY), pl.lit(None, dtype=TIME).alias(START), pl.lit(None, dtype=TIME).alias(END), pl.lit(0).alias(DRAW)
    )
    met = frame.select(pl.col(name).cast(kind) for name, kind in MET.items())
    return grade(met).with_columns(pl.lit(model).alias(exhibits.MODEL))


def told(folder: Path, *frames: pl.DataFrame, **summary: object) -> Told:
    run = runs.new_run(folder)
    runs.leave(run, injected=pl.concat(frames))
    return Told(folder=run.folder, flow="retrain", summary=summary)


def table(blocks: list[object], *, columns: int) -> dict[tuple[str, str], tuple[str, ...]]:
    made = next(block for block in blocks if isinstance(block, Table) and len(block.columns) == columns)
    return {(row[0].text, row[1].text): tuple(cell.text for cell in row[2:]) for row in made.rows}


def test_recall_is_told_by_class_and_strength_with_the_champions_and_the_newcomers(tmp_path: Path) -> None:
    blocks = list(section(told(tmp_path, graded(model="candidate"), graded(model="champion", worse=1), injected_false_per_week=0.25)))
    rows = table(list(blocks), columns=8)
    assert rows["Spike", "4"] == ("9 of 10", "90.00 %", "59.58 % to 98.21 %", "3.0", "80.00 %", "90.00 %")
    assert set(rows) == {("Spike", "4"), ("Spike", "8"), ("Shift", "4"), ("Shift", "0.5"), ("Silence", "10"), ("Nothing", "0")}
    marked = [row for block in blocks if isinstance(block, Table) and len(block.columns) == 8 for row in block.rows if row[3].tone == "bad"]
    assert [(row[0].text, row[1].text) for row in marked] == [("Shift", "4")], "a weak fault may be missed, and so may the control"
    least = next(block for block in blocks if isinstance(block, Table) and len(block.columns) == 3)
    assert {row[0].text: (row[1].text, row[2].text) for row in least.rows} == {
        "Spike": ("4", "4"),
        "Shift": (NONE, NONE),
        "Silence": ("10", "10"),
    }
    assert sum(isinstance(block, Plot) for block in blocks) == 2


def test_a_shadow_tells_the_champions_own_recall(tmp_path: Path) -> None:
    rows = table(list(section(told(tmp_path, graded(model="champion")))), columns=8)
    assert rows["Spike", "4"][1] == "90.00 %"
    assert rows["Spike", "4"][4] == NONE


def test_nights_stand_below_each_other(tmp_path: Path) -> None:
    made = told(tmp_path, graded(model="champion"))
    nights = pl.DataFrame({AT: [datetime(2026, 3, 2, tzinfo=UTC)], RELEASE: ["5f0c2ad1"], FAULTS: [120], FOUND: [90]})
    runs.leave(Run(flow="shadow", folder=made.folder, started_at=datetime(2026, 3, 2, tzinfo=UTC)), nights=nights)
    rows = table(list(section(made)), columns=4)
    assert rows == {("2026-03-02 00:00", "5f0c2ad1"): ("90 of 120", "75.00 %")}


def test_every_class_has_a_line_of_its_own(tmp_path: Path) -> None:
    drawn = recall_by_strength(graded(model="candidate").filter(pl.col(WHO) == MATURE, pl.col(KIND).is_in([SPIKE, SHIFT])))
    lines = {trace.name: (list(trace.x), list(trace.y)) for trace in drawn.data}
    assert lines == {SHIFT: ([0.5, 4.0], [0.0, 0.3]), SPIKE: ([4.0, 8.0], [0.9, 1.0])}
    assert len({(trace.line.dash, trace.marker.symbol) for trace in drawn.data}) == 2


def test_a_run_without_injected_faults_has_no_such_section(tmp_path: Path) -> None:
    ended = runs.promoted(tmp_path)
    html = page.write(ended.run, summary=ended.summary).read_text(encoding="utf-8")
    assert 'id="injected"' not in html
    runs.leave(ended.run, injected=graded(model="candidate"))
    again = page.write(ended.run, summary=Ended(run=ended.run, summary=ended.summary).summary).read_text(encoding="utf-8")
    assert 'id="injected"' in again
