"""The baselines say what they should where the answer is known."""

import numpy as np
import pytest

from models.baselines import pca_score, persistence


def _pair(*, steps: int = 400, seed: int = 0) -> np.ndarray:
    """f32[1, steps, 3]: the first two go together, the third goes its own way."""
    random = np.random.default_rng(seed)
    first, third = random.normal(size=(2, steps))
    return np.stack([first, first + 0.05 * random.normal(size=steps), third], axis=1)[None].astype(np.float32)


def test_a_step_that_breaks_the_usual_company_of_parameters_scores_highest() -> None:
    values, fit = _pair(), np.arange(400)[None] < 300
    values[0, 350] = (2.0, -2.0, 0.0)
    score = pca_score(values, observed=np.ones_like(values, dtype=bool), fit=fit)
    assert score.dtype == np.float32
    assert score.argmax() == 350
    assert score[0, 350] > 100 * np.median(score)


def test_what_was_not_to_be_fitted_on_is_not_fitted_on() -> None:
    values, fit = _pair(), np.arange(400)[None] < 300
    observed, wild = np.ones_like(values, dtype=bool), values.copy()
    wild[0, 300:] = 1e6
    np.testing.assert_array_equal(
        pca_score(values, observed=observed, fit=fit)[:, :300], pca_score(wild, observed=observed, fit=fit)[:, :300]
    )


def test_what_is_not_observed_adds_nothing() -> None:
    values, fit = _pair(), np.arange(400)[None] < 300
    observed = np.ones_like(values, dtype=bool)
    observed[0, 350:, 1] = observed[0, 360:] = False
    fitted = values[0, :300]
    values[0, 350] = fitted.mean(axis=0) + 2 * fitted.std(axis=0)
    values[0, 351:] = 1e6
    score = pca_score(values, observed=observed, fit=fit)
    assert not score[0, 360:].any()
    # Of a pair that goes together one is 2 and the other is taken for average: each is 1 off, and one of them is not observed.
    assert score[0, 350] == pytest.approx(1, rel=0.05)


def test_a_constant_column_that_wakes_up_is_finite_and_seen() -> None:
    values, fit = np.concatenate([_pair(), np.zeros((1, 400, 1), dtype=np.float32)], axis=-1), np.arange(400)[None] < 300
    values[0, 350, 3] = 0.5
    score = pca_score(values, observed=np.ones_like(values, dtype=bool), fit=fit)
    assert np.isfinite(score).all()
    assert score.argmax() == 350


def test_an_entity_with_nothing_to_fit_on_scores_0() -> None:
    values = np.repeat(_pair(), 2, axis=0)
    fit = np.stack([np.arange(400) < 300, np.zeros(400, dtype=bool)])
    score = pca_score(values, observed=np.ones_like(values, dtype=bool), fit=fit)
    assert score[0].any()
    assert not score[1].any()


def test_persistence_repeats_the_last_observed_value_that_is_a_lead_old() -> None:
    values = np.array([[[1], [2], [9], [4], [5]]], dtype=np.float32)
    observed = np.array([[[True], [True], [False], [True], [True]]])
    assert persistence(values, observed=observed, lead=2)[0, :, 0].tolist() == [0, 0, 1, 2, 2]
