"""Errors are found in the three values with which they begin; incidents and swings are not taken for them."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    crossed = struck(struck(minutes(), "load", pl.col("queries")), "queries", pl.lit(minutes()["load"]))
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


def test_values_that_were_stored_as_32_bit_numbers_are_told_by_what_they_are_made_of() -> None:
    noisy = np.exp(np.random.default_rng(1).normal(2, 0.4, 180)).astype(np.float32).astype(float)
    frame = minutes().with_columns(load=pl.Series(noisy / 1000))  # metres told as kilometres, as a contract may ask
    for factor in (1000.0, 60.0, 1 / 3600):
        (onset,) = found(struck(frame, "load", pl.col("load") * factor))
        assert onset.cause == named(factor)


def test_what_counts_in_tens_is_no_multiple_of_eight() -> None:
    tens = minutes().with_columns(queries=(pl.col("queries") / 10).round() * 8)
    assert found(struck(tens, "queries", pl.lit(pl.Series([5600.0] * 177 + [5120.0, 6240.0, 5840.0])))) == ()


def test_an_error_is_believed_of_a_series_only_if_the_others_stay() -> None:
    frame = minutes().with_columns(other=pl.col("load") * 2, third=pl.col("load") * 3)
    eighth = struck(frame, "queries", pl.col("queries") * 8)
    assert {onset.cause for onset in found(eighth)} == {"x8"}
    busy = struck(struck(eighth, "other", pl.lit(400.3)), "third", pl.lit(600.7))
    assert "queries" not in {onset.parameter for onset in found(busy)}


def test_what_was_divided_to_nothing_is_told_after_an_hour_of_zeros() -> None:
    zeros = [struck(minutes(), "load", pl.col("load") * 0, last=last) for last in (59, 60)]
    assert [[onset.cause for onset in found(frame)] for frame in zeros] == [[], ["integer division, all zero"]]


def test_a_gap_is_no_value() -> None:
    frame = struck(minutes(), "load", pl.col("load") * 1000)
    assert [onset.cause for onset in found(frame.filter(pl.int_range(pl.len()) != 178))] == ["x1000"]
    assert [onset.start for onset in found(frame.filter(~pl.int_range(pl.len()).is_between(120, 170)))] == [day(0) + 177 * MINUTE]


def test_what_began_before_is_not_looked_for() -> None:
    frame = struck(minutes(), "load", pl.col("load") * 1000, last=20)
    assert find(frame, cadence=MINUTE, since=day(0) + 160 * MINUTE) == found(frame) != ()
    assert find(frame, cadence=MINUTE, since=day(0) + 178 * MINUTE) == ()


def test_more_entities_than_fit_at_once_tell_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = struck(minutes(), "load", pl.col("load") * 1000)
    fleet_of = pl.concat([frame.with_columns(entity=pl.lit(name)) for name in ("acme/eu", "bolt/eu", "corn/eu")])
    at_once = found(fleet_of)
    monkeypatch.setattr("validation.onset_past.CELLS", 400)
    assert found(fleet_of) == at_once
    assert [onset.entity for onset in at_once] == ["acme/eu", "bolt/eu", "corn/eu"]


def loaded(*, noise: float, seed: int, digits: int = 12) -> pl.DataFrame:
    """Two hundred minutes whose load has so much noise."""
    load = 40 * np.exp(np.random.default_rng(seed).normal(0, noise, 200))
    return minutes(count=200, seed=seed).with_columns(load=np.round(load, digits))


def begun(frame: pl.DataFrame, **rows: tuple[pl.Expr, pl.Expr]) -> list[tuple[str, timedelta]]:
    """What is found, and how long after the first minute, where some rows of the load are told otherwise; what comes first counts."""
    value = pl.col("load")
    for hit, changed in reversed(rows.values()):
        value = pl.when(hit).then(changed).otherwise(value)
    return [(each.cause, each.start - day(0)) for each in found(frame.with_columns(load=value))]


ROW = pl.int_range(pl.len())


def test_of_two_errors_the_one_that_was_believed_first_is_told() -> None:
    frame = loaded(noise=0.02, seed=0)  # without digits x8 is believed after half an hour
    thousand, eight = (ROW.is_between(110, 112), pl.col("load") * 1000), (ROW >= 100, pl.col("load") * 8)
    assert begun(frame, eight=eight) == [("x8", 100 * MINUTE)]
    assert begun(frame, thousand=thousand, eight=eight) == [("x1000", 110 * MINUTE)]


def test_an_error_that_was_believed_of_an_earlier_minute_is_not_told_of_a_later_one() -> None:
    eighth = (ROW.is_between(63, 83), pl.col("load") / 8)
    assert begun(loaded(noise=0.2, seed=2, digits=1), eighth=eighth) == [("x1/8", 63 * MINUTE)]


def test_an_error_that_was_believed_slowly_is_not_taken_back_for_one_that_is_plain() -> None:
    eight, logarithm = (ROW.is_between(108, 141), pl.col("load") * 8), (ROW >= 147, (pl.col("load") + 1).log())
    assert begun(loaded(noise=0.02, seed=5, digits=0), eight=eight, logarithm=logarithm) == [("x8", 108 * MINUTE)]


ERRORS = {
    "x1000": pl.col("load") * 1000,
    "x8": pl.col("load") * 8,
    "x1/60": pl.col("load") / 60,
    "sign": -pl.col("load"),
    "logarithm": (pl.col("load") + 1).log(),
    "zero": pl.col("load") * 0,
    "queries": pl.col("queries"),
}


@pytest.mark.slow
@given(
    first=st.sampled_from(sorted(ERRORS)),
    then=st.sampled_from(sorted(ERRORS)),
    begins=st.integers(20, 110),
    lasts=st.integers(1, 80),
    told=st.integers(1, 8) | st.integers(9, 90),
    seed=st.integers(0, 5),
    noise=st.sampled_from([0.02, 0.5]),
)
@settings(max_examples=100, deadline=None)
def test_what_was_told_of_the_first_minutes_never_changes(
    *, first: str, then: str, begins: int, lasts: int, told: int, seed: int, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    load = pl.Series("load", np.round(40 * np.exp(rng.normal(0, noise, 200)), 1))
    clean = minutes(count=200, seed=seed).with_columns(load)
    row = pl.int_range(pl.len())
    made = pl.when(row.is_between(begins, begins + lasts)).then(ERRORS[first]).when(row > begins + lasts + 5).then(ERRORS[then])
    whole = clean.with_columns(made.otherwise("load").alias("load"))
    early = {(each.entity, each.parameter): (each.cause, each.start, each.factor) for each in found(whole.head(begins + told))}
    late = {(each.entity, each.parameter): (each.cause, each.start, each.factor) for each in found(whole)}
    assert early.items() <= late.items()


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
