"""Where the time of a training goes: its parts, each measured alone, beside whole epochs as they are run.

A part is the function that training itself calls, compiled alone, on arrays of the training's shapes; several of its calls are one call of
the device, so that what it costs to start one does not count. Alone its inputs are copied, and on a CPU it takes a core's whole part of a
batch at once, whose arrays then do not stay in the cache as they do in a training; so on a CPU the parts add up to more than a step. What
they do not account for is told as the rest, be it above zero or below.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from models import epochs, slices, train
from models.config import Network, Training
from models.devices import mesh_of
from models.lstm import check_panel, initial
from models.slices import BOTH, FORWARD, VALIDATION_STEPS, Call, Taken, few
from models.streaming import Stream
from telemetry.panel import Panel

TURNS: Final = 5
"""Of which the median counts."""
STEPS: Final = 128
"""Training steps of an epoch that are run at most; the others are taken to cost the same."""
_WHOLE: Final = "whole epoch"
_BACKWARD: Final = "recurrence, backward"

When = Literal["once", "beside", "step", "epoch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of a training.

    Attributes:
        name: for a person.
        when: once in a training, beside the devices' work (by the host, an epoch ahead), in every training step, or once an epoch.
        seconds: of one time.
        epoch_seconds: of an epoch; None of what comes once in a training.
        share: of an epoch; None of what is no part of it.
    """

    name: str
    when: When
    seconds: float
    epoch_seconds: float | None
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where the time of an epoch goes.

    Attributes:
        parts: in the order in which they come; the last is what the others do not account for.
        epoch_seconds: of a whole epoch, with its validation.
        step_seconds: of a training step, within an epoch.
        steps: training steps of an epoch.
        measured_steps: of these, those that were run.
        batch: windows of a step.
        windows_a_second: learned from.
        targets_a_second: forecasts held against an observed value, in training.
        device: on which.
        streamed: whether the panel stays on the host.
    """

    parts: tuple[Share, ...]
    epoch_seconds: float
    step_seconds: float
    steps: int
    measured_steps: int
    batch: int
    windows_a_second: float
    targets_a_second: float
    device: str
    streamed: bool


def profile(
    panel: Panel,
    *,
    network: Network,
    training: Training,
    devices: Sequence[jax.Device] | None = None,
    memory: int = train.MEMORY,
) -> Profile:
    """Take a training apart; nothing is learned.

    Args:
        panel: scaled telemetry.
        network: what would be trained, from untrained weights: a part takes as long whatever they are.
        training: how it would be trained.
        devices: that share each batch, as for `train.fit`.
        memory: bytes that a panel may take of each device, as for `train.fit`.

    Raises:
        TrainingError: nothing to learn from or to validate on, or a value that is not finite.
        ValueError: the panel is not the network's.
    """
    check_panel(panel, network=network)
    sampler, held_out = train.cut_windows(panel, network=network, training=training)
    mesh = mesh_of(devices, batch=sampler.batch)
    weights = jax.device_put(initial(network, seed=training.seed), NamedSharding(mesh, P()))
    told = Taken(panel=panel, network=network, training=training, mesh=mesh, sampler=sampler, held_out=held_out, weights=weights)
    run = train.runner(panel, network=network, training=training, mesh=mesh, memory=memory)
    stream = getattr(run, "__self__", None)
    parts: dict[str, Call] = dict(slices.parts(told))
    if isinstance(stream, Stream):
        moved, gathering = None, _Beside(name="cutting windows out of the panel", call=lambda: _cut_out(told, stream=stream))
        parts["validation"] = slices.streamed_validation(told, stream=stream)
    else:
        began = time.perf_counter()
        data = jax.device_put(train.load(panel, network=network, training=training), NamedSharding(mesh, P()))
        jax.block_until_ready(data)
        moved, gathering = time.perf_counter() - began, None
        parts = {"gathering windows": slices.gathering(told, data=data), **parts, "validation": slices.validation(told, data=data)}
    whole = _Whole(told, run=run)
    seconds = _timed({_WHOLE: (whole, 1), **parts})
    return _composed(told, whole=whole, moved=moved, gathering=gathering, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """What the host does while the devices are busy; `call` gives back the seconds of an epoch."""

    name: str
    call: Callable[[], float]


class _Whole:
    """Some steps of an epoch and some of its validation, as training runs them.

    Attributes:
        steps: training steps of a call.
        first: seconds of the first call, which compiles.
        judged: forecasts of a step that were held against an observed value.
    """

    def __init__(self, told: Taken, *, run: train.Run) -> None:
        self._run = run
        self._windows, self._held_out = few(told.sampler.draw(1), most=STEPS), few(told.held_out, most=VALIDATION_STEPS)
        self.steps, self.first, self.judged = self._windows.rows.shape[0], 0.0, 0.0
        self._rates = train.rates(1, batches=told.sampler.batches, training=told.training)[: self.steps]
        begun = epochs.begin({name: jnp.copy(each) for name, each in told.weights.items()})
        self._state = jax.device_put(begun, NamedSharding(told.mesh, P()))

    def __call__(self) -> epochs.Record:
        """Train on; the state is the next call's."""
        began = time.perf_counter()
        self._state, record = self._run(self._state, self._windows, self._rates, self._held_out)
        jax.block_until_ready((self._state, record))
        self.first = self.first or time.perf_counter() - began
        self.judged = float(np.asarray(record.judged).sum()) / self.steps
        return record


def _composed(told: Taken, *, whole: _Whole, moved: float | None, gathering: _Beside | None, seconds: dict[str, float]) -> Profile:
    """The profile of a whole epoch from seconds of the parts of a step, of some validation, and of some steps with that validation."""
    some = told.held_out.rows.shape[0] / few(told.held_out, most=VALIDATION_STEPS).rows.shape[0]
    later, validated = seconds.pop(_WHOLE), seconds.pop("validation")
    steps, step, validation = told.sampler.batches, max(later - validated, 1e-9) / whole.steps, validated * some
    epoch = step * steps + validation
    parts = [Share(name="compiling", when="once", seconds=max(whole.first - later, 0.0), epoch_seconds=None, share=None)]
    if moved is not None:
        parts.append(Share(name="moving the panel to the devices", when="once", seconds=moved, epoch_seconds=None, share=None))
    for beside in (_Beside(name="drawing windows", call=lambda: _drawn(told)), *([gathering] if gathering else [])):
        took = beside.call()
        parts.append(Share(name=beside.name, when="beside", seconds=took, epoch_seconds=took, share=None))
    for name, took in seconds.items():
        parts.append(Share(name=name, when="step", seconds=took, epoch_seconds=took * steps, share=took * steps / epoch))
    parts.append(Share(name="validation", when="epoch", seconds=validation, epoch_seconds=validation, share=validation / epoch))
    left = step - sum(seconds.values())
    parts.append(Share(name="not accounted for", when="step", seconds=left, epoch_seconds=left * steps, share=left * steps / epoch))
    return Profile(
        parts=tuple(parts),
        epoch_seconds=epoch,
        step_seconds=step,
        steps=steps,
        measured_steps=whole.steps,
        batch=told.sampler.batch,
        windows_a_second=told.sampler.batch / step,
        targets_a_second=whole.judged / step,
        device=train.told_device(told.mesh),
        streamed=moved is None,
    )


def _drawn(told: Taken) -> float:
    """Seconds in which the host draws the windows of an epoch."""

    def one(number: int) -> float:
        began = time.perf_counter()
        told.sampler.draw(number)
        return time.perf_counter() - began

    return median(one(number) for number in range(2, 2 + TURNS))


def _cut_out(told: Taken, *, stream: Stream) -> float:
    """Seconds in which the host cuts an epoch's windows out of the panel and gives them to the devices."""
    windows = few(told.sampler.draw(1), most=STEPS)

    def one() -> float:
        began = time.perf_counter()
        for _, chunk in stream._chunks(windows):
            jax.block_until_ready(chunk)
        return time.perf_counter() - began

    return float(median(one() for _ in range(TURNS)) * told.sampler.batches / windows.rows.shape[0])


def _timed(calls: dict[str, Call]) -> dict[str, float]:
    """Median seconds of each, by how many times it is done in a call; in turns, so that a disturbance meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call, _ in calls.values():
        jax.block_until_ready(call())  # compiles
    for _ in range(TURNS):
        for name, (call, times) in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            taken[name].append((time.perf_counter() - began) / times)
    found = {name: median(seconds) for name, seconds in taken.items()}
    backward, told = max(found.pop(BOTH) - found[FORWARD], 0.0), dict[str, float]()
    for name, took in found.items():
        told[name] = took
        if name == FORWARD:
            told[_BACKWARD] = backward
    return told
