"""The tides of a simulated fleet: who its entities are, and how much each is expected to send in every minute.

Everything here is a smooth function of the calendar and of the entity's own traits; chance comes later, in `telemetry.fleet`.
Arrays are f32[minute, entity].
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

MINUTES_OF_DAY: Final = 1440
MINUTES_OF_WEEK: Final = 7 * MINUTES_OF_DAY
UTC_OFFSET_HOURS: Final = {"eu": 1, "us": -6, "apac": 8, "latam": -3, "mea": 3, "uk": 0, "anz": 10}
"""Local time of the regions that have a name; any other keeps UTC."""
ONBOARDING_DAYS: Final = 6.0
"""Time constant with which a newly arrived customer brings in its vehicles."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traits:
    """What makes each entity itself, f32[entity] each. A customer's regions share its habits, not its size."""

    arrival: Array
    """First minute; 0 for those who were there before the span began."""
    devices: Array
    """Devices at a busy time."""
    requests: Array
    """Queries per device and minute at a busy time."""
    failure: Array
    """Share of queries that fail."""
    query_ms: Array
    """Time of a query on idle machines."""
    offset: Array
    """Hours ahead of UTC; f32[minute, entity] where clocks jump."""
    morning: Array
    evening: Array
    """Local hours of the two tops of driving."""
    sharpness: Array
    """Concentration of the tops: 8 is some 80 minutes wide, 4 two hours."""
    night: Array
    """What is left of the load at night, as a share of the top."""
    weekend: Array
    """What is left of the load at the weekend."""
    report_minute: Array
    """Minute of the hour at which the customer's reports run."""
    report: Array
    """How much they add."""
    month: Array
    month_phase: Array
    growth: Array
    """Per 30 days."""


def traits(rng: np.random.Generator, *, customers: int, regions: tuple[str, ...], arrival: NDArray[np.int64]) -> Traits:
    """The traits of `customers` x `regions`, customer by customer.

    Args:
        rng: drawn from only here.
        customers: how many.
        regions: their names; UTC_OFFSET_HOURS tells their local times.
        arrival: i64[customer], first minute of each.
    """
    count = len(regions)

    def habit(low: float, high: float) -> Array:
        return np.repeat(rng.uniform(low, high, customers), count).astype(np.float32)

    def own(low: float, high: float) -> Array:
        return rng.uniform(low, high, customers * count).astype(np.float32)

    rank = rng.permutation(customers) / max(customers - 1, 1)  # evenly spread sizes: every fleet has its small customers
    size = np.repeat(rank, count).astype(np.float32)
    morning = habit(6.0, 10.0)
    return Traits(
        arrival=np.repeat(arrival, count).astype(np.float32),
        devices=120.0 * 30.0**size * own(0.6, 1.0),
        requests=habit(2.5, 5.0),
        failure=habit(0.05, 0.09),
        query_ms=habit(60.0, 220.0) * own(0.85, 1.15),
        offset=np.tile([UTC_OFFSET_HOURS.get(region, 0) for region in regions], customers).astype(np.float32),
        morning=morning + own(-0.4, 0.4),
        evening=morning + habit(5.5, 8.0) + own(-0.4, 0.4),
        sharpness=habit(4.0, 7.0),
        night=(0.10 + 0.20 * size) * own(0.8, 1.2),  # the large ones run around the clock
        weekend=(0.35 + 0.25 * size) * own(0.8, 1.2),
        report_minute=habit(0.0, 60.0),
        report=own(0.06, 0.16),
        month=own(0.01, 0.03),
        month_phase=habit(0.0, 1.0),
        growth=own(0.0, 0.025),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clock:
    """The calendar of every minute, UTC, f32[minute, 1] each."""

    minute: Array
    """Since the start of the span."""
    of_week: Array
    """Minutes since Monday 00:00."""
    of_month: Array
    """Share of the month that is gone, 0 to 1."""


def tides(who: Traits, *, clock: Clock) -> dict[str, Array]:
    """What each target is expected to be in every minute, before chance; and `driving` and `office`, the two loads behind them."""
    local = np.mod(clock.of_week + 60.0 * who.offset, MINUTES_OF_WEEK).astype(np.float32)
    hour = local / 60.0
    driving = who.night + (1.0 - who.night) * (
        0.85 * _top(hour, at=who.morning, sharpness=who.sharpness) + 0.9 * _top(hour, at=who.evening, sharpness=who.sharpness)
    )
    office = who.night + (1.0 - who.night) * _top(hour, at=(who.morning + who.evening) / 2.0, sharpness=0.6 * who.sharpness)
    level = _seasons(who, clock=clock, local=local)
    driving, office = driving * level, office * level
    asked = 0.4 * driving + 0.6 * office
    reports = 1.0 + who.report * _top(clock.minute, at=who.report_minute, sharpness=2.0, period=60.0)
    queries = who.devices * who.requests * asked * reports
    return {
        "driving": driving,
        "office": office,
        "reporting_devices": who.devices * (0.06 + 0.94 * driving),
        "queries": queries,
        "failed_queries": who.failure * queries * (0.8 + 0.3 * asked),
        "query_time": who.query_ms * (1.0 + 0.9 * asked * reports),
        "positions": 5.0 * who.devices * driving * (1.0 + 0.5 * who.report * _top(clock.minute, at=0.0, sharpness=2.0, period=60.0)),
    }


def _seasons(who: Traits, *, clock: Clock, local: Array) -> Array:
    """Week, month, growth and arrival, as one factor around 1."""
    # 1 on Saturday and Sunday, 0 from Monday to Friday, within two hours of midnight in between
    near_weekend = np.cos(2.0 * np.pi * (local / MINUTES_OF_DAY - 6.0) / 7.0)
    weekend = 1.0 / (1.0 + np.exp((np.cos(2.0 * np.pi / 7.0) - near_weekend) / 0.06))
    week = 1.0 - (1.0 - who.weekend) * weekend
    month = 1.0 + who.month * np.cos(2.0 * np.pi * (clock.of_month - who.month_phase))
    growth = np.exp(who.growth * clock.minute / (30.0 * MINUTES_OF_DAY))
    age_days = np.maximum(clock.minute - who.arrival, 0.0) / MINUTES_OF_DAY
    arrived = np.where(who.arrival > 0, 1.0 - 0.65 * np.exp(-age_days / ONBOARDING_DAYS), 1.0)
    factor: Array = (week * month * growth * arrived).astype(np.float32)
    return factor


def _top(time: Array, *, at: Array | float, sharpness: Array | float, period: float = 24.0) -> Array:
    """A smooth bump of height 1 around `at`, once a period (von Mises)."""
    turned: Array = np.exp(sharpness * (np.cos((2.0 * np.pi / period) * (time - at)) - 1.0)).astype(np.float32)
    return turned
