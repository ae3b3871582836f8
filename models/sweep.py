"""Many small trainings: which design is the simplest of those that nobody can tell from the best.

Each training has a device of its own, and so many run at once as there are devices: trainings need nothing of each other. On a GPU all
seeds of a design are learned side by side (`models.together`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, product
from queue import SimpleQueue
from typing import Final

import jax
import numpy as np

from models import predict, sampling, together, train
from models.config import Cell, Network, Training
from telemetry.panel import Panel, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The recurrent layers of a design."""

    name: str
    hidden: tuple[int, ...]
    cells: tuple[Cell, ...]


ARCHITECTURES: Final = (
    Architecture(name="2 x LSTM(64)", hidden=(64, 64), cells=("lstm", "lstm")),
    Architecture(name="2 x LSTM(64) + GRU(64)", hidden=(64, 64, 64), cells=("lstm", "lstm", "gru")),
    Architecture(name="3 x LSTM(128)", hidden=(128, 128, 128), cells=("lstm", "lstm", "lstm")),
)
TIME_STEPS: Final = (16, 64, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a sweep compares.

    Attributes:
        name: for a person.
        network: its shape.
        training: all but the seed.
    """

    name: str
    network: Network
    training: Training

    @property
    def cost(self) -> int:
        """Multiplications of a forecast by a window, without its state being carried: what training and prediction both grow with."""
        network, total = self.network, 0
        width = 2 * network.parameters + network.calendar + 1
        for cell, hidden in network.layers:
            total += {"lstm": 4, "gru": 3}[cell] * hidden * (width + hidden)
            width = hidden
        head = width * network.dense + network.dense * len(network.leads) * len(network.targets) * (1 + network.extras)
        return total * self.training.time_steps + head


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one training came to.

    Attributes:
        design: its name.
        seed: of weights and windows.
        accuracy: share of the calibration part's forecasts at the least lead within one training deviation: the gate's measure, over
            telemetry that the gate does not look at.
        validation_loss: least of all epochs.
        epochs: until it stopped.
        train_seconds: of all epochs but the first, which compiles, as if it had taken as long as the others.
        predict_seconds: of the calibration part.
    """

    design: str
    seed: int
    accuracy: float
    validation_loss: float
    epochs: int
    train_seconds: float
    predict_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A design over all seeds.

    Attributes:
        design: which.
        accuracy: mean over the seeds.
        spread: standard deviation over the seeds.
        error: standard error of the mean, by the spread of all designs pooled: two or three seeds tell little of a single design's own.
        train_seconds: mean.
        predict_seconds: mean.
        chosen: the simplest of those within one standard error of the best.
    """

    design: Design
    accuracy: float
    spread: float
    error: float
    train_seconds: float
    predict_seconds: float
    chosen: bool


def designs(network: Network, *, training: Training, time_steps: Sequence[int] = TIME_STEPS) -> tuple[Design, ...]:
    """Every architecture with windows of each length, overlapping and not, all else as told: 18 designs with the usual lengths."""
    told = []
    for architecture, steps, overlapping in product(ARCHITECTURES, time_steps, (True, False)):
        warmup = min(training.warmup_steps, steps // 4)
        told.append(
            Design(
                name=f"{architecture.name}, {steps} steps, {'overlapping' if overlapping else 'apart'}",
                network=replace(network, hidden=architecture.hidden, cells=architecture.cells),
                training=replace(training, time_steps=steps, warmup_steps=warmup, overlapping=overlapping),
            )
        )
    return tuple(told)


def device() -> str:
    """The kind of device that trains, on which all seconds depend: `cpu cpu`, `gpu NVIDIA H100`."""
    first = jax.local_devices()[0]
    return f"{first.platform} {first.device_kind}"


def run(
    panel: Panel, *, designs: Sequence[Design], seeds: Sequence[int], on_outcome: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """Every design with every seed, in the order of the designs.

    Args:
        panel: scaled telemetry; TRAIN is learned from, CALIBRATE stops a training and ranks it, TEST is not looked at.
        designs: what is compared.
        seeds: of each.
        on_outcome: told of every training when it is over.
    """
    free: SimpleQueue[jax.Device] = SimpleQueue()
    for device in jax.local_devices():
        free.put(device)
    at_once = [tuple(seeds)] if jax.default_backend() == "gpu" else [(seed,) for seed in seeds]

    def some(job: tuple[Design, tuple[int, ...]]) -> list[Outcome]:
        device = free.get()
        try:
            return outcomes_of(panel, design=job[0], seeds=job[1], device=device)
        finally:
            free.put(device)

    with ThreadPoolExecutor(max_workers=jax.local_device_count()) as pool:
        outcomes = []
        for outcome in chain.from_iterable(pool.map(some, product(designs, at_once))):
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    return outcomes


def outcomes_of(panel: Panel, *, design: Design, seeds: Sequence[int], device: jax.Device) -> list[Outcome]:
    """What a design comes to with each seed; several seeds are learned side by side where the panel fits onto the device."""
    if len(seeds) > 1 and train.fits(panel, devices=1, platform=device.platform):
        trained = together.fit(panel, network=design.network, training=design.training, seeds=seeds, device=device)
    else:
        each = [replace(design.training, seed=seed) for seed in seeds]
        trained = [train.fit(panel, network=design.network, training=training, devices=[device]) for training in each]
    return [_outcome(panel, design=design, seed=seed, trained=each, device=device) for seed, each in zip(seeds, trained, strict=True)]


def _outcome(panel: Panel, *, design: Design, seed: int, trained: train.Trained, device: jax.Device) -> Outcome:
    steady = [epoch.seconds for epoch in trained.history[1:]] or [trained.history[0].seconds]
    accuracy, seconds = _accuracy(panel, network=design.network, trained=trained, device=device)
    return Outcome(
        design=design.name,
        seed=seed,
        accuracy=accuracy,
        validation_loss=min(epoch.validation_loss for epoch in trained.history),
        epochs=len(trained.history),
        train_seconds=float(np.mean(steady)) * len(trained.history),
        predict_seconds=seconds,
    )


def _accuracy(panel: Panel, *, network: Network, trained: train.Trained, device: jax.Device) -> tuple[float, float]:
    """The gate's measure over the calibration part, and the seconds that its forecasts took."""
    judged = sampling.judged(panel, part=Part.CALIBRATE)
    steps = np.flatnonzero(judged.any(axis=0))
    start, stop = int(steps[0]), int(steps[-1]) + 1
    for _ in range(2):  # the first of them compiles
        began = time.perf_counter()
        made = predict.forecast(panel, network=network, weights=trained.weights, start=start, stop=stop, devices=[device])
    seconds = time.perf_counter() - began
    targets = np.array(network.targets)
    counts = panel.observed[:, start:stop][..., targets] & judged[:, start:stop, None]
    lead = int(np.argmin(network.leads))
    within = np.abs(made[:, :, lead] - panel.values[:, start:stop][..., targets]) <= 1
    return float(within[counts].mean()), seconds


def rank(outcomes: Sequence[Outcome], *, designs: Sequence[Design]) -> list[Ranked]:
    """The designs, best first; among those within one standard error of the best the cheapest is chosen (Breiman et al., 1984)."""
    told = {design.name: [outcome for outcome in outcomes if outcome.design == design.name] for design in designs}
    means = {name: float(np.mean([outcome.accuracy for outcome in each])) for name, each in told.items()}
    spreads = {name: float(np.std([outcome.accuracy for outcome in each], ddof=min(1, len(each) - 1))) for name, each in told.items()}
    pooled = float(np.sqrt(np.mean(np.square(list(spreads.values())))))
    errors = {name: pooled / float(np.sqrt(len(each))) for name, each in told.items()}
    best = max(means, key=lambda name: means[name])
    equal = [design for design in designs if means[design.name] >= means[best] - errors[best]]
    chosen = min(equal, key=lambda design: (design.cost, -means[design.name]))
    return sorted(_ranked(designs, told=told, means=means, spreads=spreads, errors=errors, chosen=chosen), key=lambda each: -each.accuracy)


def _ranked(
    designs: Sequence[Design],
    *,
    told: dict[str, list[Outcome]],
    means: dict[str, float],
    spreads: dict[str, float],
    errors: dict[str, float],
    chosen: Design,
) -> Iterator[Ranked]:
    for design in designs:
        name = design.name
        yield Ranked(
            design=design,
            accuracy=means[name],
            spread=spreads[name],
            error=errors[name],
            train_seconds=float(np.mean([outcome.train_seconds for outcome in told[name]])),
            predict_seconds=float(np.mean([outcome.predict_seconds for outcome in told[name]])),
            chosen=design is chosen,
        )
