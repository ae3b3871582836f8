"""A sweep: what it asks for and leaves out, what it says, that it goes on after a kill, and that it never sees the parallel test."""

import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from flows import outcomes, page, swept
from flows.cli import app
from flows.exhibits import path_of
from flows.runs import Stage
from flows.settings import Settings
from models import sweep as sweeper
from models.config import Network, Training
from models.sweep import Design, Outcome, Ranked
from telemetry import contract as contracts
from telemetry import panel as panels
from telemetry.panel import Panel, Part
from tests.flows.conftest import SmallFleet, small_contract
from tests.flows.processes import eventually, tidewatch
from tests.flows.runs_for_pages import new_run
from tests.models.conftest import make_panel

NETWORK = Network(parameters=4, calendar=8, entities=3, targets=(0, 2), hidden=(8,), dense=8, embedding=2)
TRAINING = Training(batch=8, time_steps=24, warmup_steps=8, learning_rate=0.01, epochs=1)


def ranked(*, seconds: Sequence[float] = (9.0, 3.0, 2.0)) -> list[Ranked]:
    """Three designs, best first: a large one, a small one within its standard error, one that is not."""
    told = [
        ("3 x LSTM(128), 64 steps, overlapping", 0.981, 0.002),
        ("2 x LSTM(64), 64 steps, apart", 0.980, 0.001),
        ("2 x LSTM(64), 16 steps, apart", 0.97, 0.0),
    ]
    return [
        Ranked(
            design=Design(name=name, network=NETWORK, training=replace(TRAINING, overlapping=index == 0)),
            accuracy=accuracy,
            spread=error * 2,
            error=error,
            train_seconds=seconds[index],
            predict_seconds=seconds[index] / 10,
            chosen=index == 1,
        )
        for index, (name, accuracy, error) in enumerate(told)
    ]


def test_the_rows_say_which_designs_nobody_can_tell_from_the_best() -> None:
    rows = swept.rows_of(ranked())
    assert [(row["architecture"], row["within"], row["chosen"]) for row in rows] == [
        ("3 x LSTM(128)", True, False),
        ("2 x LSTM(64)", True, True),
        ("2 x LSTM(64)", False, False),
    ]
    assert swept.sentence(rows) == (
        "2 x LSTM(64), 64 steps, apart: within one standard error of the best (3 x LSTM(128), 64 steps, overlapping, 98.10 %), "
        "and the cheapest of the 2 that are."
    )
    assert [row[-1] for row in swept.cells(rows)] == ["within", "chosen", ""]


def test_a_best_design_that_is_the_cheapest_is_told_as_both() -> None:
    rows = swept.rows_of(ranked())
    rows[0]["chosen"], rows[1]["chosen"] = True, False
    assert swept.sentence(rows).endswith("the best (98.10 %), and the cheapest of the 2 within one standard error of it.")


def test_the_lines_are_a_contract_that_asks_for_the_chosen_design(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    network = replace(NETWORK, hidden=(64, 64, 32), cells=("lstm", "lstm", "gru"))
    training = replace(TRAINING, time_steps=256, warmup_steps=16, overlapping=False, supervision="last_step")
    head = small_contract().partition("[windows]")[0]
    path.write_text(head + swept.contract_lines(Design(name="x", network=network, training=training)), encoding="utf-8")
    asked = contracts.load(path)
    assert (asked.windows.time_steps, asked.windows.warmup_steps, asked.windows.supervision) == (256, 16, "last_step")
    assert (asked.training.hidden, asked.training.cells, asked.training.overlapping) == ((64, 64, 32), ("lstm", "lstm", "gru"), False)


def test_the_page_shows_the_designs_as_a_plot_and_a_table(tmp_path: Path) -> None:
    run = new_run(tmp_path, flow="sweep", stages=(Stage(name="sweep", seconds=20.0, note="6 trainings"),))
    rows = swept.rows_of(ranked(seconds=(90.0, 3.0, 2.0)))
    summary = {
        "flow": "sweep",
        "verdict": "swept",
        "sentence": swept.sentence(rows),
        "designs": rows,
        "contract_lines": "[windows]\ntime_steps = 64",
        "stages": run.told_stages(),
    }
    html = page.render(run, summary=summary)
    assert html.index('id="sweep"') < html.index('id="stages"')
    assert 'class="verdict good"' in html
    assert all(row["design"] in html for row in rows)
    assert "time_steps = 64" in html
    assert "one standard error below the best" in html
    assert "could not be shown" not in html


def test_an_outcome_is_kept_whole_and_a_line_that_a_kill_cut_off_is_none(tmp_path: Path) -> None:
    kept = outcomes.Outcomes(tmp_path, panel="p", keep=3)
    kept.keep({"accuracy": 0.9}, identity="one")
    with (tmp_path / "p.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"identity": "two", "accu')
    kept.keep({"accuracy": 0.8}, identity="three")
    assert kept.known() == {"one": {"accuracy": 0.9}, "three": {"accuracy": 0.8}}


def test_outcomes_of_the_oldest_panels_go(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        (tmp_path / f"{name}.jsonl").write_text("", encoding="utf-8")
        os.utime(tmp_path / f"{name}.jsonl", (number, number))
    outcomes.Outcomes(tmp_path, panel="d", keep=2)
    assert {path.stem for path in tmp_path.iterdir()} == {"b", "c"}


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 0.02}, {"seed": 1}, {"epochs": 2}, {"overlapping": False}], ids=lambda changes: next(iter(changes))
)
def test_a_training_with_other_settings_is_another(changes: dict[str, Any]) -> None:
    told = outcomes.identity(NETWORK, training=TRAINING, device="cpu cpu")
    assert told == outcomes.identity(replace(NETWORK), training=replace(TRAINING), device="cpu cpu")
    assert told != outcomes.identity(NETWORK, training=replace(TRAINING, **changes), device="cpu cpu")
    assert told != outcomes.identity(NETWORK, training=TRAINING, device="gpu NVIDIA H100")


def spoilt(panel: Panel, *, part: Part, value: float) -> Panel:
    """The panel with other values in one part."""
    return replace(panel, values=np.where((panel.part == part)[..., None], np.float32(value), panel.values))


def interleaved(panel: Panel) -> Panel:
    """The panel with the parts of its second entity put off, so that TEST of others lies beside its CALIBRATE."""
    part = panel.part.copy()
    part[1] = np.where(np.arange(panel.steps) < panel.steps - 100, Part.TRAIN, Part.CALIBRATE)
    return replace(panel, part=part)


@pytest.mark.parametrize("shape", [lambda panel: panel, interleaved], ids=["by time", "by entity"])
def test_what_a_sweep_is_given_holds_nothing_of_the_parallel_test(shape: Callable[[Panel], Panel]) -> None:
    panel = shape(make_panel())
    given = outcomes.without_test(panel)
    assert not (given.part == Part.TEST).any()
    for part in (Part.TRAIN, Part.CALIBRATE):
        seen, before = given.part == part, panel.part == part
        assert np.array_equal(given.values[seen], panel.values[before])
        assert np.array_equal(given.observed[seen], panel.observed[before])
    assert outcomes.digest_of(given) == outcomes.digest_of(outcomes.without_test(spoilt(panel, part=Part.TEST, value=np.nan)))
    assert outcomes.digest_of(given) != outcomes.digest_of(outcomes.without_test(spoilt(panel, part=Part.CALIBRATE, value=1.0)))
    assert np.shares_memory(given.values, panel.values) is (shape is not interleaved)


def figures(told: Sequence[Outcome]) -> list[tuple[str, int, float, float]]:
    """What decides; seconds are never the same."""
    return [(each.design, each.seed, each.accuracy, each.validation_loss) for each in told]


@pytest.mark.slow
def test_other_values_in_the_parallel_test_change_no_outcome() -> None:
    designs = [Design(name="small", network=NETWORK, training=TRAINING)]
    panel = make_panel()
    told = figures(sweeper.run(panel, designs=designs, seeds=(0,)))
    assert told == figures(sweeper.run(spoilt(panel, part=Part.TEST, value=50.0), designs=designs, seeds=(0,)))
    assert told != figures(sweeper.run(spoilt(panel, part=Part.CALIBRATE, value=50.0), designs=designs, seeds=(0,)))


def swept_panel(panel: Panel, *, folder: Path, contract: str, home: Path, patch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the sweep of a panel says, in an installation of its own."""
    from flows.sweep import Wanted, sweep_designs

    patch.setenv("TIDEWATCH_HOME", str(home))
    panels.save(panel, folder=folder / "work" / "panel")
    wanted = Wanted(designs="2 x LSTM(64), 16 steps, overlapping", time_steps=(16,), seeds=1, epochs=1, supervision=None)
    told = sweep_designs.fn(contract=contract, folder=str(folder), wanted=wanted, lake_version=1)
    assert pl.read_parquet(path_of(folder, name=swept.EXHIBIT)).height == len(told.rows) == 1
    lines = (folder / "outcomes.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["design"], row["seed"], row["accuracy"], row["validation_loss"]) for row in map(json.loads, lines)]


@pytest.mark.slow
def test_a_parallel_test_without_a_number_in_it_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contract, panel = tmp_path / "small.toml", make_panel()
    contract.write_text(small_contract(), encoding="utf-8")
    told = [
        swept_panel(each, folder=tmp_path / name, contract=str(contract), home=tmp_path / f"home-{name}", patch=monkeypatch)
        for name, each in (("as-it-is", panel), ("spoilt", spoilt(panel, part=Part.TEST, value=np.nan)))
    ]
    assert len(told[0]) == 1
    assert told[0] == told[1]


@pytest.mark.parametrize("lengths", ["16,many", ""])
def test_lengths_that_are_no_numbers_are_refused_at_once(tmp_path: Path, lengths: str) -> None:
    result = CliRunner().invoke(app, ["sweep", "--time-steps", lengths], env={"TIDEWATCH_HOME": str(tmp_path / "home")})
    assert result.exit_code == 2
    assert "whole numbers such as 16,64,256" in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_a_design_that_is_not_there_and_a_window_of_one_step_are_refused(tmp_path: Path) -> None:
    from flows.sweep import SweepError, Wanted, chosen_designs

    path = tmp_path / "small.toml"
    path.write_text(small_contract(), encoding="utf-8")
    wanted = Wanted(designs="transformer", time_steps=(16,), seeds=1, epochs=1, supervision=None)
    with pytest.raises(SweepError, match=r"No design is called 'transformer'; there are 6\.\nHint: .*2 x LSTM\(64\), 16 steps"):
        chosen_designs(make_panel(), contract=contracts.load(path), wanted=wanted)
    with pytest.raises(SweepError, match=r"time_steps \[1\].*from 2 to 4,096"):
        replace(wanted, time_steps=(1,))


ASKED = ("--designs", "2 x LSTM(64),*", "--time-steps", "16", "--seeds", "2", "--epochs", "1", "--json")


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_that_was_killed_goes_on_where_it_was(small_fleet: SmallFleet, tmp_path: Path, told_to: dict[str, str]) -> None:
    home = tmp_path / "home"

    def over() -> list[str]:
        return [line for path in (home / "sweeps").glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]

    with tidewatch("sweep", "-c", small_fleet.contract, "-s", small_fleet.history, *ASKED, home=home, told=told_to) as command:
        command.wait_until(lambda: bool(over()), seconds=280)
        assert command.end(signal.SIGKILL) == -signal.SIGKILL
    before = over()
    assert 1 <= len(before) < 4, "killed too late to show anything"
    with tidewatch("sweep", "-c", small_fleet.contract, *ASKED, home=home, told=told_to) as command:
        assert eventually(lambda: command.process.poll() is not None, seconds=280), command.told
        told = json.loads(command.told.splitlines()[-1])
    assert (told["verdict"], told["trainings"], told["trainings_known"]) == ("swept", 4, len(before)), told
    assert over()[: len(before)] == before
    assert len({json.loads(line)["identity"] for line in over()}) == len(over()) == 4
    assert told["chosen"] in told["sentence"]
    folder = Path(told["page"]).parent
    assert len((folder / "outcomes.jsonl").read_text(encoding="utf-8").splitlines()) == 4
    assert not (Settings(home=home).releases_folder).exists()
