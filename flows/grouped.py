"""Groups of incidents, as a run's page shows them: one line a group, with what explains it, who is hit and who is not."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import polars as pl

from flows import exhibits
from flows.blocks import Block, Cell, Note, Table, count, decimal, moment, text
from flows.exhibits import Told
from serving.groups import summed
from telemetry.schema import END, ENTITY, GROUP, INCIDENT, LABEL_SET, PEAK, START

SPARED: Final = "spared"
"""Names of who is not hit, as far as they fit into a line."""
NAMED: Final = 10
LISTED: Final = 50
COLUMNS: Final = ("What is hit", "Hit", "Not hit", "Incidents", "Start (UTC)", "End (UTC)", "Peak surprise", "Who is not hit")


def shown(groups: pl.DataFrame) -> pl.DataFrame:
    """The exhibit of GROUPS: `serving.groups.summed` with `spared`."""
    names = groups.filter(pl.col(INCIDENT).is_null()).sort(ENTITY).group_by(GROUP, maintain_order=True)
    more = pl.when(pl.len() > NAMED).then(pl.format(" and {} more", pl.len() - NAMED)).otherwise(pl.lit(""))
    spared = names.agg(pl.concat_str(pl.col(ENTITY).head(NAMED).str.join(", "), more).alias(SPARED))
    return summed(groups).join(spared, on=GROUP, how="left", maintain_order="left").with_columns(pl.col(SPARED).fill_null(""))


def lines(told: Told) -> Iterator[Block]:
    """A line for each group, the latest first; nothing where there is none."""
    groups = told.frame(exhibits.GROUPS)
    if groups is None:
        return
    inside = int(groups["incidents"].sum())
    is_one = "One group explains" if groups.height == 1 else f"{groups.height} groups explain"
    yield Note(text=f"{is_one} {count(inside)} incidents of several entities that came together.")
    caption = f"Groups: {groups.height}" + (f" (the latest {LISTED} are listed)" if groups.height > LISTED else "")
    rows = tuple(_row(row) for row in groups.head(LISTED).iter_rows(named=True))
    yield Table(caption=caption, columns=COLUMNS, rows=rows, numbers=frozenset(COLUMNS[1:4]) | {COLUMNS[6]}, wide=frozenset({COLUMNS[7]}))


def _row(group: Mapping[str, Any]) -> tuple[Cell, ...]:  # Any: a row
    told = (
        text(group[LABEL_SET]),
        count(group["hit"]),
        count(group["not_hit"]),
        count(group["incidents"]),
        moment(group[START]),
        moment(group[END]),
        decimal(group[PEAK], digits=2),
        text(group[SPARED]) if group[SPARED] else "nobody",
    )
    return tuple(Cell(text=each) for each in told)
