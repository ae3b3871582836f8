"""What the expectations read, as metrics of Great Expectations: Polars over the batch's Arrow columns, each computed once a suite."""
# ruff: noqa: ARG003, N805  # the signatures, and the name `cls`, are the library's

import sys
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import pandas as pd
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]  # it has no stubs
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from great_expectations.validator.metric_configuration import MetricConfiguration

from telemetry.schema import AT, ENTITY
from validation.presence import count
from validation.profile import Profile, infinite, measure, outside, reaching
from validation.rules import breaches
from validation.triage import Diagnosis, diagnose

FRAME: Final = "table.tidewatch.frame"
PROFILE: Final = "table.tidewatch.profile"
DIAGNOSES: Final = "table.tidewatch.diagnoses"
OUTSIDE: Final = "table.tidewatch.outside"
INFINITE: Final = "table.tidewatch.infinite"
BREACHES: Final = "table.tidewatch.breaches"
PRESENCE: Final = "table.tidewatch.presence"
_PACKED_ENTITY: Final = "entity as category"
_PACKED_AT: Final = "at in microseconds"

Metrics = Mapping[str, Any]  # Any: a metric is what its provider makes
Asked = Mapping[str, Any]  # Any: what an expectation asks a metric for, by name


def packed(grid: pl.DataFrame) -> pl.DataFrame:
    """`grid` with entity and time in columns that pandas hashes in no time.

    The library hashes every batch below 1 GB; as text and timestamps these two columns would take longer than all checks.
    """
    return grid.select(
        pl.col(ENTITY).cast(pl.Categorical).alias(_PACKED_ENTITY), pl.col(AT).dt.epoch("us").alias(_PACKED_AT), pl.exclude(ENTITY, AT)
    )


def unpacked(frame: pl.DataFrame) -> pl.DataFrame:
    """What was packed as it was, and any other frame as it is."""
    if _PACKED_ENTITY not in frame.columns:
        return frame
    restored = (pl.col(_PACKED_ENTITY).cast(pl.String).alias(ENTITY), pl.from_epoch(_PACKED_AT, "us").dt.replace_time_zone("UTC").alias(AT))
    return frame.select(*restored, pl.exclude(_PACKED_ENTITY, _PACKED_AT))


def as_batch(frame: pl.DataFrame) -> pd.DataFrame:
    """`frame` for the library, without a copy: `to_pandas` would put the pieces of its columns together first."""
    return pd.DataFrame({column.name: _without_copy(column) for column in frame.iter_columns()}, copy=False)


def _without_copy(column: pl.Series) -> "pd.Series[Any]":  # Any: of whatever Arrow has
    pieces = pa.chunked_array([piece.to_arrow(compat_level=pl.CompatLevel.oldest()) for piece in column.get_chunks()])
    return pd.Series(pd.arrays.ArrowExtensionArray(pieces), copy=False)


class _OfFrame(TableMetricProvider):
    """A metric over the frame as Polars sees it, without a copy."""

    needs: ClassVar[tuple[str, ...]] = (FRAME,)

    @classmethod
    def _get_evaluation_dependencies(
        cls,
        metric: MetricConfiguration,
        configuration: Any = None,
        execution_engine: Any = None,
        runtime_configuration: Any = None,
    ) -> dict[str, MetricConfiguration]:  # Any: the library's own types
        domain = {key: value for key, value in metric.metric_domain_kwargs.items() if key != "column"}
        return {name: MetricConfiguration(metric_name=name, metric_domain_kwargs=domain, metric_value_kwargs={}) for name in cls.needs}


class FrameMetric(TableMetricProvider):
    """The batch as a Polars frame; NaN, which passes for a value in Arrow columns, becomes null."""

    metric_name = FRAME

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, execution_engine: PandasExecutionEngine, metric_domain_kwargs: dict[str, Any], **_: Any) -> pl.DataFrame:
        frame, _compute, _accessor = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE)
        return unpacked(pl.from_pandas(frame, rechunk=False)).with_columns(pl.selectors.float().fill_nan(None))


class ProfileMetric(_OfFrame):
    """All statistics of a grid, in one pass."""

    metric_name = PROFILE

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, metrics: Metrics, **_: Any) -> Profile:
        return measure(metrics[FRAME])


class DiagnosesMetric(_OfFrame):
    """All errors of arithmetic; `temperatures` are names of parameters, joined by blanks."""

    metric_name = DIAGNOSES
    value_keys = ("factor", "temperatures")
    needs = (FRAME, PROFILE)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, metrics: Metrics, metric_value_kwargs: Asked, **_: Any) -> tuple[Diagnosis, ...]:
        asked = metric_value_kwargs
        degrees = frozenset(asked["temperatures"].split())
        return diagnose(metrics[PROFILE], grid=metrics[FRAME], factor=asked["factor"], temperatures=degrees)


class OutsideMetric(_OfFrame):
    """What of a parameter lies outside its plausible range, per entity."""

    metric_name = OUTSIDE
    value_keys = ("column", "min_value", "max_value")
    needs = (FRAME, PROFILE)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, metrics: Metrics, metric_value_kwargs: Asked, **_: Any) -> pl.DataFrame:
        asked = metric_value_kwargs
        parameter, minimum, maximum = asked["column"], asked["min_value"], asked["max_value"]
        steps = reaching(metrics[FRAME], profile=metrics[PROFILE], parameter=parameter, minimum=minimum, maximum=maximum)
        return outside(steps, parameter=parameter, minimum=minimum, maximum=maximum)


class InfiniteMetric(_OfFrame):
    """What of a parameter is infinite, per entity."""

    metric_name = INFINITE
    value_keys = ("column",)
    needs = (FRAME, PROFILE)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, metrics: Metrics, metric_value_kwargs: Asked, **_: Any) -> pl.DataFrame:
        parameter, most = metric_value_kwargs["column"], sys.float_info.max
        steps = reaching(metrics[FRAME], profile=metrics[PROFILE], parameter=parameter, minimum=-most, maximum=most)
        return infinite(steps, parameter=parameter)


class BreachesMetric(_OfFrame):
    """Which steps break a rule between two parameters (column A at least column B), per entity."""

    metric_name = BREACHES
    value_keys = ("column_A", "column_B", "or_equal", "tolerance")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, metrics: Metrics, metric_value_kwargs: Asked, **_: Any) -> pl.DataFrame:
        asked = metric_value_kwargs
        left, right = asked["column_B"], asked["column_A"]
        return breaches(metrics[FRAME], left=left, right=right, or_equal=asked["or_equal"], tolerance=asked["tolerance"])


class PresenceMetric(_OfFrame):
    """In how many steps of a day an entity was observed."""

    metric_name = PRESENCE

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, metrics: Metrics, **_: Any) -> pl.DataFrame:
        return count(metrics[FRAME])
