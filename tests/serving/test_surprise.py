"""What is small and of one sign adds up; what comes at once is told at once."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from serving.surprise import SLOW_STEPS, SLOW_UNIT, Z, errors, joint
from telemetry.schema import TARGET, THRESHOLDS

ForecastsOf = Callable[..., pl.DataFrame]
KNOWN = pl.DataFrame([("a", "q", 1, 0.5, 4.0, 99), ("a", "joint", 0, 0.5, 4.0, 99)], schema=THRESHOLDS, orient="row")


def z_of(told: pl.DataFrame) -> list[float]:
    return joint(errors(told), thresholds=KNOWN).get_column(Z).to_list()


def test_one_large_error_is_told_at_once(forecasts_of: ForecastsOf) -> None:
    assert z_of(forecasts_of([*[0.0] * 30, 2.0]))[-1] == pytest.approx(4.0)


def test_small_errors_of_one_sign_add_up(forecasts_of: ForecastsOf) -> None:
    z = z_of(forecasts_of([0.0] * SLOW_STEPS + [-0.5] * 40))
    assert z[SLOW_STEPS] == pytest.approx(1.0)
    assert z[-1] == pytest.approx(SLOW_STEPS / 2 * SLOW_UNIT)
    assert (np.diff(z[SLOW_STEPS + SLOW_STEPS // 2 + 3 : 2 * SLOW_STEPS - 1]) > 0).all()


def test_a_burst_and_an_outage_do_not_linger(forecasts_of: ForecastsOf) -> None:
    burst = z_of(forecasts_of([0.0] * 40 + [30.0] + [0.05] * 40))
    assert max(burst[41:]) < 1.0
    over = z_of(forecasts_of([0.0] * 40 + [30.0] * 60 + [0.05] * 40))
    assert max(over[100 + SLOW_STEPS // 2 :]) < 1.0


def test_small_errors_of_both_signs_do_not(forecasts_of: ForecastsOf) -> None:
    z = z_of(forecasts_of([0.5, -0.5] * 30))
    assert max(z) == pytest.approx(1.0)


def test_what_has_no_sign_does_not_add_up(forecasts_of: ForecastsOf) -> None:
    told = forecasts_of([0.5] * 60).with_columns(pl.lit("joint").alias(TARGET), pl.lit(0, dtype=pl.Int32).alias("lead_minutes"))
    assert max(z_of(told)) == pytest.approx(1.0)


def test_a_missing_forecast_begins_the_sum_anew(forecasts_of: ForecastsOf) -> None:
    z = z_of(forecasts_of([0.5] * 30 + [None] + [0.5] * 15))
    assert z[30] is None
    assert z[-1] == pytest.approx(1.0)


def test_what_the_network_did_not_wholly_see_does_not_add_up(forecasts_of: ForecastsOf) -> None:
    told = forecasts_of([0.5] * 60)
    blind = told.select("entity", "at").slice(30, 1)
    z = joint(errors(told), thresholds=KNOWN, blind=blind).get_column(Z).to_list()
    assert z[29] > 2.0
    assert max(z[30 : 30 + SLOW_STEPS]) == pytest.approx(1.0)
    assert z[-1] > 2.0


def test_nothing_adds_up_of_a_newcomer(forecasts_of: ForecastsOf) -> None:
    assert max(z_of(forecasts_of([0.5] * 60, newcomer=True))) == pytest.approx(1.0)
