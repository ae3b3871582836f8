"""Parameters that a network is not shown, although its forecasts of them are still held against what came."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax import Array

from models.lstm import Forecaster, Steps


def hidden(steps: Steps, *, parameters: tuple[int, ...]) -> Steps:
    """The steps with parameters as if they had never been observed: 0 in `values`, true in `missing`."""
    where = np.array(parameters)
    return steps._replace(values=steps.values.at[..., where].set(0), missing=steps.missing.at[..., where].set(True))


@contextmanager
def without(parameters: tuple[int, ...]) -> Iterator[None]:
    """While this lasts, networks read their steps without parameters (indices), in training and in forecasts; () leaves all as it is.

    Only what the first layer reads is changed. What a forecast is held against stays, and so does the value that a lead with a short cut
    is a correction to.
    """
    if not parameters:
        yield
        return
    reads = Forecaster._inputs

    def blind(network: Forecaster, steps: Steps, *more: Any, **how: Any) -> Array:  # Any: whatever else it is told
        return reads(network, hidden(steps, parameters=parameters), *more, **how)

    jax.clear_caches()  # what was compiled before knows nothing of this
    try:
        with mock.patch.object(Forecaster, "_inputs", blind):
            yield
    finally:
        jax.clear_caches()
