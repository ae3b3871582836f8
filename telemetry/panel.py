"""The dense arrays that a network learns from and forecasts on. NumPy only: it travels to a bare GPU machine."""

import json
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

CALENDAR = ("minute_sin", "minute_cos", "hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "monthday_sin", "monthday_cos")


class Part(IntEnum):
    """What a step of an entity is used for. GAP and ABSENT are used for nothing but as the past of later steps."""

    ABSENT = 0
    TRAIN = 1
    GAP = 2
    CALIBRATE = 3
    TEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Every entity over one common time line of equal steps.

    Attributes:
        entities: E keys, in the order of the first axis.
        parameters: P names, in the order of the last axis; `targets` are K indices into them.
        start_us: first step, microseconds since 1970-01-01 UTC; step t is at `start_us + t * cadence_seconds * 1_000_000`.
        values: f32[E, T, P], scaled; 0 where not observed.
        observed: bool[E, T, P].
        calendar: f32[T, C], sines and cosines named in CALENDAR.
        newcomer: bool[E, T].
        part: u8[E, T], a `Part`.
        incident: bool[E, T], labelled as an incident: measured by, never learned from.
    """

    entities: tuple[str, ...]
    parameters: tuple[str, ...]
    targets: tuple[int, ...]
    start_us: int
    cadence_seconds: int
    values: NDArray[np.float32]
    observed: NDArray[np.bool_]
    calendar: NDArray[np.float32]
    newcomer: NDArray[np.bool_]
    part: NDArray[np.uint8]
    incident: NDArray[np.bool_]

    @property
    def target_names(self) -> tuple[str, ...]:
        """The K targets' names."""
        return tuple(self.parameters[index] for index in self.targets)

    @property
    def steps(self) -> int:
        """T."""
        return int(self.values.shape[1])


_ARRAYS: Final = ("values", "observed", "calendar", "newcomer", "part", "incident")


def save(panel: Panel, *, folder: Path) -> None:
    """Write the panel as plain `.npy` files and one `panel.json`, so that another process can map it into memory."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(panel, name), allow_pickle=False)
    told = {
        "entities": panel.entities,
        "parameters": panel.parameters,
        "targets": panel.targets,
        "start_us": panel.start_us,
        "cadence_seconds": panel.cadence_seconds,
    }
    (folder / "panel.json").write_text(json.dumps(told), encoding="utf-8")


def load(folder: Path) -> Panel:
    """The panel that `save` wrote, its arrays mapped read-only from disk."""
    told = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    return Panel(
        entities=tuple(told["entities"]),
        parameters=tuple(told["parameters"]),
        targets=tuple(told["targets"]),
        start_us=told["start_us"],
        cadence_seconds=told["cadence_seconds"],
        **arrays,
    )
