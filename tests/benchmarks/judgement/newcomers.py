"""From which minute on a newcomer is watched: an arriving customer's first rows, with a strong fault planted at one age after the other.

An age (whole minutes since the entity's first row) is trustworthy when, without any knowledge of what is planted,

    a surprise is told     at that minute some target has a finite surprise
    nothing is cried       over the 24 hours from there on the unharmed entity has no incident but for those that are labelled, and its
                           anomalous minutes are at most ten times as many as promised (the promise's order)
    a fault is found       a strong fault that begins there and lasts half an hour opens an incident before it ends: four of five vehicles,
                           positions and queries are gone, five times as many queries fail, and they are three times as slow

and the same holds for every later age that is looked at. The first such age is the entity's; none where the last age is not trustworthy.
Not looked at is an age at which the fault would fall into a labelled incident of the entity, or come so soon after one that it is told as
the same: an incident is open there already, and no other can be opened.

What is looked at is what live scoring would tell: the entity is no part of the training, its scales are told of its own minutes before each
minute (`telemetry.strangers`, by `try_out` as by `flows.foretold`), its bars are lent, and a copy with the fault knows no other past.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from flows.parallel_test import try_out
from telemetry import windows
from telemetry.schema import AT, END, ENTITY, FIRST_SEEN, OPENED, START, SURPRISE, TIME
from tests.benchmarks.judgement.weeks import BEGIN, Calibration, Judgement, Weeks

AGES: Final = (1, 5, 10, 15, 30, 60, 120, 360, 1440)
"""Minutes."""
FAULT_MINUTES: Final = 30
WATCHED: Final = timedelta(days=1)
STRONG: Final = {"reporting_devices": 0.2, "positions": 0.2, "queries": 0.2, "failed_queries": 5.0, "query_time": 3.0}
ORDER: Final = 10.0
_MARK: Final = "~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """An arriving entity: the first trustworthy age, None if there is none; and at which ages the fault was found."""

    entity: str
    minutes: int | None
    found_at: tuple[int, ...]
    cried: int


def looked_at(told: Weeks, *, judgement: Judgement, folder: Path) -> list[Newcomer]:
    """Every entity that arrives in the test, early enough to be followed for two days, by what is in force when it arrives."""
    late = pl.col(FIRST_SEEN).is_between(told.size.learned_at, told.size.end - 2 * WATCHED, closed="left")
    arriving = told.telemetry.entities.filter(late).sort(FIRST_SEEN, ENTITY)
    return [
        _one(told, entity=row, by=judgement.in_force(row[FIRST_SEEN]), folder=folder / row[ENTITY].replace("/", "_"))
        for row in arriving.iter_rows(named=True)
    ]


def _one(told: Weeks, *, entity: dict[str, object], by: Calibration, folder: Path) -> Newcomer:
    name, first = str(entity[ENTITY]), entity[FIRST_SEEN]
    assert isinstance(first, datetime)
    until = first + 2 * WATCHED
    rows = told.telemetry.grid.filter(pl.col(ENTITY) == name, pl.col(AT) >= first, pl.col(AT) < until)
    copies = [rows] + [_struck(rows, since=first + timedelta(minutes=age), name=_named(name, age=age)) for age in AGES]
    grid = pl.concat(copies)
    entities = pl.concat(
        [told.telemetry.entities.filter(pl.col(ENTITY) == name).with_columns(pl.lit(copy[ENTITY][0]).alias(ENTITY)) for copy in copies]
    )
    cut = entities.select(
        ENTITY,
        *(pl.lit(BEGIN, dtype=TIME).alias(column) for column in (START, "train_end", "calibrate_start", "calibrate_end", "test_start")),
        pl.lit(until, dtype=TIME).alias(END),
    )
    panel = windows.panel(
        grid.lazy(),
        contract=told.contract,
        scales=by.candidate.scales,
        entities=entities,
        data_start=BEGIN,
        labels=told.telemetry.labels,
        parts=cut,
    )
    seen = try_out(by.candidate, panel=panel, contract=told.contract, into=folder, thresholds=by.thresholds)
    surprises = pl.concat([pl.read_parquet(file, columns=[ENTITY, AT, SURPRISE]) for file in sorted((folder / "scores").glob("*.parquet"))])
    return _said(told, name=name, first=first, incidents=seen.incidents, surprises=surprises)


def _said(told: Weeks, *, name: str, first: datetime, incidents: pl.DataFrame, surprises: pl.DataFrame) -> Newcomer:
    labels = told.labels.filter(pl.col(ENTITY) == name)
    calm = _unlabelled(incidents.filter(pl.col(ENTITY) == name), labels=labels)
    own = surprises.filter(pl.col(ENTITY) == name, pl.col(SURPRISE).is_not_null())
    found, quiet = [], []
    ages = [age for age in AGES if _is_free(told, labels=labels, at=first + timedelta(minutes=age))]
    for age in ages:
        at = first + timedelta(minutes=age)
        ends = at + timedelta(minutes=FAULT_MINUTES)
        struck = incidents.filter(pl.col(ENTITY) == _named(name, age=age), pl.col(OPENED) > at, pl.col(OPENED) <= ends)
        if struck.height:
            found.append(age)
        if _is_quiet(told, calm=calm, own=own, labels=labels, at=at):
            quiet.append(age)
    trusted = [age for index, age in enumerate(ages) if all(later in found and later in quiet for later in ages[index:])]
    return Newcomer(entity=name, minutes=trusted[0] if trusted else None, found_at=tuple(found), cried=calm.height)


def _is_free(told: Weeks, *, labels: pl.DataFrame, at: datetime) -> bool:
    """Whether no labelled incident is there while a fault from `at` on would be, nor could be open again."""
    policy, cadence = told.contract.thresholds, told.contract.time.cadence
    again = (policy.close_minutes + policy.reopen_minutes) * cadence
    return labels.filter(pl.col(START) < at + timedelta(minutes=FAULT_MINUTES), pl.col(END) + again > at).is_empty()


def _is_quiet(told: Weeks, *, calm: pl.DataFrame, own: pl.DataFrame, labels: pl.DataFrame, at: datetime) -> bool:
    until = at + WATCHED
    if own.filter(pl.col(AT) == at).is_empty() and own.filter(pl.col(AT).is_between(at - timedelta(minutes=2), at)).is_empty():
        return False
    if calm.filter(pl.col(START) < until, pl.col(END) > at).height:
        return False
    day = own.filter(pl.col(AT) >= at, pl.col(AT) < until)
    within = day.join_where(
        labels.select(pl.col(START).alias("s"), pl.col(END).alias("e")), pl.col(AT) >= pl.col("s"), pl.col(AT) < pl.col("e")
    )
    anomalous = day.filter(pl.col(SURPRISE) > 1).height - within.filter(pl.col(SURPRISE) > 1).height
    promised = told.contract.thresholds.false_alarms_per_week * day.height / (7 * 24 * 60)
    return anomalous <= ORDER * promised


def _unlabelled(incidents: pl.DataFrame, *, labels: pl.DataFrame) -> pl.DataFrame:
    pairs = incidents.join_where(
        labels.select(pl.col(START).alias("s"), pl.col(END).alias("e")),
        pl.col(START) < pl.col("e") + timedelta(minutes=10),
        pl.col(END) > pl.col("s"),
    )
    return incidents.join(pairs.select("incident"), on="incident", how="anti")


def _named(entity: str, *, age: int) -> str:
    """A copy's key: its customer is another one, its region is not.

    >>> _named("acme/eu", age=15)
    'acme~15/eu'
    """
    customer, _, rest = entity.partition("/")
    return f"{customer}{_MARK}{age}/{rest}"


def _struck(rows: pl.DataFrame, *, since: datetime, name: str) -> pl.DataFrame:
    """A copy with the fault, at the end of which it ends."""
    ends = since + timedelta(minutes=FAULT_MINUTES)
    hit = (pl.col(AT) >= since) & (pl.col(AT) < ends)
    worse = [pl.when(hit).then(pl.col(column) * factor).otherwise(pl.col(column)).alias(column) for column, factor in STRONG.items()]
    return rows.filter(pl.col(AT) < ends).with_columns(pl.lit(name).alias(ENTITY), *worse)
