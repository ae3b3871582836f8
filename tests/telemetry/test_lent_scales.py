"""Scales of entities that no training has seen: their own, as soon as there is a day of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from telemetry import contract as contracts
from telemetry.scaling import LENT_DAYS, lend
from telemetry.schema import AT, COUNT, ENTITY, MEAN, OBSERVED, PARAMETER, SCALES, SD, TIME

START = datetime(2026, 1, 1, tzinfo=UTC)
CONTRACT = contracts.load(Path(__file__).parents[1] / "contracts" / "nab_raw.toml")
NAME = CONTRACT.names[0]
DAY = timedelta(days=LENT_DAYS) // CONTRACT.time.cadence
KNOWN = pl.DataFrame([("a", NAME, 10.0, 2.0, 99), ("b", NAME, 20.0, 4.0, 99)], schema=SCALES, orient="row")


def grid_of(entity: str, *, steps: int, mean: float = 500.0, sd: float = 50.0) -> pl.LazyFrame:
    values = mean + sd * np.random.default_rng(0).normal(size=steps)
    at = [START + index * CONTRACT.time.cadence for index in range(steps)]
    told = {ENTITY: [entity] * steps, AT: at, OBSERVED: [True] * steps, NAME: values}
    frame = pl.DataFrame(told, schema_overrides={ENTITY: pl.String, AT: TIME})
    return frame.lazy()


def row_of(told: pl.DataFrame, entity: str) -> tuple[float, float, int]:
    return told.filter(pl.col(ENTITY) == entity, pl.col(PARAMETER) == NAME).select(MEAN, SD, COUNT).row(0)


def test_after_a_day_a_strangers_scale_is_its_own() -> None:
    told = lend(KNOWN, grid=grid_of("new", steps=DAY), contract=CONTRACT)
    mean, sd, count = row_of(told, "new")
    assert mean == pytest.approx(500, rel=0.05)
    assert sd == pytest.approx(50, rel=0.15)
    assert count == 0  # no training has seen it


def test_before_that_it_leans_on_what_all_have_in_common() -> None:
    told = lend(KNOWN, grid=grid_of("new", steps=DAY // 4), contract=CONTRACT)
    mean, _, _ = row_of(told, "new")
    assert mean == pytest.approx(15 * 0.75 + 500 * 0.25, rel=0.05)


def test_who_was_trained_on_keeps_its_own() -> None:
    told = lend(KNOWN, grid=grid_of("a", steps=DAY), contract=CONTRACT)
    assert told.equals(KNOWN)


def test_a_constant_is_told_by_the_floor_of_the_others() -> None:
    told = lend(KNOWN, grid=grid_of("new", steps=DAY, sd=0.0), contract=CONTRACT)
    assert row_of(told, "new")[1] == pytest.approx(0.03)


def test_nobody_new_changes_nothing() -> None:
    told = lend(KNOWN, grid=grid_of("new", steps=0), contract=CONTRACT)
    assert told.equals(KNOWN)
