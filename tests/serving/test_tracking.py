"""Tracking: thresholds that keep their promise under drift, by what was before alone."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.surprise import Z
from serving.tracking import OFFSET, offsets, tracked
from telemetry.schema import AT, ENTITY, LABEL, SURPRISE, TARGET, THRESHOLD, TIME

START = datetime(2026, 1, 1, tzinfo=UTC)
RATE, STEP, LEAST = 0.01, 0.3, 1.0


def minutes(*series: NDArray[np.float64], threshold: float = 3.0) -> pl.DataFrame:
    """z of several entities, unlabelled."""
    return pl.concat(
        pl.DataFrame({AT: [START + timedelta(minutes=minute) for minute in range(len(z))], Z: z}).select(
            pl.lit(f"e{number}").alias(ENTITY),
            pl.lit("q").alias(TARGET),
            pl.col(AT).cast(TIME),
            pl.lit(value=False).alias(LABEL),
            Z,
            pl.lit(threshold).alias(THRESHOLD),
        )
        for number, z in enumerate(series)
    )


def follow(z: pl.DataFrame, **changes: pl.DataFrame) -> pl.DataFrame:
    return tracked(z, rate=RATE, step=STEP, least=LEAST, **changes)


def share(told: pl.DataFrame) -> float:
    return float(told.select((pl.col(Z) > pl.col(THRESHOLD)).mean()).item())


def test_whatever_comes_the_realised_share_is_the_promised_one() -> None:
    rng = np.random.default_rng(0)
    drift = np.exp(np.linspace(0, 3, 8000)) * (1 + rng.standard_exponential(8000))
    level = 1 + rng.standard_exponential(8000) + 40 * (np.arange(8000) > 3000)
    z = minutes(drift, level)
    assert share(z) > 0.3, "thresholds that stay are wrong about both"
    for own in follow(z).partition_by(ENTITY):
        most = (np.log(own[Z].to_numpy().max() / LEAST) + STEP) / (STEP * own.height)
        assert abs(share(own) - RATE) <= most
        assert share(own) == pytest.approx(RATE, rel=0.35)


def test_what_comes_later_changes_nothing_before() -> None:
    z = minutes(np.random.default_rng(0).standard_exponential(300) * 3)
    longer = pl.concat([z, z.with_columns(pl.col(AT) + timedelta(minutes=300), pl.col(Z) * 50)])
    assert follow(longer).head(300).equals(follow(z))


def test_a_minute_is_judged_before_it_counts() -> None:
    found = follow(minutes(np.array([9.0, 9.0, 0.0])))[THRESHOLD].to_list()
    assert found == pytest.approx([3.0, 3.0 * np.exp(STEP * (1 - RATE)), 3.0 * np.exp(2 * STEP * (1 - RATE))])


def test_labelled_minutes_and_minutes_without_z_move_nothing() -> None:
    z = minutes(np.array([9.0] * 20))
    for still in (pl.lit(value=True).alias(LABEL), pl.lit(None, dtype=pl.Float64).alias(Z)):
        assert follow(z.with_columns(still))[THRESHOLD].to_list() == pytest.approx([3.0] * 20)


def test_rows_keep_their_order_and_a_series_without_threshold_has_none() -> None:
    z = minutes(np.array([9.0, 1.0]), np.array([9.0, 1.0])).with_columns(pl.when(pl.col(ENTITY) == "e0").then(THRESHOLD).alias(THRESHOLD))
    found = follow(z.reverse())
    assert found.drop(THRESHOLD).equals(z.reverse().drop(THRESHOLD))
    assert found.filter(pl.col(ENTITY) == "e1")[THRESHOLD].null_count() == 2


@settings(max_examples=25)
@given(st.integers(1, 150), st.floats(0.0, 6.0))
def test_stretch_by_stretch_is_as_all_at_once(cut: int, scale: float) -> None:
    z = minutes(*np.random.default_rng(1).standard_exponential((2, 200)) * scale, threshold=1.1)
    whole = follow(z)
    first = pl.col(AT) < START + timedelta(minutes=cut)
    past = whole.filter(first).with_columns((pl.col(Z) / pl.col(THRESHOLD)).alias(SURPRISE))
    begin = offsets(past, thresholds=z.select(ENTITY, TARGET, THRESHOLD), rate=RATE, step=STEP, least=LEAST)
    later = follow(z.filter(~first), begin=begin)
    assert later[THRESHOLD].to_list() == pytest.approx(whole.filter(~first)[THRESHOLD].to_list())
    assert begin[OFFSET].len() == 2
