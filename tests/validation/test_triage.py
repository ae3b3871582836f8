"""Errors of arithmetic are found, named and laid at the right door; life is not taken for one."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from telemetry import fleet
from telemetry.fleet import FleetConfig
from tests.validation.bugs import KINDS, OF_DEGREES, Planted, matches, plant, within_noise
from tests.validation.grids import day, grid, multiplied
from validation.digits import exact_factor, lost_remainder, of_factor
from validation.forms import ALL_ZERO
from validation.profile import measure
from validation.triage import Diagnosis, diagnose, explained


def diagnosed(frame: pl.DataFrame, *, temperatures: frozenset[str] = frozenset()) -> tuple[Diagnosis, ...]:
    return diagnose(measure(frame), grid=frame, factor=8.0, temperatures=temperatures)


@pytest.fixture(scope="module")
def healthy() -> pl.DataFrame:
    """Four weeks of a small fleet, with a customer that arrives and with incidents."""
    config = FleetConfig(customers=3, regions=("eu", "us"), days=28, seed=3, arriving=1, incidents=4, early_incidents=2)
    readings = fleet.simulate(config).readings
    keyed = readings.select(
        pl.concat_str("customer", "region", separator="/").alias("entity"), pl.col("time").alias("at"), *fleet.PARAMETERS
    )
    return keyed.with_columns(observed=pl.lit(value=True)).sort("entity", "at")


def test_a_healthy_fleet_has_no_error(healthy: pl.DataFrame) -> None:
    assert diagnosed(healthy) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_the_bank_is_named_in_every_series_that_it_struck(healthy: pl.DataFrame, kind: str) -> None:
    frame, planted = plant(healthy, kind=kind, seed=11)
    found = diagnosed(frame)
    assert {(told.entity, told.parameter) for told in found} == planted.series
    assert all(told.known and matches(told.cause, planted) for told in found), [told.cause for told in found]


@pytest.mark.parametrize(("cause", "factor", "offset"), [("degC told as K", 1.0, 273.15), ("degC told as degF", 1.8, 32.0)])
def test_another_scale_of_temperature_is_told_from_a_change(cause: str, factor: float, offset: float) -> None:
    warm = grid().with_columns((18 + pl.col("cpu") / 10).alias("cpu"))
    changed = warm.with_columns(
        pl.when(pl.col("at") >= day(18), pl.col("entity") == "acme/eu")
        .then(pl.col("cpu") * factor + offset)
        .otherwise(pl.col("cpu"))
        .alias("cpu")
    )
    (told,) = diagnosed(changed, temperatures=frozenset({"cpu"}))
    assert (told.entity, told.parameter, told.cause, told.start) == ("acme/eu", "cpu", cause, day(18))
    assert not any(told.known for told in diagnosed(changed))
    assert diagnosed(warm, temperatures=frozenset({"cpu"})) == ()


@pytest.mark.parametrize("by", [0.05, 0.5, 3.0, 20.0])
def test_a_level_that_has_truly_changed_is_no_error_of_arithmetic(by: float) -> None:
    frame = multiplied(grid(), "latency", by=by, since=18).with_columns(
        pl.col("latency") * np.random.default_rng(3).lognormal(0, 0.01, 12_096)
    )
    assert all(not told.known for told in diagnosed(frame))


def test_a_parameter_that_falls_silent_at_zero_for_an_incident_only_is_none() -> None:
    off = pl.col("at").is_between(day(20.5), day(20.5) + timedelta(hours=3)) & (pl.col("entity") == "acme/eu")
    assert diagnosed(grid().with_columns(pl.when(~off).then(pl.col("latency")).otherwise(0.0).alias("latency"))) == ()


def test_a_parameter_that_tells_nothing_but_zero_for_days_is_told() -> None:
    (told,) = diagnosed(multiplied(grid(), "latency", by=0.0, since=18))
    assert (told.cause, told.start) == (ALL_ZERO, day(18))


def test_digits_tell_1000_from_1024() -> None:
    values = np.round(np.random.default_rng(0).uniform(1, 50, 500), 2)
    for factor in (1000.0, 1024.0, 1 / 1000, 1 / 1024, 3600.0, 1 / 8):
        assert exact_factor(values, values * factor, near=factor * 1.02) == pytest.approx(factor)
    assert exact_factor(values, values * 19.0, near=19.0) is None
    assert exact_factor(np.random.default_rng(0).normal(10, 1, 500), values * 1000, near=1000.0) is None


def test_a_lost_remainder_is_told_from_a_true_division() -> None:
    values = np.random.default_rng(0).integers(500, 9000, 500).astype(np.float64)
    assert lost_remainder(values, np.floor(values / 60), near=60.0) == 60.0
    assert lost_remainder(values, values / 60, near=60.0) is None


def test_the_fewest_labels_say_who_is_struck() -> None:
    everyone = [f"{customer}/{region}" for customer in "abc" for region in ("eu", "us")]
    keys = ("customer", "region")
    assert explained(frozenset(everyone), everyone=everyone, keys=keys) == "everyone"
    assert explained(frozenset({"a/eu", "b/eu", "c/eu"}), everyone=everyone, keys=keys) == "region eu"
    assert explained(frozenset({"a/eu", "a/us", "b/eu", "b/us"}), everyone=everyone, keys=keys) == "customer a, b"
    assert explained(frozenset({"a/eu"}), everyone=everyone, keys=keys) == "a/eu"


def test_what_was_planted_is_what_the_rows_say(healthy: pl.DataFrame) -> None:
    frame, planted = plant(healthy, kind="x60", seed=2)
    (name,) = planted.parameters
    same = frame[name].eq_missing(healthy[name])
    struck = healthy.select(planted.rows).to_series()
    assert (same | struck).all()
    assert isinstance(planted, Planted)
    assert not same.filter(struck).all()


@pytest.mark.parametrize("kind", OF_DEGREES)
def test_every_confusion_of_temperature_is_named(kind: str) -> None:
    warm = grid().with_columns((18 + pl.col("cpu") / 10).alias("cpu"))
    frame, planted = plant(warm, kind=kind, seed=11, parameters=("cpu",))
    found = diagnosed(frame, temperatures=frozenset({"cpu"}))
    assert {(told.entity, told.parameter, told.cause) for told in found} == {(*series, kind) for series in planted.series}


@pytest.mark.parametrize(("factor", "other"), [(1000.0, 1024.0), (1 / 1000, 1 / 1024), (60.0, 100.0)])
def test_values_in_single_precision_tell_the_factor(factor: float, other: float) -> None:
    values = np.float32(np.random.default_rng(0).lognormal(12, 0.3, 500)).astype(np.float64)
    assert of_factor(values, values * factor, factor=factor) == "yes"
    assert of_factor(values, values * factor, factor=other) == "no"
    assert of_factor(values, values * 8, factor=8.0) == "unknown"
    assert of_factor(np.random.default_rng(0).lognormal(12, 0.3, 500), values * factor, factor=factor) == "unknown"


def test_a_bug_within_the_noise_is_told_from_one_beyond() -> None:
    small = grid().with_columns(pl.col("latency") / 1e6)
    for kind, within in (("logarithm", True), ("x8", False), ("sign", False)):
        frame, planted = plant(small, kind=kind, seed=1, parameters=("latency",))
        assert within_noise(small, frame, planted=planted) is within
