"""What a grid holds, in numbers: one pass over all its rows, small frames out. Nothing is judged here.

Everything is in canonical units, before scaling: a standardised x and a standardised 100 x are the same.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.schema import AT, ENTITY, OBSERVED, PARAMETER, TIME
from validation import places as of_rows
from validation.hours import Told, tell
from validation.places import NO_STEP, Places, clock, place

HOUR_US: Final = of_rows.HOUR_US
HOUR: Final = "hour"
KEYS: Final = (ENTITY, AT, OBSERVED)


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
    """The profile of `grid`, whose parameters are all columns but entity, at and observed. A row without a time tells nothing."""
    parameters = [name for name in grid.columns if name not in KEYS]
    places = place(grid)
    told = tell(grid, places=places, parameters=parameters)
    entities = _entities(grid, places=places)
    steps = entities.get_column("step").drop_nulls().mode().sort()
    return Profile(
        cadence=steps[0] if len(steps) else timedelta(minutes=1),
        entities=entities.drop("step").sort(ENTITY),
        cells=_cells(told, places=places, parameters=parameters),
        hours=_hours(told, places=places, parameters=parameters),
    )


def _entities(grid: pl.DataFrame, *, places: Places) -> pl.DataFrame:
    """Rows are only grouped where time does not go forward: elsewhere nothing is repeated."""
    if places.order is not None or grid.is_empty():
        return grid.lazy().group_by(ENTITY).agg(_of_entity()).collect(engine="in-memory")
    told, begin = clock(grid, places=places), places.begin
    least = pl.Series(np.minimum.reduceat(told.step, begin))
    none, never = pl.lit(0, dtype=pl.UInt32), pl.lit(None, dtype=TIME)
    forward = pl.select(
        places.entities.alias(ENTITY),
        pl.Series("rows", np.add.reduceat(places.rows, begin)).cast(pl.UInt32),
        pl.Series("first", np.minimum.reduceat(told.oldest, begin)).cast(TIME),
        pl.Series("last", np.maximum.reduceat(told.newest, begin)).cast(TIME),
        none.alias("repeated"),
        never.alias("first_repeated"),
        none.alias("backward"),
        never.alias("first_backward"),
        pl.when(least < NO_STEP).then(least).cast(pl.Duration("us")).alias("step"),
    )
    if (least > 0).all():
        return forward
    odd = pl.col(ENTITY).is_in(places.entities.filter(least <= 0).implode(), nulls_equal=True)
    grouped = grid.lazy().filter(odd).group_by(ENTITY).agg(_of_entity()).collect(engine="in-memory")
    return pl.concat([forward.filter(~odd), grouped])


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


def _cells(told: Told, *, places: Places, parameters: list[str]) -> pl.DataFrame:
    """One row per entity and parameter: its hours together."""
    begin = places.begin

    def together(function: np.ufunc, values: NDArray[Any], dtype: type[pl.DataType]) -> pl.Series:
        each = function.reduceat(values, begin, axis=-1) if len(begin) else values
        return pl.Series(each.ravel(), dtype=dtype, nan_to_null=True)

    entity, parameter = places.entities.to_frame(ENTITY), pl.DataFrame({PARAMETER: parameters}, schema={PARAMETER: pl.String})
    keys = parameter.join(entity, how="cross", maintain_order="left_right")
    cells = keys.select(
        ENTITY,
        PARAMETER,
        together(np.add, np.broadcast_to(places.rows, told.missing.shape), pl.UInt32).alias("rows"),
        together(np.add, told.missing, pl.UInt32).alias("missing"),
        together(np.add, told.missing_while_observed, pl.UInt32).alias("missing_while_observed"),
        together(np.fmin, told.lowest, pl.Float64).alias("lowest"),
        together(np.fmax, told.highest, pl.Float64).alias("highest"),
    )
    return cells.sort(ENTITY, PARAMETER)


def _hours(told: Told, *, places: Places, parameters: list[str]) -> pl.DataFrame:
    """One row per parameter, entity and hour, sorted so; hours that tell nothing are left out."""
    order = places.by_name
    telling = ((told.told > 0) | (told.zero > 0))[:, order]
    parameter, hour = (index.astype(np.uint32) for index in np.nonzero(telling))
    placed = order[hour]

    def long(values: NDArray[Any]) -> pl.Series:
        return pl.Series(values[parameter, placed], nan_to_null=True)

    return pl.DataFrame(
        {
            ENTITY: places.entities.gather(places.entity[placed]),
            HOUR: places.period[placed],
            PARAMETER: pl.Series(parameters, dtype=pl.String).gather(parameter),
            "level": long(told.level),
            "told": long(told.told),
            "whole": long(told.whole),
            "negative": long(told.negative),
            "zero": long(told.zero),
        }
    )


def reaching(grid: pl.DataFrame, *, profile: Profile, parameter: str, minimum: float | None, maximum: float | None) -> pl.DataFrame:
    """`grid`, or no row of it where its profile tells already that no value of `parameter` lies below `minimum` or above `maximum`."""
    low, high = pl.col("lowest"), pl.col("highest")
    beyond = _beyond(low, minimum, None) | _beyond(high, None, maximum)
    return grid if profile.cells.select((beyond & (pl.col(PARAMETER) == parameter)).any()).item() else grid.clear()


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
