"""Small frames of forecasts and scores."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from telemetry.schema import FORECASTS, SCORES

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ForecastsOf = Callable[..., pl.DataFrame]
ScoresOf = Callable[..., pl.DataFrame]


@pytest.fixture(scope="session")
def forecasts_of() -> ForecastsOf:
    """FORECASTS of one entity and target, one minute an error (in sigma of 2), the same at each lead."""

    def build(errors: Sequence[float | None], *, leads: Sequence[int] = (1,), **changes: Any) -> pl.DataFrame:
        usual = {"entity": "a", "target": "q", "actual": 10.0, "persistence": 10.0, "sigma": 2.0, "newcomer": False, "label": False}
        told = [
            {"at": START + index * MINUTE, "lead_minutes": lead, "forecast": None if error is None else 10.0 - 2.0 * error}
            for index, error in enumerate(errors)
            for lead in leads
        ]
        return pl.DataFrame([usual | row | changes for row in told], schema=FORECASTS)

    return build


@pytest.fixture(scope="session")
def scores_of() -> ScoresOf:
    """SCORES of one entity and target, one minute a surprise; None is a minute without a row."""

    def build(surprises: Sequence[float | None], *, entity: str = "a", target: str = "q", cadence: timedelta = MINUTE) -> pl.DataFrame:
        rows = [
            {
                "entity": entity,
                "at": START + index * cadence,
                "target": target,
                "actual": 1.0,
                "forecast": 1.0,
                "surprise": surprise,
                "verdict": "anomalous" if surprise > 1 else "normal",
                "release": "r",
            }
            for index, surprise in enumerate(surprises)
            if surprise is not None
        ]
        return pl.DataFrame(rows, schema=SCORES)

    return build
