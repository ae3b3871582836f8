"""The section of a run's page on injected faults: recall by class and strength, as a figure and as a table."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import polars as pl

from flows.blocks import NONE, Block, Cell, Note, Table, count, decimal, moment, number, percent, plot, text, words
from flows.exhibits import CANDIDATE, CHAMPION, INJECTED, MODEL, NIGHTS, Told
from telemetry.injection import FLAT, NOTHING, SILENCE, STRENGTH
from telemetry.schema import AT, KIND, RELEASE
from validation.injected import (
    ENOUGH,
    FAULTS,
    FOUND,
    LEAST,
    MATTERS_FROM,
    MATURE,
    MINUTES_TO_DETECT,
    MOST,
    NEWCOMERS,
    RECALL,
    WHO,
    reached,
)

WHAT_IS_DONE: Final = (
    "Faults of known strength are put into a copy of normal stretches of the telemetry, which is judged as every minute is. A fault is "
    "found if an incident is opened while it lasts. Strengths count in the entity's own deviations, those of a flat line and of silence in "
    "steps. What is found of the control (nothing) is luck."
)
HEADS: Final = ("Class", "Strength", "Found", "Recall", "95 % interval", "Minutes", "Champion", "Newcomers")


def section(told: Told) -> Iterator[Block]:
    """Recall of injected faults by class and strength, of mature entities and newcomers, the champion's beside."""
    graded = told.frame(INJECTED)
    if graded is None:
        return
    judge = CANDIDATE if (graded[MODEL] == CANDIDATE).any() else CHAMPION
    own = graded.filter(pl.col(MODEL) == judge)
    yield Note(text=WHAT_IS_DONE)
    yield from _figures(own)
    yield _from(own)
    yield _table(own, champion=graded.filter(pl.col(MODEL) == CHAMPION, pl.lit(judge != CHAMPION)))
    nights = told.frame(NIGHTS)
    if nights is not None:
        yield _nights(nights)
    false = number(told.summary.get("injected_false_per_week"))
    if false is not None:
        yield Note(text=f"Beside the faults, {decimal(false, digits=2)} false incidents an entity and week were opened in the copy.")


def _figures(own: pl.DataFrame) -> Iterator[Block]:
    from flows.found_faults_plot import recall_by_strength  # Plotly takes its time to import

    for who in (MATURE, NEWCOMERS):
        drawn = own.filter(pl.col(WHO) == who, ~pl.col(KIND).is_in([FLAT, SILENCE, NOTHING]))
        if drawn.height:
            faults, found = int(drawn[FAULTS].sum()), int(drawn[FOUND].sum())
            yield plot(
                recall_by_strength(drawn),
                caption=f"Recall by strength, {'mature entities' if who == MATURE else who}",
                told=f"{count(found)} of {count(faults)} faults found, from half a deviation to eight; the table holds every figure.",
            )


def _from(own: pl.DataFrame) -> Table:
    """The least strength from which on every one is found often enough."""
    least = {(row[WHO], row[KIND]): row[STRENGTH] for row in reached(own).iter_rows(named=True)}
    kinds = sorted({kind for _, kind in least})
    rows = tuple((Cell(text=words(kind)), *(Cell(text=_strength(least.get((who, kind)))) for who in (MATURE, NEWCOMERS))) for kind in kinds)
    columns = ("Class", "Mature entities", "Newcomers")
    return Table(
        caption=f"The least strength from which on {ENOUGH:.0%} are found", columns=columns, rows=rows, numbers=frozenset(columns[1:])
    )


def _table(own: pl.DataFrame, *, champion: pl.DataFrame) -> Table:
    told = {(row[WHO], row[KIND], row[STRENGTH]): row for row in own.iter_rows(named=True)}
    theirs = {(row[WHO], row[KIND], row[STRENGTH]): row for row in champion.iter_rows(named=True)}
    cells = sorted({(kind, strength) for _, kind, strength in told})
    rows = tuple(
        _row(*cell, own=told.get((MATURE, *cell)), champion=theirs.get((MATURE, *cell)), new=told.get((NEWCOMERS, *cell))) for cell in cells
    )
    return Table(caption="Every class and strength", columns=HEADS, rows=rows, numbers=frozenset(HEADS[1:]), folded=True)


def _nights(nights: pl.DataFrame) -> Table:
    """One night after the other (at, release, faults, found): a detector that goes blind does so in this table."""
    rows = tuple(
        (
            Cell(text=moment(row[AT])),
            Cell(text=text(row[RELEASE])),
            Cell(text=f"{row[FOUND]} of {row[FAULTS]}"),
            Cell(text=percent(row[FOUND] / row[FAULTS]), share=row[FOUND] / row[FAULTS]),
        )
        for row in nights.filter(pl.col(FAULTS) > 0).iter_rows(named=True)
    )
    columns = ("Until (UTC)", "Release", "Found", "Recall")
    return Table(caption="Faults that nobody may miss, night by night", columns=columns, rows=rows, numbers=frozenset({"Found"}))


Row = Mapping[str, Any]  # Any: a row of GRADED


def _row(kind: str, strength: float, *, own: Row | None, champion: Row | None, new: Row | None) -> tuple[Cell, ...]:
    matters = strength >= MATTERS_FROM.get(kind, float("inf"))
    missed = own is not None and matters and own[RECALL] < ENOUGH
    tone = Cell(text=_recall(own), tone="bad", mark="✕") if missed else Cell(text=_recall(own))
    return (
        Cell(text=words(kind)),
        Cell(text=_strength(strength)),
        Cell(text=NONE if own is None else f"{own[FOUND]} of {own[FAULTS]}"),
        tone,
        Cell(text=NONE if own is None else f"{percent(own[LEAST])} to {percent(own[MOST])}"),
        Cell(text=NONE if own is None else decimal(own[MINUTES_TO_DETECT], digits=1)),
        Cell(text=_recall(champion)),
        Cell(text=_recall(new)),
    )


def _recall(row: Row | None) -> str:
    return NONE if row is None else percent(row[RECALL])


def _strength(value: float | None) -> str:
    return NONE if value is None else f"{value:g}"
