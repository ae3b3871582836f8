"""What an incident is made of: how much each target had part in it.

Surprises of all targets are in one unit, their own bar. The contribution of a target to an incident is its mean surprise over the
incident's steps, as a share of the sum over the targets; the target JOINT, which is made of them all, has none.
"""

from typing import Final

import polars as pl

from telemetry.schema import AT, END, ENTITY, INCIDENT, JOINT, START, SURPRISE, TARGET, Schema

SHARE: Final = "share"
BECAUSE: Final = "because"
CONTRIBUTIONS: Final[Schema] = {INCIDENT: pl.String, TARGET: pl.String, SHARE: pl.Float64}
NAMED: Final = 3
LEAST_NAMED: Final = 0.1
"""A target with less of it is not named."""


def contributions(incidents: pl.DataFrame, *, scores: pl.LazyFrame) -> pl.DataFrame:
    """CONTRIBUTIONS, the greatest of each incident first; nothing of an incident in which no target has a surprise, such as a silence.

    Args:
        incidents: INCIDENTS.
        scores: SCORES of the release that opened them.
    """
    spans = incidents.lazy().select(INCIDENT, ENTITY, START, END)
    known = scores.filter(pl.col(TARGET) != JOINT, pl.col(SURPRISE).is_not_null()).select(ENTITY, AT, TARGET, SURPRISE)
    within = spans.join(known, on=ENTITY).filter(pl.col(AT) >= pl.col(START), pl.col(AT) < pl.col(END))
    mean = within.group_by(INCIDENT, TARGET).agg(pl.col(SURPRISE).mean())
    share = pl.col(SURPRISE) / pl.col(SURPRISE).sum().over(INCIDENT)
    told = mean.select(INCIDENT, TARGET, pl.when(pl.col(SURPRISE).sum().over(INCIDENT) > 0).then(share).alias(SHARE))
    return told.drop_nulls().sort(INCIDENT, SHARE, TARGET, descending=[False, True, False]).collect()


def explained(incidents: pl.DataFrame, *, scores: pl.LazyFrame) -> pl.DataFrame:
    """`incidents` with `because`, for a person: `queries 61 %, query_time 27 %`; null where no target has part in it."""
    told = contributions(incidents, scores=scores)
    named = told.filter(pl.col(SHARE) >= LEAST_NAMED).group_by(INCIDENT, maintain_order=True).head(NAMED)
    words = pl.format("{} {} %", TARGET, (100 * pl.col(SHARE)).round().cast(pl.Int64))
    because = named.group_by(INCIDENT, maintain_order=True).agg(words.str.join(", ").alias(BECAUSE))
    return incidents.join(because, on=INCIDENT, how="left", maintain_order="left")
