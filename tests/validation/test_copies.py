"""Days that are told twice are found, whoever told them first; what is alike for a reason is not."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.validation.grids import STEPS_A_DAY, day, grid
from validation.copies import Copy, copied, find
from validation.profile import measure

NAMES = ("queries", "failures", "latency", "cpu")


def told_again(frame: pl.DataFrame, *, entity: str, first: float, days: float, of: str, before: timedelta) -> pl.DataFrame:
    """`frame` in which an entity tells, for some days, what another (or itself) told that long before."""
    hit = (pl.col("entity") == entity) & pl.col("at").is_between(day(first), day(first + days), closed="left")
    source = frame.filter(pl.col("entity") == of).select(pl.col("at") + before, *(pl.col(name).alias(f"{name} of it") for name in NAMES))
    joined = frame.join(source, on="at", how="left")
    return joined.with_columns(pl.when(hit).then(pl.col(f"{name} of it")).otherwise(pl.col(name)).alias(name) for name in NAMES).select(
        frame.columns
    )


def copies(frame: pl.DataFrame) -> tuple[Copy, ...]:
    return find(measure(frame), grid=frame)


def test_a_healthy_grid_tells_nothing_twice() -> None:
    assert copies(grid()) == ()


def test_a_day_of_another_day_is_found() -> None:
    frame = told_again(grid(days=14), entity="acme/us", first=9, days=1, of="acme/us", before=timedelta(days=1))
    (found,) = copies(frame)
    assert found == Copy(entity="acme/us", origin="acme/us", shift=timedelta(days=1), start=day(9), end=day(10))
    (finding,) = copied([found], severity="warn", parameters=NAMES)
    assert finding.found == "1 day told again, value by value: itself 1 day before"
    assert finding.sentence.startswith("acme/us tells on 2026-03-11 value by value what itself 1 day before told")
    assert (finding.severity, finding.parameter) == ("warn", None)


def test_days_of_another_entity_are_one_finding() -> None:
    frame = told_again(grid(days=14), entity="bolt/eu", first=3, days=5, of="acme/us", before=timedelta(0))
    assert copies(frame) == (Copy(entity="bolt/eu", origin="acme/us", shift=timedelta(0), start=day(3), end=day(8)),)


def test_an_export_of_local_days_is_found_on_the_days_that_it_fills() -> None:
    frame = told_again(grid(days=14), entity="acme/eu", first=5 + 5 / 24, days=1, of="acme/eu", before=timedelta(days=3))
    assert [(found.start, found.shift) for found in copies(frame)] == [(day(5), timedelta(days=3))]


def test_one_value_of_an_hour_that_differs_leaves_the_others_alike() -> None:
    frame = told_again(grid(days=14), entity="acme/us", first=9, days=1, of="acme/us", before=timedelta(days=1))
    nudged = frame.with_columns(pl.when(pl.int_range(pl.len()) % (STEPS_A_DAY * 100) == 0).then(0.0).otherwise("cpu").alias("cpu"))
    assert [found.entity for found in copies(nudged)] == ["acme/us"]


def test_a_quarantine_takes_all_parameters() -> None:
    frame = told_again(grid(days=14), entity="bolt/eu", first=3, days=1, of="acme/us", before=timedelta(0))
    (finding,) = copied(copies(frame), severity="quarantine", parameters=NAMES)
    assert (finding.parameter, *finding.beside) == NAMES


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_who_is_idle_is_no_copy(levels: int) -> None:
    rng = np.random.default_rng(1)
    still = [pl.Series(name, rng.integers(0, levels, 14 * STEPS_A_DAY * 3) // 1.0) for name in NAMES]
    assert copies(grid(days=14).with_columns(still)) == ()


def test_a_rhythm_of_few_values_is_no_copy() -> None:
    at = pl.col("at").dt.hour()
    jobs = [pl.when(at == hour).then(float(hour)).otherwise(0.0).alias(name) for hour, name in zip((1, 7, 13, 19), NAMES, strict=True)]
    assert copies(grid(days=14).with_columns(jobs)) == ()


def test_coarse_telemetry_is_not_looked_at() -> None:
    frame = told_again(grid(days=14), entity="bolt/eu", first=3, days=5, of="acme/us", before=timedelta(0))
    assert copies(frame.filter(pl.col("at").dt.hour() % 3 == 0, pl.col("at").dt.minute() == 0)) == ()
