"""The section of a run's page on levels: what of the last finished day was far from its past, its cohort or what the champion learned."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import polars as pl

from flows import exhibits
from flows.blocks import NONE, Block, Cell, Table, number, text, words
from flows.exhibits import Told
from telemetry.schema import COHORT, DAY, ENTITY, MEDIAN, PARAMETER, SPREAD

FACTOR: Final = 3.0
"""Less than that is no news: loads of a Sunday are half of a Monday's."""
LISTED: Final = 20
RATIOS: Final = {
    f"{MEDIAN}_past": "Level: own past",
    f"{MEDIAN}_{COHORT}": "its cohort",
    f"{MEDIAN}_champion": "the training",
    f"{SPREAD}_past": "Spread: own past",
    f"{SPREAD}_{COHORT}": "its cohort's",
    f"{SPREAD}_champion": "the training's",
}


def levels(told: Told) -> Iterator[Block]:
    """What moved most against its own past or the champion's training, as multiples of them."""
    compared = told.frame(exhibits.COMPARED)
    if compared is None:
        return
    moved = pl.max_horizontal(pl.col(f"{MEDIAN}_past", f"{MEDIAN}_champion").abs())
    far = compared.filter(moved > math.log(FACTOR)).sort(moved, ENTITY, PARAMETER, descending=[True, False, False])
    if far.is_empty():
        return
    caption = f"Levels of {far[DAY][0]} that are more than x{FACTOR:g} away from what they were: {far.height}"
    if far.height > LISTED:
        caption += f" (the first {LISTED} are listed)"
    columns = ("Entity", "Parameter", *RATIOS.values())
    rows = tuple(_row(row) for row in far.head(LISTED).iter_rows(named=True))
    yield Table(caption=caption, columns=columns, rows=rows, numbers=frozenset(RATIOS.values()), folded=True)


def _row(row: Mapping[str, Any]) -> tuple[Cell, ...]:  # Any: a row
    return (Cell(text=text(row[ENTITY])), Cell(text=words(row[PARAMETER])), *(Cell(text=times(row[name])) for name in RATIOS))


def times(ratio: Any) -> str:  # Any: a summary may hold anything
    """A logarithm as the multiple that it stands for.

    >>> times(0.0), times(0.6931471805599453), times(-2.995732273553991), times(None)
    ('x1', 'x2', 'x0.05', '–')
    """
    told = number(ratio)
    return NONE if told is None else f"x{math.exp(min(told, 700.0)):.3g}"
