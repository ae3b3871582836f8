"""Each loss is least where it should be, and is the formula that its source tells."""

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.config import Loss
from models.losses import EXTRAS, QUANTILES, cost, deviation, quantiles


def _told(location: float, *, loss: Loss, extras: tuple[float, ...] = ()) -> jax.Array:
    return jnp.asarray([location, *(extras or (0.0,) * EXTRAS[loss])])


@pytest.mark.parametrize(("loss", "expected"), [("mae", 3.0), ("huber", 2.5)])
def test_the_losses_of_a_location_alone(loss: Loss, expected: float) -> None:
    assert float(cost(_told(1.0, loss=loss), jnp.asarray(4.0), loss=loss)) == pytest.approx(expected)


def test_huber_is_half_a_square_near_the_location() -> None:
    assert float(cost(_told(0.0, loss="huber"), jnp.asarray(0.5), loss="huber")) == pytest.approx(0.125)


def test_gaussian_is_the_normal_density() -> None:
    told = _told(1.0, loss="gaussian", extras=(0.7,))
    density = np.log(NormalDist(1.0, float(deviation(told))).pdf(2.5))
    constant = 0.5 * np.log(2 * np.pi)
    assert float(cost(told, jnp.asarray(2.5), loss="gaussian")) == pytest.approx(-density - constant, rel=1e-5)


def test_quantile_is_least_at_the_quantiles_of_what_happened() -> None:
    happened = jnp.asarray(np.random.default_rng(0).normal(size=20_000), dtype=jnp.float32)

    def mean(told: jax.Array) -> jax.Array:
        return cost(jnp.broadcast_to(told, (happened.size, told.size)), happened, loss="quantile").mean()

    told, slope = _told(0.3, loss="quantile"), jax.jit(jax.grad(mean))
    for _ in range(400):
        told = told - 0.05 * slope(told) * told.size
    for share, at in quantiles(told):
        assert float(at) == pytest.approx(NormalDist().inv_cdf(share), abs=0.06)
    assert [share for share, _ in quantiles(told)] == [0.5, *QUANTILES]


def test_of_a_median_alone_the_quantile_loss_is_the_absolute_error() -> None:
    at_median = jnp.asarray([1.0, *(0.0 for _ in QUANTILES)])
    shares = [0.5, *QUANTILES]
    error = 3.0
    assert float(cost(at_median, jnp.asarray(4.0), loss="quantile")) == pytest.approx(2 * np.mean([share * error for share in shares]))
