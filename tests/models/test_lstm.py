"""The network does with its inputs what it says."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from models.config import Cell, Network
from models.lstm import CLIP, Steps, check, forecaster, initial, rest
from models.recurrent import Carry

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


def test_a_network_has_the_shape_it_was_asked_for() -> None:
    assert _forecast(_steps()).shape == (6, 1, 2, 2)
    assert initial(NETWORK, seed=0)["layers.0.input_kernel"].shape == (3 + 2 + 3 + 1 + 2, 20)


@pytest.mark.parametrize("cells", [(), ("lstm", "gru"), ("gru", "gru")])
def test_the_state_carries_the_past_across_calls(cells: tuple[Cell, ...]) -> None:
    network = replace(NETWORK, cells=cells)
    weights, steps = initial(network, seed=0), _steps()
    whole, _ = _told(weights, steps, rest(network, batch=1), network=network)
    parts, carries = [], rest(network, batch=1)
    for half in (slice(0, 3), slice(3, 6)):
        part = Steps(*(field[half] for field in steps[:4]), entity=steps.entity)
        told, carries = _told(weights, part, carries, network=network)
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
    through = replace(NETWORK, shortcut=(4,))
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
