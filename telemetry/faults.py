"""What goes wrong in a simulated fleet: incidents, labelled minute by minute, and faults of the data planted into its readings.

An incident is what a devops person would call one ("qualified"): it lasts half an hour to three hours, begins at a busy time of day, and
either is several deviations large or takes half of the traffic or more, or the telemetry itself has stopped. By kind:

    local      failed queries and query time rise by 5 to 8 deviations at once, three queries in ten do not come through: one entity
    customer   the same rise, and four vehicles in five are gone: all regions of a customer
    gradual    the same two rise from nothing to 10 to 16 deviations, over 90 minutes or more: one entity
    silent     no row arrives; or, every second time, rows that say that no vehicle is there: one entity
    regional   as local, in every customer of a region that is there, the newcomers too
    volume     vehicles, positions and queries fall evenly to three tenths, over 90 minutes or more; nothing complains: one entity
    burst      storms of four minutes in every twelve: queries two and a half times as many, with the rise of local: one entity
    flat       the telemetry stands still: every parameter repeats the row before the incident: one entity
    noise      vehicles, positions and queries are each minute multiplied by chance, between 0.3 and 1.7: one entity

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
"""What a fleet has by default."""
REGIONAL: Final = "regional"
EVERY_KIND: Final = (*KINDS, REGIONAL, "volume", "burst", "flat", "noise")
SLOW: Final = ("gradual", "volume")
SLOWEST_MINUTES: Final = 90
"""What comes slowly lasts at least so long."""
STORM_MINUTES: Final = (4, 12)
"""Of a burst: so many minutes in every so many."""
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
    """One entity, all regions of a customer for the kind 'customer', or all entities of a region for 'regional'."""
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
    frozen: NDArray[np.bool_]
    """The row says what the last one before it that was not frozen said."""

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
    rng: np.random.Generator,
    *,
    count: int,
    days: tuple[int, int],
    load: NDArray[np.float32],
    regions: int,
    matured: NDArray[np.int64],
    until: NDArray[np.int64] | None = None,
    kinds: tuple[str, ...] = KINDS,
) -> tuple[Incident, ...]:
    """`count` incidents within `days` (first inclusive, last exclusive), the kinds in turn, at most one a customer and day.

    Args:
        rng: drawn from only here.
        count: how many, of all kinds together.
        days: of the span.
        load: f32[minute, entity], by which a busy time is told; 0 before an entity's arrival.
        regions: entities of one customer, which lie side by side.
        matured: i64[entity], first minute at which each may have one: that in which it is no newcomer any more.
        until: i64[entity], the minute after the last at which each may have one; to the end of the span by default.
        kinds: of EVERY_KIND. A regional incident has a day for itself.

    Raises:
        FleetError: there are not as many busy days of customers as incidents.
    """
    in_turn = [(kinds[index % len(kinds)], (index // len(kinds)) % 2 == 0) for index in range(count)]
    single = [turn for turn in in_turn if turn[0] != REGIONAL]
    busy = load >= BUSY * load.max(axis=0)
    day = busy[days[0] * MINUTES_OF_DAY : days[1] * MINUTES_OF_DAY].reshape(days[1] - days[0], MINUTES_OF_DAY, -1)
    begins = (np.arange(*days) * MINUTES_OF_DAY)[:, None]
    room = slice(0, MINUTES_OF_DAY - LONGEST_MINUTES - 60)  # an hour of peace before the next day's incident may start
    usable = day[:, room].any(axis=1) & (begins >= matured)
    if until is not None:
        usable &= begins + MINUTES_OF_DAY <= until
    cells = np.argwhere(usable.reshape(len(day), -1, regions).all(axis=2))
    if len(cells) < len(single):
        raise FleetError(
            f"{count} incidents in the days {days[0]} to {days[1]} do not fit: there are {len(cells)} busy days of mature customers.",
            hint="ask for fewer incidents, a longer period or more customers.",
        )
    chosen = cells[rng.permutation(len(cells))[: len(single)]]
    told = [
        _incident(rng, turn=turn, cell=cell, day=day[:, room], first=days[0], regions=regions)
        for turn, cell in zip(single, chosen, strict=True)
    ]
    free = np.setdiff1d(np.arange(*days), chosen[:, 0] + days[0])
    return (*told, *_regional(rng, count=count - len(single), days=free, load=load, regions=regions, room=room))


def _incident(
    rng: np.random.Generator, *, turn: tuple[str, bool], cell: NDArray[np.intp], day: NDArray[np.bool_], first: int, regions: int
) -> Incident:
    kind, rows_stop = turn
    of_customer = range(int(cell[1]) * regions, (int(cell[1]) + 1) * regions)
    one = int(rng.choice(of_customer))
    start = int(rng.choice(np.flatnonzero(day[cell[0], :, one]))) + (first + int(cell[0])) * MINUTES_OF_DAY
    minutes = int(rng.integers(SLOWEST_MINUTES if kind in SLOW else SHORTEST_MINUTES, LONGEST_MINUTES + 1))
    return Incident(
        kind=kind,
        entities=tuple(of_customer) if kind == "customer" else (one,),
        start=start,
        end=start + minutes,
        strength=float(rng.uniform(5.0, 8.0)),
        rows_stop=rows_stop,
    )


def _regional(
    rng: np.random.Generator, *, count: int, days: NDArray[np.int64], load: NDArray[np.float32], regions: int, room: slice
) -> list[Incident]:
    """Incidents of all who are there in a region, each on a day of its own, while the region as a whole is busy."""
    if len(days) < count:
        raise FleetError(f"{count} regional incidents do not fit: {len(days)} days are free of others.", hint="ask for fewer incidents.")
    most = load.max(axis=0)
    share = load / np.where(most > 0, most, np.float32(1.0))  # who comes after the span has no load at all
    told = []
    for day in np.sort(rng.permutation(days)[:count]) if count else ():
        region = int(rng.integers(regions))
        whole = share[:, region::regions].mean(axis=1)[day * MINUTES_OF_DAY : (day + 1) * MINUTES_OF_DAY][room]
        start = int(rng.choice(np.flatnonzero(whole >= BUSY * whole.max()))) + int(day) * MINUTES_OF_DAY
        there = [entity for entity in range(region, load.shape[1], regions) if load[start, entity] > 0]
        told.append(
            Incident(
                kind=REGIONAL,
                entities=tuple(there),
                start=start,
                end=start + int(rng.integers(SHORTEST_MINUTES, LONGEST_MINUTES + 1)),
                strength=float(rng.uniform(5.0, 8.0)),
            )
        )
    return told


def effects(incidents: Sequence[Incident], *, minutes: int, entities: int) -> Effects:
    """What `incidents` do to every minute of every entity."""
    shape = (minutes, entities)
    told = Effects(
        devices=np.ones(shape, dtype=np.float32),
        queries=np.ones(shape, dtype=np.float32),
        positions=np.ones(shape, dtype=np.float32),
        trouble=np.zeros(shape, dtype=np.float32),
        absent=np.zeros(shape, dtype=np.bool_),
        frozen=np.zeros(shape, dtype=np.bool_),
    )
    for incident in incidents:
        _apply(incident, told=told)
    return told


def _apply(incident: Incident, *, told: Effects) -> None:
    where = (slice(incident.start, incident.end), list(incident.entities))
    minutes = incident.end - incident.start
    match incident.kind:
        case "local" | "regional":  # a region's machines are slow and fail; some of the queries never come through
            told.trouble[where] = incident.strength
            told.queries[where] = 0.7
        case "customer":  # the customer's vehicles lose the connection everywhere, its applications fail
            told.trouble[where] = incident.strength
            told.devices[where] = told.positions[where] = 0.2
        case "gradual":  # a leak: nothing at first, twice the usual strength at the end
            told.trouble[where] = np.linspace(0.0, 2.0 * incident.strength, minutes, dtype=np.float32)[:, None]
        case "volume":  # vehicles go over to nowhere, one by one
            told.devices[where] = told.positions[where] = told.queries[where] = np.linspace(1.0, 0.3, minutes, dtype=np.float32)[:, None]
        case "burst":  # clients try again and again, all at the same time
            long, every = STORM_MINUTES
            storm = (np.arange(minutes) % every < long)[:, None]
            told.queries[where] = np.where(storm, np.float32(2.5), np.float32(1.0))
            told.trouble[where] = np.where(storm, np.float32(incident.strength), np.float32(0.0))
        case "flat":  # what exports the telemetry hangs, and is asked all the same
            told.frozen[where] = True
        case "noise":  # half of the rows of a minute are counted with the next one, or the one after
            swing = np.random.default_rng(incident.start).uniform(0.3, 1.7, (minutes, 1)).astype(np.float32)
            told.devices[where] = told.positions[where] = told.queries[where] = swing
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
