"""Fleets whose world stays as it is after a model was learned, and fleets whose world changes: by what the simulator itself can do.

same       nobody arrives any more; each customer grows by up to 2.5 % in 30 days, as in every simulated fleet
customers  a third of the customers arrives in the first week after the model was learned; after 30 days they are newcomers no more
clocks     from some instant on all regions live an hour earlier, as when clocks go forward for the summer
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from unittest import mock

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry import rhythms
from telemetry.fleet import Fleet, FleetConfig, simulate
from telemetry.rhythms import MINUTES_OF_DAY
from telemetry.schema import START

WORLDS: Final = ("same", "customers", "clocks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arriving(FleetConfig):
    """A fleet whose last customers arrive on days of the span that are told."""

    arrival_days: tuple[float, ...] = ()

    @property
    def arrivals(self) -> NDArray[np.int64]:
        minutes = np.zeros(self.customers)
        if self.arrival_days:
            minutes[-len(self.arrival_days) :] = np.array(self.arrival_days) * MINUTES_OF_DAY
        return minutes.astype(np.int64)


def arriving(*, customers: int, days: int, arrival_days: tuple[float, ...], seed: int = 0) -> Arriving:
    """What fleet to simulate of which the last customers arrive on these days."""
    return Arriving(customers=customers, days=days, seed=seed, arriving=len(arrival_days), arrival_days=arrival_days)


def world(name: str, *, customers: int, learned_days: int, judged_days: int, clocks_day: int, seed: int = 0) -> Fleet:
    """A fleet of one of WORLDS; the clocks go forward on `clocks_day` of the span."""
    days = learned_days + judged_days
    late = tuple(learned_days + 1 + 2.0 * index for index in range(max(1, customers // 3))) if name == "customers" else ()
    config = arriving(customers=customers, days=days, arrival_days=late, seed=seed)
    if name != "clocks":
        return simulate(config)
    forward = {region: hours + 1 for region, hours in rhythms.UTC_OFFSET_HOURS.items()}
    with mock.patch.object(rhythms, "UTC_OFFSET_HOURS", forward):
        after = simulate(config)
    return joined(simulate(config), after=after, at_day=clocks_day)


def joined(before: Fleet, *, after: Fleet, at_day: int) -> Fleet:
    """One fleet up to a day of the span, and another one of the same configuration from then on."""
    minute = at_day * MINUTES_OF_DAY
    at = before.config.start + timedelta(days=at_day)
    return replace(
        before,
        readings=pl.concat([before.readings.filter(pl.col("time") < at), after.readings.filter(pl.col("time") >= at)]),
        labels=pl.concat([before.labels.filter(pl.col(START) < at), after.labels.filter(pl.col(START) >= at)]),
        conditional=np.concatenate([before.conditional[:minute], after.conditional[minute:]]),
    )
