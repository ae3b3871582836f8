"""An outage that nobody has labelled is told before it is learned; nothing else is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.schema import AT, END, ENTITY, START, grid_schema
from validation.advice import ADVICE
from validation.outages import outages, unconfirmed

ZERO = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOBODY = pl.DataFrame(schema={ENTITY: pl.String, START: pl.Datetime("us", "UTC"), END: pl.Datetime("us", "UTC")})


def declare(cadence: int = 300) -> Contract:
    """Three targets, and a parameter that is none."""
    targets = {name: {"unit": "count", "target": True} for name in ("queries", "positions", "failed")}
    time = {"column": "time", "cadence_seconds": cadence}
    raw: dict[str, Any] = {"name": "small", "entity": {"keys": ["customer"]}, "time": time}
    return contracts.parse(raw | {"parameters": targets | {"cpu": {"unit": "percent"}}})


def grid(*, days: int = 35, hits: dict[str, tuple[float, float, float]] | None = None, noise: float = 0.05) -> pl.LazyFrame:
    """Days of two customers; `hits` multiplies a parameter of "a" by a factor, from an hour until another."""
    minutes = np.arange(days * 288) * 5
    daily = 100 * (1.3 + np.sin(2 * np.pi * minutes / 1440) + 0.2 * (minutes // 1440 % 7 > 4))
    parts = []
    for number, entity in enumerate(("a", "b")):
        random = np.random.default_rng(number)
        values = {name: daily * np.exp(noise * random.normal(size=minutes.size)) for name in ("queries", "positions", "failed", "cpu")}
        for name, (start, end, factor) in (hits or {}).items() if entity == "a" else ():
            values[name][int(start * 12) : int(end * 12)] *= factor
        at = pl.Series(AT, [ZERO]).dt.offset_by("0s")[0]
        times = pl.datetime_range(at, at + (minutes.size - 1) * timedelta(minutes=5), "5m", eager=True, time_unit="us")
        parts.append(pl.DataFrame({ENTITY: [entity] * minutes.size, AT: times, "observed": [True] * minutes.size, **values}))
    return pl.concat(parts).select(list(grid_schema(("queries", "positions", "failed", "cpu")))).lazy()


def told(frame: pl.LazyFrame, *, known: pl.DataFrame = NOBODY, contract: Contract | None = None) -> list[tuple[Any, ...]]:
    """Whose, from which hour until which, and what."""
    found = outages(frame, contract=contract or declare(), known=known, severity="warn")
    return [
        (each.entity, (each.period_start - ZERO) / HOUR, (each.period_end - ZERO) / HOUR, each.parameter, each.beside)
        for each in found
        if each.period_start and each.period_end
    ]


OUTAGE = {"queries": (400.0, 406.0, 0.2), "positions": (400.0, 406.0, 0.2)}


def test_an_outage_is_told_with_its_time_and_its_targets() -> None:
    assert told(grid(hits=OUTAGE)) == [("a", 400.0, 406.0, "positions", ("queries",))]
    (finding,) = outages(grid(hits=OUTAGE), contract=declare(), known=NOBODY, severity="quarantine")
    assert finding.sentence == (
        "a looks like an outage of 6 hours, 2026-01-21 16:00 to 2026-01-21 22:00 UTC: positions, queries are far from what is usual at "
        "that time of the week. Nobody has labelled it; a model that learns from it forgives it the next time."
    )
    assert finding.severity == "quarantine"
    assert finding.expectation in ADVICE


def test_what_rises_and_what_is_a_fifth_of_three_weeks_are_told_too() -> None:
    assert told(grid(hits={"failed": (400, 403, 4.0), "queries": (400, 403, 0.3)})) == [("a", 400.0, 403.0, "failed", ("queries",))]
    by_day = dict.fromkeys(("queries", "positions"), (388.0, 394.0, 0.2))
    assert told(grid(days=20, hits=by_day)) == [("a", 388.0, 394.0, "positions", ("queries",))]


@pytest.mark.parametrize(
    "hits",
    [
        {},
        {"queries": (400.0, 406.0, 0.2)},  # of one target alone
        dict.fromkeys(("queries", "positions"), (400.0, 400.5, 0.2)),  # half an hour
        dict.fromkeys(("queries", "positions"), (400.0, 406.0, 0.7)),  # a quiet day
        {"cpu": (400.0, 406.0, 0.2), "queries": (400.0, 406.0, 0.2)},  # cpu is no target
    ],
)
def test_nothing_else_is(hits: dict[str, tuple[float, float, float]]) -> None:
    assert told(grid(hits=hits)) == []


def test_of_irregular_telemetry_nobody_can_say() -> None:
    assert told(grid(hits=OUTAGE, noise=2.0)) == []
    assert told(grid(days=6, hits={"queries": (100, 106, 0.2), "positions": (100, 106, 0.2)})) == []
    assert told(grid(hits=OUTAGE), contract=declare(cadence=3600)) == []


def test_what_is_known_is_not_told_again() -> None:
    label = pl.DataFrame([("a", ZERO + 399 * HOUR, ZERO + 407 * HOUR)], schema=NOBODY.schema, orient="row")
    assert told(grid(hits=OUTAGE), known=label) == []
    other = label.with_columns(pl.lit("b").alias(ENTITY))
    assert len(told(grid(hits=OUTAGE), known=other)) == 1


def test_incidents_that_nobody_confirmed_are_told_the_latest_first() -> None:
    rows = [("a", ZERO, ZERO + 2 * HOUR), ("a", ZERO + 30 * HOUR, ZERO + 32 * HOUR), ("b", ZERO, ZERO + HOUR / 2), ("b", ZERO, ZERO + HOUR)]
    incidents = pl.DataFrame(rows, schema=NOBODY.schema, orient="row")
    label = pl.DataFrame([("b", ZERO + HOUR / 2, ZERO + 4 * HOUR)], schema=NOBODY.schema, orient="row")
    found = list(unconfirmed(incidents, known=label))
    assert [(each.entity, each.period_start) for each in found] == [("a", ZERO + 30 * HOUR), ("a", ZERO)]
    assert all(each.severity == "warn" and each.expectation in ADVICE for each in found)
