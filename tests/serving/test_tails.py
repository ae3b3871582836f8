"""Tails: rates within what was seen and beyond it."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.surprise import Z
from serving.tails import conformal, fitted

SIZE = 8000


def realised(shape: float, *, rate: float, bar: pl.Expr) -> float:
    """Mean share of further minutes above the bars that groups of minutes of a generalised Pareto law give, as a share of the rate."""
    rng = np.random.default_rng(0)
    groups = 30
    uniform = rng.random((groups, SIZE))
    z = -np.log(uniform) if shape == 0 else (uniform**-shape - 1) / shape
    frame = pl.DataFrame({"g": np.repeat(np.arange(groups), SIZE), Z: z.ravel()}).sort(Z, descending=True)
    bars = frame.group_by("g").agg(bar.alias("bar")).get_column("bar").to_numpy()
    above = np.exp(-bars) if shape == 0 else np.maximum(1 + shape * bars, 0) ** (-1 / shape)
    return float(above.mean() / rate)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3])
@pytest.mark.parametrize("rate", [1e-2, 1e-3])
def test_both_keep_a_rate_that_was_seen(shape: float, rate: float) -> None:
    assert realised(shape, rate=rate, bar=conformal(rate=rate)) == pytest.approx(1.0, abs=0.1)
    assert realised(shape, rate=rate, bar=fitted(rate=rate)) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3])
def test_the_fitted_law_goes_on_where_nothing_was_seen(shape: float) -> None:
    assert 0.5 < realised(shape, rate=0.5 / SIZE, bar=fitted(rate=0.5 / SIZE)) < 2.5


def test_the_conformal_bar_beyond_all_minutes_is_no_lower_than_the_greatest() -> None:
    z = pl.DataFrame({Z: np.sort(np.random.default_rng(0).random(50))[::-1]})
    assert z.select(conformal(rate=1e-4)).item() >= z.get_column(Z).max()


def test_a_group_may_hold_only_the_greatest_of_its_minutes() -> None:
    z = pl.DataFrame({Z: np.sort(np.random.default_rng(0).normal(size=5000) ** 2)[::-1]})
    for rate in (1e-3, 1e-5):
        whole = z.select(conformal(rate=rate)).item()
        assert z.head(200).select(conformal(rate=rate, count=pl.lit(5000))).item() == whole


@pytest.mark.parametrize("values", [[0.0] * 100, [1.0], [3.0, 1.0]])
def test_minutes_that_are_all_alike_or_very_few_give_a_number(values: list[float]) -> None:
    found = pl.DataFrame({Z: values}).select(a=fitted(rate=1e-5), b=conformal(rate=1e-5)).row(0)
    assert all(np.isfinite(found))
    assert min(found) >= 0


Z_OF_GROUPS = st.lists(st.lists(st.floats(0, 50), min_size=1, max_size=60), min_size=1, max_size=8)


@settings(max_examples=25)
@given(Z_OF_GROUPS, st.floats(1e-6, 0.9), st.floats(1e-6, 0.9))
def test_a_lower_rate_is_a_higher_bar(groups: list[list[float]], one: float, other: float) -> None:
    z = pl.DataFrame({"g": range(len(groups)), Z: [sorted(values, reverse=True) for values in groups]}).explode(Z)
    bars = z.group_by("g").agg(low=conformal(rate=min(one, other)), high=conformal(rate=max(one, other)))
    assert bars.height == len(groups)
    assert (bars["high"] <= bars["low"] * (1 + 1e-9) + 1e-9).all()


SQUARES = pl.DataFrame({Z: np.sort(np.random.default_rng(0).normal(size=900) ** 2)[::-1]})


@settings(max_examples=15)
@given(st.lists(st.floats(1e-6, 0.9), min_size=8, max_size=8).map(lambda rates: sorted(rates, reverse=True)))
def test_a_lower_rate_is_a_higher_bar_of_the_fitted_law(rates: list[float]) -> None:
    bars = SQUARES.select(fitted(rate=rate).alias(str(number)) for number, rate in enumerate(rates)).row(0)
    assert all(high <= low * (1 + 1e-9) for high, low in pairwise(bars))


def test_the_rank_is_between_two_minutes_where_it_is_no_whole_number() -> None:
    z = pl.DataFrame({Z: np.arange(999.0, 0.0, -1.0)})
    assert z.select(conformal(rate=0.01)).item() == pytest.approx(990)  # (999 + 1) * 0.99
    assert z.select(conformal(rate=0.0125)).item() == pytest.approx(987.5)
