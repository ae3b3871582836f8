"""What an incident is made of: how much each target had part in it.

Surprises of all targets are in one unit, their own bar. The contribution of a target to an incident is its mean surprise over the
incident's steps, as a share of the sum over the targets; the target JOINT, which is made of them all, has none. Nor has STANDSTILL, whose
surprise is another's unit: of an incident of it the targets are told that have not moved while it lasted.
"""

from typing import Final

import polars as pl

from telemetry.schema import ACTUAL, AT, END, ENTITY, INCIDENT, JOINT, STANDSTILL, START, SURPRISE, TARGET, Schema

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
    within = _within(incidents, scores=scores.filter(pl.col(SURPRISE).is_not_null()))
    mean = within.group_by(INCIDENT, TARGET).agg(pl.col(SURPRISE).mean())
    share = pl.col(SURPRISE) / pl.col(SURPRISE).sum().over(INCIDENT)
    told = mean.select(INCIDENT, TARGET, pl.when(pl.col(SURPRISE).sum().over(INCIDENT) > 0).then(share).alias(SHARE))
    return told.drop_nulls().sort(INCIDENT, SHARE, TARGET, descending=[False, True, False]).collect()


def explained(incidents: pl.DataFrame, *, scores: pl.LazyFrame) -> pl.DataFrame:
    """`incidents` with `because`, for a person: `queries 61 %, query_time 27 %`; null where no target has part in it.

    Of a standstill: `queries, positions stand still`.
    """
    still = incidents.filter(pl.col(TARGET) == STANDSTILL)
    told = contributions(incidents, scores=scores).join(still, on=INCIDENT, how="anti")
    named = told.filter(pl.col(SHARE) >= LEAST_NAMED).group_by(INCIDENT, maintain_order=True).head(NAMED)
    words = pl.format("{} {} %", TARGET, (100 * pl.col(SHARE)).round().cast(pl.Int64))
    because = named.group_by(INCIDENT, maintain_order=True).agg(words.str.join(", ").alias(BECAUSE))
    every = pl.concat([because, _standing(still, scores=scores)])
    return incidents.join(every, on=INCIDENT, how="left", maintain_order="left")


def _within(incidents: pl.DataFrame, *, scores: pl.LazyFrame) -> pl.LazyFrame:
    """`incident, at, target, actual, surprise` of the targets while an incident lasts."""
    spans = incidents.lazy().select(INCIDENT, ENTITY, START, END)
    known = scores.filter(~pl.col(TARGET).is_in([JOINT, STANDSTILL])).select(ENTITY, AT, TARGET, ACTUAL, SURPRISE)
    return spans.join(known, on=ENTITY).filter(pl.col(AT) >= pl.col(START), pl.col(AT) < pl.col(END))


def _standing(incidents: pl.DataFrame, *, scores: pl.LazyFrame) -> pl.DataFrame:
    """`incident, because`: the targets that have one value while an incident lasts."""
    known = _within(incidents, scores=scores.filter(pl.col(ACTUAL).is_not_null()))
    values = known.group_by(INCIDENT, TARGET).agg(pl.col(ACTUAL).n_unique())
    standing = values.filter(pl.col(ACTUAL) == 1).sort(INCIDENT, TARGET).group_by(INCIDENT, maintain_order=True)
    named = pl.col(TARGET).head(NAMED).str.join(", ")
    more = pl.when(pl.len() > NAMED).then(pl.format(" and {} more", pl.len() - NAMED)).otherwise(pl.lit(""))
    verb = pl.when(pl.len() > 1).then(pl.lit(" stand still")).otherwise(pl.lit(" stands still"))
    return standing.agg(pl.concat_str(named, more, verb).alias(BECAUSE)).collect()
