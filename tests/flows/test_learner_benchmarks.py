"""What the benchmarks of the learner make of what they measured: see tests/benchmarks/learn.py, story.py, staleness.py and ablation.py."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from telemetry.schema import AT, COUNT, ENTITY, FORECASTS, MEAN, PARAMETER, SCALES, SD, SIGMA, conform
from tests.models.panels import make_panel

pytestmark = pytest.mark.slow  # Great Expectations and Prefect take seconds to import

START = datetime(2026, 1, 1, tzinfo=UTC)
MET: dict[str, Any] = {
    "closed_share": 0.96,
    "seed_spread": 0.01,
    "compiles": 1,
    "same_bytes": True,
    "resumed_equal": True,
    "equal_wall": {"every_step_no_worse": True},
}


def test_the_aims_are_met_by_all_figures_or_not_at_all() -> None:
    from tests.benchmarks.learn import met

    assert met(MET)
    assert met({name: MET[name] for name in ("closed_share", "seed_spread", "compiles")})
    worse: dict[str, Any] = {
        "closed_share": 0.94,
        "seed_spread": 0.11,
        "compiles": 2,
        "same_bytes": False,
        "resumed_equal": False,
        "equal_wall": {"every_step_no_worse": False},
    }
    assert [met(MET | {name: value}) for name, value in worse.items()] == [False] * len(worse)


def test_the_story_is_as_told_only_if_the_checks_stop_the_faults_and_nothing_else() -> None:
    from tests.benchmarks.story import as_told

    rows = [{"row": "unscaled", "gate_mature": False}, {"row": "both", "gate_mature": True}]
    stopped = {"clean": False, "x100": True, "unscaled": True}

    def record(**changes: bool) -> dict[str, Any]:
        return {"rows": rows, "checks": [{"row": name, "stopped": value} for name, value in (stopped | changes).items()]}

    assert as_told(record())
    assert not as_told(record(clean=True))
    assert not as_told(record(unscaled=False))
    assert not as_told(record() | {"rows": [rows[0], rows[1] | {"gate_mature": False}]})
    assert not as_told(record() | {"rows": [rows[0] | {"gate_mature": True}, rows[1]]})


def forecasts(entities: list[str], *, steps: int) -> pl.DataFrame:
    rows = [
        (entity, START + timedelta(minutes=step), "queries", 1, 2.0, 1.5, 1.0, 1.0, False, False)
        for entity in entities
        for step in range(steps)
    ]
    return conform(pl.DataFrame(rows, schema=dict(FORECASTS), orient="row"), FORECASTS, name="forecasts")


def test_who_is_new_is_told_by_the_panel_whatever_the_forecasts_say() -> None:
    from tests.benchmarks.story import of_newcomers

    panel = replace(make_panel(steps=4), start_us=int(START.timestamp() * 1e6))
    newcomer = np.zeros(panel.newcomer.shape, dtype=bool)
    newcomer[2, 1:3] = True
    rows = forecasts(["entity-2", "entity-0"], steps=4)
    assert of_newcomers(rows, panel=replace(panel, newcomer=newcomer)).tolist() == [False, True, True, False, *[False] * 4]


def test_both_models_are_held_to_one_tolerance() -> None:
    from tests.benchmarks.staleness import by_tolerance

    scales = conform(
        pl.DataFrame({ENTITY: ["known"], PARAMETER: ["queries"], MEAN: [0.0], SD: [3.0], COUNT: [1]}, schema=dict(SCALES)), SCALES, name="s"
    )
    told = by_tolerance(forecasts(["known", "unknown"], steps=1), scales=scales)
    assert dict(told.select(ENTITY, SIGMA).iter_rows()) == {"known": 3.0, "unknown": 1.0}
    assert told.columns == forecasts(["known"], steps=1).columns
    assert told[AT].to_list() == [START, START]


def test_a_difference_is_told_in_units_of_luck() -> None:
    from tests.benchmarks.ablation import Outcome, beyond_luck, in_units, line, spread

    full = [
        Outcome(dropped="", seed=seed, accuracy=accuracy, skill=0.2, validation_loss=0.3, by_target={"queries": 0.98}, seconds=1)
        for seed, accuracy in enumerate((0.99, 0.9901, 0.9902))
    ]
    between = spread(full)
    assert between.accuracy == pytest.approx(0.0001)
    assert in_units(-0.001, of=between.accuracy) == pytest.approx(-10)
    assert in_units(-0.001, of=between.skill) is None
    one = replace(full[0], dropped="queries", accuracy=0.989, by_target={"queries": 0.9})
    assert line(one, all_of_them=full[0], between=between).split()[:4] == ["queries", "98.900", "%", "-0.100"]
    assert "-10.0" in line(one, all_of_them=full[0], between=between)
    lucky = replace(full[0], dropped="cpu", accuracy=0.98985)
    assert beyond_luck([one, lucky], all_of_them=full[0], between=between) == (["queries"], [])
