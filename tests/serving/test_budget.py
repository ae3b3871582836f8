"""The alert budget: as many incidents as an operator can look at, and no more."""

from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest

from serving.budget import Spent, spend, watched
from serving.surprise import Z
from telemetry.schema import AT, COUNT, ENTITY, TARGET, THRESHOLD, TIME
from telemetry.sections import Budget, Thresholds

START = datetime(2026, 1, 1, tzinfo=UTC)
WEEK = 7 * 24 * 60
CUSTOMERS = 4


@cache
def peaks(bursts: int, *, seed: int = 0) -> pl.DataFrame:
    """z of bursts of six minutes, two hours apart and Pareto-distributed, in turn of one customer and the next."""
    size = 1 + np.random.default_rng(seed).pareto(2.0, size=bursts)
    burst, minute = np.divmod(np.arange(bursts * 6), 6)
    return pl.DataFrame(
        {
            ENTITY: [f"c{number % CUSTOMERS}/eu" for number in burst],
            TARGET: "q",
            AT: pl.Series([START + timedelta(minutes=int(120 * (b // CUSTOMERS) + m)) for b, m in zip(burst, minute, strict=True)]).cast(
                TIME
            ),
            Z: 3.0 * size[burst],
        }
    )


BARS = pl.DataFrame(
    {
        ENTITY: [f"c{number}/eu" for number in range(CUSTOMERS)],
        TARGET: "q",
        THRESHOLD: 3.0,
        COUNT: pl.Series([WEEK] * CUSTOMERS, dtype=pl.Int64),
    }
)
POLICY = Thresholds(flaps=0, reopen_minutes=0)


def spent(budget: Budget, *, bursts: int = 240) -> Spent:
    return spend(budget, peaks=peaks(bursts), bars=BARS, policy=POLICY, cadence_seconds=60, least=1.0)


@pytest.mark.parametrize("incidents", [3.0, 10.0, 30.0])
def test_what_is_promised_is_what_the_calibrate_part_has(incidents: float) -> None:
    found = spent(Budget(incidents=incidents))
    assert found.units == CUSTOMERS
    assert found.realised <= incidents
    assert found.realised == pytest.approx(incidents, abs=1.0 / CUSTOMERS)
    assert not found.extrapolated


def test_a_smaller_budget_is_a_higher_factor() -> None:
    factors = [spent(Budget(incidents=incidents)).factor for incidents in (0.2, 0.5, 1.0, 3.0, 10.0, 30.0)]
    assert factors == sorted(factors, reverse=True)


def test_what_so_short_a_part_cannot_show_is_extrapolated_and_said() -> None:
    found = spent(Budget(incidents=0.5))  # two incidents in all
    assert found.extrapolated
    truth = (240 / 2) ** 0.5  # of a Pareto law with the shape 2
    assert truth / 2 < found.factor < truth * 2


def test_a_shift_is_eight_hours_of_everybody() -> None:
    assert watched(BARS, per="shift", cadence_seconds=60) == pytest.approx(21.0)
    assert watched(BARS, per="customer_week", cadence_seconds=60) == pytest.approx(4.0)
    found = spent(Budget(incidents=2.0, per="shift"))
    assert found.realised == pytest.approx(2.0, abs=0.1)
