"""What a grid holds, in numbers: one Polars pass over all its rows, small frames out. Nothing is judged here.

Everything is in canonical units, before scaling: a standardised x and a standardised 100 x are the same.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import polars as pl

from telemetry.schema import AT, ENTITY, OBSERVED, PARAMETER

HOUR_US: Final = 3_600_000_000
HOUR: Final = "hour"
KEYS: Final = (ENTITY, AT, OBSERVED)
_HOURS_END: Final = 100_000_000
"""More hours than a 64-bit time in microseconds may have, so that entity and hour make one number."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """The statistics of a grid.

    Attributes:
        cadence: the commonest step between two rows of an entity.
        entities: per entity `rows, first, last, repeated, first_repeated, backward, first_backward`.
        cells: per entity and parameter `rows, missing, missing_while_observed, lowest, highest`.
        hours: per parameter, entity and hour (since 1970-01-01 UTC), sorted so: `level`, the median of what is neither zero nor infinite,
            without its sign; `told`, how many values that is; `whole`, whether all values of the hour are whole numbers; `negative`,
            the share of those other than zero that are below it; `zero`, the share of all that are zero.
    """

    cadence: timedelta
    entities: pl.DataFrame
    cells: pl.DataFrame
    hours: pl.DataFrame


def measure(grid: pl.DataFrame) -> Profile:
    """The profile of `grid`, whose parameters are all columns but entity, at and observed.

    Medians are several times slower in Polars' streaming engine than in its in-memory one, and groups by two columns than by one number.
    """
    parameters = [name for name in grid.columns if name not in KEYS]
    rows = grid.lazy()
    keyed = rows.select(
        ENTITY, *_hour(), *map(_telling, parameters), *map(_broken, parameters), *(told for name in parameters for told in _signed(name))
    )
    entities, cells, hours = pl.collect_all(
        [
            rows.group_by(ENTITY).agg(_of_entity()),
            rows.group_by(ENTITY).agg(_of_cell(name) for name in parameters),
            keyed.group_by("key").agg(pl.col(ENTITY, HOUR).first(), *(told for name in parameters for told in _of_hour(name))),
        ],
        engine="in-memory",
    )
    steps = entities.get_column("step").drop_nulls().mode().sort()
    return Profile(
        cadence=steps[0] if len(steps) else timedelta(minutes=1),
        entities=entities.drop("step").sort(ENTITY),
        cells=cells.unpivot(index=ENTITY, variable_name=PARAMETER, value_name="told").unnest("told").sort(ENTITY, PARAMETER),
        hours=_long(hours.sort(ENTITY, HOUR), parameters=parameters),
    )


def _of_entity() -> list[pl.Expr]:
    at, step = pl.col(AT), pl.col(AT).diff()
    repeated = at.is_duplicated()
    return [
        pl.len().alias("rows"),
        at.min().alias("first"),
        at.max().alias("last"),
        (pl.len() - at.n_unique()).alias("repeated"),
        at.filter(repeated).min().alias("first_repeated"),
        (step < pl.duration()).sum().alias("backward"),
        at.filter(step < pl.duration()).first().alias("first_backward"),
        step.filter(step > pl.duration()).min().alias("step"),
    ]


def _of_cell(name: str) -> pl.Expr:
    value = pl.col(name)
    return pl.struct(
        pl.len().alias("rows"),
        value.null_count().alias("missing"),
        (value.is_null() & pl.col(OBSERVED)).sum().alias("missing_while_observed"),
        value.min().alias("lowest"),
        value.max().alias("highest"),
    ).alias(name)


def _hour() -> tuple[pl.Expr, ...]:
    hour = pl.col(AT).dt.epoch("us") // HOUR_US
    entity = pl.col(ENTITY).cast(pl.Categorical).to_physical().cast(pl.Int64)
    return hour.alias(HOUR), (entity * _HOURS_END + hour).alias("key")


def _telling(name: str) -> pl.Expr:
    """What tells of a unit: zero is zero in every unit."""
    value = pl.col(name)
    return pl.when((value != 0) & value.is_finite()).then(value.abs()).alias(name)


def _broken(name: str) -> pl.Expr:
    value = pl.col(name)
    return (value != value.floor()).alias(f"broken:{name}")


def _signed(name: str) -> list[pl.Expr]:
    value = pl.col(name)
    return [pl.when(value != 0).then(value < 0).alias(f"negative:{name}"), (value == 0).alias(f"zero:{name}")]


def _of_hour(name: str) -> tuple[pl.Expr, ...]:
    return (
        pl.col(name).median().alias(f"level:{name}"),
        pl.col(name).count().alias(f"told:{name}"),
        pl.col(f"broken:{name}").any().not_().alias(f"whole:{name}"),
        pl.col(f"negative:{name}").mean().alias(f"negative:{name}"),
        pl.col(f"zero:{name}").mean().alias(f"zero:{name}"),
    )


def _long(hours: pl.DataFrame, *, parameters: list[str]) -> pl.DataFrame:
    """One row per entity, hour and parameter; hours that tell nothing are left out."""

    def column(told: str) -> pl.DataFrame:
        wide = hours.select(ENTITY, HOUR, *(pl.col(f"{told}:{name}").alias(name) for name in parameters))
        return wide.unpivot(index=[ENTITY, HOUR], variable_name=PARAMETER, value_name=told)

    others = [column(told).get_column(told) for told in ("told", "whole", "negative", "zero")]
    long = column("level").with_columns(others)
    return long.filter((pl.col("told") > 0) | (pl.col("zero") > 0))


def outside(grid: pl.DataFrame, *, parameter: str, minimum: float | None, maximum: float | None) -> pl.DataFrame:
    """Per entity with a finite value below `minimum` or above `maximum`: `outside` (how many), `first, last, lowest, highest` of them."""
    return _which(grid, parameter=parameter, odd=pl.col(parameter).is_finite() & _beyond(pl.col(parameter), minimum, maximum))


def infinite(grid: pl.DataFrame, *, parameter: str) -> pl.DataFrame:
    """Per entity with an infinite value the same columns as of `outside`."""
    return _which(grid, parameter=parameter, odd=pl.col(parameter).is_infinite())


def _beyond(value: pl.Expr, minimum: float | None, maximum: float | None) -> pl.Expr:
    below = value < minimum if minimum is not None else pl.lit(False)
    above = value > maximum if maximum is not None else pl.lit(False)
    return below | above


def _which(grid: pl.DataFrame, *, parameter: str, odd: pl.Expr) -> pl.DataFrame:
    value, at = pl.col(parameter), pl.col(AT)
    told = [
        pl.len().alias("outside"),
        at.min().alias("first"),
        at.max().alias("last"),
        value.min().alias("lowest"),
        value.max().alias("highest"),
    ]
    return grid.lazy().select(ENTITY, AT, parameter).filter(odd).group_by(ENTITY).agg(told).sort(ENTITY).collect(engine="in-memory")
