"""Small frames of forecasts and scores."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from telemetry.schema import FORECASTS, SCORES, TIME

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ForecastsOf = Callable[..., pl.DataFrame]
ScoresOf = Callable[..., pl.DataFrame]


@pytest.fixture(scope="session")
def forecasts_of() -> ForecastsOf:
    """FORECASTS of one entity and target, one minute an error (in sigma of 2), the same at each lead."""

    def build(errors: Sequence[float | None], *, leads: Sequence[int] = (1,), **changes: Any) -> pl.DataFrame:
        usual = {"entity": "a", "target": "q", "actual": 10.0, "persistence": 10.0, "sigma": 2.0, "newcomer": False, "label": False}
        error = pl.Series("forecast", errors, dtype=pl.Float64)
        told = pl.DataFrame({"at": _minutes(len(error)), "forecast": 10.0 - 2.0 * error})
        rows = told.join(pl.DataFrame({"lead_minutes": leads}), how="cross", maintain_order="left_right")
        rows = rows.with_columns(pl.lit(value).alias(name) for name, value in (usual | changes).items())
        return rows.select(pl.col(name).cast(dtype) for name, dtype in FORECASTS.items())

    return build


@pytest.fixture(scope="session")
def scores_of() -> ScoresOf:
    """SCORES of one entity and target, one minute a surprise; None is a minute without a row."""

    def build(surprises: Sequence[float | None], *, entity: str = "a", target: str = "q", cadence: timedelta = MINUTE) -> pl.DataFrame:
        surprise = pl.Series("surprise", surprises, dtype=pl.Float64)
        rows = pl.DataFrame({"at": _minutes(len(surprise), cadence=cadence), "surprise": surprise}).drop_nulls()
        rows = rows.with_columns(
            pl.lit(1.0).alias("actual"),
            pl.lit(1.0).alias("forecast"),
            pl.when(pl.col("surprise") > 1).then(pl.lit("anomalous")).otherwise(pl.lit("normal")).alias("verdict"),
            entity=pl.lit(entity),
            target=pl.lit(target),
            release=pl.lit("r"),
        )
        return rows.select(pl.col(name).cast(dtype) for name, dtype in SCORES.items())

    return build


def _minutes(count: int, *, cadence: timedelta = MINUTE) -> pl.Series:
    """So many steps from START on."""
    return pl.Series(START.timestamp() * 1e6 + np.arange(count) * (cadence / timedelta(microseconds=1))).cast(pl.Int64).cast(TIME)
