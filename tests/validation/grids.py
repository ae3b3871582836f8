"""Small grids for the checks: entities with the rhythms of day and week, ten minutes a step, and ways to spoil them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from telemetry.contract import Contract, parse

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(minutes=10)
STEPS_A_DAY = 144


def contract(
    *,
    rules: tuple[dict[str, object], ...] = (),
    calendar: dict[str, object] | None = None,
    attributes: dict[str, object] | None = None,
    **checks: object,
) -> Contract:
    """Four parameters at ten minutes a step; `checks` go into its section of that name."""
    raw = {
        "name": "small",
        "entity": {"keys": ["customer", "region"], "cohort": "region"},
        "time": {"column": "time", "zone": "UTC", "cadence_seconds": 600},
        "newcomer": {"days": 2},
        "parameters": {
            "queries": {"unit": "count", "aggregation": "sum", "minimum": 0, "target": True},
            "failures": {"unit": "count", "aggregation": "sum", "minimum": 0, "maximum": 1e9},
            "latency": {"unit": "ms", "minimum": 0, "maximum": 1e9},
            "cpu": {"unit": "percent", "minimum": 0, "maximum": 100},
        },
        "rules": rules,
        "checks": checks,
        "calendar": calendar or {},
        "attributes": attributes or {},
    }
    return parse(raw)


def grid(
    *,
    days: int = 28,
    entities: tuple[str, ...] = ("acme/eu", "acme/us", "bolt/eu"),
    start: datetime = MONDAY,
    weekend: float = 0.5,
    night: float = 0.2,
    seed: int = 0,
) -> pl.DataFrame:
    """A healthy grid of `contract()`: queries 300 at noon, failures 0 to 3, latency 0.2 s, cpu 30 %."""
    rng = np.random.default_rng(seed)
    return pl.concat([_entity(name, size=1.0 + index, days=days, start=start, weekend=weekend, night=night, rng=rng)
                      for index, name in enumerate(entities)])  # fmt: skip


def _entity(name: str, *, size: float, days: int, start: datetime, weekend: float, night: float, rng: np.random.Generator) -> pl.DataFrame:
    step = np.arange(days * STEPS_A_DAY)
    at = pl.datetime_range(start, interval=STEP, end=start + STEP * (len(step) - 1), time_unit="us", eager=True)
    of_day = (at.dt.epoch("s").to_numpy() % 86_400) / 86_400
    tide = (night + (1 - night) * np.sin(np.pi * of_day) ** 2) * np.where(at.dt.weekday().to_numpy() > 5, weekend, 1.0)
    return pl.DataFrame(
        {
            "entity": name,
            "at": at,
            "observed": True,
            "queries": rng.poisson(300 * size * tide).astype(np.float64),
            "failures": rng.poisson(0.5, len(step)).astype(np.float64),
            "latency": rng.lognormal(np.log(200 * size), 0.2, len(step)),
            "cpu": 30 * tide + rng.uniform(0, 10, len(step)),
        }
    )


def day(number: float) -> datetime:
    """The midnight of a day of the grid, from 0, or an hour within."""
    return MONDAY + timedelta(days=number)


def silenced(frame: pl.DataFrame, *, since: float, until: float = 10_000.0, entities: tuple[str, ...] = ("acme/eu",)) -> pl.DataFrame:
    """`frame` with nothing observed of some entities between two days."""
    hit = pl.col("entity").is_in(entities) & (pl.col("at") >= day(since)) & (pl.col("at") < day(until))
    return frame.with_columns(pl.when(~hit).then(pl.exclude("entity", "at", "observed")), pl.col("observed") & ~hit)


def multiplied(
    frame: pl.DataFrame,
    parameter: str,
    *,
    by: float,
    since: float,
    until: float = 10_000.0,
    entities: tuple[str, ...] = ("acme/eu",),
) -> pl.DataFrame:
    """`frame` with a parameter of some entities multiplied between two days."""
    hit = pl.col("entity").is_in(entities) & (pl.col("at") >= day(since)) & (pl.col("at") < day(until))
    return frame.with_columns(pl.when(hit).then(pl.col(parameter) * by).otherwise(pl.col(parameter)).alias(parameter))
