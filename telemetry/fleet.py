"""A simulated telematics fleet: source readings per customer, region and minute, with labelled incidents and a known oracle.

The readings are in the source units of `infra/contracts/fleet.toml`. The simulator knows its own conditional mean, so that an
accuracy measured on the fleet can be held against the best that any model could reach.

    tides (calendar, traits) x wander (AR(1)) x noise (white, mean 1) -> incidents -> whole numbers, gaps, nulls -> readings
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import available_timezones

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry import chance, faults, sensors
from telemetry.chance import Noise
from telemetry.errors import FleetError
from telemetry.rhythms import MINUTES_OF_DAY, MINUTES_OF_WEEK, Array, Clock, tides, traits
from telemetry.schema import AT, END, ENTITY, KIND, LABELS, ORACLE, START, TARGET, TIME, conform

CUSTOMERS: Final = (
    "acme", "borealis", "corvus", "delta", "elm", "fjord", "garnet", "harbor", "iris", "juniper", "kestrel", "lumen",
    "mistral", "nimbus", "onyx", "poplar", "quarry", "raven", "sierra", "tundra", "umber", "vela", "willow", "zephyr",
)  # fmt: skip
NOISES: Final = {
    "reporting_devices": Noise(power=0.3, share=0.428, wander=1.0),
    "queries": Noise(power=0.3, share=0.428, wander=1.0),
    "failed_queries": Noise(power=0.3, share=0.428, wander=1.0),
    "query_time": Noise(power=1.2, share=0.437, wander=0.5),  # waiting scatters the more, the longer the queue
    "positions": Noise(power=0.3, share=0.428, wander=1.0),
}
"""Shares such that over the last fifth of 60 days the oracle is within one deviation on 99.2 % and the last value on 94 %."""
TARGETS: Final = tuple(NOISES)
DECIMALS: Final = {
    "query_time": 2, "payload": 3, "ingest_lag": 1, "queue_depth": 1, "cpu": 2, "memory": 2, "signal": 1, "battery": 2, "gps_accuracy": 2,
}  # fmt: skip
"""Digits that a source tells; all others are whole numbers."""
PARAMETERS: Final = (*TARGETS, *sensors.SCATTERS)
EARLY: Final = (0.05, 0.1)
"""Shares of the span between which customers arrive that mature in time to be learned from ..."""
LATE: Final = 0.6
"""... and at which the last one does: it has some history, and is a newcomer still after 60 days."""
TRAINING_SHARE: Final = 0.7
"""Of the span, over which the deviations are told that size noise and incidents."""
MISSING_SHARE: Final = 0.002
NULL_SHARE: Final = 0.0001


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConfig:
    """What fleet to simulate; the same configuration makes the same bytes.

    Raises:
        FleetError: there can be no such fleet.
    """

    customers: int = 12
    regions: tuple[str, ...] = ("eu", "us")
    days: int = 60
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    seed: int = 0
    arriving: int = 2
    """Of the customers, those that arrive within the span: the last one late, the others early."""
    newcomer_days: int = 30
    """Who arrived less than this ago has no incidents."""
    incidents: int = 10
    """Of all kinds together, the kinds in turn."""
    incident_days: tuple[int, int] | None = None
    """Where they fall, the first day inclusive, the last exclusive; by default the last 14."""
    early_incidents: int = 4
    """Others, in the days before."""
    kinds: tuple[str, ...] = faults.KINDS
    """Of `faults.EVERY_KIND`, in turn."""
    newcomer_incidents: int = 0
    """Others, of customers in their newcomer days, from the first whole day on, within `incident_days`."""
    zones: tuple[str, ...] = ()
    """IANA zones of the customers, in turn, by whose clocks they live in summer and winter; by default each region is at a fixed distance
    from UTC."""

    def __post_init__(self) -> None:
        first, last = self.period
        if not (self.customers >= 1 and self.regions and self.days >= 2 and 0 <= self.arriving < self.customers):
            raise FleetError(
                f"There is no fleet of {self.customers} customers, {self.arriving} of them arriving, in {len(self.regions)} regions "
                f"over {self.days} days.",
                hint="it needs a customer that was there from the start, a region and two days.",
            )
        if unknown := self.zones and sorted(set(self.zones) - available_timezones()):
            raise FleetError(f"There is no time zone {', '.join(unknown)}.", hint="give IANA names, such as 'Europe/Helsinki'.")
        if self.start.utcoffset() != timedelta(0):
            raise FleetError(f"The fleet's start {self.start.isoformat()} is not in UTC.", hint="give it as datetime(..., tzinfo=UTC).")
        if strange := sorted(set(self.kinds) - set(faults.EVERY_KIND)) or (() if self.kinds else ["none"]):
            raise FleetError(
                f"There is no incident of the kind {', '.join(strange)}.", hint=f"the kinds are {', '.join(faults.EVERY_KIND)}."
            )
        if not 0 <= first < last <= self.days:
            raise FleetError(f"The incidents' days {first} to {last} are not within the {self.days} days of the fleet.")

    @property
    def period(self) -> tuple[int, int]:
        """The days in which the incidents fall."""
        return self.incident_days or (max(0, self.days - 14), self.days)

    @property
    def minutes(self) -> int:
        """Length of the span."""
        return self.days * MINUTES_OF_DAY

    @property
    def customer_names(self) -> tuple[str, ...]:
        """One for each customer."""
        return tuple(f"{CUSTOMERS[i % len(CUSTOMERS)]}{i // len(CUSTOMERS) or ''}" for i in range(self.customers))

    @property
    def entities(self) -> tuple[str, ...]:
        """The keys `customer/region`, customer by customer."""
        return tuple(f"{customer}/{region}" for customer in self.customer_names for region in self.regions)

    @property
    def customer_zones(self) -> dict[str, str]:
        """By customer; empty where none are told."""
        return {name: self.zones[i % len(self.zones)] for i, name in enumerate(self.customer_names)} if self.zones else {}

    @property
    def arrivals(self) -> NDArray[np.int64]:
        """i64[customer]: first minute of each."""
        shares = np.zeros(self.customers)
        if self.arriving:
            shares[-self.arriving :] = (*np.linspace(*EARLY, self.arriving - 1), LATE)
        return (shares * self.minutes).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fleet:
    """A simulated fleet.

    Attributes:
        config: what was asked for.
        readings: time, customer, region and 18 parameters in source units; sorted by time and entity.
        labels: LABELS; the qualified incidents, per entity.
        conditional: f32[minute, entity, target], E[y_t | everything up to t-1], incidents apart; 0 before the entity's arrival.
    """

    config: FleetConfig
    readings: pl.DataFrame
    labels: pl.DataFrame
    conditional: Array

    @property
    def oracle(self) -> pl.DataFrame:
        """The conditional means in canonical units: `entity, at, target, oracle` (Float32), sorted by at, entity and target."""
        _, entities, targets = self.conditional.shape
        row = np.flatnonzero(_arrived(self.config))
        each = np.repeat(row, targets)
        return pl.DataFrame(
            {
                ENTITY: pl.Series(self.config.entities, dtype=pl.String).gather(each % entities),
                AT: _times(self.config, minute=each // entities),
                TARGET: pl.Series(TARGETS, dtype=pl.String).gather(np.tile(np.arange(targets), row.size)),
                ORACLE: self.conditional.reshape(-1, targets)[row].ravel(),
            }
        )


def simulate(config: FleetConfig) -> Fleet:
    """The fleet that `config` asks for.

    Raises:
        FleetError: its incidents do not fit.
    """
    who = traits(_rng(config, 1), customers=config.customers, regions=config.regions, arrival=config.arrivals)
    if config.zones:
        who = replace(who, offset=_ahead(config))
    tide = tides(who, clock=_clock(config))
    wander = chance.wander(_rng(config, 2), minutes=config.minutes, entities=who.arrival.size)
    incidents = _incidents(config, load=tide["driving"])
    effects = faults.effects(incidents, minutes=config.minutes, entities=who.arrival.size)
    rng = _rng(config, 4)
    common = rng.random(wander.log.shape, dtype=np.float32)
    values: dict[str, Array] = {}
    for name, noise in NOISES.items():
        deviation = tide[name][: int(TRAINING_SHARE * config.minutes)].std(axis=0, dtype=np.float64)
        calm = tide[name] * wander.factor(elasticity=noise.wander)
        calm *= chance.scatter(rng, tide=tide[name], deviation=deviation, noise=noise, common=common)
        values[name] = effects.strike(calm, name=name, deviation=deviation)
    conditional = np.stack([tide[name] * wander.expected_factor(elasticity=noise.wander) for name, noise in NOISES.items()], axis=-1)
    conditional[~_arrived(config)] = 0.0
    values |= sensors.sense(rng, targets=values, tide=tide, trouble=effects.trouble, who=who)
    return Fleet(
        config=config,
        readings=_readings(config, values=values, effects=effects),
        labels=_labels(config, incidents=incidents),
        conditional=conditional,
    )


def write(fleet: Fleet, *, folder: Path) -> None:
    """`fleet` as files: `readings/<day>.parquet`, the source, and beside it `truth/labels.parquet` and `truth/oracle.parquet`."""
    readings, truth = folder / "readings", folder / "truth"
    readings.mkdir(parents=True, exist_ok=True)
    truth.mkdir(exist_ok=True)
    dated = fleet.readings.with_columns(day=pl.col("time").dt.date())
    for day in dated.partition_by("day", maintain_order=True, include_key=False):
        day.write_parquet(readings / f"{day['time'][0]:%Y-%m-%d}.parquet", compression_level=1)  # as small as level 3, and faster
    fleet.labels.write_parquet(truth / "labels.parquet")
    fleet.oracle.write_parquet(truth / "oracle.parquet")


def _rng(config: FleetConfig, purpose: int) -> np.random.Generator:
    """One stream a purpose, so that more incidents leave the noise as it was."""
    return np.random.default_rng([config.seed, purpose])


def _clock(config: FleetConfig) -> Clock:
    minute = np.arange(config.minutes)
    at = _times(config, minute=minute)
    first = config.start.weekday() * MINUTES_OF_DAY + config.start.hour * 60 + config.start.minute
    day = at.dt.day() - 1 + (at.dt.hour().cast(pl.Float64) + at.dt.minute() / 60) / 24
    of_month = (day / at.dt.month_end().dt.day()).to_numpy()
    return Clock(
        minute=minute[:, None].astype(np.float32),
        of_week=((first + minute) % MINUTES_OF_WEEK)[:, None].astype(np.float32),
        of_month=of_month[:, None].astype(np.float32),
    )


def _ahead(config: FleetConfig) -> Array:
    """f32[minute, entity]: hours by which the entity's clock is ahead of UTC."""
    at = _times(config, minute=np.arange(config.minutes))
    utc = at.dt.replace_time_zone(None)
    hours = {
        zone: ((at.dt.convert_time_zone(zone).dt.replace_time_zone(None) - utc).dt.total_minutes() / 60).to_numpy()
        for zone in dict.fromkeys(config.zones)
    }
    own = [hours[zone] for zone in config.customer_zones.values() for _ in config.regions]
    return np.stack(own, axis=1).astype(np.float32)


def _incidents(config: FleetConfig, *, load: Array) -> tuple[faults.Incident, ...]:
    arrival = np.repeat(config.arrivals, len(config.regions))
    matured = np.where(arrival > 0, arrival + config.newcomer_days * MINUTES_OF_DAY, 0)
    first, _ = config.period
    rng = _rng(config, 3)
    how: dict[str, Any] = {"load": np.where(_arrived(config), load, np.float32(0.0)), "regions": len(config.regions), "kinds": config.kinds}
    early = faults.draw(rng, count=config.early_incidents, days=(0, first), matured=matured, **how) if first else ()
    late = faults.draw(rng, count=config.incidents, days=config.period, matured=matured, **how)
    if not config.newcomer_incidents:
        return early + late
    how["kinds"] = tuple(kind for kind in config.kinds if kind != faults.REGIONAL)
    young = np.where(arrival > 0, arrival, config.minutes)
    fresh = faults.draw(
        _rng(config, 6), count=config.newcomer_incidents, days=config.period, matured=young, until=young + (matured - arrival), **how
    )
    days = {minute // MINUTES_OF_DAY for each in early + late if each.kind == faults.REGIONAL for minute in (each.start, each.end)}
    return early + late + tuple(each for each in fresh if each.start // MINUTES_OF_DAY not in days)


def _times(config: FleetConfig, *, minute: NDArray[np.int64]) -> pl.Series:
    start_us = int(config.start.timestamp()) * 1_000_000
    return pl.Series(start_us + minute * 60_000_000).cast(TIME)


def _arrived(config: FleetConfig) -> NDArray[np.bool_]:
    """bool[minute, entity]: from its arrival on."""
    arrival = np.repeat(config.arrivals, len(config.regions))
    arrived: NDArray[np.bool_] = np.arange(config.minutes)[:, None] >= arrival
    return arrived


def _readings(config: FleetConfig, *, values: dict[str, Array], effects: faults.Effects) -> pl.DataFrame:
    rng = _rng(config, 5)
    arrived, absent, frozen = _arrived(config), effects.absent, effects.frozen
    gap = rng.random(absent.shape, dtype=np.float32) < MISSING_SHARE
    gap[np.argmax(arrived, axis=0), np.arange(gap.shape[1])] = False  # the first minute tells when an entity was first seen
    row = np.flatnonzero(arrived & ~gap & ~absent)
    said = _said(row, frozen=frozen)
    minute, entity = np.divmod(row, absent.shape[1])
    customers, regions = pl.Series(config.customer_names, dtype=pl.String), pl.Series(config.regions, dtype=pl.String)
    columns = {
        "time": _times(config, minute=minute),
        "customer": customers.gather(entity // len(regions)),
        "region": regions.gather(entity % len(regions)),
    }
    return pl.DataFrame(columns | {name: _told(rng, name=name, values=values.pop(name), row=row, said=said) for name in PARAMETERS})


def _said(row: NDArray[np.int64], *, frozen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Which cell each row tells of: its own, or where that is frozen the entity's last one that was not."""
    if not frozen.any():
        return row
    minute, entity = np.divmod(row, frozen.shape[1])
    awake = np.maximum.accumulate(np.where(frozen, 0, np.arange(len(frozen))[:, None]), axis=0)
    said: NDArray[np.int64] = awake[minute, entity] * frozen.shape[1] + entity
    return said


def _told(rng: np.random.Generator, *, name: str, values: Array, row: NDArray[np.int64], said: NDArray[np.int64]) -> pl.Series:
    """A parameter as the source tells it: with its digits, here and there a null. Drawn for absent rows too, so that the others stay."""
    exact = values.ravel()
    lost = np.zeros(exact.size, dtype=np.bool_)
    lost[rng.integers(exact.size, size=rng.binomial(exact.size, NULL_SHARE))] = True
    told = exact if name in DECIMALS else chance.whole(rng, values=exact)
    digits = DECIMALS.get(name, 0)
    return pl.Series(name, np.round(told[said].astype(np.float64), digits)).scatter(np.flatnonzero(lost[row]), None)


def _labels(config: FleetConfig, *, incidents: tuple[faults.Incident, ...]) -> pl.DataFrame:
    pairs = [(entity, incident) for incident in incidents for entity in incident.entities]
    frame = pl.DataFrame(
        {
            ENTITY: pl.Series([config.entities[entity] for entity, _ in pairs], dtype=pl.String),
            START: _times(config, minute=np.array([incident.start for _, incident in pairs], dtype=np.int64)),
            END: _times(config, minute=np.array([incident.end for _, incident in pairs], dtype=np.int64)),
            KIND: pl.Series([incident.kind for _, incident in pairs], dtype=pl.String),
        }
    )
    return conform(frame.sort(START, ENTITY), LABELS, name="labels")
