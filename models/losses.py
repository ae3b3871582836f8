"""What a forecast costs: errors in scaled units, one number for each forecast that is held against an observed value."""

from typing import Final

import jax.numpy as jnp
import optax  # type: ignore[import-untyped]  # it ships no types
from flax import nnx
from jax import Array

from models.config import Loss

QUANTILES: Final = (0.05, 0.25, 0.75, 0.95)
"""What the loss `quantile` learns beside the median."""
EXTRAS: Final[dict[Loss, int]] = {"mae": 0, "huber": 0, "gaussian": 1, "quantile": len(QUANTILES)}
"""How many numbers a forecast has beside its location."""
LEAST_DEVIATION: Final = 1e-3
"""Floor under a forecast's standard deviation, in training standard deviations."""


def cost(told: Array, actual: Array, *, loss: Loss) -> Array:
    """f32[...]: the cost of each forecast.

    mae        |y - y'|
    huber      half the squared error up to one training deviation, linear from there on (Huber, 1964)
    gaussian   negative logarithm of the normal density, without its constant (Nix & Weigend, 1994)
    quantile   pinball losses of the median and of QUANTILES (Koenker & Bassett, 1978), twice their mean: of a median alone, mae

    Args:
        told: f32[..., 1 + extras], location first.
        actual: f32[...].
        loss: which.
    """
    location = told[..., 0]
    match loss:
        case "mae":
            return jnp.abs(location - actual)
        case "huber":
            huber: Array = optax.losses.huber_loss(location, actual, delta=1.0)
            return huber
        case "gaussian":
            sd = deviation(told)
            return 0.5 * jnp.square((actual - location) / sd) + jnp.log(sd)
        case "quantile":
            return 2 * jnp.mean(jnp.stack([_pinball(actual - at, share=share) for share, at in quantiles(told)]), axis=0)


def deviation(told: Array) -> Array:
    """f32[...]: the standard deviation that a forecast of the loss `gaussian` tells, in training standard deviations."""
    return nnx.softplus(told[..., 1]) + LEAST_DEVIATION


def quantiles(told: Array) -> list[tuple[float, Array]]:
    """The quantiles f32[...] that a forecast of the loss `quantile` tells, median first, by their share."""
    location = told[..., 0]
    return [(0.5, location), *((share, location + told[..., 1 + index]) for index, share in enumerate(QUANTILES))]


def _pinball(error: Array, *, share: float) -> Array:
    return jnp.maximum(share * error, (share - 1) * error)
