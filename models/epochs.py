"""One pass over the data on the devices: what is compiled of a training.

Several devices share each batch: every one has a part of its windows, and their gradients are summed. Runs that differ in nothing that is
compiled in share a compilation.
"""

from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]  # it ships no types
from jax import Array, lax, shard_map
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from models.config import Loss, Network
from models.devices import AXIS
from models.losses import cost
from models.lstm import Steps, forecaster, rest
from models.sampling import Windows
from telemetry.panel import Part

Weights = dict[str, Array]
Moments = Any  # Any: optax.OptState, which has no type of its own


class Data(NamedTuple):
    """The panel on the devices, padded in time so that every window and its leads lie inside.

    Attributes:
        values: f32[E, T, P].
        missing: bool[E, T, P].
        part: u8[E, T], ABSENT where a forecast may not be held against the step.
        calendar: f32[T, C].
    """

    values: Array
    missing: Array
    part: Array
    calendar: Array


class Cut(NamedTuple):
    """All of a training that is compiled in."""

    time_steps: int
    first_judged: int
    loss: Loss
    clip: float


class State(NamedTuple):
    """What an epoch hands on to the next one.

    Attributes:
        weights: as the last training step left them.
        moments: of the optimiser.
        best: the weights of the epoch with the least validation loss ...
        best_loss: f32[], ... and that loss.
    """

    weights: Weights
    moments: Moments
    best: Weights
    best_loss: Array


class Record(NamedTuple):
    """What an epoch tells.

    Attributes:
        loss: f32[batches].
        judged: i32[batches], forecasts held against an observed value.
        finite: bool[batches] by weight, of the gradients.
        validation_loss: f32[].
    """

    loss: Array
    judged: Array
    finite: dict[str, Array]
    validation_loss: Array


def begin(weights: Weights) -> State:
    """The state before the first epoch."""
    best = {name: jnp.copy(weight) for name, weight in weights.items()}  # what is donated must not be given twice
    return State(weights=weights, moments=optax.scale_by_adam().init(weights), best=best, best_loss=jnp.asarray(np.inf, dtype=jnp.float32))


@partial(jax.jit, static_argnames=("network", "cut", "mesh"), donate_argnames=("state",))
def epoch(
    state: State, data: Data, windows: Windows, rates: Array, held_out: Windows, *, network: Network, cut: Cut, mesh: Mesh
) -> tuple[State, Record]:
    """One pass over windows at rates f32[batches], then the validation: all in one compiled call."""
    on_each = shard_map(
        partial(_pass, network=network, cut=cut),
        mesh=mesh,
        in_specs=(P(), P(), P(None, AXIS), P(), P(None, AXIS)),
        out_specs=P(),
        check_vma=False,
    )
    told: tuple[State, Record] = on_each(state, data, windows, rates, held_out)
    return told


def compiled() -> int:
    """How many times `epoch` has been compiled in this process."""
    return int(epoch._cache_size())  # type: ignore[attr-defined]  # not in jax's types, and counted by its own tests


_Learned = tuple[Weights, Moments]


def _pass(
    state: State, data: Data, windows: Windows, rates: Array, held_out: Windows, *, network: Network, cut: Cut
) -> tuple[State, Record]:
    """What each device does of an epoch, with its part of every batch; weights and record are the same on all."""
    clip = optax.clip_by_global_norm(cut.clip) if cut.clip else optax.identity()

    def total_cost(weights: Weights, batch: Windows) -> tuple[Array, Array]:
        return _cost(weights, batch, data, part=Part.TRAIN, network=network, cut=cut)

    def step(learned: _Learned, given: tuple[Windows, Array]) -> tuple[_Learned, tuple[Array, Array, dict[str, Array]]]:
        (weights, moments), (batch, rate) = learned, given
        (total, count), gradients = jax.value_and_grad(total_cost, has_aux=True)(weights, batch)
        total, count, gradients = _summed((total, count, gradients))
        share = 1 / jnp.maximum(count, 1)
        gradients = {name: gradient * share for name, gradient in gradients.items()}
        finite = {name: jnp.isfinite(gradient).all() for name, gradient in gradients.items()}
        gradients, _ = clip.update(gradients, clip.init(weights))
        directions, moments = optax.scale_by_adam().update(gradients, moments)
        weights = {name: weight - rate * directions[name] for name, weight in weights.items()}
        return (weights, moments), (total * share, count.astype(jnp.int32), finite)

    def validate(weights: Weights, batch: Windows) -> tuple[Weights, tuple[Array, Array]]:
        return weights, _cost(weights, batch, data, part=Part.CALIBRATE, network=network, cut=cut)

    (weights, moments), (loss, judged, finite) = lax.scan(step, (state.weights, state.moments), (windows, rates))
    _, (totals, counts) = lax.scan(validate, weights, held_out)
    total, count = _summed((totals.sum(), counts.sum()))
    validation_loss = total / jnp.maximum(count, 1)
    better = validation_loss < state.best_loss
    best = {name: jnp.where(better, weight, state.best[name]) for name, weight in weights.items()}
    after = State(weights=weights, moments=moments, best=best, best_loss=jnp.where(better, validation_loss, state.best_loss))
    return after, Record(loss=loss, judged=judged, finite=finite, validation_loss=validation_loss)


_Parts = TypeVar("_Parts")


def _summed(parts: _Parts) -> _Parts:
    """The sum over all devices, in one exchange rather than one for each array."""
    flat, shaped = ravel_pytree(parts)
    told: _Parts = shaped(lax.psum(flat, AXIS))
    return told


def _cost(weights: Weights, windows: Windows, data: Data, *, part: Part, network: Network, cut: Cut) -> tuple[Array, Array]:
    """Sum of the costs of a batch of windows against the observed targets of one part, and their number."""
    entity, start, told, newcomer = windows.rows.T
    at = start + jnp.arange(cut.time_steps)[:, None]
    missing = data.missing[entity, at]
    steps = Steps(
        values=jnp.where(missing, 0, data.values[entity, at] * windows.gain + windows.shift),
        missing=missing,
        calendar=data.calendar[at],
        newcomer=jnp.broadcast_to(newcomer > 0, at.shape),
        entity=jnp.where(told > 0, entity, -1),
    )
    first = cut.first_judged
    forecasts, _ = forecaster(network, weights=weights).distribution(steps, carries=rest(network, batch=entity.size), first=first)
    targets = np.array(network.targets)
    ahead = at[first:, :, None] + np.array(network.leads)
    actual = data.values[entity[:, None], ahead] * windows.gain[:, None] + windows.shift[:, None]
    counts = ~data.missing[entity[:, None], ahead][..., targets] & (data.part[entity[:, None], ahead] == part)[..., None]
    return jnp.where(counts, cost(forecasts, actual[..., targets], loss=cut.loss), 0).sum(), counts.sum()
