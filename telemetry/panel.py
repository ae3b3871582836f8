"""The dense arrays that a network learns from and forecasts on. NumPy only: it travels to a bare GPU machine."""

import json
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

CALENDAR = ("minute_sin", "minute_cos", "hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "monthday_sin", "monthday_cos")
HOLIDAYS = ("holiday", "holiday_next_day", "holiday_day_before")
"""1 on a public holiday, on the day before one, and on the day after one; told only where the contract names a country."""


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
        calendar: f32[Z, T, C], one for each zone and country that entities live by: sines and cosines named in CALENDAR, and the flags
            HOLIDAYS where there are any. An array f32[T, C] is taken for the only one.
        newcomer: bool[E, T].
        part: u8[E, T], a `Part`.
        incident: bool[E, T], labelled as an incident: measured by, never learned from.
        unconfirmed: bool[E, T], told as an incident by a release and by nobody else: never learned from either, but measured like all
            other steps, or a model would be excused wherever it was wrong before; none by default.
        clock: i32[E], the calendar that each entity follows; the first by default.
        static: f32[E, S], what is known of an entity and does not change, each around 1 in size; 0 where it is not known.
        attributes: S names, in the order of the last axis of `static`.

    Raises:
        ValueError: the arrays do not fit each other.
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
    clock: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    static: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    attributes: tuple[str, ...] = ()
    unconfirmed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.bool_))

    def __post_init__(self) -> None:
        """Fill in what follows from there being one calendar, or no attributes."""
        entities = len(self.entities)
        if self.calendar.ndim == 2:
            object.__setattr__(self, "calendar", self.calendar[None])
        if len(self.calendar) == 1:
            object.__setattr__(self, "clock", np.zeros(entities, dtype=np.int32))
        if not self.attributes and not self.static.size:
            object.__setattr__(self, "static", np.zeros((entities, 0), dtype=np.float32))
        if not self.unconfirmed.size:
            object.__setattr__(self, "unconfirmed", np.zeros(self.incident.shape, dtype=np.bool_))
        calendars, of = len(self.calendar), self.clock
        if of.shape != (entities,) or (entities and not 0 <= of.min() <= of.max() < calendars):
            raise ValueError(f"clock {of.tolist()} must name one of {calendars} calendars for each of {entities} entities")
        if self.static.shape != (entities, len(self.attributes)):
            raise ValueError(f"static f32{list(self.static.shape)} must tell {self.attributes} of {entities} entities")
        if self.unconfirmed.shape != self.incident.shape:
            raise ValueError(f"unconfirmed bool{list(self.unconfirmed.shape)} must be as large as incident bool{list(self.incident.shape)}")

    @property
    def target_names(self) -> tuple[str, ...]:
        """The K targets' names."""
        return tuple(self.parameters[index] for index in self.targets)

    @property
    def hidden(self) -> NDArray[np.bool_]:
        """bool[E, T]: what is neither learned from nor calibrated on."""
        return self.incident | self.unconfirmed

    @property
    def steps(self) -> int:
        """T."""
        return int(self.values.shape[1])

    @property
    def calendar_names(self) -> tuple[str, ...]:
        """The C calendar columns' names."""
        return (*CALENDAR, *HOLIDAYS)[: self.calendar.shape[-1]]


_ARRAYS: Final = ("values", "observed", "calendar", "newcomer", "part", "incident")
_LATER: Final = ("clock", "static", "unconfirmed")
"""Arrays that older panels lack."""


def save(panel: Panel, *, folder: Path) -> None:
    """Write the panel as plain `.npy` files and one `panel.json`, so that another process can map it into memory."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*_ARRAYS, *_LATER):
        np.save(folder / f"{name}.npy", getattr(panel, name), allow_pickle=False)
    told = {
        "entities": panel.entities,
        "parameters": panel.parameters,
        "targets": panel.targets,
        "start_us": panel.start_us,
        "cadence_seconds": panel.cadence_seconds,
        "attributes": panel.attributes,
    }
    (folder / "panel.json").write_text(json.dumps(told), encoding="utf-8")


def load(folder: Path) -> Panel:
    """The panel that `save` wrote, its arrays mapped read-only from disk."""
    told = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
    there = (*_ARRAYS, *(name for name in _LATER if (folder / f"{name}.npy").is_file()))
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r" if name in _ARRAYS else None, allow_pickle=False) for name in there}
    return Panel(
        entities=tuple(told["entities"]),
        parameters=tuple(told["parameters"]),
        targets=tuple(told["targets"]),
        start_us=told["start_us"],
        cadence_seconds=told["cadence_seconds"],
        attributes=tuple(told.get("attributes", ())),
        **arrays,
    )
