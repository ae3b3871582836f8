"""Parameters that a network is not shown, although its forecasts of them are still held against what came."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import jax
from jax import Array

from models.lstm import Forecaster, Steps


def hidden(steps: Steps, *, parameter: int) -> Steps:
    """The steps with one parameter as if it had never been observed: 0 in `values`, true in `missing`."""
    return steps._replace(values=steps.values.at[..., parameter].set(0), missing=steps.missing.at[..., parameter].set(True))


@contextmanager
def without(parameter: int | None) -> Iterator[None]:
    """While this lasts, networks read their steps without a parameter (an index), in training and in forecasts; None leaves all as it is.

    Only what the first layer reads is changed. What a forecast is held against stays, and so does the value that a lead with a short cut
    is a correction to.
    """
    if parameter is None:
        yield
        return
    reads = Forecaster._inputs

    def blind(network: Forecaster, steps: Steps, *more: Any, **how: Any) -> Array:  # Any: whatever else it is told
        return reads(network, hidden(steps, parameter=parameter), *more, **how)

    jax.clear_caches()  # what was compiled before knows nothing of this
    try:
        with mock.patch.object(Forecaster, "_inputs", blind):
            yield
    finally:
        jax.clear_caches()
