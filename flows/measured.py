"""The sections of a run's page about what was measured: accuracy, forecasts, incidents, from the exhibits of the run to blocks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import polars as pl

from flows import exhibits, grouped
from flows.blocks import Block, Cell, Note, Table, count, decimal, moment, number, percent, plot, text, words
from flows.exhibits import Told
from telemetry.schema import AT, END, ENTITY, KIND, PEAK, START, TARGET
from validation.metrics import ACCURACY, ACCURACY_ORACLE, ACCURACY_PERSISTENCE, ROWS, SKILL

ENTITIES_DRAWN: Final = 40
"""More rows than these are no figure any more; the table below holds them all."""
EXCERPTS_DRAWN: Final = 12
POINTS_DRAWN: Final = 60_000
"""Rows of all excerpts together; more would make the page heavy."""
INCIDENTS_LISTED: Final = 50
WHAT_ACCURACY_IS: Final = (
    "The share of minutes whose actual value came within one standard deviation of the forecast made a minute before. "
    "The bar was fixed before anything was measured."
)


def accuracy(told: Told) -> Iterator[Block]:
    """Accuracy by entity, by target and by both."""
    by_entity, by_target = told.frame(exhibits.BY_ENTITY), told.frame(exhibits.BY_TARGET)
    both = told.frame(exhibits.BY_ENTITY_TARGET)
    if by_entity is None and by_target is None and both is None:
        return
    from flows import plots

    yield Note(text=WHAT_ACCURACY_IS)
    bar = number(told.summary.get("accuracy_bar"))
    drawn: list[str] = []
    if by_entity is not None:
        ordered = by_entity.sort(ACCURACY, ENTITY, nulls_last=False)
        worst = ordered.head(ENTITIES_DRAWN)
        drawn = worst[ENTITY].to_list()
        yield plot(
            plots.accuracy_dots(worst, bar=bar),
            caption=_how_many("Accuracy by entity, worst first", shown=worst.height, of=ordered.height),
            told=_extent(ordered),
        )
    if by_target is not None:
        yield _accuracy_table(by_target.sort(ACCURACY), by=TARGET, caption="Accuracy by target, worst first", bar=bar)
    if both is not None:
        drawn = drawn or both.group_by(ENTITY).agg(pl.col(ACCURACY).min()).sort(ACCURACY, ENTITY).head(ENTITIES_DRAWN)[ENTITY].to_list()
        caption = _how_many("Accuracy by entity and target, in percent", shown=len(drawn), of=both[ENTITY].n_unique())
        yield plot(
            plots.accuracy_heatmap(both, entities=drawn, bar=bar),
            caption=caption,
            told=f"Every cell says the accuracy of one entity and target{'' if bar is None else '; red is below the bar, blue above it'}.",
        )
    if by_entity is not None:
        yield _accuracy_table(ordered, by=ENTITY, caption=f"All {by_entity.height} entities as a table", bar=bar, folded=True)


def _accuracy_table(frame: pl.DataFrame, *, by: str, caption: str, bar: float | None, folded: bool = False) -> Table:
    def row(told: Mapping[str, Any]) -> tuple[Cell, ...]:  # Any: a row
        below = bar is not None and told[ACCURACY] is not None and told[ACCURACY] < bar
        model = Cell(text=percent(told[ACCURACY]), tone="bad", mark="✕") if below else Cell(text=percent(told[ACCURACY]))
        others = (percent(told[ACCURACY_PERSISTENCE]), percent(told[ACCURACY_ORACLE]), decimal(told[SKILL], digits=4), count(told[ROWS]))
        return (Cell(text=text(told[by])), model, *(Cell(text=other) for other in others))

    columns = (words(by), "Model", "Last value", "Oracle", "Skill", "Rows")
    rows = tuple(row(told) for told in frame.iter_rows(named=True))
    return Table(caption=caption, columns=columns, rows=rows, numbers=frozenset(columns[1:]), folded=folded)


def _extent(by_entity: pl.DataFrame) -> str:
    worst, best = by_entity.row(0, named=True), by_entity.row(-1, named=True)
    ends = f"From {percent(worst[ACCURACY])} ({worst[ENTITY]}) to {percent(best[ACCURACY])} ({best[ENTITY]})"
    return f"{ends}; median {percent(by_entity[ACCURACY].median())}."


def excerpts(told: Told) -> Iterator[Block]:
    """Forecast against actual, one figure an excerpt."""
    rows = told.frame(exhibits.EXCERPTS)
    if rows is None:
        return
    from flows import plots

    parts = rows.sort(exhibits.EXCERPT).partition_by(exhibits.EXCERPT, maintain_order=True)
    points = 0
    for shown, part in enumerate(parts):
        points += part.height
        if shown and (shown == EXCERPTS_DRAWN or points > POINTS_DRAWN):
            yield Note(text=f"{shown} of {len(parts)} excerpts are drawn; data/excerpts.parquet holds them all.", tone="held")
            return
        first = part.row(0, named=True)
        where = f"{text(first[ENTITY])}, {text(first[TARGET])}"
        title = text(first[exhibits.TITLE])
        yield plot(
            plots.excerpt(part),
            caption=title[:1].upper() + title[1:],
            told=f"{where}, {moment(part[AT].min())} to {moment(part[AT].max())} UTC",
        )


def incidents(told: Told) -> Iterator[Block]:
    """What was opened beside what was labelled."""
    if not any(exhibits.path_of(told.folder, name=name).is_file() for name in (exhibits.INCIDENTS, exhibits.LABELS)):
        return
    opened, labels = told.frame(exhibits.INCIDENTS), told.frame(exhibits.LABELS)
    if opened is None and labels is None:
        yield Note(text="No incident was opened, and none is labelled.", tone="good")
        return
    from flows import plots

    yield from grouped.lines(told)
    opened = pl.DataFrame(schema=exhibits.NO_INCIDENTS) if opened is None else opened.sort(START)
    labels = pl.DataFrame(schema=exhibits.NO_LABELS) if labels is None else labels.sort(START)
    found = labels.filter(pl.col(exhibits.FOUND).fill_null(False))
    missed = labels.filter(~pl.col(exhibits.FOUND).fill_null(False))
    false = opened.filter(~pl.col(exhibits.MATCHED).fill_null(True))
    entities = _most_telling(missed, false, opened, found)
    told_of = f"{opened.height} incidents opened, {false.height} of them false; {found.height} of {labels.height} labelled ones found."
    title, summary = ("Incidents above, labels below", told_of) if labels.height else ("Incidents", f"{opened.height} incidents opened.")
    caption = _how_many(title, shown=min(len(entities), ENTITIES_DRAWN), of=len(entities))
    yield plot(plots.timeline(opened, labels, entities=entities[:ENTITIES_DRAWN]), caption=caption, told=summary)
    yield from _listed(missed, name="Missed", columns=(ENTITY, START, END, KIND))
    yield from _listed(false, name="False", columns=(ENTITY, START, END, TARGET, exhibits.BECAUSE, PEAK))
    yield from _listed(found, name="Found", columns=(ENTITY, START, END, KIND, exhibits.MINUTES_TO_DETECT))
    if not labels.height:
        yield from _listed(opened, name="Opened", columns=(ENTITY, START, END, TARGET, exhibits.BECAUSE, PEAK))


def _most_telling(*frames: pl.DataFrame) -> list[str]:
    """The entities of the frames, those of the first frame first."""
    return list(dict.fromkeys(entity for frame in frames for entity in frame[ENTITY].drop_nulls()))


_SAID: Final = {START: "Start (UTC)", END: "End (UTC)", PEAK: "Peak surprise", exhibits.MINUTES_TO_DETECT: "Minutes to detect"}


def _listed(frame: pl.DataFrame, *, name: str, columns: Sequence[str]) -> Iterator[Block]:
    if frame.is_empty():
        return
    kept = [column for column in columns if column in frame.columns]
    rows = tuple(
        tuple(Cell(text=_cell(value, column=column)) for column, value in row.items())
        for row in frame.select(kept).head(INCIDENTS_LISTED).iter_rows(named=True)
    )
    caption = _how_many(f"{name}: {frame.height}", shown=len(rows), of=frame.height, unit="rows")
    numbers = frozenset({_SAID[PEAK], _SAID[exhibits.MINUTES_TO_DETECT]})
    named = tuple(_SAID.get(column, words(column)) for column in kept)
    yield Table(caption=caption, columns=named, rows=rows, numbers=numbers, wide=frozenset({words(exhibits.BECAUSE)}))


def _cell(value: Any, *, column: str) -> str:  # Any: a value of a row
    if column in (START, END):
        return moment(value)
    if column == exhibits.MINUTES_TO_DETECT:
        return decimal(value, digits=1)
    return decimal(value, digits=2) if column == PEAK else text(value)


def _how_many(caption: str, *, shown: int, of: int, unit: str = "entities") -> str:
    return caption if shown == of else f"{caption}: {shown} of {of} {unit}"
