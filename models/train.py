"""Training: a panel of scaled telemetry becomes the weights of a forecaster.

Everything is on the devices from the start; an epoch with its validation is one call of one compiled function. Several devices share each
batch: every one has a part of its windows, and their gradients are summed.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]  # it ships no types
from jax import Array, lax, shard_map
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from models import sampling
from models.config import Network, Training
from models.devices import AXIS, mesh_of
from models.lstm import Steps, forecaster, initial, rest
from models.sampling import Windows
from telemetry.errors import TrainingError
from telemetry.panel import Panel, Part

log = logging.getLogger(__name__)

Weights = dict[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What an epoch came to: mean absolute errors in training standard deviations, over all leads and targets."""

    number: int
    loss: float
    validation_loss: float
    seconds: float
    windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The weights of the epoch with the best validation loss, and how they came about."""

    weights: dict[str, NDArray[np.float32]]
    history: tuple[Epoch, ...]
    device: str
    compiles: int


class _Data(NamedTuple):
    """The panel on the device, padded in time so that every window and its leads lie inside."""

    values: Array  # f32[E, T, P]
    missing: Array  # bool[E, T, P]
    part: Array  # u8[E, T], ABSENT where a forecast may not be held against the step
    calendar: Array  # f32[T, C]


_Learned = tuple[Weights, optax.OptState]


class _Cut(NamedTuple):
    """All of a training that is compiled in: runs that differ in nothing else share a compilation."""

    time_steps: int
    first_judged: int


class _State(NamedTuple):
    weights: Weights
    moments: optax.OptState
    best: Weights
    best_loss: Array  # f32[], of the validation


class _Record(NamedTuple):
    loss: Array  # f32[batches]
    judged: Array  # i32[batches], forecasts held against an observed value
    finite: dict[str, Array]  # bool[batches] by weight, of the gradients
    validation_loss: Array  # f32[]


def fit(
    panel: Panel,
    *,
    network: Network,
    training: Training,
    on_epoch: Callable[[Epoch], None] | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Trained:
    """The trained network: learned from TRAIN, stopped early by CALIBRATE, with the weights of the best epoch.

    Newcomers' days and incidents are neither learned from nor seen. On a CPU, equal arguments give equal bytes.

    Args:
        panel: scaled telemetry; its entities are the network's rows 0 to E - 1.
        network: what to train; its targets may differ from the panel's.
        training: how to train it.
        on_epoch: told of every epoch when it is over.
        devices: that share each batch, as many of them as divide it; all that JAX has by default.

    Raises:
        TrainingError: nothing to learn from or to validate on, or a loss that is not finite.
    """
    learnable, calibrate = (sampling.judged(panel, part=part) for part in (Part.TRAIN, Part.CALIBRATE))
    sampler = sampling.sampler(learnable, network=network, training=training)
    held_out = sampling.validation(calibrate, network=network, training=training, batch=sampler.batch)
    _require_windows(sampler, held_out=held_out)
    mesh = mesh_of(devices, batch=sampler.batch)
    everywhere = NamedSharding(mesh, P())
    data = jax.device_put(_load(panel, network=network, training=training), everywhere)
    cut = _Cut(time_steps=training.time_steps, first_judged=training.first_judged)
    state, compiled_before = jax.device_put(_begin(network, seed=training.seed), everywhere), _compiled()
    history: list[Epoch] = []
    while not _is_over(history, training=training):
        began, number = time.perf_counter(), len(history) + 1
        windows, rates = sampler.draw(number), _rates(number, batches=sampler.batches, training=training)
        state, record = _epoch(state, data, windows, rates, held_out, network=network, cut=cut, mesh=mesh)
        epoch = _told(record, number=number, windows=sampler.batches * sampler.batch, began=began)
        history.append(epoch)
        log.info("epoch %d: loss %.4f, validation %.4f, %.1f s", number, epoch.loss, epoch.validation_loss, epoch.seconds)
        if on_epoch is not None:
            on_epoch(epoch)
    weights = {name: np.asarray(weight) for name, weight in state.best.items()}
    return Trained(weights=weights, history=tuple(history), device=_told_device(mesh), compiles=_compiled() - compiled_before)


def _require_windows(sampler: sampling.Sampler, *, held_out: Windows) -> None:
    if not sampler.worth.any():
        raise TrainingError(
            "There is nothing to learn from: no target is observed in TRAIN by an entity that is neither newcomer nor in an incident.",
            hint="take more days in, or lower newcomer.days in the contract.",
        )
    if not held_out.rows.size:
        raise TrainingError(
            "There is nothing to validate on: no target is observed in CALIBRATE by an entity that is neither newcomer nor in an incident.",
            hint="take more days in, or raise split.calibrate_share in the contract.",
        )


def _load(panel: Panel, *, network: Network, training: Training) -> _Data:
    """The panel on the device; what training may not look at becomes 'not observed'."""
    shown = sampling.shown(panel)
    _require_finite(panel, shown=shown)
    judged = (panel.part != Part.ABSENT) & ~panel.newcomer & ~panel.incident
    after = training.time_steps + max(network.leads)
    values = np.zeros((len(panel.entities), panel.steps + after, len(panel.parameters)), dtype=np.float32)
    np.copyto(values[:, : panel.steps], panel.values, where=shown)
    return _Data(
        values=jnp.asarray(values),
        missing=jnp.asarray(np.pad(~shown, ((0, 0), (0, after), (0, 0)), constant_values=True)),
        part=jnp.asarray(np.pad(np.where(judged, panel.part, 0).astype(np.uint8), ((0, 0), (0, after)))),
        calendar=jnp.asarray(np.pad(panel.calendar, ((0, after), (0, 0)))),
    )


def _require_finite(panel: Panel, *, shown: NDArray[np.bool_]) -> None:
    if np.isfinite(panel.values).all(where=shown):
        return
    entity, step, parameter = np.argwhere(~np.isfinite(panel.values) & shown)[0]
    raise TrainingError(
        f"{panel.entities[entity]} has {panel.values[entity, step, parameter]} as {panel.parameters[parameter]} at step {step} of the "
        "panel; expected finite scaled values.",
        hint="check the scales (tidewatch check) before training.",
    )


def _rates(number: int, *, batches: int, training: Training) -> NDArray[np.float32]:
    """f32[batches]: the learning rate of each training step of an epoch."""
    done = ((number - 1) * batches + np.arange(batches)) / (training.epochs * batches)
    shape = (1 + np.cos(np.pi * done)) / 2 if training.schedule == "cosine" else np.ones(batches)
    return (training.learning_rate * shape).astype(np.float32)


def _begin(network: Network, *, seed: int) -> _State:
    weights = initial(network, seed=seed)
    best = {name: jnp.copy(weight) for name, weight in weights.items()}  # what is donated must not be given twice
    return _State(weights=weights, moments=optax.scale_by_adam().init(weights), best=best, best_loss=jnp.asarray(np.inf, dtype=jnp.float32))


@partial(jax.jit, static_argnames=("network", "cut", "mesh"), donate_argnames=("state",))
def _epoch(
    state: _State, data: _Data, windows: Windows, rates: Array, held_out: Windows, *, network: Network, cut: _Cut, mesh: Mesh
) -> tuple[_State, _Record]:
    """One pass over windows at rates f32[batches], then the validation: all in one compiled call."""
    on_each = shard_map(
        partial(_pass, network=network, cut=cut),
        mesh=mesh,
        in_specs=(P(), P(), P(None, AXIS), P(), P(None, AXIS)),
        out_specs=P(),
        check_vma=False,
    )
    told: tuple[_State, _Record] = on_each(state, data, windows, rates, held_out)
    return told


def _pass(
    state: _State, data: _Data, windows: Windows, rates: Array, held_out: Windows, *, network: Network, cut: _Cut
) -> tuple[_State, _Record]:
    """What each device does of an epoch, with its part of every batch; weights and record are the same on all."""

    def total_error(weights: Weights, batch: Windows) -> tuple[Array, Array]:
        return _error(weights, batch, data, part=Part.TRAIN, network=network, cut=cut)

    def step(learned: _Learned, given: tuple[Windows, Array]) -> tuple[_Learned, tuple[Array, Array, dict[str, Array]]]:
        (weights, moments), (batch, rate) = learned, given
        (total, count), gradients = jax.value_and_grad(total_error, has_aux=True)(weights, batch)
        total, count, gradients = _summed((total, count, gradients))
        share = 1 / jnp.maximum(count, 1)
        gradients = {name: gradient * share for name, gradient in gradients.items()}
        directions, moments = optax.scale_by_adam().update(gradients, moments)
        weights = {name: weight - rate * directions[name] for name, weight in weights.items()}
        finite = {name: jnp.isfinite(gradient).all() for name, gradient in gradients.items()}
        return (weights, moments), (total * share, count.astype(jnp.int32), finite)

    def validate(weights: Weights, batch: Windows) -> tuple[Weights, tuple[Array, Array]]:
        return weights, _error(weights, batch, data, part=Part.CALIBRATE, network=network, cut=cut)

    (weights, moments), (loss, judged, finite) = lax.scan(step, (state.weights, state.moments), (windows, rates))
    _, (totals, counts) = lax.scan(validate, weights, held_out)
    total, count = _summed((totals.sum(), counts.sum()))
    validation_loss = total / jnp.maximum(count, 1)
    better = validation_loss < state.best_loss
    best = {name: jnp.where(better, weight, state.best[name]) for name, weight in weights.items()}
    after = _State(weights=weights, moments=moments, best=best, best_loss=jnp.where(better, validation_loss, state.best_loss))
    return after, _Record(loss=loss, judged=judged, finite=finite, validation_loss=validation_loss)


_Parts = TypeVar("_Parts")


def _summed(parts: _Parts) -> _Parts:
    """The sum over all devices, in one exchange rather than one for each array."""
    flat, shaped = ravel_pytree(parts)
    told: _Parts = shaped(lax.psum(flat, AXIS))
    return told


def _error(weights: Weights, windows: Windows, data: _Data, *, part: Part, network: Network, cut: _Cut) -> tuple[Array, Array]:
    """Sum of the absolute errors of a batch of windows against the observed targets of one part, and their number."""
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
    forecasts, _ = forecaster(network, weights=weights).__call__(steps, carries=rest(network, batch=entity.size), first=first)
    targets = np.array(network.targets)
    ahead = at[first:, :, None] + np.array(network.leads)
    actual = data.values[entity[:, None], ahead] * windows.gain[:, None] + windows.shift[:, None]
    counts = ~data.missing[entity[:, None], ahead][..., targets] & (data.part[entity[:, None], ahead] == part)[..., None]
    return jnp.where(counts, jnp.abs(forecasts - actual[..., targets]), 0).sum(), counts.sum()


def _told(record: _Record, *, number: int, windows: int, began: float) -> Epoch:
    """The epoch's record, read from the device; the clock is read after the device is done."""
    loss, judged = np.asarray(record.loss, dtype=np.float64), np.asarray(record.judged)
    validation_loss = float(record.validation_loss)
    if not (np.isfinite(loss).all() and np.isfinite(validation_loss)):
        raise TrainingError(_not_finite(record, loss=loss, number=number), hint="lower training.learning_rate in the contract.")
    mean = float((loss * judged).sum() / max(judged.sum(), 1))
    return Epoch(number=number, loss=mean, validation_loss=validation_loss, seconds=time.perf_counter() - began, windows=windows)


def _not_finite(record: _Record, *, loss: NDArray[np.float64], number: int) -> str:
    bad = np.flatnonzero(~np.isfinite(loss))
    before = (number - 1) * loss.size
    if not bad.size:
        steps = f"training steps {before} to {before + loss.size - 1}"
        return f"The validation loss of epoch {number} is {float(record.validation_loss)} after {steps}; expected a finite number."
    groups = [name for name, finite in record.finite.items() if not bool(finite[bad[0]])]
    return (
        f"The loss is not finite in training steps {before + bad[0]} to {before + bad[-1]} (epoch {number}); expected finite numbers. "
        f"Gradients that were not finite in the first of them: {', '.join(groups) or 'none'}."
    )


def _is_over(history: list[Epoch], *, training: Training) -> bool:
    """Whether all epochs are done, or the best is `patience` epochs old."""
    if not history:
        return False
    best = min(history, key=lambda epoch: epoch.validation_loss)
    return len(history) >= training.epochs or history[-1].number - best.number >= training.patience


def _compiled() -> int:
    """How many times `_epoch` has been compiled in this process."""
    return int(_epoch._cache_size())  # type: ignore[attr-defined]  # not in jax's types, and counted by its own tests


def _told_device(mesh: Mesh) -> str:
    """For a person: `cpu x 2`."""
    device = mesh.devices.flat[0]
    name = device.platform if device.device_kind == device.platform else f"{device.platform} {device.device_kind}"
    return name if mesh.size == 1 else f"{name} x {mesh.size}"
