"""Further metrics of Great Expectations beside those of `measures`: days that are told twice, and the falls of counters."""
# ruff: noqa: N805  # the name `cls` is the library's

from datetime import timedelta
from typing import Any, Final

import polars as pl
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.metrics.metric_provider import metric_value

from validation.copies import Copy, find
from validation.counters import falls
from validation.measures import FRAME, PROFILE, Asked, Metrics, _OfFrame

COPIES: Final = "table.tidewatch.copies"
FALLS: Final = "table.tidewatch.falls"


class CopiesMetric(_OfFrame):
    """The days that are told twice."""

    metric_name = COPIES
    needs = (FRAME, PROFILE)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, metrics: Metrics, **_: Any) -> tuple[Copy, ...]:
        return find(metrics[PROFILE], grid=metrics[FRAME])


class FallsMetric(_OfFrame):
    """The falls of a counter, over readings as they were told."""

    metric_name = FALLS
    value_keys = ("column", "since_seconds")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, metrics: Metrics, metric_value_kwargs: Asked, **_: Any) -> pl.DataFrame:
        asked = metric_value_kwargs
        return falls(metrics[FRAME], parameter=asked["column"], since=timedelta(seconds=asked["since_seconds"]))
