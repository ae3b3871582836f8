"""Who is compared, and what came of it: figures of all detectors as rows, the exhibits of a run, and the verdict in a line.

exhibit              columns
detectors            the figures of validation.detection, one row a detector; the first is the one that is judged
detected_events      entity, start, end, kind, and for each detector the minutes that it took, null where it missed the event
detected_by_kind     detector, kind, events, found, recall, minutes_to_detect, worst_minutes
detected_by_entity   detector, entity, weeks, events, found, recall, incidents, false_incidents, false_per_week, minutes_to_detect, vus_pr,
                     realised_rate
detected_by_target   detector, target, steps, realised_rate
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from flows.blocks import NONE, count, decimal, number
from flows.exhibits import path_of
from validation.detection import DETECTOR, Detected, Told, compared

DETECTORS: Final = "detectors"
EVENTS: Final = "detected_events"
BY_KIND: Final = "detected_by_kind"
BY_ENTITY: Final = "detected_by_entity"
BY_TARGET: Final = "detected_by_target"

HEADS: Final = ("Detector", "Found", "Minutes", "Worst", "Incidents", "False", "False a customer-week", "VUS-PR", "Realised / promised")
NUMBERS: Final = frozenset(HEADS[1:])

Row = Mapping[str, Any]  # Any: plain JSON, the figures of a detector


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The figures of every detector, the one that is judged first, and which event each of them found."""

    detected: tuple[Detected, ...]
    events: pl.DataFrame

    @property
    def rows(self) -> list[dict[str, Any]]:  # Any: plain JSON
        """The figures, one row a detector."""
        return [each.figures.facts() for each in self.detected]

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """Its part of a summary."""
        first = self.detected[0].figures
        return {
            "detectors": self.rows,
            "event_recall": first.recall,
            "event_precision": first.precision,
            "worst_minutes_to_detect": first.worst_minutes_to_detect,
            "false_per_entity_week": first.false_per_entity_week,
            "false_per_customer_week": first.false_per_customer_week,
            "promised_rate": first.promised_rate,
            "realised_rate": first.realised_rate,
        }

    def vus_pr(self, name: str) -> float | None:
        """That of a detector."""
        return next((each.figures.vus_pr for each in self.detected if each.figures.detector == name), None)


def comparison(told: Sequence[Told], *, detected: Sequence[Detected]) -> Comparison:
    """What came of a comparison, the one that is judged first."""
    return Comparison(detected=tuple(detected), events=compared(list(told)))


def leave(found: Comparison, *, folder: Path) -> None:
    """What the page shows, under `data`."""
    path_of(folder, name=DETECTORS).parent.mkdir(exist_ok=True)
    pl.DataFrame(found.rows, infer_schema_length=None).write_parquet(path_of(folder, name=DETECTORS))
    found.events.write_parquet(path_of(folder, name=EVENTS))
    for name, part in ((BY_KIND, "by_kind"), (BY_ENTITY, "by_entity"), (BY_TARGET, "by_target")):
        frames = [getattr(each, part).select(pl.lit(each.figures.detector).alias(DETECTOR), pl.all()) for each in found.detected]
        pl.concat(frames).write_parquet(path_of(folder, name=name))


def verdict(rows: Sequence[Row]) -> str:
    """The one that is judged, and the best of the others, in a line.

    >>> found = {"events": 4, "found": 3, "minutes_to_detect": 5.0, "false_per_customer_week": 0.25, "incidents": 4}
    >>> verdict([found | {"detector": "release r1"}, found | {"detector": "PCA", "found": 2, "false_per_customer_week": None}])
    'release r1 found 3 of 4 incidents (median 5.0 minutes), 0.25 false a customer-week; PCA, the best of the others, 2 of 4.'
    """
    first, *others = rows
    if not first["events"]:
        rate = decimal(first["incidents_per_customer_week"], digits=2)
        return f"{first['detector']} told {first['incidents']} incidents, {rate} a customer-week; none is labelled to hold them against."
    told = _one(first)
    best = max(others, key=_goodness, default=None)
    return f"{told}." if best is None else f"{told}; {_short(best)}."


def _goodness(row: Row) -> tuple[int, float]:
    return int(row["found"]), -float(row["false_per_customer_week"] or 0.0)


def _one(row: Row) -> str:
    minutes = "" if row["minutes_to_detect"] is None else f" (median {decimal(row['minutes_to_detect'], digits=1)} minutes)"
    return f"{row['detector']} found {row['found']} of {row['events']} incidents{minutes}{_false(row)}"


def _short(row: Row) -> str:
    return f"{row['detector']}, the best of the others, {row['found']} of {row['events']}{_false(row)}"


def _false(row: Row) -> str:
    rate = row["false_per_customer_week"]
    return "" if rate is None else f", {decimal(rate, digits=2)} false a customer-week"


def apart(events: pl.DataFrame, *, names: Sequence[str]) -> list[dict[str, Any]]:  # Any: plain JSON
    """Of the first of `names` beside each other: how many events both found, the first alone, the other alone, neither."""
    first = names[0]
    one = pl.col(first).is_not_null()
    told: list[dict[str, Any]] = []  # Any: as above
    for name in names[1:]:
        other = pl.col(name).is_not_null()
        counts = events.select(
            both=(one & other).sum(), first_alone=(one & ~other).sum(), other_alone=(~one & other).sum(), neither=(~one & ~other).sum()
        )
        told.append({"detector": name, **{key: int(value) for key, value in counts.row(0, named=True).items()}})
    return told


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The rows as text, in the columns of HEADS."""
    return [
        (
            str(row["detector"]),
            f"{row['found']} of {row['events']}",
            decimal(row["minutes_to_detect"], digits=1),
            decimal(row["worst_minutes_to_detect"], digits=1),
            count(row["incidents"]),
            count(row["false_incidents"]),
            decimal(row["false_per_customer_week"], digits=2),
            decimal(row["vus_pr"]),
            ratio(row["realised_rate"], row["promised_rate"]),
        )
        for row in rows
    ]


def ratio(one: Any, other: Any) -> str:  # Any: plain JSON
    """One over the other, in words.

    >>> ratio(0.3, 0.2), ratio(None, 0.2)
    ('1.50', '–')
    """
    above, below = number(one), number(other)
    return NONE if above is None or not below else decimal(above / below, digits=2)
