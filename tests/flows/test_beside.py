"""The baselines are fitted on the train part, calibrated on the calibrate part, and judged as a release is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from flows.beside import PCA, ROBUST, SEASONAL, Rival, baselines, expectations, figures, promised, watched, within
from telemetry.contract import Contract
from telemetry.panel import CALENDAR, Panel, Part
from telemetry.schema import ENTITY, INCIDENTS, LABELS, SCALES, TARGET
from tests.benchmarks.judgement import detectors
from tests.flows.places import declare

pytestmark = pytest.mark.slow
STEPS = 96 * 40
STRUCK = slice(96 * 34 + 20, 96 * 34 + 32)
BEGAN = datetime(2026, 1, 5, tzinfo=UTC)


def telemetry() -> Contract:
    """A quarter of an hour a step; three of five open an incident."""
    return declare(entity={"keys": ["customer"]})


def panel(seed: int = 0) -> Panel:
    """Two entities over forty days, each day alike but for noise; `c/a` is struck on the last days."""
    random = np.random.default_rng(seed)
    tide = np.sin(np.arange(STEPS) / 96 * 2 * np.pi)
    values = (tide[None, :, None] + 0.2 * random.standard_normal((2, STEPS, 3))).astype(np.float32)
    values[0, STRUCK, 0] += 4
    part = np.full((2, STEPS), Part.TRAIN, dtype=np.uint8)
    part[:, 96 * 25 :], part[:, 96 * 33 :] = Part.CALIBRATE, Part.TEST
    struck = np.zeros((2, STEPS), dtype=bool)
    struck[0, STRUCK] = True
    return Panel(
        entities=("c/a", "c/b"),
        parameters=("queries", "cpu", "users"),
        targets=(0, 1),
        start_us=int(BEGAN.timestamp()) * 1_000_000,
        cadence_seconds=900,
        values=values,
        observed=np.ones_like(values, dtype=bool),
        calendar=np.zeros((STEPS, len(CALENDAR)), dtype=np.float32),
        newcomer=np.zeros((2, STEPS), dtype=bool),
        part=part,
        incident=struck,
    )


def scales() -> pl.DataFrame:
    """SCALES in which values are what they are."""
    rows = [(entity, name, 0.0, 1.0, 99) for entity in ("c/a", "c/b") for name in ("queries", "cpu", "users")]
    return pl.DataFrame(rows, schema=SCALES, orient="row")


def labels() -> pl.DataFrame:
    """The stroke."""
    start, end = (BEGAN + step * timedelta(minutes=15) for step in (STRUCK.start, STRUCK.stop))
    return pl.DataFrame([("c/a", start, end, "stroke")], schema=LABELS, orient="row")


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rival]:
    """What each baseline made of it."""
    told = baselines(panel(), scales=scales(), contract=telemetry(), into=tmp_path_factory.mktemp("beside"))
    return {each.name: each for each in told}


def test_all_of_them_are_there(rivals: dict[str, Rival]) -> None:
    assert list(rivals) == ["last value", "seasonal naive", "robust z", "PCA"]


@pytest.mark.parametrize("name", [SEASONAL, ROBUST, PCA])
def test_a_stroke_is_found(rivals: dict[str, Rival], name: str) -> None:
    told = rivals[name].told(labels())
    assert told.labels["found"].to_list() == [True]
    assert told.incidents.filter(~pl.col("false"))[ENTITY].to_list() == ["c/a"]


def test_they_are_held_to_the_promise_that_is_a_releases(rivals: dict[str, Rival]) -> None:
    contract = telemetry()
    told = [each.told(labels()) for each in rivals.values()]
    found = figures(told, watched=watched(panel()), contract=contract)
    assert {each.figures.promised_rate for each in found} == {contract.thresholds.false_alarms_per_week * 900 / (7 * 86_400)}
    assert all(0 <= (each.figures.realised_rate or 0.0) < 0.02 for each in found)
    assert {each.figures.entity_weeks for each in found} == {2.0}
    assert found[3].by_target[TARGET].to_list() == ["pca"]


def test_public_sets_are_judged_beside_the_same_robust_z() -> None:
    own = panel()
    own.observed[0, STRUCK, 0] = False
    own = replace(own, targets=(0, 1, 2), newcomer=np.arange(STEPS) < np.array([[0], [96]]))
    z = next(each for each in expectations(own, scales=scales()) if each.name == ROBUST).panel.values
    np.testing.assert_allclose(detectors.robust_z(own), np.abs(z).mean(axis=-1, where=own.observed), rtol=1e-5)


def test_who_promises_no_rate_is_held_to_none() -> None:
    assert promised(declare(thresholds={"method": "sigma"})) is None
    assert promised(declare(thresholds={"budget": {"incidents": 3}})) is None
    assert promised(declare(thresholds={"method": "tail", "false_alarms_per_week": 2.0})) == pytest.approx(2 * 900 / (7 * 86_400))


def changed(told: NDArray[np.float32], where: slice) -> NDArray[np.float32]:
    """Values of another kind in some steps."""
    other = told.copy()
    other[:, where] = 50 + other[:, where] ** 2
    return other


def test_what_is_fitted_is_fitted_on_the_train_part_alone() -> None:
    own = panel()
    calm, later = slice(0, 96 * 25), slice(96 * 25, None)
    other = replace(own, values=changed(own.values, later))
    for one, two in zip(expectations(own, scales=scales()), expectations(other, scales=scales()), strict=True):
        np.testing.assert_array_equal(one.forecasts[:, calm], two.forecasts[:, calm])
        np.testing.assert_array_equal(one.panel.values[:, calm], two.panel.values[:, calm])


def test_what_is_labelled_teaches_no_threshold(tmp_path: Path) -> None:
    own = panel()
    marked, values = own.incident.copy(), own.values.copy()
    marked[:, 96 * 28 : 96 * 29] = True
    values[:, 96 * 28 : 96 * 29] += 20
    other = replace(own, incident=marked, values=values)
    one, two = (
        baselines(each, scales=scales(), contract=telemetry(), into=tmp_path / name)[2] for each, name in ((own, "own"), (other, "other"))
    )
    assert two.told(labels()).labels["found"].all()
    assert one.incidents.height == two.incidents.height


def test_an_incident_belongs_to_the_period_in_which_it_was_opened() -> None:
    rows = [(str(n), "c/a", BEGAN, BEGAN + timedelta(hours=n), BEGAN + timedelta(hours=9), 1.0, "x", "r") for n in (1, 2, 3)]
    every = pl.DataFrame(rows, schema=INCIDENTS, orient="row")
    told = within(every, since=BEGAN + timedelta(hours=1), until=BEGAN + timedelta(hours=2))
    assert told["incident"].to_list() == ["2"]  # the first was opened by the step that ends as the period begins
