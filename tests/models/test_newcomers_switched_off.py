"""What the benchmarks of the learner switch off, and nothing else: see tests/benchmarks/story.py and ablation.py."""

from dataclasses import replace

import numpy as np
import pytest

from models import sampling
from models.config import Network, Training
from models.lstm import initial
from models.predict import forecast
from models.sampling import Windows
from telemetry.panel import CALENDAR, Panel, Part
from tests.benchmarks.learner.dropped import without
from tests.benchmarks.learner.newcomers import Treatment, flagged, unflagged
from tests.models.panels import make_panel

NETWORK = Network(parameters=4, calendar=len(CALENDAR), entities=3, targets=(0, 2), hidden=(8,), dense=8)
TRAINING = Training(batch=4, time_steps=16, warmup_steps=4, unknown_share=0.5)


def with_newcomer() -> Panel:
    panel = make_panel()
    newcomer = np.zeros(panel.newcomer.shape, dtype=bool)
    newcomer[1] = True
    return replace(panel, newcomer=newcomer)


def drawn(panel: Panel, treatment: Treatment) -> Windows:
    with treatment.in_training(panel):
        learnable = sampling.judged(treatment.learned_from(panel), part=Part.TRAIN)
        return sampling.sampler(learnable, network=NETWORK, training=TRAINING).draw(1)


def of_newcomer(windows: Windows) -> np.ndarray:
    return windows.rows[..., 0] == 1


def test_who_is_left_out_is_in_no_window() -> None:
    windows = drawn(with_newcomer(), Treatment(flagged=True, left_out=True))
    assert not of_newcomer(windows).any()
    assert 0 < windows.rows[..., 3].mean() < 0.5


def test_without_the_flag_no_window_is_shown_as_a_newcomers() -> None:
    windows = drawn(with_newcomer(), Treatment(flagged=False, left_out=True))
    assert not of_newcomer(windows).any()
    assert not windows.rows[..., 3].any()
    assert (windows.gain == 1).all()
    assert (windows.shift == 0).all()
    assert not windows.rows[..., 2].all()  # entities are hidden all the same


def test_newcomers_that_are_learned_from_have_their_flag_if_it_is_on() -> None:
    on, off = (drawn(with_newcomer(), Treatment(flagged=flag, left_out=False)) for flag in (True, False))
    assert of_newcomer(on).any()
    assert on.rows[of_newcomer(on), 3].all()
    assert 0 < on.rows[~of_newcomer(on), 3].mean() < 0.5
    assert of_newcomer(off).any()
    assert not off.rows[..., 3].any()


def test_the_windows_to_validate_on_are_flagged_alike() -> None:
    panel, treatment = with_newcomer(), Treatment(flagged=True, left_out=False)
    with treatment.in_training(panel):
        held = sampling.judged(treatment.learned_from(panel), part=Part.CALIBRATE)
        windows = sampling.validation(held, network=NETWORK, training=TRAINING, batch=2)
    assert (windows.rows[..., 3] == of_newcomer(windows)).all()


def test_a_forecast_is_told_of_newcomers_only_with_the_flag() -> None:
    panel = with_newcomer()
    assert Treatment(flagged=True, left_out=False).seen(panel).newcomer.any()
    assert not Treatment(flagged=False, left_out=True).seen(panel).newcomer.any()


def test_afterwards_all_is_as_it_was() -> None:
    panel = with_newcomer()
    before = sampling.Sampler.draw, sampling.validation
    drawn(panel, Treatment(flagged=False, left_out=False))
    assert (sampling.Sampler.draw, sampling.validation) == before


def test_flags_change_nothing_else() -> None:
    panel = with_newcomer()
    learnable = sampling.judged(make_panel(), part=Part.TRAIN)
    windows = sampling.sampler(learnable, network=NETWORK, training=TRAINING).draw(1)
    for other in (unflagged(windows), flagged(windows, newcomer=panel.newcomer)):
        np.testing.assert_array_equal(other.rows[..., :3], windows.rows[..., :3])


@pytest.mark.slow
def test_a_dropped_parameter_moves_no_forecast() -> None:
    panel = make_panel(steps=200)
    weights = {name: np.asarray(weight) for name, weight in initial(NETWORK, seed=0).items()}
    values = panel.values.copy()
    values[..., 1] += 1
    moved = replace(panel, values=values)

    def forecasts(of: Panel) -> np.ndarray:
        return forecast(of, network=NETWORK, weights=weights, start=100, stop=200)

    with without((1,)):
        np.testing.assert_array_equal(forecasts(panel), forecasts(moved))
    assert np.abs(forecasts(panel) - forecasts(moved)).max() > 1e-3
    with without((0, 2)):
        assert np.abs(forecasts(panel) - forecasts(moved)).max() > 1e-3
