"""The section of a run's page on detection: the release beside the baselines and the team's own rules, by event, kind, entity, target."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import polars as pl

from flows import detectors
from flows.blocks import NONE, Block, Cell, Heading, Note, Table, count, decimal, moment, number, plot, text
from flows.exhibits import Told
from telemetry.schema import END, ENTITY, KIND, START, TARGET
from validation.detection import DETECTOR, EVENTS, FALSE_A_WEEK, FOUND, MINUTES_TO_DETECT, REALISED, STEPS

EVENTS_LISTED: Final = 60
ENTITIES_LISTED: Final = 20
WHAT_IT_SAYS: Final = (
    "An incident is found if one that was told overlaps it (its end taken ten minutes later); nothing is point-adjusted. Every detector's "
    "thresholds come from the calibration part by the same rule, and its incidents are opened by the same M of N minutes; rules fire as "
    "Prometheus would fire them. False incidents are told per week in which a customer was watched. VUS-PR is the mean over the entities "
    "with an incident."
)
MAIN: Final = (
    ("VUS-PR", "vus_pr", 3),
    ("Precision", "precision", 3),
    ("Minutes (median)", "minutes_to_detect", 1),
    ("Worst", "worst_minutes_to_detect", 1),
    ("Incidents", "incidents", 0),
    ("False", "false_incidents", 0),
    ("A customer-week", "false_per_customer_week", 3),
)
WORST: Final = (
    ("False an entity-week", "false_per_entity_week", 3),
    ("Worst tenth: false an entity-week", "worst_decile_false_per_week", 2),
    ("Worst tenth: recall", "worst_decile_recall", 2),
    ("Worst tenth: VUS-PR", "worst_decile_vus_pr", 3),
)
"""The worst tenth of the entities, by that figure itself."""


def section(told: Told) -> Iterator[Block]:
    """Everything that was compared; nothing where nothing was."""
    rows = told.summary.get("detectors")
    if not isinstance(rows, list) or not rows:
        return
    if told.summary.get("in_sample"):
        yield Note(text="The release has learned from this period or was calibrated on it: these figures are no test of it.", tone="held")
    yield Note(text=WHAT_IT_SAYS)
    if len(rows) > 1 and any(row["events"] for row in rows):
        from flows import detected_plot  # Plotly is for pages with a figure only

        caption = "Incidents found against false incidents a customer-week: up and to the left is better"
        yield plot(detected_plot.found_by_false(rows), caption=caption, told=detectors.verdict(rows))
    first = rows[0]
    weeks = f"{decimal(first['entity_weeks'], digits=1)} entity-weeks, {decimal(first['customer_weeks'], digits=1)} customer-weeks"
    yield _figures(rows, columns=MAIN, caption=f"Detectors beside each other, over {weeks}")
    yield _figures(rows, columns=WORST, caption="The worst tenth of the entities", folded=True)
    yield from _events(told, names=[str(row["detector"]) for row in rows])
    yield from _kinds(told, names=[str(row["detector"]) for row in rows])
    yield from _promise(told, rows=rows)
    yield from _entities(told, first=str(rows[0]["detector"]))
    yield from _refused(told)


def _figures(
    rows: Sequence[dict[str, Any]],  # Any: plain JSON
    *,
    columns: Sequence[tuple[str, str, int]],
    caption: str,
    folded: bool = False,
) -> Table:
    heads = ("Detector", "Found", *(head for head, _, _ in columns))
    cells = tuple(
        (
            Cell(text=text(row["detector"])),
            Cell(text=f"{row['found']} of {row['events']}", share=number(row["recall"])),
            *(Cell(text=_figure(row[key], digits=digits)) for _, key, digits in columns),
        )
        for row in rows
    )
    return Table(caption=caption, columns=heads, rows=cells, numbers=frozenset(heads[2:]), folded=folded)


def _figure(value: Any, *, digits: int) -> str:  # Any: plain JSON
    return count(value) if digits == 0 else decimal(value, digits=digits)


def _events(told: Told, *, names: Sequence[str]) -> Iterator[Block]:
    events = told.frame(detectors.EVENTS)
    if events is None:
        return
    yield Heading(text="Which incidents each found that the other missed")
    if len(names) > 1:
        heads = ("Beside", "Both", f"{names[0]} alone", "The other alone", "Neither")
        counts = detectors.apart(events, names=names)
        rows = tuple(
            (Cell(text=each["detector"]), *(Cell(text=count(each[key])) for key in ("both", "first_alone", "other_alone", "neither")))
            for each in counts
        )
        yield Table(caption=f"{names[0]} beside each of the others", columns=heads, rows=rows, numbers=frozenset(heads[1:]))
    listed = events.sort(START, ENTITY).head(EVENTS_LISTED)
    columns = ("Entity", "Start (UTC)", "End (UTC)", "Kind", *names)
    shown = tuple(
        (
            Cell(text=text(row[ENTITY])),
            Cell(text=moment(row[START])),
            Cell(text=moment(row[END])),
            Cell(text=text(row[KIND])),
            *(_found(row[name]) for name in names),
        )
        for row in listed.iter_rows(named=True)
    )
    more = "" if listed.height == events.height else f": {listed.height} of {events.height}"
    yield Table(caption=f"Minutes until each incident was told{more}", columns=columns, rows=shown, numbers=frozenset(names))


def _found(minutes: Any) -> Cell:  # Any: a value of a row
    return Cell(text="missed", tone="held", mark="✕") if minutes is None else Cell(text=decimal(minutes, digits=0))


def _kinds(told: Told, *, names: Sequence[str]) -> Iterator[Block]:
    kinds = told.frame(detectors.BY_KIND)
    if kinds is None:
        return
    cells = {(row[DETECTOR], row[KIND]): row for row in kinds.iter_rows(named=True)}
    rows = tuple(
        (Cell(text=text(kind)), *(_of_kind(cells.get((name, kind))) for name in names)) for kind in sorted(kinds[KIND].unique().to_list())
    )
    heads = ("Kind", *names)
    yield Table(caption="Found by kind of incident (median minutes)", columns=heads, rows=rows, numbers=frozenset(names))


def _of_kind(row: dict[str, Any] | None) -> Cell:  # Any: a row
    if row is None:
        return Cell(text=NONE)
    minutes = "" if row[MINUTES_TO_DETECT] is None else f" ({decimal(row[MINUTES_TO_DETECT], digits=1)})"
    return Cell(text=f"{row[FOUND]} of {row[EVENTS]}{minutes}", share=row["recall"])


def _promise(told: Told, *, rows: Sequence[dict[str, Any]]) -> Iterator[Block]:  # Any: plain JSON
    judged = [row for row in rows if row["realised_rate"] is not None]
    if not judged:
        return
    heads = ("Detector", "Promised", "Realised", "Realised / promised")
    cells = tuple(
        (
            Cell(text=text(row["detector"])),
            Cell(text=decimal(row["promised_rate"], digits=6)),
            Cell(text=decimal(row["realised_rate"], digits=6)),
            Cell(text=detectors.ratio(row["realised_rate"], row["promised_rate"])),
        )
        for row in judged
    )
    caption = "The promise on false alarms: share of a target's normal steps that is anomalous"
    yield Table(caption=caption, columns=heads, rows=cells, numbers=frozenset(heads[1:]))
    targets, first = told.frame(detectors.BY_TARGET), str(rows[0]["detector"])
    own = None if targets is None else targets.filter(pl.col(DETECTOR) == first)
    if own is None or own.is_empty():
        return
    heads = ("Target", "Steps", "Realised", "Realised / promised")
    shown = tuple(
        (
            Cell(text=text(row[TARGET])),
            Cell(text=count(row[STEPS])),
            Cell(text=decimal(row[REALISED], digits=6)),
            Cell(text=detectors.ratio(row[REALISED], rows[0]["promised_rate"])),
        )
        for row in own.iter_rows(named=True)
    )
    yield Table(caption=f"The same by target: {first}", columns=heads, rows=shown, numbers=frozenset(heads[1:]), folded=True)


def _entities(told: Told, *, first: str) -> Iterator[Block]:
    entities = told.frame(detectors.BY_ENTITY)
    own = None if entities is None else entities.filter(pl.col(DETECTOR) == first)
    if own is None or own.is_empty():
        return
    heads = ("Entity", "Weeks", "Found", "Incidents", "False", "False a week", "Minutes (median)", "VUS-PR", "Realised")
    rows = tuple(
        (
            Cell(text=text(row[ENTITY])),
            Cell(text=decimal(row["weeks"], digits=2)),
            Cell(text=f"{row[FOUND]} of {row[EVENTS]}" if row[EVENTS] else NONE),
            Cell(text=count(row["incidents"])),
            Cell(text=count(row["false_incidents"])),
            Cell(text=decimal(row[FALSE_A_WEEK], digits=2)),
            Cell(text=decimal(row[MINUTES_TO_DETECT], digits=1)),
            Cell(text=decimal(row["vus_pr"])),
            Cell(text=decimal(row[REALISED], digits=6)),
        )
        for row in own.head(ENTITIES_LISTED).iter_rows(named=True)
    )
    shown = "" if own.height <= ENTITIES_LISTED else f": {ENTITIES_LISTED} of {own.height}"
    caption = f"{first} by entity, worst first{shown}"
    yield Table(caption=caption, columns=heads, rows=rows, numbers=frozenset(heads[1:]), folded=True)


def _refused(told: Told) -> Iterator[Block]:
    refused = told.summary.get("rules_refused")
    if not isinstance(refused, list) or not refused:
        return
    rows = tuple((Cell(text=text(each["name"])), Cell(text=text(each["line"])), Cell(text=text(each["sentence"]))) for each in refused)
    caption = f"{len(refused)} rule{'s' if len(refused) > 1 else ''} that cannot be followed; the others are used"
    yield Table(caption=caption, columns=("Rule", "Line", "Why"), rows=rows, numbers=frozenset({"Line"}), wide=frozenset({"Why"}))
