"""The days of which an entity has rows -> who is new, who is there, who has departed and who came back.

Days are UTC. An entity departs with the first day that lies more than `newcomer.departed_days` after the last day on which it was seen.
From then on its silence is no news, and it is watched again from its next row on.

Who returns is no newcomer again. What is known of it (its scales, its thresholds, its place in the network) holds as a rule; were it a
newcomer, a customer that rests every winter would spend a month of every spring without verdicts and out of training, just when
its user wants to know whether it is the same as before. If it is not, its surprises say so. Training and serving agree, for both
take an entity's age from `first_seen` of ENTITIES, which no return changes.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from telemetry.contract import Contract
from telemetry.schema import AT, END, ENTITY, FIRST_SEEN, LAST_SEEN, START, STATE, TIME, Schema, conform
from telemetry.tables import DAY

NEWCOMER: Final = "newcomer"
PRESENT: Final = "present"
DEPARTED: Final = "departed"
DEPARTED_AT: Final = "departed_at"
RETURNED_AT: Final = "returned_at"
ABSENCES: Final = "absences"
HISTORY: Final[Schema] = {
    ENTITY: pl.String,
    STATE: pl.String,
    FIRST_SEEN: pl.Date,
    LAST_SEEN: pl.Date,
    DEPARTED_AT: pl.Date,
    RETURNED_AT: pl.Date,
    ABSENCES: pl.Int64,
}
"""`departed_at`: the first day on which it counts as departed, null unless it has. `returned_at`: the day of its last return, null if it
never was away. `absences`: how often it returned."""
_BEFORE: Final = "__before__"
_LATER: Final = "__later__"
_WHOLE: Final = "__whole__"


def newcomers(entities: pl.DataFrame, *, contract: Contract, data_start: datetime | None = None) -> pl.DataFrame:
    """`entity, start, end` (exclusive): the time in which each is a newcomer.

    Args:
        entities: `entity, first_seen`, such as ENTITIES.
        contract: for how many days, and whether those that were there when the data began are newcomers too.
        data_start: when the data began; by default with the least `first_seen`.
    """
    began = pl.col(FIRST_SEEN).min() if data_start is None else pl.lit(data_start, dtype=TIME)
    late = entities if contract.newcomer.since_start else entities.filter(pl.col(FIRST_SEEN) > began)
    young = timedelta(days=contract.newcomer.days)
    return late.select(ENTITY, pl.col(FIRST_SEEN).alias(START), (pl.col(FIRST_SEEN) + young).alias(END))


def history(days: pl.DataFrame, *, contract: Contract, until: datetime, entities: pl.DataFrame | None = None) -> pl.DataFrame:
    """HISTORY, one row for each entity, sorted.

    Args:
        days: `entity, day` of which the grid has a row, in any order, repeated or not.
        contract: after how many days one has departed, and until when one is a newcomer.
        until: the instant (exclusive) as of which it is told; later days are left out.
        entities: ENTITIES, which tell an entity's age to the minute, as a model is told it; without them its age is told by its days.
    """
    last = until - timedelta(microseconds=1)
    today = pl.lit(last.date())
    away = pl.col(DAY) - pl.col(_BEFORE) > timedelta(days=contract.newcomer.departed_days)
    told = (
        days.select(ENTITY, DAY)
        .filter(pl.col(DAY) <= today)
        .sort(ENTITY, DAY)
        .with_columns(pl.col(DAY).shift(1).over(ENTITY).alias(_BEFORE))
        .group_by(ENTITY, maintain_order=True)
        .agg(
            pl.col(DAY).first().alias(FIRST_SEEN),
            pl.col(DAY).last().alias(LAST_SEEN),
            pl.col(DAY).filter(away).last().alias(RETURNED_AT),
            away.sum().cast(pl.Int64).alias(ABSENCES),
        )
    )
    ages = told.select(ENTITY, pl.col(FIRST_SEEN).cast(TIME)) if entities is None else entities
    young = newcomers(ages, contract=contract).filter(pl.lit(last).is_between(START, END, closed="left"))
    departs = pl.col(LAST_SEEN) + timedelta(days=contract.newcomer.departed_days + 1)
    gone = departs <= today
    new = pl.col(ENTITY).is_in(young[ENTITY].implode())
    state = pl.when(gone).then(pl.lit(DEPARTED)).when(new).then(pl.lit(NEWCOMER)).otherwise(pl.lit(PRESENT))
    named = told.with_columns(state.alias(STATE), pl.when(gone).then(departs).alias(DEPARTED_AT))
    return conform(named.select(list(HISTORY)), HISTORY, name="history")


def watched(minutes: pl.DataFrame, *, seen: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Those of `minutes` that are watched: from the first row of a day on, and all through the `departed_days` days after it.

    Args:
        minutes: `entity, at`.
        seen: `entity, day, at`, the first row of each entity and day, from `departed_days` days before the first of `minutes` on.
        contract: after how many days one has departed.
    """
    later = pl.DataFrame({_LATER: range(1, contract.newcomer.departed_days + 1)}, schema={_LATER: pl.Int64})
    whole = seen.join(later, how="cross").select(ENTITY, pl.col(DAY) + pl.duration(days=_LATER), pl.lit(value=True).alias(_WHOLE)).unique()
    first = seen.select(ENTITY, DAY, pl.col(AT).alias(FIRST_SEEN))
    asked = minutes.select(ENTITY, AT, pl.col(AT).dt.date().alias(DAY))
    told = asked.join(first, on=[ENTITY, DAY], how="left", maintain_order="left")
    told = told.join(whole, on=[ENTITY, DAY], how="left", maintain_order="left")
    return told.filter(pl.col(_WHOLE) | (pl.col(AT) >= pl.col(FIRST_SEEN))).select(ENTITY, AT)
