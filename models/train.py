"""Training: a panel of scaled telemetry becomes the weights of a forecaster.

Everything is on the devices from the start; an epoch with its validation is one call of one compiled function (`models.epochs`). The host
draws the next epoch's windows meanwhile. Only a panel that is too large for them is streamed (`models.streaming`).
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from models import epochs, sampling
from models.config import Network, Training
from models.devices import mesh_of
from models.epochs import Cut, Data, Record, State
from models.lstm import check, check_panel, initial
from models.sampling import Windows
from models.streaming import Stream
from telemetry.errors import TrainingError
from telemetry.panel import Panel, Part

if TYPE_CHECKING:
    from models.checkpoints import Checkpoints

log = logging.getLogger(__name__)

MEMORY = 4 * 2**30
"""Bytes that a panel may take of each device, or of all cores of a CPU."""
_BYTES_A_VALUE = 5
"""A float, and whether it is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What an epoch came to: mean costs over all leads and targets; of the loss `mae` errors in training standard deviations."""

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


def fit(
    panel: Panel,
    *,
    network: Network,
    training: Training,
    start: Mapping[str, NDArray[np.float32]] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    devices: Sequence[jax.Device] | None = None,
    checkpoints: Path | None = None,
    memory: int = MEMORY,
) -> Trained:
    """The trained network: learned from TRAIN, stopped early by CALIBRATE, with the weights of the best epoch.

    Newcomers' days and incidents are neither learned from nor seen. On a CPU, equal arguments give equal bytes.

    Args:
        panel: scaled telemetry; its entities are the network's rows 0 to E - 1.
        network: what to train; its targets may differ from the panel's.
        training: how to train it.
        start: weights to begin with, such as a champion's; untrained ones by default.
        on_epoch: told of every epoch when it is over, and of those that a checkpoint tells of.
        devices: that share each batch, as many of them as divide it; all that JAX has by default.
        checkpoints: folder in which every epoch is kept until the training is done; a training that was killed then goes on from there.
        memory: bytes that a panel may take of each device, or of all cores of a CPU; a larger one stays on the host and is streamed.

    Raises:
        TrainingError: nothing to learn from or to validate on, or a loss that is not finite.
        ValueError: the weights to begin with, or the panel, are not the network's.
    """
    check_panel(panel, network=network)
    if start is not None:
        check(start, network=network)
    sampler, held_out = cut_windows(panel, network=network, training=training)
    mesh = mesh_of(devices, batch=sampler.batch)
    run = runner(panel, network=network, training=training, mesh=mesh, memory=memory)
    weights = {name: jnp.array(weight) for name, weight in (initial(network, seed=training.seed) if start is None else start).items()}
    state, compiled_before = jax.device_put(epochs.begin(weights), NamedSharding(mesh, P())), epochs.compiled()
    keeper = _keeper(checkpoints, panel=panel, network=network, training=training, start=start, mesh=mesh)
    state, history = _resumed(keeper, state=state)
    for epoch in history:
        _tell(epoch, to=on_epoch)
    windows = sampler.draw(len(history) + 1)
    while not is_over(history, training=training):
        began, number = time.perf_counter(), len(history) + 1
        of_steps = rates(number, batches=sampler.batches, training=training)
        state, record = run(state, windows, of_steps, held_out)
        windows = sampler.draw(number + 1)  # while the devices are busy
        history.append(told(record, number=number, windows=sampler.batches * sampler.batch, began=began))
        if keeper is not None:
            keeper.save(state, history=[asdict(epoch) for epoch in history])
        _tell(history[-1], to=on_epoch)
    if keeper is not None:
        keeper.close(done=True)
    best = {name: np.asarray(weight) for name, weight in state.best.items()}
    return Trained(weights=best, history=tuple(history), device=told_device(mesh), compiles=epochs.compiled() - compiled_before)


def cut_windows(panel: Panel, *, network: Network, training: Training) -> tuple[sampling.Sampler, Windows]:
    """What draws the windows to learn from, and the windows to validate on.

    Raises:
        TrainingError: there are none, or what they show is not finite.
    """
    learnable, calibrate = (sampling.judged(panel, part=part) for part in (Part.TRAIN, Part.CALIBRATE))
    sampler = sampling.sampler(learnable, network=network, training=training)
    held_out = sampling.validation(calibrate, network=network, training=training, batch=sampler.batch)
    _require_windows(sampler, held_out=held_out)
    _require_finite(panel)
    return sampler, held_out


def _tell(epoch: Epoch, *, to: Callable[[Epoch], None] | None) -> None:
    log.info("epoch %d: loss %.4f, validation %.4f, %.1f s", epoch.number, epoch.loss, epoch.validation_loss, epoch.seconds)
    if to is not None:
        to(epoch)


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


Run = Callable[[State, Windows, NDArray[np.float32], Windows], tuple[State, Record]]


def runner(panel: Panel, *, network: Network, training: Training, mesh: Mesh, memory: int) -> Run:
    """How an epoch is run: over data that is on the devices, or streamed to them."""
    cut = Cut.of(training)
    if not fits(panel, devices=mesh.size, platform=mesh.devices.flat[0].platform, memory=memory):
        log.info("the panel is larger than %.1f GiB: it is streamed", memory / 2**30)
        return Stream(panel=panel, network=network, cut=cut, mesh=mesh).epoch
    data = jax.device_put(load(panel, network=network, training=training), NamedSharding(mesh, P()))
    how = {"network": network, "cut": cut, "mesh": mesh}
    return lambda state, windows, rates, held_out: epochs.epoch(state, data, windows, rates, held_out, **how)


def fits(panel: Panel, *, devices: int, platform: str, memory: int = MEMORY) -> bool:
    """Whether a panel may lie on so many devices as a whole; the cores of a CPU have one memory for all copies."""
    needed = panel.values.size * _BYTES_A_VALUE + panel.calendar.nbytes  # many zones have many calendars
    return needed * (devices if platform == "cpu" else 1) <= memory


def load(panel: Panel, *, network: Network, training: Training) -> Data:
    """The panel for the devices; what training may not look at becomes 'not observed'."""
    shown = sampling.shown(panel)
    judged = (panel.part != Part.ABSENT) & ~panel.newcomer & ~panel.hidden
    after = training.time_steps + max(network.leads)
    values = np.zeros((len(panel.entities), panel.steps + after, len(panel.parameters)), dtype=np.float32)
    np.copyto(values[:, : panel.steps], panel.values, where=shown)
    return Data(
        values=jnp.asarray(values),
        missing=jnp.asarray(np.pad(~shown, ((0, 0), (0, after), (0, 0)), constant_values=True)),
        part=jnp.asarray(np.pad(np.where(judged, panel.part, 0).astype(np.uint8), ((0, 0), (0, after)))),
        calendar=jnp.asarray(np.pad(panel.calendar, ((0, 0), (0, after), (0, 0)))),
        clock=jnp.asarray(panel.clock),
        static=jnp.asarray(panel.static),
    )


def _require_finite(panel: Panel) -> None:
    """Refuse what training would look at and cannot compute with, one entity after the other, so that a mapped panel stays on disk."""
    for index, entity in enumerate(panel.entities):
        shown = panel.observed[index] & ~(panel.newcomer[index] | panel.incident[index] | panel.unconfirmed[index])[:, None]
        bad = ~np.isfinite(panel.values[index]) & shown
        if bad.any():
            step, parameter = np.argwhere(bad)[0]
            raise TrainingError(
                f"{entity} has {panel.values[index, step, parameter]} as {panel.parameters[parameter]} at step {step} of the panel; "
                "expected finite scaled values.",
                hint="check the scales (tidewatch check) before training.",
            )


def rates(number: int, *, batches: int, training: Training) -> NDArray[np.float32]:
    """f32[batches]: the learning rate of each training step of an epoch."""
    done = ((number - 1) * batches + np.arange(batches)) / (training.epochs * batches)
    rising = np.minimum(1, (done + 1 / (training.epochs * batches)) / training.rise) if training.rise else np.ones(batches)
    falling = (1 + np.cos(np.pi * (done - training.rise).clip(0) / (1 - training.rise))) / 2
    return (training.learning_rate * rising * (falling if training.schedule == "cosine" else 1)).astype(np.float32)


def _keeper(
    folder: Path | None,
    *,
    panel: Panel,
    network: Network,
    training: Training,
    start: Mapping[str, NDArray[np.float32]] | None,
    mesh: Mesh,
) -> "Checkpoints | None":
    if folder is None:
        return None
    from models.checkpoints import Checkpoints, identity  # Orbax takes a second to import

    return Checkpoints(folder, identity=identity(panel, network=network, training=training, start=start or {}, devices=mesh.size))


def _resumed(keeper: "Checkpoints | None", *, state: State) -> tuple[State, list[Epoch]]:
    """State and epochs of the last checkpoint, or the state as it is."""
    kept = keeper.latest(state) if keeper is not None else None
    if kept is None:
        return state, []
    state, epochs_done = kept
    log.info("going on after epoch %d", len(epochs_done))
    return state, [Epoch(**epoch) for epoch in epochs_done]


def told(record: Record, *, number: int, windows: int, began: float, share: float = 1.0) -> Epoch:
    """The epoch's record, read from the device; the clock is read after the device is done.

    Args:
        record: what the device told.
        number: of the epoch, from 1 on.
        windows: that were learned from.
        began: when it did, by `time.perf_counter`.
        share: of the seconds since then that are this training's.

    Raises:
        TrainingError: a loss is not finite.
    """
    loss, judged = np.asarray(record.loss, dtype=np.float64), np.asarray(record.judged)
    validation_loss = float(record.validation_loss)
    if not (np.isfinite(loss).all() and np.isfinite(validation_loss)):
        raise TrainingError(_not_finite(record, loss=loss, number=number), hint="lower training.learning_rate in the contract.")
    mean = float((loss * judged).sum() / max(judged.sum(), 1))
    return Epoch(number=number, loss=mean, validation_loss=validation_loss, seconds=share * (time.perf_counter() - began), windows=windows)


def _not_finite(record: Record, *, loss: NDArray[np.float64], number: int) -> str:
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


def is_over(history: list[Epoch], *, training: Training) -> bool:
    """Whether all epochs are done, or the best is `patience` epochs old."""
    if not history:
        return False
    best = min(history, key=lambda epoch: epoch.validation_loss)
    return len(history) >= training.epochs or history[-1].number - best.number >= training.patience


def told_device(mesh: Mesh) -> str:
    """For a person: `cpu x 2`."""
    device = mesh.devices.flat[0]
    name = device.platform if device.device_kind == device.platform else f"{device.platform} {device.device_kind}"
    return name if mesh.size == 1 else f"{name} x {mesh.size}"
