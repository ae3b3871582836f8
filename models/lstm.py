"""The forecaster: recurrent layers over scaled telemetry, two dense layers on top, forecasts of every target at every lead.

Arrays are time-major (step, entity or window, feature), so that a step of the recurrence is one contiguous block.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from models.config import Network
from models.recurrent import LAYERS, Carry, Dense
from telemetry.panel import CALENDAR, Panel

CLIP = 10.0
"""Inputs beyond this many standard deviations look the same to the network: constant columns wake up in real data."""


class Steps(NamedTuple):
    """What the network sees, time-major; all that is not observed is 0 in `values` and true in `missing`.

    Attributes:
        values: f32[step, batch, P], scaled.
        missing: bool[step, batch, P].
        calendar: f32[step, batch, C].
        newcomer: bool[step, batch].
        entity: i32[batch], the entity's row of corrections; negative for one that the network does not know.
        static: f32[batch, S], what is known of the entity and does not change; None where the network takes nothing of the kind.
    """

    values: Array
    missing: Array
    calendar: Array
    newcomer: Array
    entity: Array
    static: Array | None = None


class Forecaster(nnx.Module):
    """Forecasts of every target at every lead, in scaled units, made at every step.

    The observed mask is given per parameter: sources lose single parameters, and a 0 for 'missing' must differ from a 0 for
    'average'. It costs P rows of one input product, which is small beside the recurrence.

    What may never have been seen in training (a holiday, a flag, an attribute's value) begins without weight, and so stays silent.
    """

    def __init__(self, network: Network, *, random: np.random.Generator) -> None:
        self.network = network
        flags = network.parameters + 1
        turning = network.parameters + min(network.calendar, len(CALENDAR))
        told = network.parameters + network.calendar + flags + network.static
        inputs, silent = told + network.embedding, slice(turning, told)
        self.prior = nnx.Param(jnp.asarray(random.normal(size=network.embedding), dtype=jnp.float32))
        self.correction = nnx.Param(jnp.zeros((network.entities, network.embedding)))
        widths = (inputs, *network.hidden)
        self.layers = nnx.List(
            LAYERS[cell](width, hidden=hidden, silent=silent if number == 0 else slice(0), random=random)
            for number, (width, (cell, hidden)) in enumerate(zip(widths, network.layers, strict=False))
        )
        self.dense = Dense(network.hidden[-1], outputs=network.dense, random=random)
        self.head = Dense(network.dense, outputs=len(network.leads) * len(network.targets) * (1 + network.extras), random=random)

    def __call__(self, steps: Steps, *, carries: tuple[Carry, ...], first: int = 0) -> tuple[Array, tuple[Carry, ...]]:
        """Forecasts f32[step - first, batch, L, K] made at steps `first` and later, and the state after the last step."""
        told, after = self.distribution(steps, carries=carries, first=first)
        return told[..., 0], after

    def distribution(self, steps: Steps, *, carries: tuple[Carry, ...], first: int = 0) -> tuple[Array, tuple[Carry, ...]]:
        """The same as f32[step - first, batch, L, K, 1 + extras]: the location, and what the loss has it tell beside."""
        hidden, constant = self._inputs(steps), self._constant(steps)
        after = []
        for number, (layer, carry) in enumerate(zip(self.layers, carries, strict=True)):
            hidden, carry_after = layer(hidden, carry=carry, constant=None if number else constant)
            after.append(carry_after)
        dense = nnx.relu(self.dense(hidden[first:]))
        leads, targets = self.network.leads, self.network.targets
        told = self.head(dense).reshape(*dense.shape[:2], len(leads), len(targets), 1 + self.network.extras)
        through = np.array([lead in self.network.shortcut for lead in leads], dtype=bool)
        last = steps.values[first:, :, None, np.array(targets)]
        return told.at[..., 0].add(jnp.where(through[:, None], last, 0)), tuple(after)

    def _inputs(self, steps: Steps) -> Array:
        """f32[step, batch, feature]: what the first layer reads at every step."""
        dtype = steps.values.dtype
        flags = (steps.missing.astype(dtype), steps.newcomer[..., None].astype(dtype))
        return jnp.concatenate([jnp.clip(steps.values, -CLIP, CLIP), steps.calendar, *flags], axis=-1)

    def _constant(self, steps: Steps) -> Array:
        """f32[batch, S + embedding]: what it reads of whose telemetry this is, the same in all steps."""
        entity = self._entity(steps)
        return entity if steps.static is None else jnp.concatenate([jnp.clip(steps.static, -CLIP, CLIP), entity], axis=-1)

    def _entity(self, steps: Steps) -> Array:
        """f32[batch, embedding]: what it has learned of it, or of all together."""
        row = jnp.where(steps.entity < 0, self.network.entities, steps.entity)
        return self.prior[...] + self.correction[...].at[row].get(mode="fill", fill_value=0)


def rest(network: Network, *, batch: int) -> tuple[Carry, ...]:
    """The state before the first step: zeros, without any random draw."""
    states = {"lstm": 2, "gru": 1}
    return tuple(tuple(jnp.zeros((batch, hidden)) for _ in range(states[cell])) for cell, hidden in network.layers)


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


def check_panel(panel: Panel, *, network: Network) -> None:
    """Refuse a panel that this network cannot read.

    Raises:
        ValueError: it has other parameters, another calendar or other attributes; all differences are told.
    """
    found = {"parameters": len(panel.parameters), "calendar": panel.calendar.shape[-1], "static": panel.static.shape[-1]}
    wanted = {"parameters": network.parameters, "calendar": network.calendar, "static": network.static or found["static"]}
    if found != wanted:
        raise ValueError(f"the panel is not this network's: found columns {found}, expected {wanted}")


def _name(path: tuple[object, ...]) -> str:
    return ".".join(str(part) for part in path)
