"""Chance in a simulated fleet, whose mean is known exactly: an AR(1) wandering load, and white noise that depends on volume."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from telemetry.rhythms import Array

WANDER_KEEPS: Final = 0.985
"""AR(1) coefficient a minute: the common load forgets its excursions within some two hours."""
WANDER_SD: Final = 0.015
PEAKS: Final = 6
"""Power mean by which a noise is sized: what is outside a deviation is mostly at the busiest times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How a target scatters: its deviation is `c * expected**power`, c such that at busy times it is `share` of the tide's own."""

    power: float
    """Below 1 what is small is relatively noisier, as counts are (Taylor's law)."""
    share: float
    wander: float
    """Elasticity to the wandering load that all targets of an entity have in common."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wander:
    """The log of a load's slow excursions, f32[minute, entity]."""

    log: Array
    expected_log: Array
    """Given the minute before."""

    def factor(self, *, elasticity: float) -> Array:
        """What the excursions do to a target."""
        factor: Array = np.exp(elasticity * self.log)
        return factor

    def expected_factor(self, *, elasticity: float) -> Array:
        """E[factor | everything up to the minute before]: the mean of a lognormal."""
        variance = WANDER_SD**2 * (1.0 - WANDER_KEEPS**2)
        factor: Array = np.exp(elasticity * self.expected_log + np.float32(0.5 * elasticity**2 * variance))
        return factor


def wander(rng: np.random.Generator, *, minutes: int, entities: int) -> Wander:
    """A stationary AR(1) of deviation WANDER_SD for every entity."""
    shocks = WANDER_SD * rng.standard_normal((minutes + 1, entities), dtype=np.float32)
    shocks[1:] *= np.sqrt(1.0 - WANDER_KEEPS**2) / (1.0 - WANDER_KEEPS)  # ewm_mean multiplies each but the first by 1 - WANDER_KEEPS
    log = pl.DataFrame(shocks).select(pl.all().ewm_mean(alpha=1.0 - WANDER_KEEPS, adjust=False)).to_numpy().astype(np.float32)
    return Wander(log=log[1:], expected_log=np.float32(WANDER_KEEPS) * log[:-1])


def scatter(rng: np.random.Generator, *, tide: Array, deviation: Array, noise: Noise, common: Array) -> Array:
    """White factors of mean 1, f32[minute, entity]: never negative, so that the conditional mean stays exactly what it was.

    Each is bell-shaped and bounded, a sum of three uniform numbers (Irwin-Hall), at most three deviations from 1.

    Args:
        rng: drawn from for the two that are the target's own.
        tide: expected values.
        deviation: f64[entity], of the tide itself.
        noise: how the target scatters.
        common: uniform in [0, 1), f32[minute, entity]; the one that all targets of an entity share.
    """
    shape = tide ** np.float32(noise.power)
    scale = noise.share * deviation / np.mean(shape**PEAKS, axis=0, dtype=np.float64) ** (1.0 / PEAKS)
    relative = np.minimum(scale.astype(np.float32) * shape / tide, np.float32(0.33))
    bell = common + rng.random(tide.shape, dtype=np.float32)
    bell += rng.random(tide.shape, dtype=np.float32)
    factors: Array = 1.0 + relative * (2.0 * bell - 3.0)  # three uniform numbers have the variance 1/4
    return factors


def whole(rng: np.random.Generator, *, values: Array) -> Array:
    """`values` rounded up or down by chance, so that their mean stays exactly what it was."""
    rounded: Array = np.floor(values + rng.random(values.shape, dtype=np.float32))
    return rounded
