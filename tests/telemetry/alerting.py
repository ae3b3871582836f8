"""A small telemetry to hold threshold rules against: three entities of two customers, and what an expression says of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from telemetry import contract as contracts
from telemetry.alert_expressions import Expression
from telemetry.alert_parser import parse
from telemetry.alert_values import Telemetry, evaluate
from telemetry.contract import Contract
from telemetry.schema import AT, ENTITY, TIME

START = datetime(2026, 1, 5, tzinfo=UTC)
ENTITIES = ("acme/eu", "acme/us", "borealis/eu")
Values = dict[str, dict[str, list[float | None]]]


def contract(**changes: Any) -> Contract:  # Any: TOML
    """Queries are summed, failures counted, time is a mean that the source tells in milliseconds."""
    raw: dict[str, Any] = {
        "name": "small",
        "entity": {"keys": ["customer", "region"]},
        "time": {"column": "time"},
        "parameters": {
            "queries": {"unit": "count", "aggregation": "sum", "target": True},
            "failed": {"unit": "count", "aggregation": "counter", "column": "failed_queries"},
            "query_time": {"unit": "s", "source_unit": "ms", "aggregation": "mean"},
        },
    }
    return contracts.parse(raw | changes)


def at(minute: int) -> datetime:
    """The instant of a step."""
    return START + timedelta(minutes=minute)


def grid(values: Values) -> pl.DataFrame:
    """`values[parameter][entity]`, one value a minute; what is not named is not observed. Rows of those who tell anything."""
    steps = max(len(told) for by_entity in values.values() for told in by_entity.values())
    entities = sorted({entity for by_entity in values.values() for entity in by_entity})
    frame = pl.DataFrame({ENTITY: entities}, schema={ENTITY: pl.String}).join(pl.DataFrame({"n": range(steps)}), how="cross")
    frame = frame.with_columns((pl.lit(START) + pl.col("n") * timedelta(minutes=1)).cast(TIME).alias(AT))
    for name in contract().names:
        told = values.get(name, {})
        rows = [(e, n, v) for e, series in told.items() for n, v in enumerate(series)]
        column = pl.DataFrame(rows, schema={ENTITY: pl.String, "n": pl.Int64, name: pl.Float64}, orient="row")
        frame = frame.join(column, on=[ENTITY, "n"], how="left")
    return frame.drop("n").sort(ENTITY, AT)


def said(text: str, values: Values, **recorded: str) -> dict[str, list[float | None]]:
    """What an expression says, by the values of its labels in order."""
    meant: dict[str, Expression] = {name: parse(each) for name, each in recorded.items()}
    told = evaluate(parse(text), telemetry=Telemetry(grid(values), contract=contract(), recorded=meant))
    assert isinstance(told, dict)
    return {"/".join(value for _, value in sorted(labels)): series.to_list() for labels, series in told.items()}
