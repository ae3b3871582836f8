"""Recurrent layers: LSTM and GRU whose results equal Flax's cells, and whose gradients cost less.

One matrix product serves the inputs of all steps. The forward pass saves the factors by which a step's gradient is multiplied rather than
its gates, so that the way back is two products a step and little else; the recurrent kernel's gradient is one product over all steps,
formed after the scan. On a GPU an LSTM layer is cuDNN's. Arrays are time-major: f32[step, batch, feature].
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jax.experimental import rnn
from numpy.typing import NDArray

from models.config import Cell

Carry = tuple[Array, ...]
"""A layer's state, each f32[batch, hidden]: hidden and cell of an LSTM, hidden of a GRU."""
GATES: Final[dict[Cell, int]] = {"lstm": 4, "gru": 3}


def product(inputs: Array, kernel: Array) -> Array:
    """f32[step, batch, outputs] of f32[step, batch, inputs] and a kernel f32[inputs, outputs].

    Flattened, because the kernel's gradient is a contraction over steps and batch: over two axes XLA's takes 6 times as long on a CPU.
    """
    steps, batch, features = inputs.shape
    return (inputs.reshape(steps * batch, features) @ kernel).reshape(steps, batch, kernel.shape[1])


class Recurrent(nnx.Module):
    """What the two kinds of layer share: how inputs come to the gates.

    Some inputs are the same in all steps of a batch's row. They are multiplied once, and no gradient is formed for the others where nothing
    that is learned made them.
    """

    cell: Cell

    def __init__(self, inputs: int, *, hidden: int, silent: slice = slice(0), random: np.random.Generator) -> None:
        """Rows `silent` of the input kernel begin at 0: an input never seen in training then never speaks."""
        gates = GATES[self.cell] * hidden
        kernel = _lecun(inputs, gates, random=random)
        kernel[silent] = 0
        self.input_kernel = nnx.Param(jnp.asarray(kernel))
        self.recurrent_kernel = nnx.Param(jnp.asarray(_orthogonal(hidden, gates, random=random)))
        self.bias = nnx.Param(jnp.zeros(gates))

    def _projected(self, inputs: Array, *, constant: Array | None) -> Array:
        """f32[step, batch, gates * hidden]: what the inputs say to the gates."""
        kernel, width = self.input_kernel[...], inputs.shape[-1]
        steady = self.bias[...] if constant is None else constant @ kernel[width:] + self.bias[...]
        return product(inputs, kernel[:width]) + steady


class Lstm(Recurrent):
    """A layer of LSTM cells (Hochreiter & Schmidhuber, 1997); gates in the order input, forget, cell, output, as in Flax and cuDNN."""

    cell: Cell = "lstm"

    def __call__(self, inputs: Array, *, carry: Carry, constant: Array | None = None) -> tuple[Array, Carry]:
        """Outputs f32[step, batch, hidden] and the state after the last step.

        Args:
            inputs: f32[step, batch, feature].
            carry: hidden and cell state before the first step.
            constant: f32[batch, feature], further inputs that are the same in all steps.
        """
        hidden, cell = carry

        def scanned(inputs: Array, constant: Array | None) -> tuple[Array, Array, Array]:
            return lstm(self._projected(inputs, constant=constant), self.recurrent_kernel[...], hidden, cell)

        def cudnn(inputs: Array, constant: Array | None) -> tuple[Array, Array, Array]:
            return self._cudnn(inputs, constant=constant, hidden=hidden, cell=cell)

        outputs, hidden, cell = _where_it_runs(scanned, cudnn)(inputs, constant)
        return outputs, (hidden, cell)

    def _cudnn(self, inputs: Array, *, constant: Array | None, hidden: Array, cell: Array) -> tuple[Array, Array, Array]:
        """The same by cuDNN, which reads batches first and one flat array of weights."""
        if constant is not None:
            inputs = jnp.concatenate([inputs, jnp.broadcast_to(constant, (inputs.shape[0], *constant.shape))], axis=-1)
        steps, batch, width = inputs.shape
        lengths = jnp.full((batch,), steps, dtype=jnp.int32)
        outputs, last_hidden, last_cell = rnn.lstm(
            inputs.swapaxes(0, 1), hidden[None], cell[None], self.packed(), lengths, width, hidden.shape[-1], 1, 0.0, False
        )
        return outputs.swapaxes(0, 1), last_hidden[0], last_cell[0]

    def packed(self) -> Array:
        """f32[inputs + recurrent + two biases], as cuDNN reads a layer: each kernel's gates one below the other, the second bias 0."""
        kernels = (self.input_kernel[...].T, self.recurrent_kernel[...].T)
        return jnp.concatenate([*(kernel.reshape(-1) for kernel in kernels), self.bias[...], jnp.zeros_like(self.bias[...])])


class Gru(Recurrent):
    """A layer of gated recurrent units (Cho et al., 2014); gates in the order reset, update, new, as in Flax and cuDNN."""

    cell: Cell = "gru"

    def __init__(self, inputs: int, *, hidden: int, silent: slice = slice(0), random: np.random.Generator) -> None:
        super().__init__(inputs, hidden=hidden, silent=silent, random=random)
        self.recurrent_bias = nnx.Param(jnp.zeros(hidden))

    def __call__(self, inputs: Array, *, carry: Carry, constant: Array | None = None) -> tuple[Array, Carry]:
        """As of `Lstm`; the state is the hidden one alone."""
        projected = self._projected(inputs, constant=constant)
        outputs, hidden = gru(projected, self.recurrent_kernel[...], self.recurrent_bias[...], *carry)
        return outputs, (hidden,)


LAYERS: Final[dict[Cell, type[Lstm] | type[Gru]]] = {"lstm": Lstm, "gru": Gru}

_Told = TypeVar("_Told")


def _where_it_runs(anywhere: Callable[..., _Told], cuda: Callable[..., _Told]) -> Callable[..., _Told]:
    """The one that fits the platform for which the program is compiled; the other one is not compiled at all."""

    def chosen(*given: object) -> _Told:
        told: _Told = lax.platform_dependent(*given, cuda=cuda, default=anywhere)
        return told

    return chosen if jax.default_backend() == "gpu" and not _SCANNED.get() else anywhere


_SCANNED: Final = ContextVar("scanned", default=False)


@contextmanager
def scanned() -> Iterator[None]:
    """LSTM layers that are traced within are scanned on a GPU too: cuDNN's cannot be vmapped."""
    token = _SCANNED.set(True)
    try:
        yield
    finally:
        _SCANNED.reset(token)


@jax.custom_vjp
def lstm(projected: Array, kernel: Array, hidden: Array, cell: Array) -> tuple[Array, Array, Array]:
    """Outputs of an LSTM whose inputs have been through their kernel and bias.

    Args:
        projected: f32[step, batch, 4 * hidden], pre-activations without the recurrent part.
        kernel: f32[hidden, 4 * hidden], the recurrent kernel.
        hidden: f32[batch, hidden], state before the first step.
        cell: f32[batch, hidden], likewise.

    Returns:
        Outputs f32[step, batch, hidden], and hidden and cell state after the last step.
    """

    def step(carry: tuple[Array, Array], z: Array) -> tuple[tuple[Array, Array], Array]:
        h, c = carry
        i, f, g, o = _lstm_gates(z + h @ kernel)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), h

    (hidden, cell), outputs = lax.scan(step, (hidden, cell), projected)
    return outputs, hidden, cell


def _lstm_gates(z: Array) -> list[Array]:
    """Input, forget, cell and output gate, each f32[batch, hidden], of pre-activations f32[batch, 4 * hidden].

    As sigmoid(z) = (1 + tanh(z / 2)) / 2, one function serves all four: on a CPU a tanh costs less than an exponential and a quotient.
    """
    size = z.shape[-1] // 4
    halved = np.repeat(np.array([0.5, 0.5, 1, 0.5], dtype=z.dtype), size)
    # Without the barrier XLA fuses the gates into each of their uses and computes them again: a step takes 3 times as long on a CPU.
    i, f, g, o = jnp.split(_once(jnp.tanh(z * halved)), 4, axis=-1)
    return [0.5 + 0.5 * i, 0.5 + 0.5 * f, g, 0.5 + 0.5 * o]


_Held = TypeVar("_Held")


def _once(held: _Held) -> _Held:
    """The same arrays, computed once here rather than in each of their uses."""
    same: _Held = lax.optimization_barrier(held)
    return same


_LstmSaved = tuple[Array, Array, Array, Array, Array, Array]


def _lstm_forward(projected: Array, kernel: Array, hidden: Array, cell: Array) -> tuple[tuple[Array, Array, Array], _LstmSaved]:
    """What `lstm` tells, and per step: outputs; what the gates' gradients are of the cell's and the output's; forget gate; dh to dc."""

    def step(carry: tuple[Array, Array], z: Array) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        h, c = carry
        i, f, g, o = _lstm_gates(z + h @ kernel)
        after = f * c + i * g
        after, tanh = _once((after, jnp.tanh(after)))
        factors = jnp.concatenate([g * i * (1 - i), c * f * (1 - f), i * (1 - g * g), tanh * o * (1 - o)], axis=-1)
        h = o * tanh
        return (h, after), (h, factors, f, o * (1 - tanh * tanh))

    (last_hidden, last_cell), (outputs, factors, forget, through) = lax.scan(step, (hidden, cell), projected)
    return (outputs, last_hidden, last_cell), (kernel, hidden, outputs, factors, forget, through)


def _lstm_backward(saved: _LstmSaved, cotangents: tuple[Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
    """Back-propagation through time."""
    kernel, hidden, outputs, factors, forget, through = saved
    from_outputs, from_hidden, from_cell = cotangents
    transposed = kernel.T

    def step(carry: tuple[Array, Array], saved_step: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
        dh, dc = carry
        dy, factor, f, s = saved_step
        dh = dh + dy
        dh, dc = _once((dh, dc + dh * s))
        dz = jnp.concatenate([dc, dc, dc, dh], axis=-1) * factor
        return (dz @ transposed, dc * f), dz

    (d_hidden, d_cell), dz = lax.scan(step, (from_hidden, from_cell), (from_outputs, factors, forget, through), reverse=True)
    return dz, _kernel_gradient(hidden, outputs, dz), d_hidden, d_cell


def _kernel_gradient(hidden: Array, outputs: Array, dz: Array) -> Array:
    """f32[hidden, gates * hidden]: one product over all steps and rows; flattened for the reason given in `product`."""
    before = jnp.concatenate([hidden[None], outputs[:-1]])
    return before.reshape(-1, before.shape[-1]).T @ dz.reshape(-1, dz.shape[-1])


lstm.defvjp(_lstm_forward, _lstm_backward)


@jax.custom_vjp
def gru(projected: Array, kernel: Array, bias: Array, hidden: Array) -> tuple[Array, Array]:
    """Outputs of a GRU whose inputs have been through their kernel and bias.

    Args:
        projected: f32[step, batch, 3 * hidden], pre-activations without the recurrent part.
        kernel: f32[hidden, 3 * hidden], the recurrent kernel.
        bias: f32[hidden], of the new gate's recurrent part.
        hidden: f32[batch, hidden], state before the first step.

    Returns:
        Outputs f32[step, batch, hidden], and the state after the last step.
    """

    def step(h: Array, z: Array) -> tuple[Array, Array]:
        _reset, update, new, _ = _gru_gates(z, h @ kernel, bias)
        h = new + update * (h - new)
        return h, h

    hidden, outputs = lax.scan(step, hidden, projected)
    return outputs, hidden


def _gru_gates(z: Array, recurrent: Array, bias: Array) -> list[Array]:
    """Reset, update and new gate, and what the reset gate lets through, each f32[batch, hidden]."""
    size = bias.shape[-1]
    reset, update = jnp.split(nnx.sigmoid(z[:, : 2 * size] + recurrent[:, : 2 * size]), 2, axis=-1)
    held = recurrent[:, 2 * size :] + bias
    new = jnp.tanh(z[:, 2 * size :] + reset * held)
    return jnp.split(_once(jnp.concatenate([reset, update, new, held], axis=-1)), 4, axis=-1)


_GruSaved = tuple[Array, Array, Array, Array, Array]


def _gru_forward(projected: Array, kernel: Array, bias: Array, hidden: Array) -> tuple[tuple[Array, Array], _GruSaved]:
    def step(h: Array, z: Array) -> tuple[Array, tuple[Array, ...]]:
        reset, update, new, held = _gru_gates(z, h @ kernel, bias)
        of_new = (1 - update) * (1 - new * new)
        factors = jnp.concatenate([of_new * held * reset * (1 - reset), (h - new) * update * (1 - update), of_new, of_new * reset], axis=-1)
        h = new + update * (h - new)
        return h, (h, factors, update)

    last, (outputs, factors, update) = lax.scan(step, hidden, projected)
    return (outputs, last), (kernel, hidden, outputs, factors, update)


def _gru_backward(saved: _GruSaved, cotangents: tuple[Array, Array]) -> tuple[Array, Array, Array, Array]:
    """Back-propagation through time; the new gate's input and its recurrent part have gradients of their own."""
    kernel, hidden, outputs, factors, update = saved
    from_outputs, from_hidden = cotangents
    transposed, size = kernel.T, kernel.shape[0]

    def step(dh: Array, saved_step: tuple[Array, ...]) -> tuple[Array, Array]:
        dy, factor, u = saved_step
        dh = _once(dh + dy)
        dz = _once(jnp.concatenate([dh, dh, dh, dh], axis=-1) * factor)
        recurrent = jnp.concatenate([dz[:, : 2 * size], dz[:, 3 * size :]], axis=-1)
        return dh * u + recurrent @ transposed, dz

    d_hidden, dz = lax.scan(step, from_hidden, (from_outputs, factors, update), reverse=True)
    recurrent = jnp.concatenate([dz[..., : 2 * size], dz[..., 3 * size :]], axis=-1)
    return dz[..., : 3 * size], _kernel_gradient(hidden, outputs, recurrent), dz[..., 3 * size :].sum((0, 1)), d_hidden


gru.defvjp(_gru_forward, _gru_backward)


def _lecun(inputs: int, outputs: int, *, random: np.random.Generator) -> NDArray[np.float32]:
    """f32[inputs, outputs], scaled so that a product keeps its inputs' variance (LeCun et al., 1998)."""
    kernel: NDArray[np.float32] = (random.normal(size=(inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)
    return kernel


def _orthogonal(inputs: int, outputs: int, *, random: np.random.Generator) -> NDArray[np.float32]:
    """f32[inputs, outputs] of orthonormal rows, of at least as many outputs as inputs (Saxe et al., 2014)."""
    q, r = np.linalg.qr(random.normal(size=(outputs, inputs)))
    kernel: NDArray[np.float32] = (q * np.sign(np.diag(r))).T.astype(np.float32)
    return kernel


class Dense(nnx.Module):
    """A matrix product and a bias."""

    def __init__(self, inputs: int, *, outputs: int, random: np.random.Generator) -> None:
        self.kernel = nnx.Param(jnp.asarray(_lecun(inputs, outputs, random=random)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, inputs: Array) -> Array:
        """f32[step, batch, outputs] of f32[step, batch, inputs]."""
        return product(inputs, self.kernel[...]) + self.bias[...]
