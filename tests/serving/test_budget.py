"""The alert budget: as many incidents as an operator can look at, and no more."""

from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest

from serving.budget import Spent, spend, watched
from serving.shrinkage import FIRST, LENDS, SECOND
from serving.surprise import Z
from telemetry.schema import AT, COUNT, ENTITY, LABEL, TARGET, THRESHOLD, TIME
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
            FIRST: burst < bursts // 2,
            LABEL: False,
        }
    )


BARS = pl.DataFrame(
    {
        ENTITY: [f"c{number}/eu" for number in range(CUSTOMERS)],
        TARGET: "q",
        THRESHOLD: 3.0,
        FIRST: 3.0,
        SECOND: 3.0,
        COUNT: pl.Series([WEEK] * CUSTOMERS, dtype=pl.Int64),
        LENDS: True,
    }
)
POLICY = Thresholds(flaps=0, reopen_minutes=0)


def spent(budget: Budget, *, bursts: int = 240, bars: pl.DataFrame = BARS) -> Spent:
    return spend(budget, peaks=peaks(bursts), bars=bars, policy=POLICY, cadence_seconds=60, least=1.0)


def counted(z: pl.DataFrame, *, bars: pl.DataFrame = BARS) -> float:
    """How many incidents open by the bars as they are: whatever the factor, where z are either far above them or far below."""
    found = spend(Budget(incidents=1000.0), peaks=z, bars=bars, policy=POLICY, cadence_seconds=60, least=1.0)
    return found.realised * found.units


def burst(z: float, *, minute: int, older: bool, entity: str = "c0/eu", label: bool = False) -> pl.DataFrame:
    """Six minutes from `minute` on."""
    at = pl.Series([START + timedelta(minutes=minute + step) for step in range(6)]).cast(TIME)
    return pl.DataFrame({ENTITY: entity, TARGET: "q", AT: at, Z: z, FIRST: older, LABEL: label})


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


def test_each_half_is_judged_by_what_the_other_has_taught() -> None:
    taught = BARS.with_columns(pl.lit(1e6).alias(FIRST), pl.lit(3.0).alias(SECOND), pl.lit(1e6).alias(THRESHOLD))
    assert counted(pl.concat([burst(1e5, minute=0, older=True), burst(1e5, minute=600, older=False)]), bars=taught) == 1.0
    assert counted(burst(1e5, minute=0, older=True), bars=taught) == 1.0
    assert counted(burst(1e5, minute=600, older=False), bars=taught) == 0.0


def test_an_incident_over_the_cut_is_one_incident() -> None:
    over = burst(1e5, minute=0, older=True).with_columns((pl.int_range(pl.len()) < 2).alias(FIRST))
    assert counted(over) == 1.0


YOUNG = 2 * 24 * 60 - 1


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({SECOND: None}, 0.0),
        ({SECOND: None, THRESHOLD: 3.0}, 1.0),
        ({COUNT: YOUNG}, 1.0),
        ({COUNT: YOUNG, LENDS: False}, 0.0),
        ({LENDS: False}, 1.0),
    ],
)
def test_without_a_bar_of_another_day_the_whole_part_s_stands_in(told: dict[str, object], expected: float) -> None:
    taught = BARS.with_columns(pl.lit(3.0).alias(SECOND), pl.lit(1e6).alias(THRESHOLD))
    changed = taught.with_columns(pl.lit(value, dtype=taught.schema[name]).alias(name) for name, value in told.items())
    changed = changed.filter(pl.col(ENTITY) == "c0/eu")  # or those who lend would be counted alone
    assert counted(burst(1e5, minute=0, older=True), bars=changed) == expected


def test_bars_that_chance_has_moved_ask_for_a_greater_factor() -> None:
    """What the lower ones let through is more than what the higher ones hold back."""
    up = pl.Series([0.4, -0.4] * (CUSTOMERS // 2)).exp()
    noisy = BARS.with_columns((pl.col(FIRST) * up).alias(FIRST), (pl.col(SECOND) / up).alias(SECOND))
    assert spent(Budget(incidents=10.0), bars=noisy).factor > 1.05 * spent(Budget(incidents=10.0)).factor


def test_newcomers_are_not_counted_unless_there_is_nobody_else() -> None:
    loud = pl.concat([burst(1e5, minute=600 * number, older=True, entity="c3/eu") for number in range(5)])
    z = pl.concat([burst(1e5, minute=0, older=True), loud])
    arrived = BARS.with_columns((pl.col(ENTITY) != "c3/eu").alias(LENDS))
    found, alone = (
        spend(Budget(incidents=1000.0), peaks=z, bars=bars, policy=POLICY, cadence_seconds=60, least=1.0)
        for bars in (arrived, arrived.filter(~pl.col(LENDS)))
    )
    assert (found.units, found.realised * found.units, found.entities) == (3.0, 1.0, ("c0/eu", "c1/eu", "c2/eu"))
    assert (alone.units, alone.realised, alone.entities) == (1.0, 5.0, ("c3/eu",))


@pytest.mark.parametrize(("label", "expected"), [(True, 0.0), (False, 1.0)])
def test_a_labelled_incident_spends_nothing(label: bool, expected: float) -> None:
    z = burst(1e5, minute=0, older=True, label=label)
    found = spend(Budget(incidents=1000.0), peaks=z, bars=BARS, policy=POLICY, cadence_seconds=60, least=1.0)
    assert found.realised * found.units == expected


def test_a_large_fleet_counts_by_more_incidents() -> None:
    def rests_on(entities: int) -> int:
        bars = pl.concat([BARS.head(1).with_columns(pl.lit(f"c{number}/eu").alias(ENTITY)) for number in range(entities)])
        return spent(Budget(incidents=0.01), bars=bars).rests_on

    assert [rests_on(entities) for entities in (1, 10, 100)] == [10, 21, 40]
