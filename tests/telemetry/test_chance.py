"""Chance has the mean that it promises, so that the oracle is exact."""

import numpy as np
import pytest

from telemetry.chance import WANDER_KEEPS, WANDER_SD, Noise, scatter, wander, whole

NOISE = Noise(power=0.4, share=0.43, wander=1.0)


def test_the_wandering_load_is_a_stationary_first_order_process() -> None:
    walk = wander(np.random.default_rng(0), minutes=4000, entities=200)
    assert walk.log[0].std() == pytest.approx(WANDER_SD, rel=0.15)
    assert walk.log.std() == pytest.approx(WANDER_SD, rel=0.05)
    assert np.allclose(walk.expected_log[1:], WANDER_KEEPS * walk.log[:-1], atol=1e-7)
    shock = walk.log - walk.expected_log
    assert shock.std() == pytest.approx(WANDER_SD * np.sqrt(1 - WANDER_KEEPS**2), rel=0.02)
    assert np.corrcoef(shock[1:].ravel(), shock[:-1].ravel())[0, 1] == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("elasticity", [0.5, 1.0])
def test_the_expected_factor_of_the_wandering_load_is_its_mean(elasticity: float) -> None:
    walk = wander(np.random.default_rng(1), minutes=4000, entities=200)
    ratio = walk.factor(elasticity=elasticity) / walk.expected_factor(elasticity=elasticity)
    assert ratio.mean(dtype=np.float64) == pytest.approx(1.0, abs=1e-5)  # without the lognormal's term it would be off by 3e-6 to 1e-5


def test_scatter_has_mean_one_and_never_turns_a_volume_negative() -> None:
    rng = np.random.default_rng(2)
    tide = np.linspace(1.0, 100.0, 20_000, dtype=np.float32)[:, None].repeat(50, axis=1)
    factors = scatter(
        rng, tide=tide, deviation=tide.std(axis=0, dtype=np.float64), noise=NOISE, common=rng.random(tide.shape, dtype=np.float32)
    )
    assert factors.mean(dtype=np.float64) == pytest.approx(1.0, abs=5e-4)
    assert factors.min() > 0.0
    assert factors[:5000].std() > factors[-5000:].std()


def test_targets_of_an_entity_scatter_together_by_a_third() -> None:
    rng = np.random.default_rng(3)
    tide = np.linspace(50.0, 100.0, 50_000, dtype=np.float32)[:, None]
    common = rng.random(tide.shape, dtype=np.float32)
    one, other = (scatter(rng, tide=tide, deviation=tide.std(axis=0, dtype=np.float64), noise=NOISE, common=common) for _ in range(2))
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] == pytest.approx(1 / 3, abs=0.02)


def test_rounding_by_chance_keeps_the_mean() -> None:
    rounded = whole(np.random.default_rng(4), values=np.full((500, 400), 0.3, dtype=np.float32))
    assert set(np.unique(rounded)) == {0.0, 1.0}
    assert rounded.mean() == pytest.approx(0.3, abs=0.005)
