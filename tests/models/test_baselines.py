"""The baselines say what they should where the answer is known."""

import numpy as np
import pytest

from models.baselines import pca_score, persistence, robust_z, seasonal_naive


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


ALL = {"start_seconds": 0, "cadence_seconds": 3600}


def test_the_same_minute_of_a_week_before_and_else_of_a_day_before() -> None:
    values = np.arange(200, dtype=np.float32).reshape(1, 200, 1)
    observed = np.ones_like(values, dtype=bool)
    observed[0, 180 - 168] = observed[0, 181 - 168] = observed[0, 181 - 24] = False
    told = seasonal_naive(values, observed=observed, cadence_seconds=3600)[0, :, 0]
    assert np.isnan(told[:24]).all()
    assert told[24] == 0  # a day before, for there is no week yet
    assert told[170] == 2
    assert told[180] == 180 - 24  # a week before it was not observed
    assert np.isnan(told[181])


def test_robust_z_knows_the_hours_of_the_week_where_there_are_weeks_of_it() -> None:
    random = np.random.default_rng(0)
    hours = np.arange(6 * 168)
    usual = 10 * (hours % 168 == 50) + 1.0
    values = (usual + 0.3 * random.standard_normal(hours.size)).astype(np.float32)[None, :, None]
    observed, fit = np.ones_like(values, dtype=bool), (hours < 5 * 168)[None]
    z = robust_z(values, observed=observed, fit=fit, **ALL)[0, :, 0]
    assert abs(z[5 * 168 + 50]) < 8  # of five values a deviation is a guess
    values[0, 5 * 168 + 51] = 11
    assert robust_z(values, observed=observed, fit=fit, **ALL)[0, 5 * 168 + 51, 0] > 15


@pytest.mark.parametrize(("fitted", "knows"), [(2, False), (3, True)])
def test_robust_z_takes_the_longest_cycle_of_which_there_is_enough(fitted: int, knows: bool) -> None:
    hours = np.arange(5 * 24)
    values = (100.0 * (hours % 24 == 7) + (hours // 24 % 2)).astype(np.float32)[None, :, None]
    z = robust_z(values, observed=np.ones_like(values, dtype=bool), fit=(hours < fitted * 24)[None], **ALL)[0, :, 0]
    assert (abs(z[4 * 24 + 7]) < 12) == knows


def test_robust_z_is_fitted_on_the_fit_alone_and_on_what_was_observed() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal((2, 300, 2)).astype(np.float32)
    observed, fit = np.ones_like(values, dtype=bool), np.arange(300)[None].repeat(2, axis=0) < 200
    observed[0, 10:20, 0] = False
    wild = values.copy()
    wild[:, 200:] = 1e6
    wild[0, 10:20, 0] = 1e6
    told, other = (robust_z(each, observed=observed, fit=fit, **ALL) for each in (values, wild))
    np.testing.assert_array_equal(told[:, :200], other[:, :200])
    assert not told[0, 10:20, 0].any()


def test_robust_z_is_not_moved_by_a_few_wild_values() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal((1, 480, 1)).astype(np.float32)
    wild = values.copy()
    wild[0, ::40] = 1e5
    fit, observed = np.ones((1, 480), dtype=bool), np.ones_like(values, dtype=bool)
    one, other = (robust_z(each, observed=observed, fit=fit, **ALL)[0, :, 0] for each in (values, wild))
    assert np.median(np.abs(one - other)) < 0.2


def test_an_entity_with_nothing_to_fit_on_is_held_against_the_others() -> None:
    values = np.full((3, 100, 1), 5, dtype=np.float32)
    fit = np.array([True, True, False])[:, None].repeat(100, axis=1)
    z = robust_z(values, observed=np.ones_like(values, dtype=bool), fit=fit, **ALL)
    assert not z.any()


def test_no_baseline_knows_of_a_later_step() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal((1, 400, 2)).astype(np.float32)
    observed, fit = random.random(values.shape) < 0.9, (np.arange(400) < 200)[None]
    later = values.copy()
    later[0, 300:] = 77
    for expect in (
        lambda told: persistence(told, observed=observed, lead=1)[:, :301],
        lambda told: seasonal_naive(told, observed=observed, cadence_seconds=3600)[:, :301],
        lambda told: robust_z(told, observed=observed, fit=fit, **ALL)[:, :300],
        lambda told: pca_score(told, observed=observed, fit=fit)[:, :300],
    ):
        np.testing.assert_array_equal(expect(values), expect(later))
