"""The joint number of an entity: what it is made of, what it sees, and that a release holds it."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.views import ARRAYS, Views, learn
from telemetry.panel import CALENDAR, Panel, Part
from telemetry.strangers import learn as learn_tides

ENTITIES, STEPS, PARAMETERS = 3, 6_000, 5
TARGETS = (0, 1, 2)
LEADS = 2


def world(
    *, entities: int = ENTITIES, parameters: int = PARAMETERS, targets: tuple[int, ...] = TARGETS
) -> tuple[Panel, NDArray[np.float32]]:
    """A panel whose parameters follow one factor, and forecasts whose errors go together."""
    random = np.random.default_rng(0)
    factor = random.normal(size=(entities, STEPS, 1))
    values = (factor + 0.3 * random.normal(size=(entities, STEPS, parameters))).astype(np.float32)
    together = random.normal(size=(entities, STEPS, 1, 1))
    errors = together + 0.2 * random.normal(size=(entities, STEPS, LEADS, len(targets)))
    part = np.full((entities, STEPS), Part.TEST, dtype=np.uint8)
    part[:, :4_000], part[:, :2_000] = Part.CALIBRATE, Part.TRAIN
    panel = Panel(
        entities=tuple("abc"[:entities]),
        parameters=tuple(f"p{number}" for number in range(parameters)),
        targets=targets,
        start_us=0,
        cadence_seconds=60,
        values=values,
        observed=np.ones(values.shape, dtype=np.bool_),
        calendar=np.zeros((STEPS, len(CALENDAR)), dtype=np.float32),
        newcomer=np.zeros((entities, STEPS), dtype=np.bool_),
        part=part,
        incident=np.zeros((entities, STEPS), dtype=np.bool_),
    )
    return panel, (values[:, :, None, list(targets)] - errors).astype(np.float32)


def told(views: Views, panel: Panel, forecasts: NDArray[np.float32], *, entity: int = 0, name: str | None = None) -> NDArray[np.float32]:
    """The joint number of every step of an entity."""
    key = panel.entities[entity] if name is None else name
    return views.joint(
        key, values=panel.values[entity], observed=panel.observed[entity], targets=panel.targets, forecasts=forecasts[entity]
    )


def test_an_ordinary_step_has_a_number_near_one() -> None:
    panel, forecasts = world()
    number = told(learn(panel, forecasts), panel, forecasts)
    assert 0.6 < np.median(number[4_000:]) < 1.1
    assert np.isfinite(number).all()


def test_errors_that_do_not_belong_together_count_more_than_those_that_do() -> None:
    panel, forecasts = world()
    views = learn(panel, forecasts)
    panel.values[0, 5_000:] = forecasts[0, 5_000:, 0].mean()
    same, apart = forecasts.copy(), forecasts.copy()
    same[0, 5_000] = panel.values[0, 5_000, list(TARGETS)] + 1.5
    apart[0, 5_000] = panel.values[0, 5_000, list(TARGETS)] + 1.5 * np.array([1, -1, 1])
    assert told(views, panel, apart)[5_000] > 1.3 * told(views, panel, same)[5_000]


def test_a_fault_that_is_forecast_is_still_seen_by_how_parameters_move_together() -> None:
    panel, forecasts = world()
    views = learn(panel, forecasts)
    before = told(views, panel, forecasts)[5_000]
    error = panel.values[0, 5_000, None, list(TARGETS)].T - forecasts[0, 5_000]
    panel.values[0, 5_000, 0] += 6.0
    forecasts[0, 5_000] = panel.values[0, 5_000, list(TARGETS)] - error  # the network errs as it did
    assert told(views, panel, forecasts)[5_000] > 1.5 * before


def test_a_labelled_step_teaches_nothing() -> None:
    panel, forecasts = world()
    plain = learn(panel, forecasts)
    panel.incident[:, 2_100:2_200] = True
    panel.values[:, 2_100:2_200] *= 100
    wild = learn(panel, forecasts)
    assert np.allclose(wild.sd, plain.sd, rtol=0.1)
    panel.incident[:] = False
    assert not np.allclose(learn(panel, forecasts).level, plain.level, rtol=0.5)


def test_nothing_later_changes_what_was_told() -> None:
    panel, forecasts = world()
    views = learn(panel, forecasts)
    before = told(views, panel, forecasts)[:5_000]
    panel.values[0, 5_000:] = 50.0
    again = learn(panel, forecasts)
    assert np.array_equal(told(again, panel, forecasts)[:5_000], before)


def test_who_is_not_known_is_seen_with_what_the_others_have_in_common() -> None:
    panel, forecasts = world()
    panel.newcomer[2] = True
    panel.part[2, 1_000:3_000] = Part.GAP
    panel.part[2, 3_000:4_000] = Part.CALIBRATE  # less than a day
    views = learn(panel, forecasts)
    assert np.array_equal(views.precision[2], views.precision[-1])
    assert np.array_equal(told(views, panel, forecasts, name="stranger"), told(views, panel, forecasts, name="c"))


def test_a_step_without_a_target_has_no_number_and_an_unobserved_one_adds_nothing() -> None:
    panel, forecasts = world()
    panel.observed[0, 5_000, list(TARGETS)] = False
    panel.observed[0, 5_001, 0] = False
    views = learn(panel, forecasts)
    panel.values[0, 5_001, 0] = 1e6
    number = told(views, panel, forecasts)
    assert np.isnan(number[5_000])
    assert number[5_001] < 10


def test_a_parameter_alone_is_seen_by_its_errors() -> None:
    panel, forecasts = world(parameters=1, targets=(0,))
    views = learn(panel, forecasts)
    assert (views.level[:, 2] == 0).all()
    assert np.isfinite(told(views, panel, forecasts)).all()


def test_a_release_holds_them_and_refuses_others() -> None:
    panel, forecasts = world()
    views = learn(panel, forecasts)
    again = Views.from_bytes(views.to_bytes())
    assert again.entities == views.entities
    assert all(np.array_equal(getattr(again, name), getattr(views, name)) for name in ARRAYS)
    assert again.to_bytes() == views.to_bytes()
    with pytest.raises(ValueError, match="no views of 2 entities: sd, precision"):
        Views.from_bytes(replace(views, entities=("a", "b")).to_bytes())


def test_a_release_holds_the_tides_for_those_who_come_later() -> None:
    panel, forecasts = world()
    views = learn(panel, forecasts)
    assert Views.from_bytes(views.to_bytes()).tides is None  # as of a release that is older
    tides = learn_tides(replace(panel, newcomer=np.arange(ENTITIES)[:, None] == np.zeros((1, STEPS))))  # all but the first
    again = Views.from_bytes(replace(views, tides=tides).to_bytes()).tides
    assert again is not None
    assert again.entities == tides.entities == ("b", "c")
    assert np.array_equal(again.hours, tides.hours, equal_nan=True)
    with pytest.raises(ValueError, match="no tides of 168 hours"):
        Views.from_bytes(replace(views, tides=replace(tides, hours=tides.hours[:, 1:])).to_bytes())
