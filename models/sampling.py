"""Which windows a training sees: NumPy only, on the host, vectorised over all entities and start steps.

A window is a row of four integers: entity, start, whether its entity is told, whether it is shown as a newcomer's. A newcomer's
scales are those of its cohort, so its scaled values have a level and a spread of their own; windows that are shown as a
newcomer's are given such ones at random. Thus the flag is learned, although newcomers' own days are left out.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.config import Network, Training
from telemetry.panel import Panel, Part

LAST_STEP_WINDOWS = 32_768
"""Windows of an epoch at most when only their last step is judged: one for every minute would make an epoch take an hour."""
LAST_STEP_VALIDATION = 4_096
GAIN = 0.4
"""Standard deviation of the logarithm of a newcomer's spread, in windows that are shown as one's ..."""
SHIFT = 0.7
"""... and of its level. Without them forecasts for newcomers are worse than their last value."""


class Windows(NamedTuple):
    """Windows cut into training steps.

    Attributes:
        rows: i32[batches, batch, 4].
        gain: f32[batches, batch, P], by which a window's scaled values are multiplied ...
        shift: f32[batches, batch, P], ... before this is added to them.
    """

    rows: NDArray[np.int32]
    gain: NDArray[np.float32]
    shift: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Draws the windows of each epoch.

    Attributes:
        worth: bool[E, T], whether a window that starts there has anything to learn.
        parameters: P.
        training: how windows are cut.
        batches: training steps of an epoch, the same for all epochs.
        batch: windows of a training step.
    """

    worth: NDArray[np.bool_]
    parameters: int
    training: Training
    batches: int
    batch: int

    def draw(self, epoch: int) -> Windows:
        """The windows of an epoch, in random order.

        With `every_step` they tile every entity's time from a random phase, so that an epoch judges every step about once; with
        `last_step` they may begin anywhere. Windows that do not overlap are the same in every epoch. What does not fill the last
        batch is left out or made up for by repeating a few.
        """
        random = np.random.default_rng([self.training.seed, epoch])
        stride, entities = _stride(self.training), self.worth.shape[:1]
        if stride == 1:
            entity, start = np.nonzero(self.worth)
        else:
            phase: NDArray[np.int64] = random.integers(stride if self.training.overlapping else 1, size=entities)
            entity, start = _tiles(self.worth, phase=phase, stride=stride)
        chosen = np.resize(random.permutation(entity.size), self.batches * self.batch)
        hidden = random.random(chosen.size) < self.training.unknown_share
        newcomer = hidden & (random.random(chosen.size) < 0.5)
        rows = np.stack([entity[chosen], start[chosen], ~hidden, newcomer], axis=1)
        level = np.where(newcomer[:, None], random.normal(size=(2, chosen.size, self.parameters)), 0)
        return _batched(rows, gain=np.exp(GAIN * level[0]), shift=SHIFT * level[1], batch=self.batch)


def sampler(learnable: NDArray[np.bool_], *, network: Network, training: Training) -> Sampler:
    """The sampler over the steps bool[E, T] from which something can be learned; `worth` is empty where there are none."""
    worth = _worth(learnable, network=network, training=training)
    count = int(worth.sum())
    stride = _stride(training)
    windows = min(count, LAST_STEP_WINDOWS) if stride == 1 else round(count / stride)
    batch = max(1, min(training.batch, windows))
    return Sampler(worth=worth, parameters=network.parameters, training=training, batches=max(1, round(windows / batch)), batch=batch)


def validation(judged: NDArray[np.bool_], *, network: Network, training: Training, batch: int) -> Windows:
    """The same windows for every epoch, over the steps bool[E, T] to validate on, all as they are; no batch if there are none."""
    worth = _worth(judged, network=network, training=training)
    if training.supervision == "last_step":
        entity, start = np.nonzero(worth)
        spread = np.linspace(0, max(entity.size - 1, 0), min(entity.size, LAST_STEP_VALIDATION)).astype(np.int64)
        entity, start = entity[spread], start[spread]
    else:
        entity, start = _tiles(worth, phase=np.zeros(worth.shape[0], dtype=np.int64), stride=training.time_steps - training.first_judged)
    filled = np.resize(np.arange(entity.size), -(-entity.size // batch) * batch)
    rows = np.stack([entity[filled], start[filled], np.ones_like(filled), np.zeros_like(filled)], axis=1)
    as_they_are = np.zeros((filled.size, network.parameters))
    return _batched(rows, gain=as_they_are + 1, shift=as_they_are, batch=batch)


def _batched(rows: NDArray[np.int64], *, gain: NDArray[np.float64], shift: NDArray[np.float64], batch: int) -> Windows:
    shape = (len(rows) // batch, batch)
    return Windows(
        rows=rows.astype(np.int32).reshape(*shape, rows.shape[1]),
        gain=gain.astype(np.float32).reshape(*shape, gain.shape[1]),
        shift=shift.astype(np.float32).reshape(*shape, shift.shape[1]),
    )


def shown(panel: Panel) -> NDArray[np.bool_]:
    """bool[E, T, P]: what training may look at. Neither newcomers' days nor incidents, not even as the past of other steps."""
    return panel.observed & ~(panel.newcomer | panel.hidden)[..., None]


def judged(panel: Panel, *, part: Part) -> NDArray[np.bool_]:
    """bool[E, T]: the steps of a part that forecasts may be held against."""
    visible = (panel.part == part) & ~panel.newcomer & ~panel.hidden
    told: NDArray[np.bool_] = visible & panel.observed[..., np.array(panel.targets)].any(axis=-1)
    return told


def _stride(training: Training) -> int:
    """Distance of two windows' starts: such that their judged steps meet without overlapping, or that the windows themselves do."""
    return training.time_steps - training.first_judged if training.overlapping else training.time_steps


def _worth(steps: NDArray[np.bool_], *, network: Network, training: Training) -> NDArray[np.bool_]:
    """bool[E, T]: whether a window that starts there makes a forecast for any of the steps bool[E, T]."""
    entities, length = steps.shape
    reach = training.time_steps + max(network.leads)
    padded = np.zeros((entities, length + reach), dtype=bool)
    padded[:, :length] = steps
    made_for = np.zeros((entities, length + training.time_steps), dtype=bool)
    for lead in network.leads:
        made_for |= padded[:, lead : lead + made_for.shape[1]]
    before = np.zeros((entities, made_for.shape[1] + 1), dtype=np.int32)
    np.cumsum(made_for, axis=1, out=before[:, 1:])
    first, end = training.first_judged, training.time_steps
    worth: NDArray[np.bool_] = before[:, end : end + length] > before[:, first : first + length]
    return worth


def _tiles(worth: NDArray[np.bool_], *, phase: NDArray[np.int64], stride: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Entity and start of every window worth its work, starts a stride apart from each entity's phase on."""
    length = worth.shape[1]
    starts = phase[:, None] + np.arange(-(-length // stride)) * stride
    inside = starts < length
    keep = inside & np.take_along_axis(worth, np.minimum(starts, length - 1), axis=1)
    entity, tile = np.nonzero(keep)
    return entity, starts[entity, tile]
