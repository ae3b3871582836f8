"""Shrinkage: own numbers are believed as far as they rest on minutes and entities differ."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.shrinkage import FIRST, LENDS, SECOND, believed, shrunk
from telemetry.schema import COUNT, ENTITY, TARGET, THRESHOLD


def bars(*, between: float, chance: float, entities: int = 40, seed: int = 0) -> pl.DataFrame:
    """Entities whose log bars differ by `between`, each learned with an error of `chance` in a half."""
    rng = np.random.default_rng(seed)
    true = 1.0 + between * rng.normal(size=entities)
    first, second = true + chance * rng.normal(size=(2, entities))
    return pl.DataFrame(
        {
            ENTITY: [f"e{index}" for index in range(entities)],
            TARGET: "q",
            THRESHOLD: np.exp((first + second) / 2),
            COUNT: pl.Series([1000] * entities, dtype=pl.Int64),
            FIRST: np.exp(first),
            SECOND: np.exp(second),
            LENDS: True,
            "true": true,
        }
    )


def away(frame: pl.DataFrame) -> float:
    """Mean squared distance of the log bars from the true ones."""
    return float(frame.select((pl.col(THRESHOLD).log() - pl.col("true")).pow(2).mean()).item())


@pytest.mark.parametrize(("between", "chance"), [(0.1, 0.5), (0.3, 0.3), (0.5, 0.1)])
def test_shrunk_bars_are_nearer_to_the_truth_than_own_ones_and_than_the_mean(between: float, chance: float) -> None:
    told = bars(between=between, chance=chance)
    found = shrunk(told)
    flat = told.with_columns(pl.col(THRESHOLD).log().mean().exp())
    assert away(found) < 1.05 * min(away(told), away(flat))


def test_halves_are_believed_as_bars_of_half_the_minutes() -> None:
    told = bars(between=0.3, chance=0.3)
    found = shrunk(told)

    def weight(bar: str) -> float:
        moved, own = (np.log(frame.get_column(bar).to_numpy()) for frame in (found, told))
        assert moved.mean() == pytest.approx(own.mean())
        return float(moved.std() / own.std())

    n0 = 1000 * (1 / weight(THRESHOLD) - 1)
    assert n0 > 100
    assert weight(FIRST) == pytest.approx(weight(SECOND)) == pytest.approx(500 / (500 + n0))


def test_entities_that_do_not_differ_get_one_bar() -> None:
    found = shrunk(bars(between=0.0, chance=0.5)).get_column(THRESHOLD).log()
    assert found.std() < 0.1  # type: ignore[operator]


def test_entities_that_are_known_exactly_keep_theirs() -> None:
    told = bars(between=0.5, chance=0.0)
    assert shrunk(told).get_column(THRESHOLD).to_list() == pytest.approx(told.get_column(THRESHOLD).to_list())


def test_two_entities_keep_their_own_as_nobody_knows_how_much_they_differ() -> None:
    told = bars(between=0.5, chance=0.5, entities=2)
    assert shrunk(told).get_column(THRESHOLD).to_list() == told.get_column(THRESHOLD).to_list()


def test_newcomers_lean_on_the_others_who_do_not_lean_on_them() -> None:
    told = bars(between=0.3, chance=0.3)
    new = told.head(1).with_columns(
        pl.lit("new").alias(ENTITY),
        pl.lit(100.0).alias(THRESHOLD),
        pl.lit(60).cast(pl.Int64).alias(COUNT),
        pl.lit(value=False).alias(LENDS),
    )
    found = shrunk(pl.concat([told, new]))
    assert found.head(-1)[THRESHOLD].to_list() == pytest.approx(shrunk(told)[THRESHOLD].to_list())
    assert found.row(-1, named=True)[THRESHOLD] < 10.0


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_weight_goes_from_none_to_all(minutes: float, equal: float) -> None:
    def weight(n: float, n0: float) -> float:
        return float(pl.select(believed(pl.lit(n), equal=n0)).item())

    assert 0 <= weight(minutes, equal) <= 1
    assert weight(0.0, equal) == (0.0 if equal > 0 else 1.0)
    assert weight(equal, equal) == pytest.approx(0.5 if equal > 0 else 1.0)
    assert weight(1e12, equal) == pytest.approx(1.0, abs=1e-5)
    assert weight(minutes, float("inf")) == 0.0
