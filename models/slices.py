"""The parts of a training step, each compiled alone: the functions that training itself calls, on arrays of the training's shapes.

Several times of a part are one call of the device, so that what it costs to start one does not count.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import numpy as np
import optax  # type: ignore[import-untyped]  # it ships no types
from flax import nnx
from jax import Array, lax, shard_map
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from models import epochs, recurrent
from models.config import Network, Training
from models.devices import AXIS, COMPILER
from models.epochs import Cut, Weights
from models.losses import cost
from models.lstm import forecaster, rest
from models.recurrent import Gru
from models.sampling import Sampler, Windows
from models.streaming import Stream
from telemetry.panel import Panel

VALIDATION_STEPS: Final = 32
"""Batches of the validation that are run at most."""
CALLS: Final = 4
"""Times of a part in one call of the device."""
FORWARD: Final = "recurrence, forward"
BOTH: Final = "recurrence, both ways"
"""The way back is what both ways take longer than the way there."""

Tree = Any  # Any: arrays in whatever they are held by, as JAX takes them
Slice = Callable[[Tree, Tree], Tree]
Call = tuple[Callable[[], Tree], int]
"""Something to be timed, and how many times it does its part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A training that is taken apart."""

    panel: Panel
    network: Network
    training: Training
    mesh: Mesh
    sampler: Sampler
    held_out: Windows
    weights: Weights

    @property
    def cut(self) -> Cut:
        """All of it that is compiled in."""
        return Cut.of(self.training)

    @property
    def own_batch(self) -> int:
        """Windows of a step on each device."""
        return self.sampler.batch // self.mesh.size


def few(windows: Windows, *, most: int) -> Windows:
    """The first batches."""
    return Windows(rows=windows.rows[:most], gain=windows.gain[:most], shift=windows.shift[:most])


def validation(told: Taken, *, data: epochs.Data) -> Call:
    """The validation of some batches, with their windows gathered as in an epoch."""
    validate = epochs._validator(network=told.network, cut=told.cut)
    steps = told.training.time_steps + max(told.network.leads)

    def on_each(weights: Weights, data: epochs.Data, windows: Windows) -> Tree:
        def one(_: None, batch: Windows) -> tuple[None, Tree]:
            return None, validate(weights, (epochs._gathered(data, batch, steps=steps), batch))

        return epochs._summed(lax.scan(one, None, windows)[1])

    cut = shard_map(on_each, mesh=told.mesh, in_specs=(P(), P(), P(None, AXIS)), out_specs=P(), check_vma=False)
    held_out = jax.device_put(few(told.held_out, most=VALIDATION_STEPS), NamedSharding(told.mesh, P(None, AXIS)))
    compiled = jax.jit(cut, compiler_options=COMPILER)  # as epochs are
    return lambda: compiled(told.weights, data, held_out), 1


def streamed_validation(told: Taken, *, stream: Stream) -> Call:
    """The same of a panel on the host, with its windows cut out of it."""
    held_out, how = few(told.held_out, most=VALIDATION_STEPS), {"network": told.network, "cut": told.cut, "mesh": told.mesh}
    return lambda: [epochs.validated(told.weights, chunk, **how) for _, chunk in stream._chunks(held_out)], 1


def gathering(told: Taken, *, data: epochs.Data) -> Call:
    """Windows out of a panel that is on the devices, each device its part of a batch."""
    steps, devices = told.training.time_steps + max(told.network.leads), told.mesh.size
    drawn = [np.resize(field, (CALLS, *field.shape[1:])) for field in told.sampler.draw(1)]
    by_device = [field.reshape(CALLS, devices, told.own_batch, *field.shape[2:]).swapaxes(0, 1) for field in drawn]

    def gathered(data: epochs.Data, windows: Windows) -> Tree:
        return epochs._gathered(data, windows, steps=steps)

    return _repeated(gathered, on=told.mesh, shared=data, given=Windows(*by_device))


def parts(told: Taken) -> Iterator[tuple[str, Call]]:
    """The parts of a training step by name, but for the gathering of its windows."""
    random = np.random.default_rng(0)
    layers = [_layer(told, number=number) for number in range(len(told.network.layers))]
    if projects := [layer.project for layer in layers if layer.project]:
        yield (
            "input products",
            _alone(told, [(_there_and_back(call), shapes) for call, shapes in projects], random=random),
        )
    yield (
        FORWARD,
        _alone(told, [(_forward(call), shapes) for call, shapes in (layer.recur for layer in layers)], random=random),
    )
    yield (
        BOTH,
        _alone(told, [(_there_and_back(call), shapes) for call, shapes in (layer.recur for layer in layers)], random=random),
    )
    yield "dense layers and loss", _alone(told, [(_tail(told), _tail_shapes(told))], random=random)
    weights = {name: weight.shape for name, weight in told.weights.items()}
    yield "optimiser", _alone(told, [(_optimiser(told), (weights, weights, weights))], random=random)
    if told.mesh.size > 1:
        yield "exchange between devices", _alone(told, [(lambda _, given: epochs._summed(given), weights)], random=random)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A recurrent layer: functions of (weights, inputs), each with the shapes of (inputs, what comes back to its output).

    Attributes:
        project: the product of its inputs; None where that is one with the recurrence: cuDNN's LSTM.
        recur: the recurrence.
    """

    project: tuple[Slice, Tree] | None
    recur: tuple[Slice, Tree]


def _layer(told: Taken, *, number: int) -> _Layer:
    network, steps, batch = told.network, told.training.time_steps, told.own_batch
    cell, hidden = network.layers[number]
    rows, gates = told.weights[f"layers.{number}.input_kernel"].shape
    steady = network.embedding + network.static if number == 0 else 0
    seen, after = ((steps, batch, rows - steady), (batch, steady)), (steps, batch, hidden)
    carry = rest(network, batch=batch)[number]

    def given(inputs: Tree) -> dict[str, Any]:  # Any: keyword arguments of a layer
        """Nothing that is learned made the first layer's inputs; only that layer has constant ones."""
        return {"inputs": lax.stop_gradient(inputs[0]), "constant": inputs[1]} if number == 0 else {"inputs": inputs[0], "constant": None}

    def project(weights: Weights, inputs: Tree) -> Tree:
        return forecaster(network, weights=weights).layers[number]._projected(**given(inputs))

    def recur(weights: Weights, inputs: Tree) -> Tree:
        layer = forecaster(network, weights=weights).layers[number]
        if isinstance(layer, Gru):
            return recurrent.gru(inputs, layer.recurrent_kernel[...], layer.recurrent_bias[...], *carry)[0]
        return recurrent.lstm(inputs, layer.recurrent_kernel[...], *carry)[0]

    def whole(weights: Weights, inputs: Tree) -> Tree:
        return forecaster(network, weights=weights).layers[number](**given(inputs), carry=carry)[0]

    if cell == "lstm" and told.mesh.devices.flat[0].platform == "gpu":
        return _Layer(project=None, recur=(whole, (seen, after)))
    return _Layer(project=(project, (seen, (steps, batch, gates))), recur=(recur, ((steps, batch, gates), after)))


def _forward(of: Slice) -> Slice:
    """The way there as training goes it, with all that the way back will need."""

    def there(weights: Weights, given: Tree) -> Tree:
        out, back = jax.vjp(of, weights, given[0])
        return out, jax.tree.leaves(back)

    return there


def _there_and_back(of: Slice) -> Slice:
    def there_and_back(weights: Weights, given: Tree) -> Tree:
        out, back = jax.vjp(of, weights, given[0])
        return out, back(given[1])

    return there_and_back


def _tail(told: Taken) -> Slice:
    """Dense layers and loss, there and back, of the last recurrent layer's outputs."""
    network, first = told.network, told.training.first_judged
    shape = (len(network.leads), len(network.targets), 1 + network.extras)

    def tail(weights: Weights, given: Tree) -> Tree:
        def total(weights: Weights, hidden: Array) -> Array:
            model = forecaster(network, weights=weights)
            dense = nnx.relu(model.dense(hidden[first:]))
            forecasts = model.head(dense).reshape(*dense.shape[:2], *shape)
            return cost(forecasts, given[1], loss=told.training.loss).sum()

        return jax.value_and_grad(total, argnums=(0, 1))(weights, given[0])

    return tail


def _tail_shapes(told: Taken) -> Tree:
    network, training, batch = told.network, told.training, told.own_batch
    judged = training.time_steps - training.first_judged
    return (training.time_steps, batch, network.hidden[-1]), (judged, batch, len(network.leads), len(network.targets))


def _optimiser(told: Taken) -> Slice:
    """What `epochs` does with gradients: clip them, Adam's moments, the weights' next values."""
    clip = optax.clip_by_global_norm(told.training.clip) if told.training.clip else optax.identity()

    def optimised(weights: Weights, given: Tree) -> Tree:
        gradients, mu, nu = given
        finite = {name: jnp.isfinite(gradient).all() for name, gradient in gradients.items()}
        gradients, _ = clip.update(gradients, clip.init(weights))
        moments = optax.scale_by_adam().init(weights)._replace(mu=mu, nu={name: jnp.abs(each) for name, each in nu.items()})
        directions, moments = optax.scale_by_adam().update(gradients, moments)
        return {name: weight - 0.001 * directions[name] for name, weight in weights.items()}, moments, finite

    return optimised


def _alone(told: Taken, parts: Sequence[tuple[Slice, Tree]], *, random: np.random.Generator) -> Call:
    """Some parts one after the other, on random arrays of the shapes given."""

    def drawn(shape: tuple[int, ...]) -> Any:  # Any: NumPy's array, on its way to the devices
        return random.normal(size=(told.mesh.size, CALLS, *shape)).astype(np.float32)

    def is_shape(tree: Tree) -> bool:
        return isinstance(tree, tuple) and all(isinstance(size, int) for size in tree)

    given = [jax.tree.map(drawn, shapes, is_leaf=is_shape) for _, shapes in parts]

    def together(weights: Weights, given: Tree) -> Tree:
        with epochs._precise(told.cut):
            return [part(weights, each) for (part, _), each in zip(parts, given, strict=True)]

    return _repeated(together, on=told.mesh, shared=told.weights, given=given)


def _repeated(part: Slice, *, on: Mesh, shared: Tree, given: Tree) -> Call:
    """`part` CALLS times on every device; arrays of `given` are [device, call, ...]."""

    def one(shared: Tree, given: Tree) -> Array:
        made = lax.optimization_barrier(part(shared, given))
        return jnp.stack(
            [leaf.ravel()[:1].sum().astype(jnp.float32) for leaf in jax.tree.leaves(made)]
        ).sum()  # so that each of it is computed

    def on_each(shared: Tree, given: Tree) -> Array:
        own = jax.tree.map(lambda array: array[0], given)
        total: Array = lax.scan(lambda total, each: (total + one(shared, each), None), jnp.float32(0), own)[0]
        return total[None]

    cut = shard_map(on_each, mesh=on, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False)
    there = jax.device_put(given, NamedSharding(on, P(AXIS)))
    compiled = jax.jit(cut, compiler_options=COMPILER)  # as epochs are
    return lambda: compiled(shared, there), CALLS
