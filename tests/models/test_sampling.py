"""Windows: every minute that may be learned from is judged once an epoch, and no other window is drawn."""

import numpy as np
import pytest

from models import sampling
from models.config import Network, Supervision, Training

NETWORK = Network(parameters=1, calendar=8, entities=2, targets=(0,), leads=(1,))
TRAINING = Training(batch=4, time_steps=16, warmup_steps=4)


def _judged(windows: sampling.Windows, *, shape: tuple[int, int], training: Training) -> np.ndarray:
    """How often each step is forecast by the windows."""
    times = np.zeros((shape[0], shape[1] + training.time_steps + 1), dtype=int)
    for entity, start, _, _ in windows.rows.reshape(-1, 4):
        times[entity, start + training.first_judged + 1 : start + training.time_steps + 1] += 1
    return times[:, : shape[1]]


def test_every_step_is_judged_about_once_an_epoch() -> None:
    learnable = np.zeros((2, 500), dtype=bool)
    learnable[0, 40:] = learnable[1, 100:300] = True
    sampler = sampling.sampler(learnable, network=NETWORK, training=TRAINING)
    total = np.zeros(learnable.shape)
    for epoch in range(100):
        times = _judged(sampler.draw(epoch), shape=learnable.shape, training=TRAINING)
        assert times.max() <= 2
        total += times
    assert total[learnable].mean() == pytest.approx(100, abs=5)
    assert total[learnable].min() > 60


@pytest.mark.parametrize("supervision", ["every_step", "last_step"])
def test_a_window_from_which_nothing_can_be_learned_is_not_drawn(supervision: Supervision) -> None:
    training = Training(batch=4, time_steps=16, warmup_steps=4, supervision=supervision)
    learnable = np.zeros((2, 500), dtype=bool)
    learnable[1, 100:300] = True
    windows = sampling.sampler(learnable, network=NETWORK, training=training).draw(1).rows.reshape(-1, 4)
    judged = windows[:, 1, None] + 1 + np.arange(training.first_judged, training.time_steps)
    assert learnable[windows[:, 0, None], judged].any(axis=1).all()


def test_a_far_lead_draws_the_windows_whose_forecasts_land_on_a_learnable_step() -> None:
    learnable = np.zeros((1, 200), dtype=bool)
    learnable[0, 150] = True
    training = Training(batch=1, time_steps=16, supervision="last_step", warmup_steps=0)
    network = Network(parameters=1, calendar=8, entities=1, targets=(0,), leads=(1, 50))
    starts = {
        int(start)
        for epoch in range(20)
        for start in sampling.sampler(learnable, network=network, training=training).draw(epoch).rows[..., 1].flat
    }
    assert starts == {150 - 15 - 1, 150 - 15 - 50}


def test_epochs_differ_and_repeat_with_their_seed() -> None:
    sampler = sampling.sampler(np.ones((2, 500), dtype=bool), network=NETWORK, training=TRAINING)
    np.testing.assert_array_equal(sampler.draw(3).rows, sampler.draw(3).rows)
    assert not np.array_equal(sampler.draw(3).rows, sampler.draw(4).rows)
    assert sampler.draw(3).rows.shape == sampler.draw(4).rows.shape


def test_a_share_of_the_entities_is_hidden_and_half_of_those_are_shown_as_newcomers() -> None:
    sampler = sampling.sampler(np.ones((8, 5_000), dtype=bool), network=NETWORK, training=TRAINING)
    _, _, told, newcomer = sampler.draw(1).rows.reshape(-1, 4).T
    assert np.mean(told == 0) == pytest.approx(TRAINING.unknown_share, abs=0.02)
    assert np.mean(newcomer) == pytest.approx(TRAINING.unknown_share / 2, abs=0.02)
    assert not (newcomer & told).any()


def test_only_what_is_shown_as_a_newcomer_has_a_level_and_a_spread_of_its_own() -> None:
    sampler = sampling.sampler(np.ones((8, 5_000), dtype=bool), network=NETWORK, training=TRAINING)
    drawn = sampler.draw(1)
    newcomer = drawn.rows[..., 3].astype(bool)
    assert (drawn.gain[~newcomer] == 1).all()
    assert not drawn.shift[~newcomer].any()
    assert np.log(drawn.gain[newcomer]).std() == pytest.approx(sampling.GAIN, rel=0.2)
    assert drawn.shift[newcomer].std() == pytest.approx(sampling.SHIFT, rel=0.2)


def test_last_step_epochs_are_bounded() -> None:
    training = Training(batch=64, time_steps=16, warmup_steps=4, supervision="last_step")
    sampler = sampling.sampler(np.ones((8, 10_000), dtype=bool), network=NETWORK, training=training)
    assert sampler.batches * sampler.batch == sampling.LAST_STEP_WINDOWS
    held_out = sampling.validation(np.ones((8, 10_000), dtype=bool), network=NETWORK, training=training, batch=64)
    assert held_out.rows[..., 0].size == sampling.LAST_STEP_VALIDATION


def test_nothing_to_judge_makes_no_validation_batch() -> None:
    held_out = sampling.validation(np.zeros((2, 100), dtype=bool), network=NETWORK, training=TRAINING, batch=4)
    assert (held_out.rows.shape, held_out.gain.shape) == ((0, 4, 4), (0, 4, 1))
