"""Lending: what an entity is watched by while it has no thresholds of its own."""

from collections.abc import Iterable

import polars as pl

from telemetry.schema import COUNT, ENTITY, LEAD, SD, TARGET, THRESHOLD, THRESHOLDS, conform


def complete(thresholds: pl.DataFrame, *, entities: Iterable[str]) -> pl.DataFrame:
    """`thresholds`, and borrowed ones (COUNT 0) wherever one of `entities` lacks its own: the medians over those who have theirs."""
    own = thresholds.filter(pl.col(COUNT) > 0)
    medians = own.group_by(TARGET, LEAD).agg(pl.col(SD, THRESHOLD).median())
    every = pl.DataFrame({ENTITY: pl.Series(list(entities), dtype=pl.String)}).unique().join(medians, how="cross")
    borrowed = every.join(thresholds, on=[ENTITY, TARGET, LEAD], how="anti").with_columns(pl.lit(0, dtype=pl.Int64).alias(COUNT))
    whole = pl.concat([thresholds, borrowed.select(list(THRESHOLDS))]).sort(ENTITY, TARGET, LEAD)
    return conform(whole, THRESHOLDS, name="thresholds")
