"""The recurrent layers equal Flax's cells in values and gradients, and what cuDNN reads is what they hold."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import Array, lax
from jax.experimental import rnn

from models.config import Cell
from models.recurrent import LAYERS, Gru, Lstm, gru, lstm

pytestmark = pytest.mark.slow

STEPS, BATCH, INPUTS, HIDDEN = 7, 2, 3, 4


def _weighted(told: tuple[Array, ...]) -> Array:
    """A scalar into which every output goes with a weight of its own."""
    return sum((part * jnp.cos(jnp.arange(part.size)).reshape(part.shape)).sum() for part in told)  # type: ignore[return-value]


def _told_and_gradients(kernel: Callable[..., tuple[Array, ...]], *given: object) -> tuple[object, object]:
    def weighted(*given: object) -> tuple[Array, tuple[Array, ...]]:
        told = kernel(*given)
        return _weighted(told), told

    every = tuple(range(len(given)))
    (_, told), gradients = jax.jit(jax.value_and_grad(weighted, argnums=every, has_aux=True))(*given)
    return told, gradients


def _equal(ours: object, theirs: object) -> None:
    assert {leaf.dtype for leaf in jax.tree.leaves(ours)} == {jnp.dtype("float64")}
    for our, their in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-11, atol=1e-12)


def _random(*shapes: tuple[int, ...]) -> list[Array]:
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=shape)) for shape in shapes]


def test_the_lstm_equals_flax_in_values_and_gradients() -> None:
    with jax.enable_x64(True):
        cell = nnx.OptimizedLSTMCell(INPUTS, HIDDEN, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        x, h, c, bias = _random((STEPS, BATCH, INPUTS), (BATCH, HIDDEN), (BATCH, HIDDEN), (4 * HIDDEN,))
        cell.dense_h.bias[...] = bias
        graph, parameters = nnx.split(cell)

        def flax_says(parameters: nnx.State, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
            (cell_after, hidden_after), outputs = lax.scan(nnx.merge(graph, parameters).__call__, (c, h), x)
            return outputs, hidden_after, cell_after

        def we_say(parameters: nnx.State, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
            same = nnx.merge(graph, parameters)
            projected = x @ same.dense_i.kernel[...] + same.dense_h.bias[...]
            return lstm(projected, same.dense_h.kernel[...], h, c)

        _equal(_told_and_gradients(we_say, parameters, x, h, c), _told_and_gradients(flax_says, parameters, x, h, c))


def test_the_gru_equals_flax_in_values_and_gradients() -> None:
    with jax.enable_x64(True):
        x, h, bias = _random((STEPS, BATCH, INPUTS), (BATCH, HIDDEN), (HIDDEN,))
        cell = linen.GRUCell(HIDDEN, param_dtype=jnp.float64)
        told = cell.init(jax.random.key(0), h, x[0])["params"]
        parameters = {**told, "hn": {**told["hn"], "bias": bias}}

        def flax_says(parameters: dict[str, dict[str, Array]], x: Array, h: Array) -> tuple[Array, ...]:
            after, outputs = lax.scan(lambda carry, step: cell.apply({"params": parameters}, carry, step), h, x)
            return outputs, after

        def we_say(parameters: dict[str, dict[str, Array]], x: Array, h: Array) -> tuple[Array, ...]:
            of_inputs = jnp.concatenate([parameters[name]["kernel"] for name in ("ir", "iz", "in")], axis=-1)
            biases = jnp.concatenate([parameters[name]["bias"] for name in ("ir", "iz", "in")])
            of_state = jnp.concatenate([parameters[name]["kernel"] for name in ("hr", "hz", "hn")], axis=-1)
            return gru(x @ of_inputs + biases, of_state, parameters["hn"]["bias"], h)

        _equal(_told_and_gradients(we_say, parameters, x, h), _told_and_gradients(flax_says, parameters, x, h))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_what_is_the_same_in_all_steps_may_be_told_once(cell: Cell) -> None:
    layer = LAYERS[cell](INPUTS + 2, hidden=HIDDEN, random=np.random.default_rng(0))
    x, same, h, c = (told.astype(jnp.float32) for told in _random((STEPS, BATCH, INPUTS), (BATCH, 2), (BATCH, HIDDEN), (BATCH, HIDDEN)))
    carry = (h, c) if cell == "lstm" else (h,)
    every = jnp.concatenate([x, jnp.broadcast_to(same, (STEPS, BATCH, 2))], axis=-1)
    once, (after, *_) = layer(x, carry=carry, constant=same)
    each, (after_each, *_) = layer(every, carry=carry)
    np.testing.assert_allclose(once, each, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after, after_each, rtol=1e-5, atol=1e-6)


def test_a_layer_as_cudnn_reads_it_says_the_same() -> None:
    layer = Lstm(INPUTS, hidden=HIDDEN, random=np.random.default_rng(0))
    x, h, c, bias = (told.astype(jnp.float32) for told in _random((STEPS, BATCH, INPUTS), (BATCH, HIDDEN), (BATCH, HIDDEN), (4 * HIDDEN,)))
    layer.bias[...] = bias
    ours, (hidden, cell) = layer(x, carry=(h, c))
    unpacked = rnn.unpack_lstm_weights(layer.packed(), INPUTS, HIDDEN, 1, False)
    lengths = jnp.full((BATCH,), STEPS, dtype=jnp.int32)
    theirs, their_hidden, their_cell = rnn.lstm_ref(x.swapaxes(0, 1), h[None], c[None], *unpacked, lengths, INPUTS, HIDDEN, 1, 0.0, False)
    np.testing.assert_allclose(ours, theirs.swapaxes(0, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(hidden, their_hidden[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cell, their_cell[0], rtol=1e-5, atol=1e-6)


def test_an_input_of_a_silent_row_says_nothing() -> None:
    layer = Gru(INPUTS, hidden=HIDDEN, silent=slice(1, 2), random=np.random.default_rng(0))
    x, h = (told.astype(jnp.float32) for told in _random((STEPS, BATCH, INPUTS), (BATCH, HIDDEN)))
    np.testing.assert_array_equal(layer(x, carry=(h,))[0], layer(x.at[..., 1].set(9.0), carry=(h,))[0])
