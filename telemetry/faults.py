"""What goes wrong in a simulated fleet: incidents, labelled minute by minute, and faults of the data planted into its readings.

An incident is what a devops person would call one: several deviations for half an hour to three hours, at a busy time of day.
A planted fault is what the checks before a training must catch: a quantity that is suddenly told in another unit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.errors import FleetError, UnknownFaultError
from telemetry.rhythms import MINUTES_OF_DAY

KINDS: Final = ("local", "customer", "gradual", "silent")
KNOWN_FAULTS: Final = ("x100", "x1000", "x0.001")
VOLUMES: Final = ("queries", "positions", "failed_queries", "reporting_devices", "api_calls", "payload")
"""Parameters whose unit could plausibly change overnight."""
SHORTEST_MINUTES: Final = 30
LONGEST_MINUTES: Final = 180
BUSY: Final = 0.85
"""Incidents fall where the load is at least this share of the entity's highest: there a loss of traffic is several deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One qualified incident; minutes since the start of the span, the end exclusive."""

    kind: str
    entities: tuple[int, ...]
    """One entity, or all regions of a customer for the kind 'customer'."""
    start: int
    end: int
    strength: float
    """In deviations of the target, for what rises (failed queries, query time)."""
    rows_stop: bool = False
    """Of a silent incident: whether rows stop, or go on without vehicles."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Effects:
    """What the incidents do to every minute, [minute, entity] each."""

    devices: NDArray[np.float32]
    queries: NDArray[np.float32]
    positions: NDArray[np.float32]
    """Factors."""
    trouble: NDArray[np.float32]
    """Deviations added to failed queries and query time."""
    absent: NDArray[np.bool_]
    """No row arrives."""

    def strike(self, values: NDArray[np.float32], *, name: str, deviation: NDArray[np.float64]) -> NDArray[np.float32]:
        """What becomes of the target `name`, f32[minute, entity], of whose tides `deviation` f64[entity] is known."""
        rise = self.trouble * deviation.astype(np.float32)
        match name:
            case "reporting_devices":
                return values * self.devices
            case "positions":
                return values * self.positions
            case "queries":
                return values * self.queries
            case "failed_queries":
                return values * self.queries + rise
            case "query_time":
                return values + rise
            case _:
                raise ValueError(f"no incident is told for '{name}'")


def draw(
    rng: np.random.Generator, *, count: int, days: tuple[int, int], load: NDArray[np.float32], regions: int, matured: NDArray[np.int64]
) -> tuple[Incident, ...]:
    """`count` incidents within `days` (first inclusive, last exclusive), the kinds in turn, at most one a customer and day.

    Args:
        rng: drawn from only here.
        count: how many, of all kinds together.
        days: of the span.
        load: f32[minute, entity], by which a busy time is told.
        regions: entities of one customer, which lie side by side.
        matured: i64[entity], first minute at which each is no newcomer any more.

    Raises:
        FleetError: there are not as many busy days of customers as incidents.
    """
    busy = load >= BUSY * load.max(axis=0)
    day = busy[days[0] * MINUTES_OF_DAY : days[1] * MINUTES_OF_DAY].reshape(days[1] - days[0], MINUTES_OF_DAY, -1)
    begins = (np.arange(*days) * MINUTES_OF_DAY)[:, None]
    room = slice(0, MINUTES_OF_DAY - LONGEST_MINUTES - 60)  # an hour of peace before the next day's incident may start
    usable = day[:, room].any(axis=1) & (begins >= matured)
    cells = np.argwhere(usable.reshape(len(day), -1, regions).all(axis=2))
    if len(cells) < count:
        raise FleetError(
            f"{count} incidents in the days {days[0]} to {days[1]} do not fit: there are {len(cells)} busy days of mature customers.",
            hint="ask for fewer incidents, a longer period or more customers.",
        )
    chosen = cells[rng.permutation(len(cells))[:count]]
    return tuple(
        _incident(rng, index=index, cell=cell, day=day[:, room], first=days[0], regions=regions) for index, cell in enumerate(chosen)
    )


def _incident(
    rng: np.random.Generator, *, index: int, cell: NDArray[np.intp], day: NDArray[np.bool_], first: int, regions: int
) -> Incident:
    kind = KINDS[index % len(KINDS)]
    of_customer = range(int(cell[1]) * regions, (int(cell[1]) + 1) * regions)
    one = int(rng.choice(of_customer))
    start = int(rng.choice(np.flatnonzero(day[cell[0], :, one]))) + (first + int(cell[0])) * MINUTES_OF_DAY
    minutes = int(rng.integers(90 if kind == "gradual" else SHORTEST_MINUTES, LONGEST_MINUTES + 1))
    return Incident(
        kind=kind,
        entities=tuple(of_customer) if kind == "customer" else (one,),
        start=start,
        end=start + minutes,
        strength=float(rng.uniform(5.0, 8.0)),
        rows_stop=(index // len(KINDS)) % 2 == 0,
    )


def effects(incidents: Sequence[Incident], *, minutes: int, entities: int) -> Effects:
    """What `incidents` do to every minute of every entity."""
    shape = (minutes, entities)
    told = Effects(
        devices=np.ones(shape, dtype=np.float32),
        queries=np.ones(shape, dtype=np.float32),
        positions=np.ones(shape, dtype=np.float32),
        trouble=np.zeros(shape, dtype=np.float32),
        absent=np.zeros(shape, dtype=np.bool_),
    )
    for incident in incidents:
        _apply(incident, told=told)
    return told


def _apply(incident: Incident, *, told: Effects) -> None:
    where = (slice(incident.start, incident.end), list(incident.entities))
    minutes = incident.end - incident.start
    match incident.kind:
        case "local":  # a region's machines are slow and fail; some of the queries never come through
            told.trouble[where] = incident.strength
            told.queries[where] = 0.7
        case "customer":  # the customer's vehicles lose the connection everywhere, its applications fail
            told.trouble[where] = incident.strength
            told.devices[where] = told.positions[where] = 0.2
        case "gradual":  # a leak: nothing at first, twice the usual strength at the end
            told.trouble[where] = np.linspace(0.0, 2.0 * incident.strength, minutes, dtype=np.float32)[:, None]
        case _ if incident.rows_stop:
            told.absent[where] = True
        case _:  # rows still come, and say that no vehicle is there; nothing complains
            told.devices[where] = told.positions[where] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedFault:
    """What `plant` did: `parameter` of `customer` is multiplied from `start` on."""

    kind: str
    customer: str
    region: str | None
    """None: in all its regions."""
    parameter: str
    start: datetime


def plant(readings: pl.DataFrame, *, fault: str, seed: int = 0) -> tuple[pl.DataFrame, PlantedFault]:
    """`readings` in which one volume of one customer is told in another unit from some day, about two thirds in, to the end.

    Args:
        readings: with the columns time, customer, region and the parameters.
        fault: `x<factor>`, such as x100, x1000 or x0.001.
        seed: chooses the customer (of those there from the start), the parameter and the day.

    Raises:
        UnknownFaultError: `fault` is not of that form.
    """
    factor = _factor(fault)
    rng = np.random.default_rng([seed, 7])
    first, last = readings.select(first=pl.col("time").min(), last=pl.col("time").max()).row(0)
    spans = readings.group_by("customer").agg(pl.col("time").min()).sort("customer")
    founding = spans.filter(pl.col("time") == pl.col("time").min()).get_column("customer").to_list()
    day = (first + (last - first) * float(rng.uniform(0.62, 0.7))).replace(hour=0, minute=0, second=0, microsecond=0)
    planted = PlantedFault(
        kind=fault, customer=str(rng.choice(founding)), region=None, parameter=str(rng.choice(VOLUMES)), start=max(day, first)
    )
    hit = (pl.col("customer") == planted.customer) & (pl.col("time") >= planted.start)
    column = pl.col(planted.parameter)
    return readings.with_columns(pl.when(hit).then(column * factor).otherwise(column).alias(planted.parameter)), planted


def _factor(fault: str) -> float:
    found = re.fullmatch(r"x(\d+(?:\.\d+)?)", fault)
    factor = float(found[1]) if found else 0.0
    if factor in (0.0, 1.0):
        raise UnknownFaultError(fault=fault, known=KNOWN_FAULTS)
    return factor
