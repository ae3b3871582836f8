"""Scales: mean 0 and standard deviation 1 per entity and parameter, fitted on the training part only, in canonical units.

An entity with less than `FULL_WEIGHT_DAYS` of training leans on its cohort; a deviation never falls below a floor, because
columns that were constant in training wake up in production.
"""

from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.contract import Contract
from telemetry.schema import AT, COHORT, COUNT, ENTITY, MEAN, PARAMETER, SCALES, SD, conform

FULL_WEIGHT_DAYS: Final = 7
"""From this much history on an entity's own scale is its own alone; below it is mixed linearly with its cohort's."""
LENT_DAYS: Final = 1
"""An entity that no training has seen yet: from so much of its own on, what everybody has in common counts no more."""
FLOOR_OF_COHORT: Final = 0.01
"""The least deviation, as a share of the cohort's median deviation of the parameter."""
FLOOR_OF_RANGE: Final = 0.01
"""Where the whole cohort is constant: this share of the declared range, or one unit if that is smaller."""


def fit(grid: pl.LazyFrame, *, contract: Contract, entities: pl.DataFrame, cuts: pl.DataFrame) -> pl.DataFrame:
    """The scale of every entity and parameter.

    Args:
        grid: rows of `grid_schema`; only those before the entity's `train_end` are looked at.
        contract: names the parameters and their declared ranges.
        entities: ENTITIES; those without a training row get their cohort's scale (COUNT 0).
        cuts: from `windows.cuts`, with `train_end` per entity.

    Returns:
        SCALES, in canonical units, sorted by entity and parameter.
    """
    own = _own(grid, contract=contract, cuts=cuts)
    every = entities.select(ENTITY, COHORT).join(pl.DataFrame({PARAMETER: contract.names}), how="cross")
    rows = every.join(own, on=[ENTITY, PARAMETER], how="left")
    rows = rows.with_columns(pl.col(COUNT).fill_null(0)).join(_floors(contract), on=PARAMETER)
    cohort = [_of_group(MEAN, COHORT).alias("cohort_mean"), _of_group(SD, COHORT).alias("cohort_sd")]
    full = timedelta(days=FULL_WEIGHT_DAYS) / contract.time.cadence
    weight = (pl.col(COUNT) / full).clip(0.0, 1.0)
    return conform(
        rows.with_columns(cohort)
        .with_columns(_mix(MEAN, weight), _mix(SD, weight))
        .with_columns(pl.max_horizontal(SD, pl.col("cohort_sd") * FLOOR_OF_COHORT))
        .with_columns(pl.when(pl.col(SD) > 0).then(SD).otherwise("floor").alias(SD))
        .select(list(SCALES))
        .with_columns(pl.col(COUNT).cast(pl.Int64))
        .sort(ENTITY, PARAMETER),
        SCALES,
        name="scales",
    )


def lend(scales: pl.DataFrame, *, grid: pl.LazyFrame, contract: Contract) -> pl.DataFrame:
    """`scales`, and those of entities that no training has seen: of their own rows, mixed with what everybody has in common.

    Args:
        scales: SCALES; an entity with a COUNT keeps its own.
        grid: rows of `grid_schema` of the others, from before what is to be scaled. From `LENT_DAYS` of them on they count alone.
        contract: names the parameters.

    Returns:
        SCALES; the lent ones have a COUNT of 0.
    """
    known = scales.filter(pl.col(COUNT) > 0)
    told = _told(grid.join(known.lazy().select(ENTITY).unique(), on=ENTITY, how="anti"), contract=contract)
    common = known.group_by(PARAMETER).agg(pl.col(MEAN).median().alias("cohort_mean"), pl.col(SD).median().alias("cohort_sd"))
    weight = (pl.col(COUNT) / (timedelta(days=LENT_DAYS) / contract.time.cadence)).clip(0.0, 1.0)
    lent = (
        told.join(common, on=PARAMETER)
        .with_columns(_mix(MEAN, weight), _mix(SD, weight))
        .with_columns(pl.max_horizontal(SD, pl.col("cohort_sd") * FLOOR_OF_COHORT), pl.lit(0, dtype=pl.Int64).alias(COUNT))
        .filter(pl.col(SD) > 0)
        .select(list(SCALES))
    )
    others = scales.join(lent, on=[ENTITY, PARAMETER], how="anti")
    return conform(pl.concat([others, lent]).sort(ENTITY, PARAMETER), SCALES, name="scales")


def _own(grid: pl.LazyFrame, *, contract: Contract, cuts: pl.DataFrame) -> pl.DataFrame:
    """Mean, deviation and count of every entity's own training rows."""
    return _told(grid.join(cuts.lazy().select(ENTITY, "train_end"), on=ENTITY).filter(pl.col(AT) < pl.col("train_end")), contract=contract)


def _told(rows: pl.LazyFrame, *, contract: Contract) -> pl.DataFrame:
    """Mean, deviation and count of every entity's rows."""
    told = [
        pl.struct(pl.col(name).mean().alias(MEAN), pl.col(name).std(ddof=0).alias(SD), pl.col(name).count().alias(COUNT)).alias(name)
        for name in contract.names
    ]
    wide = rows.group_by(ENTITY).agg(told).collect(engine="in-memory")
    return wide.unpivot(index=ENTITY, variable_name=PARAMETER, value_name="told").unnest("told")


def _floors(contract: Contract) -> pl.DataFrame:
    bounded = (
        min(1.0, FLOOR_OF_RANGE * (p.maximum - p.minimum)) if p.maximum is not None and p.minimum is not None else 1.0
        for p in contract.parameters.values()
    )
    return pl.DataFrame({PARAMETER: contract.names, "floor": list(bounded)})


def _of_group(column: str, group: str) -> pl.Expr:
    """The group's median over its entities with history, the whole fleet's where the group has none."""
    known = pl.when(pl.col(COUNT) > 0).then(column)
    return pl.coalesce(known.median().over(group, PARAMETER), known.median().over(PARAMETER), 0.0)


def _mix(column: str, weight: pl.Expr) -> pl.Expr:
    return (weight * pl.col(column).fill_null(0.0) + (1.0 - weight) * pl.col(f"cohort_{column}")).alias(column)


def matrices(
    scales: pl.DataFrame, *, entities: tuple[str, ...], parameters: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and deviations as f64[entity, parameter] each; an entity without a scale gets the median of all."""
    order = (
        pl.DataFrame({ENTITY: entities}).with_row_index("e").join(pl.DataFrame({PARAMETER: parameters}).with_row_index("p"), how="cross")
    )
    fallback = scales.group_by(PARAMETER).agg(pl.col(MEAN).median().alias("m"), pl.col(SD).median().alias("s"))
    rows = order.join(scales, on=[ENTITY, PARAMETER], how="left").join(fallback, on=PARAMETER, how="left").sort("e", "p")
    shape = (len(entities), len(parameters))
    mean = rows.select(pl.coalesce(MEAN, "m", 0.0)).to_series().to_numpy().reshape(shape)
    sd = rows.select(pl.coalesce(SD, "s", 1.0)).to_series().to_numpy().reshape(shape)
    return mean, sd
