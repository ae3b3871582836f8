"""Values that must not be believed, taken out of a grid: null there, as if they had not been observed."""

from typing import Final

import polars as pl

from telemetry.contract import Contract
from telemetry.schema import AT, END, ENTITY, PARAMETER, START, TIME, Schema, conform

SPANS: Final[Schema] = {ENTITY: pl.String, PARAMETER: pl.String, START: TIME, END: TIME}
"""What is taken out: from `start` to `end`, exclusive; without an end, all that comes after. Spans may overlap, or be repeated."""
_MASK: Final = "__mask__"


def masked(grid: pl.LazyFrame, *, spans: pl.DataFrame) -> pl.LazyFrame:
    """`grid` without the values of `spans`. Every row stays, in its place, and so do `observed` and the order of columns.

    Args:
        grid: entity, at and parameters, the rows of an entity in the order of time, as `Lake.grid` gives them.
        spans: SPANS; a parameter that the grid has not is passed over.
    """
    there = [name for name in grid.collect_schema().names() if name not in (ENTITY, AT)]
    told = conform(spans, SPANS, name="spans").filter(pl.col(PARAMETER).is_in(there), pl.col(END).is_null() | (pl.col(START) < pl.col(END)))
    if told.is_empty():
        return grid
    names = told.get_column(PARAMETER).unique().sort().to_list()
    edges = _edges(told, names=names).lazy()
    joined = grid.join_asof(edges, on=AT, by=ENTITY, strategy="backward", check_sortedness=False)
    return joined.with_columns(pl.when(~_mask(name).fill_null(value=False)).then(name).alias(name) for name in names).drop(
        f"{_MASK}{name}" for name in names
    )


def possible(grid: pl.LazyFrame, *, contract: Contract) -> pl.LazyFrame:
    """`grid` without values that cannot be: infinite ones, and those beyond the declared range where that is more than a warning."""
    bounded = contract.checks.plausible_range not in ("off", "warn")
    return grid.with_columns(
        _possible(name, least=parameter.minimum if bounded else None, greatest=parameter.maximum if bounded else None)
        for name, parameter in contract.parameters.items()
    )


def _possible(name: str, *, least: float | None, greatest: float | None) -> pl.Expr:
    value = pl.col(name)
    can_be = value.is_finite()
    can_be = can_be if least is None else can_be & (value >= least)
    can_be = can_be if greatest is None else can_be & (value <= greatest)
    return pl.when(can_be).then(value).alias(name)


def _mask(name: str) -> pl.Expr:
    return pl.col(f"{_MASK}{name}")


def _edges(spans: pl.DataFrame, *, names: list[str]) -> pl.DataFrame:
    """`entity, at` and for every name whether it is masked from then on until the entity's next row; in the order of time."""
    begins = spans.select(ENTITY, PARAMETER, pl.col(START).alias(AT), pl.lit(1).alias(_MASK))
    ends = spans.filter(pl.col(END).is_not_null()).select(ENTITY, PARAMETER, pl.col(END).alias(AT), pl.lit(-1).alias(_MASK))
    steps = pl.concat([begins, ends]).sort(ENTITY, AT)
    counted = steps.group_by(ENTITY, AT, maintain_order=True).agg(
        pl.col(_MASK).filter(pl.col(PARAMETER) == name).sum().alias(f"{_MASK}{name}") for name in names
    )
    return counted.with_columns(_mask(name).cum_sum().over(ENTITY) > 0 for name in names).sort(AT)
