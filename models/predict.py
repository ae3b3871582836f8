"""Forecasts: a panel and a network's weights become what was expected at every step, before it came."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, shard_map
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from models import guard as guards
from models.config import Network
from models.devices import AXIS, COMPILER, mesh_of
from models.guard import Bars, Guard, Rule, Watch
from models.lstm import Steps, check, check_panel, forecaster, rest
from models.recurrent import Carry, scanned
from telemetry.panel import Panel

CHUNK_ROWS = 49_152
"""Entities times steps that are on the device at a time (2,048 steps of 24 entities): some 100 MB at 64 units."""
CHUNK_STEPS = (64, 2_048)
"""Fewest and most steps of a chunk."""


def forecast(
    panel: Panel,
    *,
    network: Network,
    weights: dict[str, NDArray[np.float32]],
    start: int,
    stop: int,
    entity_index: NDArray[np.int32] | None = None,
    context: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    guard: Guard | None = None,
) -> NDArray[np.float32]:
    """f32[E, stop - start, L, K]: the forecasts for steps `start` to `stop`, in scaled units, each made `lead` steps before.

    The network's state is carried along the panel, so that a step costs the same however long its past is. Where the panel
    begins too late for a lead, its forecast is 0: the training mean, which is all that is known.

    Args:
        panel: its parameters are those of the network, in order; its entities may be others.
        network: whose weights these are.
        weights: as `train.fit` gives them.
        start: first step that is forecast.
        stop: step after the last.
        entity_index: i32[E], each entity's row in the network, -1 for one that it does not know; 0 to E - 1 by default.
        context: steps of the past that the state is warmed up on before the first forecast is made; all of them by default.
        devices: that share the entities; all that JAX has by default.
        guard: of the panel's entities; while it is open the network reads its own forecasts. Step by step, as each depends on the one
            before; without a guard many steps are read at a time.

    Raises:
        ValueError: the weights, the panel or the guard are not the network's, or the steps are not in the panel.
    """
    told = watched(
        panel,
        network=network,
        weights=weights,
        start=start,
        stop=stop,
        entity_index=entity_index,
        context=context,
        devices=devices,
        guard=guard,
    )
    return told.forecasts


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Forecasts, and what the guard did in the steps from `start` to `stop`; nothing without a guard.

    Attributes:
        forecasts: as `forecast` gives them.
        fed: bool[E, stop - start], where the network read its own forecasts of the targets instead of what came.
        open: bool[E, stop - start], where the guard was open.
        accepted: bool[E, stop - start], where it gave up: what came is taken for normal from there on.
    """

    forecasts: NDArray[np.float32]
    fed: NDArray[np.bool_]
    open: NDArray[np.bool_]
    accepted: NDArray[np.bool_]


def watched(
    panel: Panel,
    *,
    network: Network,
    weights: dict[str, NDArray[np.float32]],
    start: int,
    stop: int,
    entity_index: NDArray[np.int32] | None = None,
    context: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    guard: Guard | None = None,
    known: NDArray[np.bool_] | None = None,
) -> Watched:
    """The same as `forecast`, with what the guard did.

    Args:
        panel: as there, like all others.
        network: see there.
        weights: see there.
        start: see there.
        stop: see there.
        entity_index: see there.
        context: see there.
        devices: see there.
        guard: see there.
        known: bool[E, T], steps of which it is known already that the network is to read its own forecasts; only with a guard.
    """
    check(weights, network=network)
    check_panel(panel, network=network)
    if not 0 <= start <= stop <= panel.steps:
        raise ValueError(f"steps {start} to {stop} are not within the panel's {panel.steps}")
    entities = len(panel.entities)
    if guard is not None and guard.usual.shape != (entities, len(network.leads), len(network.targets)):
        raise ValueError(f"the guard's usual errors f32{list(guard.usual.shape)} do not fit the panel and the network")
    rows = np.arange(entities, dtype=np.int32) if entity_index is None else entity_index.astype(np.int32)
    begin = 0 if context is None else max(0, start - max(network.leads) - context)
    end = stop - min(network.leads) if guard is None else stop
    chunk = _chunk_steps(entities, steps=end - begin)
    forecasts = np.zeros((entities, stop - start, len(network.leads), len(network.targets)), dtype=np.float32)
    did = np.zeros((entities, stop - start, 3), dtype=np.bool_)
    mesh, batch = _shared(entities, devices=devices)
    advance = _advancing(weights, np.pad(panel.clock, (0, batch - entities)), network=network, mesh=mesh, guard=guard)
    for first in range(begin, end, chunk):
        last = min(first + chunk, end)
        steps = _steps(panel, first=first, last=last, shape=(chunk, batch), rows=rows)
        made, acted = advance(steps, _known(known, first=first, last=last, shape=(chunk, batch)))
        _keep(made[:, :entities], forecasts=forecasts, made_at=first - start, leads=network.leads)
        if acted is not None:
            low, high = max(start, first), last
            did[:, max(low, start) - start : max(high - start, 0)] = acted[low - first : max(high - first, 0), :entities].swapaxes(0, 1)
    return Watched(forecasts=forecasts, fed=did[..., 0], open=did[..., 1], accepted=did[..., 2])


_Advance = Callable[[Steps, Array], tuple[NDArray[np.float32], NDArray[np.bool_] | None]]


def _advancing(
    weights: dict[str, NDArray[np.float32]], clock: NDArray[np.int32], *, network: Network, mesh: Mesh, guard: Guard | None
) -> _Advance:
    """What makes the forecasts of one chunk after the other, f32[step, batch, L, K]; also what a guard did, bool[step, batch, 3]."""
    batch = len(clock)
    shared = jax.device_put(weights, NamedSharding(mesh, P()))
    calendars = jnp.asarray(clock)
    carries = jax.device_put(rest(network, batch=batch), NamedSharding(mesh, P(AXIS)))
    if guard is None:

        def advance(steps: Steps, _: Array) -> tuple[NDArray[np.float32], None]:
            nonlocal carries
            made, carries = _advance(shared, steps, calendars, carries, network=network, mesh=mesh)
            return np.asarray(made), None

        return advance
    rule, bars = guard.rule, jax.device_put(guard.padded(batch), NamedSharding(mesh, P(AXIS)))
    placed = Watch(*(NamedSharding(mesh, cut) for cut in _OF_WATCH))  # type: ignore[arg-type]  # how each is cut
    state = jax.device_put(guards.begin(rule, leads=network.leads, batch=batch, targets=len(network.targets)), placed)

    def guarded(steps: Steps, known: Array) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        nonlocal carries, state
        with scanned():
            (made, acted), (carries, state) = _guarded(
                shared, (steps, known), calendars, (carries, state), bars, network=network, mesh=mesh, rule=rule
            )
        return np.asarray(made), np.asarray(acted)

    return guarded


def _known(known: NDArray[np.bool_] | None, *, first: int, last: int, shape: tuple[int, int]) -> Array:
    """bool[step, batch] of these steps."""
    told = np.zeros(shape, dtype=np.bool_)
    if known is not None:
        told[: last - first, : len(known)] = known[:, first:last].T
    return jnp.asarray(told)


def _shared(entities: int, *, devices: Sequence[jax.Device] | None) -> tuple[Mesh, int]:
    """The devices that share the entities, and the next number of these that all can have an equal part of."""
    every = list(jax.local_devices() if devices is None else devices)[:entities]
    return mesh_of(every, batch=len(every)), -(-entities // len(every)) * len(every)


def _chunk_steps(entities: int, *, steps: int) -> int:
    """Steps per call, a power of two: panels of about the same size share a compilation.

    >>> _chunk_steps(24, steps=86_400), _chunk_steps(500, steps=86_400), _chunk_steps(24, steps=200)
    (2048, 64, 256)
    """
    fewest, most = CHUNK_STEPS
    wanted = min(max(CHUNK_ROWS // entities, fewest), most)
    fitting = 1 << (wanted.bit_length() - 1)
    return max(fewest, min(fitting, 1 << max(steps - 1, 1).bit_length()))


def _steps(panel: Panel, *, first: int, last: int, shape: tuple[int, int], rows: NDArray[np.int32]) -> Steps:
    """The panel's steps, time-major, filled up to the shape (steps, entities) with what is not observed; calendar is f32[step, Z, C]."""
    after, beside = shape[0] - (last - first), shape[1] - len(rows)
    observed = panel.observed[:, first:last].swapaxes(0, 1)
    values = np.where(observed, panel.values[:, first:last].swapaxes(0, 1), np.float32(0))
    return Steps(
        values=jnp.asarray(np.pad(values, ((0, after), (0, beside), (0, 0)))),
        missing=jnp.asarray(np.pad(~observed, ((0, after), (0, beside), (0, 0)), constant_values=True)),
        calendar=jnp.asarray(np.pad(panel.calendar[:, first:last].swapaxes(0, 1), ((0, after), (0, 0), (0, 0)))),
        newcomer=jnp.asarray(np.pad(panel.newcomer[:, first:last].T, ((0, after), (0, beside)))),
        entity=jnp.asarray(np.pad(rows, (0, beside), constant_values=-1)),
        static=jnp.asarray(np.pad(panel.static, ((0, beside), (0, 0)))),
    )


@partial(jax.jit, compiler_options=COMPILER, static_argnames=("network", "mesh"), donate_argnames=("carries",))
def _advance(
    weights: dict[str, Array], steps: Steps, clock: Array, carries: tuple[Carry, ...], *, network: Network, mesh: Mesh
) -> tuple[Array, tuple[Carry, ...]]:
    """Forecasts f32[step, E, L, K] made at a chunk's steps, and the state after it; each device has a part of the entities."""

    def on_each(weights: dict[str, Array], steps: Steps, clock: Array, carries: tuple[Carry, ...]) -> tuple[Array, tuple[Carry, ...]]:
        seen = steps._replace(calendar=steps.calendar[:, clock], static=steps.static if network.static else None)
        return forecaster(network, weights=weights).__call__(seen, carries=carries)

    of_entity = P(None, AXIS)
    of_steps = Steps(*(of_entity, of_entity, P(), of_entity, P(AXIS), P(AXIS)))  # type: ignore[arg-type]  # how each field is cut
    told: tuple[Array, tuple[Carry, ...]] = shard_map(
        on_each, mesh=mesh, in_specs=(P(), of_steps, P(AXIS), P(AXIS)), out_specs=(of_entity, P(AXIS)), check_vma=False
    )(weights, steps, clock, carries)
    return told


_State = tuple[tuple[Carry, ...], Watch]
_Made = tuple[tuple[Array, Array], _State]
_OF_WATCH = Watch(age=P(AXIS), pending=P(None, AXIS), recent=P(AXIS), opened=P(AXIS), calm=P(AXIS), held=P(AXIS))  # type: ignore[arg-type]  # how each is cut


@partial(jax.jit, compiler_options=COMPILER, static_argnames=("network", "mesh", "rule"), donate_argnames=("state",))
def _guarded(
    weights: dict[str, Array],
    told: tuple[Steps, Array],
    clock: Array,
    state: _State,
    bars: Bars,
    *,
    network: Network,
    mesh: Mesh,
    rule: Rule,
) -> _Made:
    """The same as `_advance` under a guard, one step after the other; beside the forecasts bool[step, E, 3]: fed, open, accepted.

    `told`: the steps, and bool[step, E], of which it is known already that they are to be fed.
    """

    def on_each(weights: dict[str, Array], told: tuple[Steps, Array], clock: Array, state: _State, bars: Bars) -> _Made:
        steps, known = told
        model, targets = forecaster(network, weights=weights), np.array(network.targets)
        constant = (steps.entity, steps.static if network.static else None)

        def step(state: _State, now: tuple[Array, ...]) -> tuple[_State, tuple[Array, Array]]:
            (carries, watch), (values, missing, calendar, newcomer, known) = state, now
            there = ~missing[:, targets]
            seen, watch = guards.watch(
                watch, values=values[:, targets], seen=there, newcomer=newcomer, known=known, bars=bars, rule=rule, leads=network.leads
            )
            fed = values.at[:, targets].set(jnp.where(seen.fed[:, None] & there, seen.expected, values[:, targets]))
            one = Steps(fed[None], missing[None], calendar[None], newcomer[None], *constant)
            made, carries = model(one, carries=carries)
            return (carries, guards.remember(watch, made[0])), (made[0], jnp.stack([seen.fed, seen.open, seen.accepted], axis=-1))

        state, acted = jax.lax.scan(step, state, (steps.values, steps.missing, steps.calendar[:, clock], steps.newcomer, known))
        return acted, state

    of_entity = P(None, AXIS)
    of_steps = Steps(*(of_entity, of_entity, P(), of_entity, P(AXIS), P(AXIS)))  # type: ignore[arg-type]  # how each field is cut
    of_state = (P(AXIS), _OF_WATCH)
    made: _Made = shard_map(
        on_each,
        mesh=mesh,
        in_specs=(P(), (of_steps, of_entity), P(AXIS), of_state, P(AXIS)),
        out_specs=((of_entity, of_entity), of_state),
        check_vma=False,
    )(weights, told, clock, state, bars)
    return made


def _keep(made: NDArray[np.float32], *, forecasts: NDArray[np.float32], made_at: int, leads: tuple[int, ...]) -> None:
    """Put forecasts f32[step, E, L, K], the first made at step `made_at` of the result, at the steps that they are for."""
    length = forecasts.shape[1]
    for index, lead in enumerate(leads):
        offset = made_at + lead
        low, high = max(0, offset), min(length, offset + made.shape[0])
        if low < high:
            forecasts[:, low:high, index] = made[low - offset : high - offset, :, index].swapaxes(0, 1)
