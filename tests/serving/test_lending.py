"""Lending: how a newcomer's own minutes take over from what is lent."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from serving.lending import DIFFER, EQUAL_MINUTES, MEMORY, SURE, grown
from serving.surprise import Z
from telemetry.schema import AT, COUNT, ENTITY, LABEL, TARGET, TIME

START = datetime(2026, 1, 1, tzinfo=UTC)


def z_of(times: float, *, minutes: int, count: int = 0, label: bool = False) -> pl.DataFrame:
    """z that are so many times those of everybody else."""
    at = pl.datetime_range(START, START + timedelta(minutes=minutes - 1), "1m", eager=True, time_unit="us").cast(TIME)
    z = times * np.abs(np.random.default_rng(0).normal(size=minutes))
    return pl.DataFrame({AT: at, Z: z}).select(
        pl.lit("new").alias(ENTITY),
        AT,
        pl.lit("q").alias(TARGET),
        pl.lit(label).alias(LABEL),
        Z,
        pl.lit(count, dtype=pl.Int64).alias(COUNT),
    )


def divided_by(told: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return (told[Z] / grown(told)[Z]).to_numpy()


def test_who_has_its_own_thresholds_is_judged_by_them() -> None:
    told = z_of(5.0, minutes=100, count=1440)
    assert grown(told).equals(told)


def test_the_first_minute_is_judged_by_what_is_lent_and_by_how_little_is_known() -> None:
    assert divided_by(z_of(5.0, minutes=10))[0] == pytest.approx(np.exp(SURE * DIFFER))


def test_after_hours_of_its_own_a_newcomer_is_judged_by_them() -> None:
    found = divided_by(z_of(5.0, minutes=1000))
    assert found[60] == pytest.approx(5.0, rel=0.4)
    assert found[-1] == pytest.approx(5.0, rel=0.2)


def test_a_calm_newcomer_is_believed_to_be_no_calmer_than_the_others() -> None:
    assert (divided_by(z_of(0.1, minutes=3000)) >= 1.0).all()


def test_what_is_not_known_narrows_as_minutes_come() -> None:
    found = divided_by(z_of(0.1, minutes=1500))
    assert found[45] == pytest.approx(np.exp(SURE * DIFFER * np.sqrt(EQUAL_MINUTES / (EQUAL_MINUTES + 45))))
    assert found[-1] < 1.1


@pytest.mark.parametrize("begin", [0, 700])
def test_what_was_longer_ago_than_its_memory_does_not_count(begin: int) -> None:
    told = z_of(5.0, minutes=3000).filter(pl.int_range(pl.len()) % 7 > 0)  # gaps: a day is a day, not so many rows
    since = START + timedelta(minutes=begin)
    late = pl.col(AT) >= since + MEMORY
    of_all = grown(told).filter(late)
    assert grown(told.filter(pl.col(AT) >= since)).filter(late)[Z].to_list() == pytest.approx(of_all[Z].to_list())


def test_only_minutes_before_count() -> None:
    told = z_of(5.0, minutes=200)
    loud = told.with_columns(pl.when(pl.col(AT) >= START + timedelta(minutes=100)).then(pl.col(Z) * 50).otherwise(Z).alias(Z))
    assert divided_by(loud)[:101] == pytest.approx(divided_by(told)[:101])


def test_labelled_minutes_teach_nothing() -> None:
    assert divided_by(z_of(5.0, minutes=200, label=True)) == pytest.approx(np.exp(SURE * DIFFER))


def test_a_short_outage_is_not_taken_for_normal() -> None:
    told = z_of(1.0, minutes=300)
    hit = pl.col(AT).is_between(START + timedelta(minutes=200), START + timedelta(minutes=220))
    found = divided_by(told.with_columns(pl.when(hit).then(40.0).otherwise(Z).alias(Z)))
    assert found[200:221].max() < 1.5 * found[199]


def test_rows_keep_their_order() -> None:
    told = pl.concat([z_of(5.0, minutes=50), z_of(2.0, minutes=50, count=9).with_columns(pl.lit("old").alias(ENTITY))])
    shuffled = told.sample(fraction=1.0, shuffle=True, seed=0)
    assert grown(shuffled).sort(ENTITY, AT).equals(grown(told).sort(ENTITY, AT))
    assert grown(shuffled).drop(Z).equals(shuffled.drop(Z))
