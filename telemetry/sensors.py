"""The thirteen parameters of the simulated fleet that are not targets: each follows from what the targets did in the same minute.

Source units: `ingest_lag` is told in milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from telemetry.rhythms import Array, Traits


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """White scatter of a parameter, relative to its value or in its own unit."""

    relative: float = 0.0
    absolute: float = 0.0


SCATTERS: Final = {
    "active_sessions": Scatter(relative=0.08),
    "api_calls": Scatter(relative=0.06),
    "ignition_events": Scatter(relative=0.25),
    "geofence_events": Scatter(relative=0.2),
    "alarms_sent": Scatter(relative=0.3),
    "payload": Scatter(relative=0.04),
    "ingest_lag": Scatter(relative=0.12),
    "queue_depth": Scatter(relative=0.15),
    "cpu": Scatter(relative=0.04),
    "memory": Scatter(absolute=0.6),
    "signal": Scatter(absolute=1.2),
    "battery": Scatter(absolute=0.06),
    "gps_accuracy": Scatter(relative=0.08),
}


def sense(
    rng: np.random.Generator, *, targets: Mapping[str, Array], tide: Mapping[str, Array], trouble: Array, who: Traits
) -> dict[str, Array]:
    """Every parameter of SCATTERS, f32[minute, entity] each.

    Args:
        rng: drawn from for the scatter.
        targets: what the targets did, incidents and noise included.
        tide: the expected loads `driving` and `office`.
        trouble: of incidents, in deviations.
        who: sizes and habits.
    """
    return {name: _scattered(rng, values=values, by=SCATTERS[name]) for name, values in _calm(targets, tide, trouble, who).items()}


def _calm(targets: Mapping[str, Array], tide: Mapping[str, Array], trouble: Array, who: Traits) -> dict[str, Array]:
    """The parameters before scatter."""
    slowness = targets["query_time"] / who.query_ms
    work = targets["queries"] / (who.devices * who.requests) * np.sqrt(slowness)
    moving = tide["driving"] / (0.3 + tide["driving"])
    return {
        "active_sessions": who.devices * (0.02 + 0.25 * tide["office"]),
        "api_calls": 0.7 * targets["queries"],
        "ignition_events": who.devices * (0.002 + 0.03 * tide["driving"]),
        "geofence_events": 0.04 * targets["positions"],
        "alarms_sent": 0.002 * targets["positions"] + 0.01 * targets["failed_queries"],
        "payload": 0.00042 * targets["positions"] + 0.0008 * targets["queries"],
        "ingest_lag": 350.0 * (1.0 + 0.6 * tide["driving"]) * (1.0 + 0.5 * trouble),
        "queue_depth": 2.0 + 12.0 * work * slowness,
        "cpu": 100.0 * (1.0 - np.exp(-0.08 - 0.35 * work)),
        "memory": 42.0 + 14.0 * np.minimum(tide["office"], 2.0) + 0.8 * np.minimum(trouble, 10.0),
        "signal": -86.0 + 5.0 * moving,
        "battery": 12.5 + 1.6 * moving,
        "gps_accuracy": 6.0 - 2.5 * moving,
    }


def _scattered(rng: np.random.Generator, *, values: Array, by: Scatter) -> Array:
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    if by.absolute:
        return values + np.float32(by.absolute) * noise
    factor = np.exp(np.float32(by.relative) * noise - np.float32(0.5 * by.relative**2))
    scattered: Array = values * factor
    return scattered
