"""One pass over the data on the devices: what is compiled of a training.

Several devices share each batch: every one has a part of its windows, and their gradients are summed. Runs that differ in nothing that is
compiled in share a compilation.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]  # it ships no types
from jax import Array, lax, shard_map
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from models import recurrent
from models.config import Loss, Network, Precision, Training
from models.devices import AXIS, COMPILER
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
        calendar: f32[Z, T, C].
        clock: i32[E], the calendar that each entity follows.
        static: f32[E, S].
    """

    values: Array
    missing: Array
    part: Array
    calendar: Array
    clock: Array
    static: Array


class Cut(NamedTuple):
    """All of a training that is compiled in."""

    time_steps: int
    first_judged: int
    loss: Loss
    clip: float
    precision: Precision

    @classmethod
    def of(cls, training: Training) -> "Cut":
        """What of a training that is."""
        return cls(
            time_steps=training.time_steps,
            first_judged=training.first_judged,
            loss=training.loss,
            clip=training.clip,
            precision=training.precision,
        )


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


class Seen(NamedTuple):
    """What the windows of a batch hold, time-major, S = time steps + the farthest lead.

    Attributes:
        values: f32[S, batch, P], scaled.
        missing: bool[S, batch, P].
        part: u8[S, batch], ABSENT where a forecast may not be held against the step.
        calendar: f32[S, batch, C].
        static: f32[batch, attribute].
    """

    values: Array
    missing: Array
    part: Array
    calendar: Array
    static: Array


@partial(jax.jit, compiler_options=COMPILER, static_argnames=("network", "cut", "mesh"), donate_argnames=("state",))
def epoch(
    state: State, data: Data, windows: Windows, rates: Array, held_out: Windows, *, network: Network, cut: Cut, mesh: Mesh
) -> tuple[State, Record]:
    """One pass over windows at rates f32[batches], then the validation: all in one compiled call, of data that is on the devices."""

    taken = (P(), P(), P(None, AXIS), P(), P(None, AXIS))
    told: tuple[State, Record] = _shared(_pass(network=network, cut=cut, mesh=mesh), mesh=mesh, taken=taken)(
        state, data, windows, rates, held_out
    )
    return told


@partial(jax.jit, compiler_options=COMPILER, static_argnames=("network", "cut", "mesh"), donate_argnames=("states",))
def side_by_side(
    states: State, data: Data, windows: Windows, rates: Array, held_out: Windows, *, network: Network, cut: Cut, mesh: Mesh
) -> tuple[State, Record]:
    """The same of several trainings at once: states, windows and what is told have an axis of trainings before their own.

    Their LSTM layers are scanned: cuDNN knows no such axis.
    """
    taken = (P(), P(), P(None, None, AXIS), P(), P(None, AXIS))
    each = jax.vmap(_pass(network=network, cut=cut, mesh=mesh), in_axes=(0, None, 0, None, None))
    with recurrent.scanned():
        told: tuple[State, Record] = _shared(each, mesh=mesh, taken=taken)(states, data, windows, rates, held_out)
    return told


_Pass = Callable[[State, Data, Windows, Array, Windows], tuple[State, Record]]


def _pass(*, network: Network, cut: Cut, mesh: Mesh) -> _Pass:
    """An epoch on one device, with its part of every batch."""

    def on_each(state: State, data: Data, windows: Windows, rates: Array, held_out: Windows) -> tuple[State, Record]:
        def seen(batch: Windows) -> tuple[Seen, Windows]:
            return _gathered(data, batch, steps=cut.time_steps + max(network.leads)), batch

        learn, validate = _learner(network=network, cut=cut, mesh=mesh), _validator(network=network, cut=cut)
        learned = (state.weights, state.moments)
        (weights, moments), told = lax.scan(lambda now, given: learn(now, (*seen(given[0]), given[1])), learned, (windows, rates))
        _, costs = lax.scan(lambda now, batch: (now, validate(weights, seen(batch))), None, held_out)
        return _settled(state._replace(weights=weights, moments=moments), told, *(cost.sum() for cost in costs))

    return on_each


_Told = tuple[Array, Array, dict[str, Array]]
OF_SEEN = Seen(*(P(None, AXIS) if name == "static" else P(None, None, AXIS) for name in Seen._fields))  # type: ignore[arg-type]
"""How each field is cut."""
Chunk = tuple[Seen, Windows]
"""Some batches of an epoch, each field with an axis of batches before its own."""


@partial(jax.jit, compiler_options=COMPILER, static_argnames=("network", "cut", "mesh"), donate_argnames=("state",))
def advance(state: State, chunk: Chunk, rates: Array, *, network: Network, cut: Cut, mesh: Mesh) -> tuple[State, _Told]:
    """The training steps of some batches that came from the host, at rates f32[batches]; told are loss, judged and finite of each."""

    def on_each(state: State, chunk: Chunk, rates: Array) -> tuple[State, _Told]:
        (weights, moments), told = lax.scan(_learner(network=network, cut=cut, mesh=mesh), (state.weights, state.moments), (*chunk, rates))
        return state._replace(weights=weights, moments=moments), told

    told: tuple[State, _Told] = _shared(on_each, mesh=mesh, taken=(P(), (OF_SEEN, P(None, AXIS)), P()))(state, chunk, rates)
    return told


@partial(jax.jit, compiler_options=COMPILER, static_argnames=("network", "cut", "mesh"))
def validated(weights: Weights, chunk: Chunk, *, network: Network, cut: Cut, mesh: Mesh) -> tuple[Array, Array]:
    """Sum f32[] of the costs of some batches that came from the host, and their number f32[]."""

    def on_each(weights: Weights, chunk: Chunk) -> tuple[Array, Array]:
        validate = _validator(network=network, cut=cut)
        _, (totals, counts) = lax.scan(lambda now, batch: (now, validate(weights, batch)), None, chunk)
        return _summed((totals.sum(), counts.sum()))

    told: tuple[Array, Array] = _shared(on_each, mesh=mesh, taken=(P(), (OF_SEEN, P(None, AXIS))))(weights, chunk)
    return told


@partial(jax.jit, donate_argnames=("state",))
def settled(state: State, told: _Told, total: Array, count: Array) -> tuple[State, Record]:
    """The end of an epoch whose batches came from the host: the best weights so far, and its record."""
    return _best(state, told, total, count)


def compiled() -> int:
    """How many times an epoch, or what one is made of, has been compiled in this process."""
    every: tuple[Any, ...] = (epoch, side_by_side, advance, validated, settled)  # Any: what counts compilations is not in JAX's types
    return sum(int(each._cache_size()) for each in every)


_Given = TypeVar("_Given")
_Learned = tuple[Weights, Moments]


def _shared(on_each: Callable[..., _Given], *, mesh: Mesh, taken: tuple[Any, ...]) -> Callable[..., _Given]:
    """`on_each` on every device with its part of the arguments; what it tells must be the same on all."""
    told: Callable[..., _Given] = shard_map(on_each, mesh=mesh, in_specs=taken, out_specs=P(), check_vma=False)
    return told


def _learner(*, network: Network, cut: Cut, mesh: Mesh) -> Callable[[_Learned, tuple[Seen, Windows, Array]], tuple[_Learned, _Told]]:
    """One training step, for a scan."""
    clip = optax.clip_by_global_norm(cut.clip) if cut.clip else optax.identity()

    def total_cost(weights: Weights, seen: Seen, batch: Windows) -> tuple[Array, Array]:
        return _cost(weights, seen, batch, part=Part.TRAIN, network=network, cut=cut)

    in_turn = _in_turn(jax.value_and_grad(total_cost, has_aux=True), mesh=mesh)

    def step(learned: _Learned, given: tuple[Seen, Windows, Array]) -> tuple[_Learned, _Told]:
        (weights, moments), (seen, batch, rate) = learned, given
        with _precise(cut):
            (total, count), gradients = in_turn(weights, seen, batch)
        total, count, gradients = _summed((total, count, gradients))
        share = 1 / jnp.maximum(count, 1)
        gradients = {name: gradient * share for name, gradient in gradients.items()}
        finite = {name: jnp.isfinite(gradient).all() for name, gradient in gradients.items()}
        gradients, _ = clip.update(gradients, clip.init(weights))
        directions, moments = optax.scale_by_adam().update(gradients, moments)
        weights = {name: weight - rate * directions[name] for name, weight in weights.items()}
        return (weights, moments), (total * share, count.astype(jnp.int32), finite)

    return step


ROWS: Final = 8
"""Windows of a batch that a core of a CPU learns from at a time."""
_Gradients = tuple[tuple[Array, Array], Weights]
_Differentiated = Callable[[Weights, Seen, Windows], _Gradients]


def _in_turn(differentiated: _Differentiated, *, mesh: Mesh) -> _Differentiated:
    """The same sums over a batch, on a CPU of some windows after the other: what they save for the way back then stays in its cache."""

    def summed(weights: Weights, seen: Seen, batch: Windows) -> _Gradients:
        windows = batch.rows.shape[0]
        if turns(windows, mesh=mesh) == 1:
            return differentiated(weights, seen, batch)

        def some(so_far: _Gradients, first: Array) -> tuple[_Gradients, None]:
            def cut(of: Array, axis: int) -> Array:
                return lax.dynamic_slice_in_dim(of, first, ROWS, axis=axis)

            few_seen = Seen(*(cut(field, 0 if name == "static" else 1) for name, field in zip(Seen._fields, seen, strict=True)))
            few: Windows = jax.tree.map(partial(cut, axis=0), batch)
            after: _Gradients = jax.tree.map(jnp.add, so_far, differentiated(weights, few_seen, few))
            return after, None

        nothing: _Gradients = jax.tree.map(jnp.zeros_like, jax.eval_shape(differentiated, weights, seen, batch))
        told, _ = lax.scan(some, nothing, jnp.arange(0, windows, ROWS))
        return told

    return summed


def turns(windows: int, *, mesh: Mesh) -> int:
    """In how many turns a device learns from its part of a batch."""
    return windows // ROWS if mesh.devices.flat[0].platform == "cpu" and windows % ROWS == 0 else 1


def _validator(*, network: Network, cut: Cut) -> Callable[[Weights, Chunk], tuple[Array, Array]]:
    """Sum and number of the costs of a device's part of a batch."""

    def validate(weights: Weights, given: Chunk) -> tuple[Array, Array]:
        with _precise(cut):
            return _cost(weights, *given, part=Part.CALIBRATE, network=network, cut=cut)

    return validate


def _precise(cut: Cut) -> AbstractContextManager[object]:
    """Within, matrix products are traced with the precision asked for; on a GPU theirs is TensorFloat-32 unless told otherwise."""
    return jax.default_matmul_precision("highest") if cut.precision == "float32" else nullcontext()


def _settled(state: State, told: _Told, total: Array, count: Array) -> tuple[State, Record]:
    """The same as `_best`, of each device's own sums."""
    return _best(state, told, *_summed((total, count)))


def _best(state: State, told: _Told, total: Array, count: Array) -> tuple[State, Record]:
    loss, judged, finite = told
    validation_loss = total / jnp.maximum(count, 1)
    better = validation_loss < state.best_loss
    best = {name: jnp.where(better, weight, state.best[name]) for name, weight in state.weights.items()}
    after = state._replace(best=best, best_loss=jnp.where(better, validation_loss, state.best_loss))
    return after, Record(loss=loss, judged=judged, finite=finite, validation_loss=validation_loss)


_Parts = TypeVar("_Parts")


def _summed(parts: _Parts) -> _Parts:
    """The sum over all devices, in one exchange rather than one for each array."""
    flat, shaped = ravel_pytree(parts)
    told: _Parts = shaped(lax.psum(flat, AXIS))
    return told


def _gathered(data: Data, windows: Windows, *, steps: int) -> Seen:
    """What windows hold, of data on the device."""
    entity, start = windows.rows[:, 0], windows.rows[:, 1]
    at = start + jnp.arange(steps)[:, None]
    return Seen(
        values=data.values[entity, at],
        missing=data.missing[entity, at],
        part=data.part[entity, at],
        calendar=data.calendar[data.clock[entity], at],
        static=data.static[entity],
    )


def _cost(weights: Weights, seen: Seen, windows: Windows, *, part: Part, network: Network, cut: Cut) -> tuple[Array, Array]:
    """Sum of the costs of a batch of windows against the observed targets of one part, and their number."""
    entity, told, newcomer = (windows.rows[:, column] for column in (0, 2, 3))
    length, first = cut.time_steps, cut.first_judged
    values = jnp.where(seen.missing, 0, seen.values * windows.gain + windows.shift)
    steps = Steps(
        values=values[:length],
        missing=seen.missing[:length],
        calendar=seen.calendar[:length],
        newcomer=jnp.broadcast_to(newcomer > 0, (length, entity.size)),
        entity=jnp.where(told > 0, entity, -1),
        static=seen.static if network.static else None,
    )
    forecasts, _ = forecaster(network, weights=weights).distribution(steps, carries=rest(network, batch=entity.size), first=first)

    def ahead(of: Array) -> Array:
        """[step, batch, lead, ...]: what comes a lead after each step from the first judged one on."""
        return jnp.stack([of[first + lead : length + lead] for lead in network.leads], axis=2)

    targets = np.array(network.targets)
    actual, counts = ahead(values[..., targets]), ahead(~seen.missing[..., targets] & (seen.part == part)[..., None])
    return jnp.where(counts, cost(forecasts, actual, loss=cut.loss), 0).sum(), counts.sum()
