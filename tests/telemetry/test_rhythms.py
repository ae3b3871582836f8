"""Every customer has its own tides: minute of the hour, time of day, week, month, growth and arrival."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry.rhythms import MINUTES_OF_DAY, MINUTES_OF_WEEK, Array, Clock, Traits, tides, traits

DAYS = 62


def _clock() -> Clock:
    """Starts on a Monday, the first of a month of 31 days."""
    minute = np.arange(DAYS * MINUTES_OF_DAY, dtype=np.float32)[:, None]
    month = 31 * MINUTES_OF_DAY
    return Clock(minute=minute, of_week=minute % MINUTES_OF_WEEK, of_month=(minute % month) / np.float32(month))


def _who(*, arrival: tuple[int, ...] = (0, 0, 0, 0)) -> Traits:
    return traits(np.random.default_rng(5), customers=len(arrival), regions=("eu", "us"), arrival=np.array(arrival))


@pytest.fixture(scope="module")
def queries() -> Array:
    return tides(_who(), clock=_clock())["queries"]


def _by(values: Array, *, period: int) -> NDArray[np.float32]:
    """Mean by phase, relative to the mean of all: f32[period, entity]."""
    whole = len(values) // period * period
    folded: NDArray[np.float32] = values[:whole].reshape(-1, period, values.shape[1]).mean(axis=0)
    return folded / folded.mean(axis=0)


def test_queries_have_a_rhythm_within_the_hour_that_is_the_customers_own(queries: Array) -> None:
    hour = _by(queries, period=60)
    assert ((hour.max(axis=0) - hour.min(axis=0)) > 0.02).all()
    assert len(set(hour.argmax(axis=0)[::2])) == 4


def test_regions_of_a_customer_have_the_same_hours_in_their_own_time_zones(queries: Array) -> None:
    top = _by(queries, period=MINUTES_OF_DAY).argmax(axis=0) / 60
    assert np.allclose((top[1::2] - top[::2]) % 24, 7.0, atol=1.0)
    assert len(set(top[::2].round())) > 1


def test_weekends_are_quieter_and_begin_smoothly(queries: Array) -> None:
    week = _by(queries, period=MINUTES_OF_WEEK)
    days = week.reshape(7, MINUTES_OF_DAY, -1).mean(axis=1)
    assert (days[5:].max(axis=0) < days[:5].min(axis=0)).all()
    assert (np.abs(np.diff(week, axis=0)).max(axis=0) < 0.05).all()


def test_the_month_is_mild() -> None:
    flat = replace(_who(), month=np.zeros(8, dtype=np.float32))
    ratio = tides(_who(), clock=_clock())["driving"] / tides(flat, clock=_clock())["driving"]
    assert 0.97 <= ratio.min() < 0.99
    assert 1.01 < ratio.max() <= 1.03


def test_customers_grow_by_at_most_a_few_percent_a_month() -> None:
    still = replace(_who(), growth=np.zeros(8, dtype=np.float32))
    ratio = (tides(_who(), clock=_clock())["driving"] / tides(still, clock=_clock())["driving"])[30 * MINUTES_OF_DAY]
    assert ((ratio >= 1.0) & (ratio < 1.026)).all()
    assert ratio.max() > 1.005


def test_a_newcomer_brings_in_its_vehicles_little_by_little() -> None:
    arrival = 10 * MINUTES_OF_DAY
    ratio = tides(_who(arrival=(0, 0, 0, arrival)), clock=_clock())["driving"] / tides(_who(), clock=_clock())["driving"]
    assert np.allclose(ratio[:, :6], 1.0)
    assert ratio[arrival, 6:] == pytest.approx(0.35, abs=0.01)
    assert ratio[arrival + 30 * MINUTES_OF_DAY, 6:] == pytest.approx(1.0, abs=0.01)


def test_every_expected_value_is_positive_and_finite(queries: Array) -> None:
    for name, values in tides(_who(), clock=_clock()).items():
        assert values.dtype == np.float32, name
        assert np.isfinite(values).all(), name
        assert values.min() > 0, name
