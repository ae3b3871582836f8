"""Incidents and minutes beside what was true -> the figures of a parallel test, stricter than `serving.incidents.match` in one way.

found              an incident of the entity was opened from the label's start until ten minutes after its end. One that was open before,
                   and goes on, has told nobody of anything new: it finds nothing
false              an incident that overlaps no label (each ten minutes longer than it was) of its entity, whether newcomer or not
minutes to detect  of an event: from its start until the first incident on any of its entities was opened; of what was missed it is
                   infinite, so a median over many misses is none
realised rate      anomalous minutes per week of an entity and target, of minutes neither within an incident nor in the hour after one
"""

import math
import statistics
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import polars as pl

from serving.incidents import FALSE, FOUND, MINUTES_TO_DETECT, TOLERANCE_MINUTES, match
from telemetry.schema import END, ENTITY, INCIDENTS, KIND, LABEL, LABELS, NEWCOMER, OPENED, STANDSTILL, START, SURPRISE, TARGET
from tests.benchmarks.judgement.weeks import EVENT, MATURE, Weeks

MINUTES_OF_WEEK: Final = 7 * 24 * 60
Record = dict[str, Any]  # Any: plain JSON


def beside(incidents: pl.DataFrame, *, told: Weeks) -> Record:
    """What incidents found, missed and told falsely, and when.

    Args:
        incidents: INCIDENTS of the test, whoever opened them.
        told: what was true.
    """
    labels = labelled(incidents, labels=told.labels)
    wrong = false(incidents, told=told)
    mature, young = labels.filter(MATURE), labels.filter(~pl.col(MATURE))
    events = mature.group_by(EVENT, KIND).agg(pl.col(FOUND).all(), pl.col(MINUTES_TO_DETECT).min())
    weeks = told.customer_weeks
    count = {MATURE: wrong.filter(MATURE).height, NEWCOMER: wrong.filter(~pl.col(MATURE)).height}
    return {
        "incidents": mature.height,
        "found": int(mature[FOUND].sum()),
        "events": events.height,
        "events_found": int(events[FOUND].sum()),
        "minutes_to_detect": median(events[MINUTES_TO_DETECT].to_list()),
        "minutes_to_detect_worst": _worst(events[MINUTES_TO_DETECT].to_list()),
        "false_incidents": count[MATURE],
        "customer_weeks": weeks[MATURE],
        "false_per_customer_week": _ratio(count[MATURE], weeks[MATURE]),
        "newcomer_incidents": young.height,
        "newcomer_found": int(young[FOUND].sum()),
        "newcomer_false_per_customer_week": _ratio(count[NEWCOMER], weeks[NEWCOMER]),
        "newcomer_weeks": weeks[NEWCOMER],
        "by_kind": _by_kind(mature),
        "missed": [
            f"{row[KIND]} {row[ENTITY]}@{row[START]:%Y-%m-%dT%H:%MZ}" for row in mature.filter(~pl.col(FOUND)).iter_rows(named=True)
        ],
        "worst_customer_false_per_week": _worst_customer(wrong, told=told),
    }


def labelled(incidents: pl.DataFrame, *, labels: pl.DataFrame) -> pl.DataFrame:
    """Labels with `found` and `minutes_to_detect`, null where missed."""
    late = pl.col(END) + timedelta(minutes=TOLERANCE_MINUTES)
    asked = labels.with_row_index("label")
    opened = asked.join(incidents.select(ENTITY, OPENED), on=ENTITY).filter(pl.col(OPENED) > pl.col(START), pl.col(OPENED) <= late)
    wait = (pl.col(OPENED) - pl.col(START)).dt.total_seconds().min() / 60
    first = opened.group_by("label").agg(wait.alias(MINUTES_TO_DETECT))
    found = asked.join(first, on="label", how="left", maintain_order="left").drop("label")
    return found.with_columns(pl.col(MINUTES_TO_DETECT).is_not_null().alias(FOUND))


def false(incidents: pl.DataFrame, *, told: Weeks) -> pl.DataFrame:
    """Those of INCIDENTS that no label explains, with `mature`: whether the entity was no newcomer when they began."""
    matched = match(incidents.select(list(INCIDENTS)), labels=told.labels.select(list(LABELS))).incidents.filter(FALSE)
    return matched.join(told.matured, on=ENTITY).with_columns((pl.col(START) >= pl.col("matured")).alias(MATURE)).drop("matured")


def _by_kind(labels: pl.DataFrame) -> Record:
    told = labels.group_by(KIND).agg(
        pl.len().alias("incidents"), pl.col(FOUND).sum(), pl.col(MINUTES_TO_DETECT).fill_null(math.inf).median()
    )
    return {row.pop(KIND): _finite(row) for row in told.sort(KIND).iter_rows(named=True)}


def _worst_customer(wrong: pl.DataFrame, *, told: Weeks) -> float:
    """False incidents a week of the mature customer that had the most."""
    whose = pl.col(ENTITY).str.split("/").list.first().alias("customer")
    there = told.exposure.group_by(whose).agg(pl.col(MATURE).max()).filter(pl.col(MATURE) >= 1)
    counts = wrong.filter(MATURE).group_by(whose).len()
    each = there.join(counts, on="customer", how="left").select(pl.col("len").fill_null(0) / pl.col(MATURE)).to_series()
    return float(each.max() or 0.0)  # type: ignore[arg-type]  # a number


def rates(minutes: pl.DataFrame, *, promised: float) -> Record:
    """The promise and what became of it.

    Args:
        minutes: of `weeks.Judgement`.
        promised: anomalous minutes per entity, target and week.
    """
    quiet = minutes.filter(~pl.col(LABEL), pl.col(TARGET) != STANDSTILL)  # of a standstill nothing is promised
    calm = quiet.filter(~pl.col("wake"))
    mature = calm.filter(~pl.col(NEWCOMER))
    by_entity = _rate(mature, by=[ENTITY])
    return {
        "promised_rate": promised,
        "realised_rate": _rate(mature).item(),
        "realised_rate_with_wakes": _rate(quiet.filter(~pl.col(NEWCOMER))).item(),
        "realised_rate_newcomers": _rate(calm.filter(NEWCOMER)).item() if calm[NEWCOMER].any() else None,
        "realised_by_target": dict(_rate(mature, by=[TARGET]).sort(TARGET).iter_rows()),
        "realised_worst_entity": float(by_entity["rate"].max() or 0.0),  # type: ignore[arg-type]  # a number
        "realised_least_entity": float(by_entity["rate"].min() or 0.0),  # type: ignore[arg-type]  # a number
    }


def _rate(minutes: pl.DataFrame, *, by: Sequence[str] = ()) -> pl.DataFrame:
    rate = ((pl.col(SURPRISE) > 1).sum() * MINUTES_OF_WEEK / pl.len()).alias("rate")
    return minutes.group_by(by).agg(rate) if by else minutes.select(rate)


def median(waits: Sequence[float | None]) -> float | None:
    """The median, with what was missed as infinite; None if it is infinite.

    >>> median([3.0, None, 5.0]), median([3.0, None, None]), median([])
    (5.0, None, None)
    """
    if not waits:
        return None
    middle = statistics.median(math.inf if wait is None else wait for wait in waits)
    return middle if math.isfinite(middle) else None


def _worst(waits: Sequence[float | None]) -> float | None:
    """The longest, None if one was missed."""
    return None if not waits or None in waits else max(wait for wait in waits if wait is not None)


def _ratio(count: float, weeks: float) -> float | None:
    return count / weeks if weeks > 0 else None


def _finite(row: Record) -> Record:
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}


def spread(values: Sequence[float | None]) -> Record:
    """Mean, standard deviation (n - 1), least and largest over seeds; None counts as missing, and is counted.

    >>> spread([1.0, 3.0, None])
    {'mean': 2.0, 'sd': 1.4142135623730951, 'least': 1.0, 'largest': 3.0, 'without': 1}
    """
    told = [value for value in values if value is not None]
    if not told:
        return {"mean": None, "sd": None, "least": None, "largest": None, "without": len(values)}
    return {
        "mean": statistics.fmean(told),
        "sd": statistics.stdev(told) if len(told) > 1 else 0.0,
        "least": min(told),
        "largest": max(told),
        "without": len(values) - len(told),
    }
