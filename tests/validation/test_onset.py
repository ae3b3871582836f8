"""Errors are found in the three values with which they begin; incidents and swings are not taken for them."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from telemetry import fleet
from telemetry.fleet import FleetConfig
from tests.validation.bugs import named
from tests.validation.grids import day
from validation.onset import Onset, find

MINUTE = timedelta(minutes=1)


def minutes(*, count: int = 180, digits: int = 1, seed: int = 0) -> pl.DataFrame:
    """Three hours of an entity: a load with a decimal, and a count."""
    rng = np.random.default_rng(seed)
    at = pl.datetime_range(day(0), day(0) + MINUTE * (count - 1), MINUTE, eager=True, time_unit="us")
    load = np.round(rng.normal(40, 2, count), digits)
    return pl.DataFrame({"entity": "acme/eu", "at": at, "observed": True, "load": load, "queries": rng.poisson(900, count).astype(float)})


def struck(frame: pl.DataFrame, name: str, value: pl.Expr, *, last: int = 3) -> pl.DataFrame:
    rows = pl.int_range(pl.len()) >= frame.height - last
    return frame.with_columns(pl.when(rows).then(value).otherwise(pl.col(name)).alias(name))


def found(frame: pl.DataFrame) -> tuple[Onset, ...]:
    return find(frame, cadence=MINUTE)


@pytest.mark.parametrize("factor", [8.0, 60.0, 100.0, 1000.0, 1024.0, 3600.0, 1e6])
@pytest.mark.parametrize("name", ["load", "queries"])
def test_three_minutes_are_enough_for_a_factor(name: str, factor: float) -> None:
    for told in (factor, 1 / factor):
        (onset,) = found(struck(minutes(), name, pl.col(name) * told))
        assert (onset.parameter, onset.cause, onset.start) == (name, named(told), day(0) + 177 * MINUTE)


def test_two_minutes_are_not() -> None:
    assert found(struck(minutes(), "load", pl.col("load") * 1000, last=2)) == ()


def test_a_sign_a_logarithm_and_swapped_columns_are_named() -> None:
    (sign,) = found(struck(minutes(), "load", -pl.col("load")))
    (logarithm,) = found(struck(minutes(), "queries", (pl.col("queries") + 1).log()))
    assert (sign.cause, logarithm.cause) == ("sign", "logarithm")
    crossed = struck(struck(minutes(), "load", pl.col("queries")), "queries", minutes()["load"])
    assert {onset.cause for onset in found(crossed)} == {"swapped with load", "swapped with queries"}


def test_what_is_repaired_ends() -> None:
    frame = minutes()
    bad = pl.int_range(pl.len()).is_between(100, 119)
    (onset,) = found(frame.with_columns(pl.when(bad).then(pl.col("load") * 1000).otherwise(pl.col("load")).alias("load")))
    assert (onset.start, onset.end) == (day(0) + 100 * MINUTE, day(0) + 120 * MINUTE)


@pytest.mark.parametrize("value", [pl.col("queries") * 0, (pl.col("queries") / 8).round(), (pl.col("queries") * 8).round() + 3])
def test_an_outage_and_a_load_that_happen_to_be_a_factor_away_are_none(value: pl.Expr) -> None:
    assert found(struck(minutes(), "queries", value, last=30)) == ()


def test_what_swings_through_zero_has_not_changed_its_sign() -> None:
    swing = minutes().with_columns(load=(pl.int_range(pl.len()) / 25).sin() * 40)
    assert found(swing) == ()


@pytest.mark.slow
def test_no_incident_of_a_fleet_is_taken_for_an_error() -> None:
    made = fleet.simulate(FleetConfig(customers=3, regions=("eu", "us"), days=10, seed=5, arriving=0, incidents=8, early_incidents=0))
    keyed = made.readings.select(
        pl.concat_str("customer", "region", separator="/").alias("entity"), pl.col("time").alias("at"), *fleet.PARAMETERS
    )
    grid = keyed.with_columns(observed=pl.lit(value=True)).sort("entity", "at")
    for start, end in made.labels.select("start", "end").iter_rows():
        window = grid.filter(pl.col("at").is_between(start - timedelta(hours=3), end + timedelta(minutes=30)))
        assert found(window) == ()
