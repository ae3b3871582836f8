"""Small panels of scaled telemetry."""

from collections.abc import Callable

import numpy as np
import pytest

from telemetry.panel import CALENDAR, Panel, Part

PanelFactory = Callable[..., Panel]


def make_panel(*, entities: int = 3, steps: int = 1_000, parameters: int = 4, targets: tuple[int, ...] = (0, 2), seed: int = 0) -> Panel:
    """Noisy waves of a period of 20 steps: 70 % TRAIN, then GAP, CALIBRATE, GAP and TEST."""
    random = np.random.default_rng(seed)
    phase = random.uniform(0, 2 * np.pi, size=(entities, 1, parameters))
    turn = 2 * np.pi * np.arange(steps) / 20
    waves = np.sqrt(2) * np.sin(turn[None, :, None] + phase) + 0.1 * random.normal(size=(entities, steps, parameters))
    part = np.full((entities, steps), Part.TEST, dtype=np.uint8)
    for share, which in ((0.9, Part.GAP), (0.86, Part.CALIBRATE), (0.74, Part.GAP), (0.7, Part.TRAIN)):
        part[:, : int(share * steps)] = which
    return Panel(
        entities=tuple(f"entity-{number}" for number in range(entities)),
        parameters=tuple(f"parameter-{number}" for number in range(parameters)),
        targets=targets,
        start_us=0,
        cadence_seconds=60,
        values=waves.astype(np.float32),
        observed=np.ones((entities, steps, parameters), dtype=bool),
        calendar=np.zeros((steps, len(CALENDAR)), dtype=np.float32),
        newcomer=np.zeros((entities, steps), dtype=bool),
        part=part,
        incident=np.zeros((entities, steps), dtype=bool),
    )


@pytest.fixture(scope="session")
def panel_of() -> PanelFactory:
    return make_panel
