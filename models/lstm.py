"""The forecaster: LSTM layers over scaled telemetry, two dense layers on top, forecasts of every target at every lead.

Arrays are time-major (step, entity or window, feature), so that a step of the recurrence is one contiguous block.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from numpy.typing import NDArray

from models.config import Network

CLIP = 10.0
"""Inputs beyond this many standard deviations look the same to the network: constant columns wake up in real data."""

Carry = tuple[Array, Array]
"""An LSTM layer's state: hidden and cell, each f32[batch, hidden]."""


class Steps(NamedTuple):
    """What the network sees, time-major; all that is not observed is 0 in `values` and true in `missing`.

    Attributes:
        values: f32[step, batch, P], scaled.
        missing: bool[step, batch, P].
        calendar: f32[step, batch, C].
        newcomer: bool[step, batch].
        entity: i32[batch], the entity's row of corrections; negative for one that the network does not know.
    """

    values: Array
    missing: Array
    calendar: Array
    newcomer: Array
    entity: Array


def _product(inputs: Array, kernel: Array) -> Array:
    """f32[step, batch, outputs] of f32[step, batch, inputs] and a kernel f32[inputs, outputs].

    Flattened, because the kernel's gradient is a contraction over steps and batch: over two axes XLA's takes 6 times as long on a CPU.
    """
    steps, batch, features = inputs.shape
    return (inputs.reshape(steps * batch, features) @ kernel).reshape(steps, batch, kernel.shape[1])


class Lstm(nnx.Module):
    """One LSTM layer; gates in the order input, forget, cell, output, as in flax's OptimizedLSTMCell."""

    def __init__(self, inputs: int, *, hidden: int, silent: slice = slice(0), random: np.random.Generator) -> None:
        """Rows `silent` of the input kernel begin at 0: an input never seen in training then never speaks."""
        kernel = _lecun(inputs, 4 * hidden, random=random)
        kernel[silent] = 0
        self.input_kernel = nnx.Param(jnp.asarray(kernel))
        self.recurrent_kernel = nnx.Param(jnp.asarray(_orthogonal(hidden, 4 * hidden, random=random)))
        self.bias = nnx.Param(jnp.zeros(4 * hidden))

    def __call__(self, inputs: Array, *, carry: Carry) -> tuple[Array, Carry]:
        """Outputs f32[step, batch, hidden] and the state after the last step, of inputs f32[step, batch, feature].

        The one place where a backend's own kernel (cuDNN's, on a GPU) would take over.
        """
        projected = _product(inputs, self.input_kernel[...]) + self.bias[...]
        outputs, hidden, cell = recur(projected, self.recurrent_kernel[...], *carry)
        return outputs, (hidden, cell)


class Dense(nnx.Module):
    """A matrix product and a bias."""

    def __init__(self, inputs: int, *, outputs: int, random: np.random.Generator) -> None:
        self.kernel = nnx.Param(jnp.asarray(_lecun(inputs, outputs, random=random)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, inputs: Array) -> Array:
        """f32[step, batch, outputs] of f32[step, batch, inputs]."""
        return _product(inputs, self.kernel[...]) + self.bias[...]


class Forecaster(nnx.Module):
    """Forecasts of every target at every lead, in scaled units, made at every step.

    The observed mask is given per parameter: sources lose single parameters, and a 0 for 'missing' must differ from a 0 for
    'average'. It costs P rows of one input product, which is small beside the recurrence.
    """

    def __init__(self, network: Network, *, random: np.random.Generator) -> None:
        self.network = network
        flags = network.parameters + 1
        inputs = network.parameters + network.calendar + flags + network.embedding
        silent = slice(network.parameters + network.calendar, network.parameters + network.calendar + flags)
        self.prior = nnx.Param(jnp.asarray(random.normal(size=network.embedding), dtype=jnp.float32))
        self.correction = nnx.Param(jnp.zeros((network.entities, network.embedding)))
        widths = (inputs, *network.hidden)
        self.layers = nnx.List(
            Lstm(width, hidden=hidden, silent=silent if number == 0 else slice(0), random=random)
            for number, (width, hidden) in enumerate(zip(widths, network.hidden, strict=False))
        )
        self.dense = Dense(network.hidden[-1], outputs=network.dense, random=random)
        self.head = Dense(network.dense, outputs=len(network.leads) * len(network.targets), random=random)

    def __call__(self, steps: Steps, *, carries: tuple[Carry, ...], first: int = 0) -> tuple[Array, tuple[Carry, ...]]:
        """Forecasts f32[step - first, batch, L, K] made at steps `first` and later, and the state after the last step."""
        hidden = self._inputs(steps)
        after = []
        for layer, carry in zip(self.layers, carries, strict=True):
            hidden, carry_after = layer(hidden, carry=carry)
            after.append(carry_after)
        dense = nnx.relu(self.dense(hidden[first:]))
        leads, targets = self.network.leads, self.network.targets
        told = self.head(dense).reshape(*dense.shape[:2], len(leads), len(targets))
        through = np.array([lead in self.network.shortcut for lead in leads], dtype=bool)
        last = steps.values[first:, :, None, np.array(targets)]
        return told + jnp.where(through[:, None], last, 0), tuple(after)

    def _inputs(self, steps: Steps) -> Array:
        """f32[step, batch, feature]: what the first layer reads."""
        dtype = steps.values.dtype
        row = jnp.where(steps.entity < 0, self.network.entities, steps.entity)
        correction = self.correction[...].at[row].get(mode="fill", fill_value=0)
        entity = jnp.broadcast_to(self.prior[...] + correction, (*steps.values.shape[:2], self.network.embedding))
        flags = (steps.missing.astype(dtype), steps.newcomer[..., None].astype(dtype))
        return jnp.concatenate([jnp.clip(steps.values, -CLIP, CLIP), steps.calendar, *flags, entity], axis=-1)


def rest(network: Network, *, batch: int) -> tuple[Carry, ...]:
    """The state before the first step: zeros, without any random draw."""
    return tuple((jnp.zeros((batch, hidden)), jnp.zeros((batch, hidden))) for hidden in network.hidden)


@jax.custom_vjp
def recur(projected: Array, kernel: Array, hidden: Array, cell: Array) -> tuple[Array, Array, Array]:
    """Outputs of an LSTM whose inputs have been through their kernel and bias.

    Args:
        projected: f32[step, batch, 4 * hidden], pre-activations without the recurrent part.
        kernel: f32[hidden, 4 * hidden], the recurrent kernel.
        hidden: f32[batch, hidden], state before the first step.
        cell: f32[batch, hidden], likewise.

    Returns:
        Outputs f32[step, batch, hidden], and hidden and cell state after the last step.
    """

    def step(carry: Carry, z: Array) -> tuple[Carry, Array]:
        carry, _ = _cell(carry, z, kernel=kernel)
        return carry, carry[0]

    (hidden, cell), outputs = lax.scan(step, (hidden, cell), projected)
    return outputs, hidden, cell


def _cell(carry: Carry, projected: Array, *, kernel: Array) -> tuple[Carry, Array]:
    """State after one step, and the activated gates f32[batch, 4 * hidden]."""
    h, c = carry
    i, f, g, o = jnp.split(projected + h @ kernel, 4, axis=-1)
    # Without the barrier XLA fuses the gates into each of their uses and computes them again: a step takes 3 times as long on a CPU.
    gates = _barrier(jnp.concatenate([nnx.sigmoid(i), nnx.sigmoid(f), jnp.tanh(g), nnx.sigmoid(o)], axis=-1))
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = f * c + i * g
    return (o * jnp.tanh(c), c), gates


_Held = TypeVar("_Held")


def _barrier(held: _Held) -> _Held:
    """The same arrays, computed once here rather than in each of their uses."""
    same: _Held = lax.optimization_barrier(held)  # type: ignore[no-untyped-call]
    return same


_Saved = tuple[Array, Array, Array, Array, Array, Array]


def _recur_forward(projected: Array, kernel: Array, hidden: Array, cell: Array) -> tuple[tuple[Array, Array, Array], _Saved]:
    def step(carry: Carry, z: Array) -> tuple[Carry, tuple[Array, Array, Array]]:
        carry, gates = _cell(carry, z, kernel=kernel)
        return carry, (*carry, gates)

    (last_hidden, last_cell), (outputs, cells, gates) = lax.scan(step, (hidden, cell), projected)
    return (outputs, last_hidden, last_cell), (kernel, hidden, cell, outputs, cells, gates)


def _recur_backward(saved: _Saved, cotangents: tuple[Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
    """Back-propagation through time from the saved gates; the kernel's gradient is one product over all steps at once."""
    kernel, hidden, cell, outputs, cells, gates = saved
    from_outputs, from_hidden, from_cell = cotangents
    size = kernel.shape[0]
    is_tanh = np.repeat([False, False, True, False], size)
    transposed = kernel.T

    def step(carry: Carry, saved_step: tuple[Array, Array, Array, Array]) -> tuple[Carry, Array]:
        dh, dc = carry
        dy, a, c, c_before = saved_step
        i, f, g, o = jnp.split(a, 4, axis=-1)
        dh = dh + dy
        tanh_c = jnp.tanh(c)
        dc, do = _barrier((dc + dh * o * (1 - tanh_c * tanh_c), dh * tanh_c))
        slope = jnp.where(is_tanh, 1 - a * a, a * (1 - a))
        dz = jnp.concatenate([dc * g, dc * c_before, dc * i, do], axis=-1) * slope
        return (dz @ transposed, dc * f), dz

    before = jnp.concatenate([cell[None], cells[:-1]])
    (d_hidden, d_cell), d_projected = lax.scan(step, (from_hidden, from_cell), (from_outputs, gates, cells, before), reverse=True)
    inputs = jnp.concatenate([hidden[None], outputs[:-1]])
    # Flattened for the reason given in `_product`.
    d_kernel = inputs.reshape(-1, size).T @ d_projected.reshape(-1, 4 * size)
    return d_projected, d_kernel, d_hidden, d_cell


recur.defvjp(_recur_forward, _recur_backward)


@cache
def _blueprint(network: Network) -> tuple[nnx.GraphDef[Forecaster], nnx.State[Any, Any]]:
    """The network's structure, and its parameters as shapes only."""
    abstract = nnx.eval_shape(lambda: Forecaster(network, random=np.random.default_rng(0)))
    graph, shapes = nnx.split(abstract)
    return graph, shapes


def initial(network: Network, *, seed: int) -> dict[str, Array]:
    """Untrained weights by name, such as `layers.0.input_kernel`; drawn on the host, so the same on every device."""
    state = nnx.state(Forecaster(network, random=np.random.default_rng(seed)), nnx.Param)
    return {_name(path): leaf[...] for path, leaf in nnx.to_flat_state(state)}


def _lecun(inputs: int, outputs: int, *, random: np.random.Generator) -> NDArray[np.float32]:
    """f32[inputs, outputs], scaled so that a product keeps its inputs' variance (LeCun et al., 1998)."""
    kernel: NDArray[np.float32] = (random.normal(size=(inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)
    return kernel


def _orthogonal(inputs: int, outputs: int, *, random: np.random.Generator) -> NDArray[np.float32]:
    """f32[inputs, outputs] of orthonormal rows, of at least as many outputs as inputs (Saxe et al., 2014)."""
    q, r = np.linalg.qr(random.normal(size=(outputs, inputs)))
    kernel: NDArray[np.float32] = (q * np.sign(np.diag(r))).T.astype(np.float32)
    return kernel


def forecaster(network: Network, *, weights: Mapping[str, Array]) -> Forecaster:
    """The network with these weights, inside or outside of a trace."""
    graph, shapes = _blueprint(network)
    leaves = [(path, leaf.replace(weights[_name(path)])) for path, leaf in nnx.to_flat_state(shapes)]
    return nnx.merge(graph, nnx.from_flat_state(leaves))


def check(weights: Mapping[str, NDArray[np.float32]], *, network: Network) -> None:
    """Refuse weights that are not this network's.

    Raises:
        ValueError: a name or a shape differs; every difference is named.
    """
    expected = {_name(path): tuple(leaf.shape) for path, leaf in nnx.to_flat_state(_blueprint(network)[1])}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    differences = [
        f"{name}: found {found.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}"
        for name in sorted(expected.keys() | found.keys())
        if found.get(name) != expected.get(name)
    ]
    if differences:
        raise ValueError("the weights are not this network's: " + "; ".join(differences))


def _name(path: tuple[object, ...]) -> str:
    return ".".join(str(part) for part in path)
