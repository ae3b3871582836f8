"""The grid as it is read: one row per entity and cadence step between its first and last reading, null = not observed.

What is stored is what was measured. What an unobserved step stands for (the contract's `missing` policy) is a matter of reading it:
`complete` and `fill` are applied by `Lake.grid`, after late rows have found their place, so that a filled value never hides a measured one.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from telemetry.contract import Contract
from telemetry.errors import BadValueError
from telemetry.schema import (
    AT,
    COHORT,
    END,
    ENTITIES,
    ENTITY,
    FIRST_SEEN,
    KIND,
    LABEL,
    LABELS,
    LAST_SEEN,
    OBSERVED,
    START,
    conform,
)
from telemetry.sections import Parameter

LABELLED: Final = "labelled"
"""The kind of an incident that a label column tells."""
MOST_STEPS_PER_READING: Final = 10
ROOM_STEPS: Final = 5_000_000
"""A grid may have this many steps, and `MOST_STEPS_PER_READING` for every reading."""
FILLED: Final = ("zero", "previous")
"""The policies that put something where nothing was measured; the others leave null there."""
_RUN: Final = "__run__"


def complete(grid: pl.LazyFrame, *, cadence: timedelta) -> pl.LazyFrame:
    """`grid` sorted by entity and time, with an unobserved row for every step that is missing between two rows of an entity."""
    gaps = (
        grid.select(ENTITY, AT)
        .sort(ENTITY, AT)
        .with_columns(pl.col(AT).shift(1).over(ENTITY).alias(START))
        .filter(pl.col(AT) - pl.col(START) > cadence)
        .select(ENTITY, pl.datetime_ranges(pl.col(START), pl.col(AT), interval=cadence, closed="none").alias(AT))
        .explode(AT)
        .with_columns(pl.lit(value=False).alias(OBSERVED))
    )
    return pl.concat([grid, gaps], how="diagonal").sort(ENTITY, AT)


def fill(grid: pl.LazyFrame, *, contract: Contract) -> pl.LazyFrame:
    """A complete `grid` by the contract's missing policies; `observed` still tells what was measured."""
    policies = [_filled(name, parameter=parameter) for name, parameter in contract.parameters.items() if parameter.missing in FILLED]
    return grid.with_columns(policies) if policies else grid


def lookback(contract: Contract) -> timedelta:
    """How far before its first step a part of the grid must be read for `fill` to be right."""
    steps = [parameter.previous_steps for parameter in contract.parameters.values() if parameter.missing == "previous"]
    return contract.time.cadence * max(steps, default=0)


def labels_from(readings: pl.LazyFrame, *, contract: Contract) -> pl.DataFrame:
    """The incidents that the label column tells: runs of steps with a labelled reading, END exclusive.

    Returns:
        LABELS, empty where the contract names no label column.
    """
    if contract.label_column is None:
        return pl.DataFrame(schema=LABELS)
    cadence = contract.time.cadence
    run = pl.col(AT) - cadence * pl.int_range(pl.len())
    labels = (
        readings.filter(LABEL)
        .select(ENTITY, pl.col(AT).dt.truncate(cadence))
        .unique()
        .sort(ENTITY, AT)
        .group_by(ENTITY, run.alias(_RUN))
        .agg(pl.col(AT).min().alias(START), (pl.col(AT).max() + cadence).alias(END))
        .select(ENTITY, START, END, pl.lit(LABELLED).alias(KIND))
        .sort(ENTITY, START)
    )
    return conform(labels.collect(), LABELS, name="labels")


def joined(labels: pl.DataFrame) -> pl.DataFrame:
    """LABELS, sorted; spans that a label column tells are one where they touch, whatever the order in which their rows came.

    Of other labels of an entity with the same start and kind, the longest counts.
    """
    told = labels.filter(pl.col(KIND) == LABELLED).sort(ENTITY, START)
    reach = pl.col(END).cum_max().shift().over(ENTITY)
    runs = told.with_columns((pl.col(START) > reach).fill_null(value=True).cum_sum().alias(_RUN))
    spans = runs.group_by(ENTITY, _RUN).agg(pl.col(START).min(), pl.col(END).max(), pl.col(KIND).first())
    longest = labels.filter(pl.col(KIND) != LABELLED).group_by(ENTITY, START, KIND).agg(pl.col(END).max())
    return pl.concat([spans.select(list(LABELS)), longest.select(list(LABELS))]).sort(ENTITY, START, KIND)


def entities_from(readings: pl.LazyFrame) -> pl.DataFrame:
    """Who is in `readings`, of which cohort, since when and until when: ENTITIES, sorted by entity."""
    newest = readings.group_by(ENTITY).agg(pl.col(AT).min().alias(FIRST_SEEN), pl.col(AT).max().alias(LAST_SEEN))
    cohorts = readings.group_by(ENTITY, COHORT).agg(pl.col(AT).max()).group_by(ENTITY).agg(pl.col(COHORT).sort_by(AT, COHORT).last())
    seen = newest.join(cohorts, on=ENTITY).select(list(ENTITIES)).sort(ENTITY).collect(engine="in-memory")
    return conform(seen, ENTITIES, name="entities")


def refuse_emptiness(readings: pl.DataFrame, *, cadence: timedelta) -> None:
    """One stray time of years ago would make millions of empty steps.

    Raises:
        BadValueError: the readings are so far apart that nearly all of the grid would be empty.
    """
    room = MOST_STEPS_PER_READING * readings.height + ROOM_STEPS
    span = (pl.col(AT).max() - pl.col(AT).min()).dt.total_seconds() // int(cadence.total_seconds()) + 1
    if readings.select(span * pl.col(ENTITY).n_unique() <= room).item():  # as if everyone were seen all the time
        return
    spans = readings.group_by(ENTITY).agg(pl.len().alias("readings"), span.alias("steps"), pl.col(AT).min())
    if spans["steps"].sum() <= room:
        return
    worst = spans.sort(pl.col("steps") / pl.col("readings")).row(-1, named=True)
    told = f"{worst[ENTITY]} has {worst['readings']} readings since {worst[AT]}, and would have {worst['steps']} steps, nearly all empty."
    raise BadValueError(told, hint="a time is probably wrong; otherwise declare a coarser time.cadence_seconds.")


def _filled(name: str, *, parameter: Parameter) -> pl.Expr:
    if parameter.missing == "zero":
        return pl.col(name).fill_null(0.0)
    return pl.col(name).forward_fill(limit=parameter.previous_steps).over(ENTITY)
