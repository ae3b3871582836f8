"""The recurrent kernel equals flax's own, and the network does with its inputs what it says."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array, lax

from models.config import Network
from models.lstm import CLIP, Carry, Steps, check, forecaster, initial, recur, rest

NETWORK = Network(parameters=3, calendar=2, entities=2, targets=(0, 2), leads=(1, 4), hidden=(5, 4), dense=6, embedding=2)


def _steps(*, length: int = 6, entity: int = 0, seed: int = 0) -> Steps:
    random = np.random.default_rng(seed)
    return Steps(
        values=jnp.asarray(random.normal(size=(length, 1, 3)), dtype=jnp.float32),
        missing=jnp.zeros((length, 1, 3), dtype=bool),
        calendar=jnp.asarray(random.normal(size=(length, 1, 2)), dtype=jnp.float32),
        newcomer=jnp.zeros((length, 1), dtype=bool),
        entity=jnp.array([entity]),
    )


def _forecast(steps: Steps, *, network: Network = NETWORK, seed: int = 0) -> Array:
    return _told(initial(network, seed=seed), steps, rest(network, batch=1), network=network)[0]


@partial(jax.jit, static_argnames=("network",))
def _told(
    weights: dict[str, Array], steps: Steps, carries: tuple[Carry, ...], *, network: Network = NETWORK
) -> tuple[Array, tuple[Carry, ...]]:
    return forecaster(network, weights=weights).__call__(steps, carries=carries)


def _weighted(outputs: Array, hidden: Array, cell: Array) -> Array:
    """A scalar into which every output goes with a weight of its own."""
    parts = (outputs, hidden, cell)
    return sum((part * jnp.cos(jnp.arange(part.size)).reshape(part.shape)).sum() for part in parts)  # type: ignore[return-value]


def _told_and_gradients(kernel: Callable[..., tuple[Array, Array, Array]], *given: object) -> tuple[object, object]:
    def weighted(*given: object) -> tuple[Array, tuple[Array, Array, Array]]:
        told = kernel(*given)
        return _weighted(*told), told

    (_, told), gradients = jax.jit(jax.value_and_grad(weighted, argnums=(0, 1, 2, 3), has_aux=True))(*given)
    return told, gradients


def test_the_kernel_equals_flax_in_values_and_gradients() -> None:
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        cell = nnx.OptimizedLSTMCell(3, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        cell.dense_h.bias[...] = jnp.asarray(random.normal(size=16))
        graph, parameters = nnx.split(cell)
        x, h, c = (jnp.asarray(random.normal(size=shape)) for shape in ((7, 2, 3), (2, 4), (2, 4)))

        def flax_says(parameters: nnx.State, x: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
            (cell_after, hidden_after), outputs = lax.scan(nnx.merge(graph, parameters).__call__, (c, h), x)
            return outputs, hidden_after, cell_after

        def we_say(parameters: nnx.State, x: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
            same = nnx.merge(graph, parameters)
            projected = x @ same.dense_i.kernel[...] + same.dense_h.bias[...]
            return recur(projected, same.dense_h.kernel[...], h, c)

        ours, our_gradients = _told_and_gradients(we_say, parameters, x, h, c)
        theirs, their_gradients = _told_and_gradients(flax_says, parameters, x, h, c)
        assert {leaf.dtype for leaf in jax.tree.leaves(our_gradients)} == {jnp.dtype("float64")}
        for our, their in zip(jax.tree.leaves((ours, our_gradients)), jax.tree.leaves((theirs, their_gradients)), strict=True):
            np.testing.assert_allclose(our, their, rtol=1e-11, atol=1e-12)


def test_a_network_has_the_shape_it_was_asked_for() -> None:
    assert _forecast(_steps()).shape == (6, 1, 2, 2)
    assert initial(NETWORK, seed=0)["layers.0.input_kernel"].shape == (3 + 2 + 3 + 1 + 2, 20)


def test_the_state_carries_the_past_across_calls() -> None:
    weights, steps = initial(NETWORK, seed=0), _steps()
    whole, _ = _told(weights, steps, rest(NETWORK, batch=1))
    parts, carries = [], rest(NETWORK, batch=1)
    for half in (slice(0, 3), slice(3, 6)):
        part = Steps(*(field[half] for field in steps[:-1]), entity=steps.entity)
        told, carries = _told(weights, part, carries)
        parts.append(told)
    np.testing.assert_allclose(jnp.concatenate(parts), whole, rtol=1e-5, atol=1e-6)


def test_flags_that_training_never_showed_say_nothing() -> None:
    steps = _steps()
    flagged = steps._replace(missing=~steps.missing, newcomer=~steps.newcomer)
    np.testing.assert_array_equal(_forecast(flagged), _forecast(steps))


@pytest.mark.parametrize("unknown", [-1, NETWORK.entities, 99])
def test_an_untrained_and_an_unknown_entity_are_served_by_the_shared_prior(unknown: int) -> None:
    np.testing.assert_array_equal(_forecast(_steps(entity=unknown)), _forecast(_steps(entity=1)))


def test_an_entity_that_was_learned_is_served_by_its_own_correction() -> None:
    weights = initial(NETWORK, seed=0)
    weights["correction"] = weights["correction"].at[1].set(1.0)
    one, other, unknown = (_told(weights, _steps(entity=row), rest(NETWORK, batch=1))[0] for row in (1, 0, -1))
    np.testing.assert_array_equal(other, unknown)
    assert not np.array_equal(one, unknown)


def test_a_wild_value_looks_like_the_largest_tame_one() -> None:
    wild, tame = (_steps()._replace(values=jnp.full((6, 1, 3), value)) for value in (1e6, CLIP))
    np.testing.assert_array_equal(_forecast(wild), _forecast(tame))


def test_the_shortcut_adds_the_last_value_at_its_leads_only() -> None:
    through = Network(**{**NETWORK.to_dict(), "targets": (0, 2), "leads": (1, 4), "shortcut": (4,), "hidden": (5, 4)})  # type: ignore[arg-type]
    steps = _steps()
    added = _forecast(steps, network=through) - _forecast(steps)
    np.testing.assert_array_equal(added[:, :, 0], np.zeros((6, 1, 2)))
    np.testing.assert_allclose(added[:, :, 1], steps.values[:, :, np.array([0, 2])], atol=1e-6)


def test_foreign_weights_are_refused_with_every_difference() -> None:
    weights = {name: np.asarray(weight) for name, weight in initial(NETWORK, seed=0).items()}
    check(weights, network=NETWORK)
    weights["head.bias"] = np.zeros(3, dtype=np.float32)
    del weights["prior"]
    with pytest.raises(ValueError, match=r"head\.bias: found \(3,\), expected \(4,\); prior: found nothing, expected \(2,\)"):
        check(weights, network=NETWORK)
