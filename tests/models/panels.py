"""Small panels of scaled telemetry."""

import numpy as np

from telemetry.panel import CALENDAR, Panel, Part


def make_panel(
    *,
    entities: int = 3,
    steps: int = 1_000,
    parameters: int = 4,
    targets: tuple[int, ...] = (0, 2),
    period: int = 20,
    noise: float = 0.1,
    seed: int = 0,
) -> Panel:
    """Noisy waves of a period of some steps: 70 % TRAIN, then GAP, CALIBRATE, GAP and TEST."""
    random = np.random.default_rng(seed)
    phase = random.uniform(0, 2 * np.pi, size=(entities, 1, parameters))
    turn = 2 * np.pi * np.arange(steps) / period
    waves = np.sqrt(2) * np.sin(turn[None, :, None] + phase) + noise * random.normal(size=(entities, steps, parameters))
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
