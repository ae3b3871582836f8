"""Strangers: how soon what nobody has learned is told in deviations of its own, and that nothing later matters."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from telemetry import contract as contracts
from telemetry.panel import CALENDAR, Panel, Part
from telemetry.schema import (
    ACTUAL,
    AT,
    COUNT,
    ENTITY,
    FORECAST,
    FORECASTS,
    LEAD,
    PERSISTENCE,
    SCALES,
    SD,
    SIGMA,
    TARGET,
    THRESHOLD,
    THRESHOLDS,
    TIME,
)
from telemetry.strangers import CALM, DIFFER, HIGH_MINUTES, HOURS, SURE, Lent, Tides, learn, liken

CONTRACT = contracts.parse(
    {
        "name": "small",
        "entity": {"keys": ["customer", "region"], "cohort": "region"},
        "time": {"column": "time", "cadence_seconds": 60},
        "parameters": {
            "queries": {"unit": "count", "aggregation": "sum", "target": True},
            "cpu": {"unit": "percent", "target": True},
        },
    }
)
KNOWN = tuple(f"{name}/eu" for name in "abcd")
SIZES = (10.0, 100.0, 1000.0, 10000.0)
START_US = 1_767_571_200_000_000  # a Monday, 00:00
DAY = 1440
NOISE = 0.3


def wave(steps: int) -> np.ndarray[Any, Any]:
    """The tide: highest at noon."""
    return -np.sqrt(2) * np.cos(2 * np.pi * np.arange(steps) / DAY)


def readings(size: float, *, steps: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Queries that grow with the customer, and a cpu that does not: f64[T, 2]."""
    random = np.random.default_rng(seed).normal(size=(steps, 2))
    z = (wave(steps)[:, None] + NOISE * random) / np.hypot(1, NOISE)
    return np.stack([size * (1 + 0.5 * z[:, 0]), 40 + 5 * z[:, 1]], axis=1)


def scales() -> pl.DataFrame:
    rows = [(name, "queries", size, 0.5 * size, 9999) for name, size in zip(KNOWN, SIZES, strict=True)]
    rows += [(name, "cpu", 40.0 + offset, 5.0, 9999) for name, offset in zip(KNOWN, (-2, -1, 1, 2), strict=True)]
    return pl.DataFrame(rows, schema=SCALES, orient="row")


def tides() -> Tides:
    hours = wave(7 * DAY).reshape(HOURS, 60).mean(axis=1) / np.hypot(1, NOISE)
    return Tides(entities=KNOWN, hours=np.broadcast_to(hours[None, :, None], (len(KNOWN), HOURS, 2)).astype(np.float32).copy())


def panel_of(
    told: np.ndarray[Any, Any], *, entity: str = "new/eu", start_us: int = START_US, seen: np.ndarray[Any, Any] | None = None
) -> Panel:
    """One stranger's readings, by the medians of the others."""
    mean, sd = np.array([550.0, 40.0]), np.array([275.0, 5.0])
    observed = np.ones((1, *told.shape), dtype=np.bool_) if seen is None else seen[None]
    flags = np.zeros((1, len(told)), dtype=np.bool_)
    return Panel(
        entities=(entity,),
        parameters=CONTRACT.names,
        targets=(0, 1),
        start_us=start_us,
        cadence_seconds=60,
        values=np.where(observed, ((told - mean) / sd)[None], 0).astype(np.float32),
        observed=observed,
        calendar=np.zeros((len(told), len(CALENDAR)), dtype=np.float32),
        newcomer=flags,
        part=np.full(flags.shape, Part.TEST, dtype=np.uint8),
        incident=flags,
    )


def likened(panel: Panel, **how: Any) -> tuple[np.ndarray[Any, Any], Lent]:
    told, lent = liken(panel, scales=scales(), tides=tides(), contract=CONTRACT, **how)
    assert lent is not None
    return told.values[0].astype(np.float64), lent


@pytest.mark.parametrize("size", [3.0, 550.0, 90_000.0])
@pytest.mark.parametrize("hour", [2, 8, 12, 20])
def test_within_a_quarter_of_an_hour_it_is_told_in_deviations_of_its_own(size: float, hour: int) -> None:
    steps = hour * 60 + DAY
    told = readings(size, steps=steps)[hour * 60 :]
    values, lent = likened(panel_of(told, start_us=START_US + hour * 3_600_000_000))
    expected = (wave(steps) / np.hypot(1, NOISE))[hour * 60 :]
    off = np.abs(values[15:, 0] - expected[15:])
    assert np.median(off) < NOISE
    assert lent.times[0, 15:, 0] * 275 == pytest.approx(0.5 * size, rel=0.6)


def test_what_comes_later_changes_nothing_before() -> None:
    told = readings(77.0, steps=600)
    later = told.copy()
    later[300:] *= 40
    assert (likened(panel_of(later))[0][:300] == likened(panel_of(told))[0][:300]).all()


def test_a_level_that_does_not_grow_with_the_others_keeps_their_deviation() -> None:
    _, lent = likened(panel_of(readings(5.0, steps=120) + np.array([0.0, 30.0])))
    assert lent.times[0, 60:, 1] * 5 == pytest.approx(5, rel=0.2)
    assert lent.beyond[0, 60:, 1] + lent.times[0, 60:, 1] * 40 == pytest.approx(70, abs=3)


def test_days_before_the_panel_count_as_if_they_were_in_it() -> None:
    told = readings(77.0, steps=2 * DAY)
    whole, lent = likened(panel_of(told))
    at = pl.datetime_range(pl.lit(START_US).cast(TIME), pl.lit(START_US + (2 * DAY - 1) * 60_000_000).cast(TIME), "1m", eager=True)
    past = pl.DataFrame({ENTITY: ["new/eu"] * DAY, AT: at.cast(TIME)[:DAY], "queries": told[:DAY, 0], "cpu": told[:DAY, 1]})
    half, of_half = likened(panel_of(told[DAY:], start_us=START_US + DAY * 60_000_000), past=past)
    assert half == pytest.approx(whole[DAY:], abs=1e-4)
    assert of_half.times == pytest.approx(lent.times[:, DAY:], rel=1e-5)
    assert of_half.unsure == pytest.approx(lent.unsure[:, DAY:])
    alone, _ = likened(panel_of(told[DAY:], start_us=START_US + DAY * 60_000_000))
    assert np.abs(alone - half).max() > 0.1


def test_only_the_last_week_counts() -> None:
    told = readings(77.0, steps=9 * DAY)
    other = told.copy()
    other[: DAY // 2] *= 3
    values, changed = likened(panel_of(told))[0], likened(panel_of(other))[0]
    assert changed[-DAY:] == pytest.approx(values[-DAY:], abs=1e-4)
    assert (np.abs(changed - values)[2 * DAY] > 0.01).all()


def test_what_repeats_itself_still_repeats_itself_and_teaches_nothing() -> None:
    told = readings(77.0, steps=500)
    told[200:400] = told[199]
    values, lent = likened(panel_of(told))
    assert (values[199:400] == values[199]).all()
    assert (lent.times[0, 199:400] == lent.times[0, 199]).all()
    short = np.delete(told, np.s_[200:400], axis=0)
    assert lent.times[0, 400, 1] == pytest.approx(likened(panel_of(short))[1].times[0, 200, 1], rel=0.05)


def test_what_repeats_itself_keeps_its_scale_while_the_days_before_are_forgotten() -> None:
    told = readings(77.0, steps=9 * DAY)
    told[: 4 * DAY] *= 3
    told[6 * DAY :] = told[6 * DAY - 1]
    values, _ = likened(panel_of(told))
    assert (values[6 * DAY :] == values[6 * DAY - 1]).all()


def test_a_step_that_was_not_observed_is_none_and_teaches_nothing() -> None:
    seen = np.ones((300, 2), dtype=np.bool_)
    seen[100:150] = False
    told = readings(77.0, steps=300)
    values, lent = likened(panel_of(told, seen=seen))
    assert (values[100:150] == 0).all()
    assert lent.times[0, 149] == pytest.approx(lent.times[0, 99])


def test_who_is_known_stays_as_it_is() -> None:
    panel = panel_of(readings(100.0, steps=50), entity="b/eu")
    told, lent = liken(panel, scales=scales(), tides=tides(), contract=CONTRACT)
    assert lent is None
    assert told is panel


def test_without_tides_everybody_stays_as_it_is() -> None:
    panel = panel_of(readings(100.0, steps=50))
    assert liken(panel, scales=scales(), tides=None, contract=CONTRACT) == (panel, None)


def test_its_own_region_says_when_its_day_is() -> None:
    both = tides()
    hours = np.concatenate([both.hours, -both.hours])
    names = (*KNOWN, *(name.replace("eu", "us") for name in KNOWN))
    two = Tides(entities=names, hours=hours.astype(np.float32))
    every = pl.concat([scales(), scales().with_columns(pl.col(ENTITY).str.replace("eu", "us"))])
    panel = panel_of(readings(77.0, steps=60))
    sizes = []
    for region in ("eu", "us"):
        _, lent = liken(replace(panel, entities=(f"new/{region}",)), scales=every, tides=two, contract=CONTRACT)
        assert lent is not None
        sizes.append(lent.times[0, -1, 0] * 275)
    assert sizes[0] == pytest.approx(0.5 * 77, rel=0.3)
    assert sizes[1] < 0.5 * sizes[0]  # what is low in its own night is little by day


def test_forecasts_are_told_in_its_own_unit_again() -> None:
    told = readings(77.0, steps=100)
    panel = panel_of(told)
    values, lent = likened(panel)
    scaled = values[:, 0] * 275 + 550
    row = {ENTITY: "new/eu", TARGET: "queries", LEAD: 1, FORECAST: 550.0, PERSISTENCE: 550.0, SIGMA: 275.0}
    rows = pl.DataFrame(
        [{**dict.fromkeys(FORECASTS), **row, AT: START_US + step * 60_000_000, ACTUAL: scaled[step]} for step in range(100)],
        schema_overrides={AT: pl.Int64},
    ).with_columns(pl.col(AT).cast(TIME))
    found = lent.restored(rows)
    assert found[ACTUAL].to_numpy() == pytest.approx(told[:, 0], rel=1e-4)
    z = (found[ACTUAL] - found[FORECAST]) / found[SIGMA]
    assert z.to_numpy() * lent.unsure[0] == pytest.approx(values[:, 0], abs=1e-3)
    others = rows.with_columns(pl.lit("a/eu").alias(ENTITY))
    assert lent.restored(others).equals(others)
    joint = rows.with_columns(pl.lit("joint").alias(TARGET))
    whole = lent.restored(joint)
    assert whole[ACTUAL].to_numpy() == pytest.approx(scaled, rel=1e-6)
    assert whole[SIGMA].to_numpy() == pytest.approx(275 * lent.unsure[0], rel=1e-6)
    assert lent.restored(rows.with_columns(pl.lit("standstill").alias(TARGET)))[SIGMA].to_list() == [275.0] * 100


def test_it_is_surer_the_longer_it_was_seen_and_no_surer_of_what_was_not_observed() -> None:
    seen = np.ones((8 * DAY, 2), dtype=np.bool_)
    seen[DAY : 2 * DAY] = False
    _, lent = likened(panel_of(readings(77.0, steps=8 * DAY), seen=seen))
    assert lent.unsure[0, 0] == pytest.approx(np.exp(SURE * DIFFER), rel=1e-3)
    midnights = lent.unsure[0, ::DAY]  # when any tide is as high
    assert (np.diff(midnights[[0, 1, 3, 4, 5, 6, 7]]) < 0).all()
    assert midnights[2] == pytest.approx(midnights[1], rel=1e-3)
    believed = 6 * DAY / (6 * DAY + HIGH_MINUTES)
    assert lent.unsure[0, -1] == pytest.approx(np.exp(SURE * DIFFER * np.sqrt(1 - believed)) * CALM**believed**2, rel=0.01)


def test_it_is_less_sure_while_the_tide_stands_higher_than_it_saw_it_stand() -> None:
    low = tides()
    hours = low.hours.copy()
    hours[:, 144:] = hours[:, 144:] * 0.3 - 0.6  # Sunday: hours of little
    sunday = START_US - DAY * 60_000_000
    told = readings(77.0, steps=3 * DAY)
    _, lent = liken(panel_of(told, start_us=sunday), scales=scales(), tides=replace(low, hours=hours), contract=CONTRACT)
    assert lent is not None
    noons = lent.unsure[0, DAY // 2 :: DAY]
    assert noons[1] > noons[0]  # Monday's tide is a new one
    assert lent.unsure[0, DAY : 2 * DAY].max() > 1.1 * lent.unsure[0, 0]  # of which it is less sure than of its first minute's
    assert noons[2] < noons[1] / 1.05  # Tuesday's is not
    _, alike = likened(panel_of(told, start_us=sunday))
    assert alike.unsure[0, DAY + DAY // 2] < noons[1] / 1.05  # nor is Monday's, where Sundays are as other days
    nights = lent.unsure[0, ::DAY]
    assert nights[1] < nights[0]


def test_how_sure_it_is_follows_from_what_was_before_alone() -> None:
    told = readings(77.0, steps=3 * DAY)
    seen = np.ones((3 * DAY, 2), dtype=np.bool_)
    later = seen.copy()
    later[2 * DAY + 90 :] = False
    whole, part = (likened(panel_of(told, seen=which))[1].unsure[0] for which in (seen, later))
    assert (whole[: 2 * DAY + 90] == part[: 2 * DAY + 90]).all()
    short = likened(panel_of(told[: 2 * DAY + 90]))[1].unsure[0]
    assert short == pytest.approx(whole[: 2 * DAY + 90])


def test_who_has_learned_how_large_its_errors_are_is_told_in_deviations_as_such() -> None:
    _, lent = likened(panel_of(readings(77.0, steps=100)))
    row = {ENTITY: ["new/eu"], TARGET: ["queries"], LEAD: [1], SD: [1.0], THRESHOLD: [4.0]}
    for count in (0, 1440):
        thresholds = pl.DataFrame(row | {COUNT: [count]}, schema=THRESHOLDS)
        assert (lent.judged_by(thresholds).unsure == 1).all() == (count > 0)


def test_tides_are_learned_hour_by_hour_of_what_is_not_hidden() -> None:
    steps = 7 * DAY
    panel = replace(panel_of(np.zeros((steps, 2))), values=np.stack([wave(steps)] * 2, axis=1)[None].astype(np.float32))
    part = np.full((1, steps), Part.TRAIN, dtype=np.uint8)
    hidden = np.zeros((1, steps), dtype=np.bool_)
    hidden[0, DAY : 2 * DAY] = True
    spoiled = np.where(hidden[..., None], 99, panel.values).astype(np.float32)
    found = learn(replace(panel, part=part, incident=hidden, values=spoiled))
    expected = wave(steps).reshape(HOURS, 60).mean(axis=1)
    assert found.entities == ("new/eu",)
    assert np.isnan(found.hours[0, 24:48]).all()
    assert np.delete(found.hours[0, :, 0], np.s_[24:48]) == pytest.approx(np.delete(expected, np.s_[24:48]), abs=1e-5)


@pytest.mark.parametrize("how", ["newcomer", "test"])
def test_who_shows_nothing_that_counts_has_no_tide(how: str) -> None:
    panel = panel_of(np.zeros((100, 2)))
    part = np.full((1, 100), Part.TEST if how == "test" else Part.TRAIN, dtype=np.uint8)
    young = np.full((1, 100), how == "newcomer")
    assert learn(replace(panel, part=part, newcomer=young)).entities == ()
