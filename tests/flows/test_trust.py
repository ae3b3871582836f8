"""Who is fed by forecasts: of whom the network knows enough to go on without seeing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flows.parallel_test import Candidate, forecasts_of, guarded
from flows.trust import free_run, trusted
from models.config import Network
from models.guard import Guard
from models.lstm import initial
from telemetry.panel import CALENDAR, Panel, Part
from telemetry.schema import JOINT, TARGET, THRESHOLDS
from tests.flows.places import Place, assert_same, at, declare, make_places, rows_of, views_of

pytestmark = pytest.mark.slow
STEPS = 400


def panel_of(values: np.ndarray) -> Panel:
    """Two entities, of which the last half calibrates."""
    part = np.full((2, STEPS), Part.TRAIN, dtype=np.uint8)
    part[:, STEPS // 2 :] = Part.CALIBRATE
    return Panel(
        entities=("a", "b"),
        parameters=("queries", "cpu", "users"),
        targets=(0, 1),
        start_us=0,
        cadence_seconds=900,
        values=values.astype(np.float32),
        observed=np.ones((2, STEPS, 3), dtype=np.bool_),
        calendar=np.zeros((STEPS, len(CALENDAR)), dtype=np.float32),
        newcomer=np.zeros((2, STEPS), dtype=np.bool_),
        part=part,
        incident=np.zeros((2, STEPS), dtype=np.bool_),
    )


def candidate() -> Candidate:
    """A network that has learned nothing: it forecasts the last value, or what is near 0."""
    network = Network(parameters=3, calendar=len(CALENDAR), entities=2, targets=(0, 1), leads=(1, 3), hidden=(4,), dense=4, embedding=2)
    weights = {name: np.asarray(weight) for name, weight in initial(network, seed=1).items()}
    return Candidate(network=network, weights=weights, scales=pl.DataFrame(), entities=("a", "b"))


def test_a_network_that_loses_its_way_without_seeing_is_told_from_one_that_does_not() -> None:
    values = np.zeros((2, STEPS, 3))
    values[1, :, :2] = 20.0  # "b" stays where a network that knows nothing never is
    rows = [(e, t, lead, 1.0, 5.0, 99) for e in "ab" for t in ("queries", "cpu") for lead in (1, 3)]
    thresholds = pl.DataFrame(rows, schema=THRESHOLDS, orient="row")
    share = free_run(candidate(), panel=panel_of(values), thresholds=thresholds, contract=declare())
    assert share[0] == pytest.approx(0.0)
    assert share[1] == pytest.approx(1.0)


def test_without_a_calibrate_part_nobody_is_trusted() -> None:
    panel = replace(panel_of(np.zeros((2, STEPS, 3))), part=np.full((2, STEPS), Part.TRAIN, dtype=np.uint8))
    rows = [(e, t, lead, 1.0, 5.0, 99) for e in "ab" for t in ("queries", "cpu") for lead in (1, 3)]
    thresholds = pl.DataFrame(rows, schema=THRESHOLDS, orient="row")
    assert free_run(candidate(), panel=panel, thresholds=thresholds, contract=declare()).tolist() == [1.0, 1.0]


def test_the_guard_acts_for_those_alone_who_may_be_fed() -> None:
    guard = Guard(
        usual=np.ones((2, 1, 2), dtype=np.float32),
        bars=np.full((2, 2), 3.0, dtype=np.float32),
        open_steps=3,
        open_within=5,
        close_steps=10,
        longest=96,
        settle=4,
    )
    panel, views = panel_of(np.zeros((2, STEPS, 3))), views_of(1, parameters=3, level=0.0)
    found = trusted(guard, views=views, panel=panel)
    assert found is not None
    assert found.bars.tolist() == [[3.0, 3.0], [np.inf, np.inf]]  # nobody has tried "b"
    assert trusted(guard, views=views.tried(np.array([0.06], dtype=np.float32)), panel=panel) is None
    assert trusted(guard, views=None, panel=panel) is None
    assert trusted(None, views=views, panel=panel) is None


def test_each_half_of_the_calibrate_part_is_guarded_by_what_the_other_has_taught() -> None:
    values = np.zeros((2, STEPS, 3))
    for fault in (slice(230, 260), slice(330, 360)):  # one in each half, of "a"; the network follows what it reads
        values[0, fault, :2] = 20.0
    panel, contract = panel_of(values), declare()
    plain = forecasts_of(candidate(), panel=panel)

    def bars(bar: float) -> pl.DataFrame:
        rows = [(e, t, lead, 1.0, bar, 99) for e in "ab" for t in ("queries", "cpu") for lead in (1, 3)]
        return pl.DataFrame(rows, schema=THRESHOLDS, orient="row")

    def changed(older: float, newer: float, **trusted: float) -> list[bool]:
        views = views_of(2, parameters=3, level=0.0).tried(np.full(2, trusted.get("off", 0.0), dtype=np.float32))
        found = guarded(candidate(), plain, panel=panel, halves=(bars(older), bars(newer)), contract=contract, views=views)
        assert np.array_equal(found[:, :200], plain[:, :200], equal_nan=True)
        assert np.allclose(found[1, 200:], plain[1, 200:], atol=0.01)
        return [not np.allclose(found[0, half], plain[0, half], atol=0.01) for half in (slice(200, 300), slice(300, 400))]

    assert changed(older=1e6, newer=5.0) == [True, False]
    assert changed(older=5.0, newer=1e6) == [False, True]
    assert changed(older=5.0, newer=5.0, off=0.5) == [False, False]  # of whom the network does not know enough


def test_the_joint_surprise_is_the_same_in_whatever_portions_one_scores(tmp_path: Path) -> None:
    places: Callable[..., Place] = make_places(tmp_path)

    def place(name: str) -> Place:
        made = places(name)
        bars = pl.DataFrame([(e, JOINT, 0, 1.0, 2.0, 99) for e in "ab"], schema=THRESHOLDS, orient="row")
        thresholds = pl.concat([made.release.thresholds, bars])
        return replace(made, release=replace(made.release, thresholds=thresholds, views=views_of(2, parameters=3, level=1.0)))

    found, expected = place("portions"), place("backlog")
    every = rows_of({"a": list(range(260)), "b": list(range(260))})
    for step in (100, 150, 191, 192, 193, 200, 230, 260):
        found.arrive(every.filter(pl.col("at") < at(step)))
        found.score()
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)
    joint = expected.table("scores").filter(pl.col(TARGET) == JOINT)
    assert joint.height > 100
    assert joint["surprise"].null_count() == 0
