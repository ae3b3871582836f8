"""Readings of a counter, as they were told -> where it fell, and whether that was a restart from zero or the counter ran backwards.

The grid holds by how much a counter rose; a fall is taken for a restart, and the whole of the new reading for the rise since then. Where a
counter merely ran backwards (readings of two senders in turn, a sum over members of which one left, no counter at all) that is a rise which
never was, so it is looked for in the readings themselves, which the lake keeps of every counter.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from telemetry.schema import AT, ENTITY
from validation.findings import Finding, Severity

RISES: Final = 5.0
"""A counter that tells more after a fall than it could have counted from zero since then, so many times over, has not been restarted."""
FALLEN_TO: Final = 0.5
FEW_RISES: Final = 2.0
"""... nor one that still tells more than that share of what it told before, and so many times what it could have counted."""
BEFORE: Final = "before"
AFTER: Final = "after"
BACKWARDS: Final = "backwards"
_GAP: Final = "gap"
_RATE: Final = "rate"


def falls(readings: pl.DataFrame, *, parameter: str, since: timedelta) -> pl.DataFrame:
    """The falls of a counter: `entity, at, before, after, backwards` (no restart); sorted by entity and time.

    Args:
        readings: `entity, at` and counters, the rows of an entity in the order of time.
        parameter: the counter.
        since: after a longer silence the grid tells no rise, and a fall does no harm.
    """
    value, before = pl.col(parameter), pl.col(parameter).shift()
    same = pl.col(ENTITY) == pl.col(ENTITY).shift()
    step = readings.lazy().select(ENTITY, AT, parameter).filter(value.is_finite())
    gap = pl.col(AT) - pl.col(AT).shift()
    moved = step.select(
        ENTITY, AT, pl.when(same & (gap <= since)).then(before).alias(BEFORE), value.alias(AFTER), gap.dt.total_microseconds().alias(_GAP)
    ).collect(engine="in-memory")
    fell = moved.filter(pl.col(AFTER) < pl.col(BEFORE))
    if fell.is_empty():
        return fell.select(ENTITY, AT, BEFORE, AFTER, pl.lit(value=False).alias(BACKWARDS))
    of_entity = moved.filter(pl.col(ENTITY).is_in(fell.get_column(ENTITY).unique().implode())).group_by(ENTITY)
    rate = (pl.col(AFTER) - pl.col(BEFORE)) / pl.col(_GAP)
    usual = of_entity.agg(rate.filter(rate > 0).max().alias(_RATE))
    possible = pl.col(_RATE) * pl.col(_GAP)
    much = (pl.col(AFTER) > FALLEN_TO * pl.col(BEFORE)) & (pl.col(AFTER) > FEW_RISES * possible.fill_null(0.0))
    far = (pl.col(AFTER) > RISES * possible).fill_null(value=False)
    return fell.join(usual, on=ENTITY).select(ENTITY, AT, BEFORE, AFTER, (much | far).alias(BACKWARDS)).sort(ENTITY, AT)


def backwards(falls: pl.DataFrame, *, parameter: str, cadence: timedelta, severity: Severity) -> tuple[Finding, ...]:
    """Entities whose counter ran backwards. `falls`: as of the function of that name."""
    odd = falls.filter(BACKWARDS).group_by(ENTITY, maintain_order=True)
    told = odd.agg(pl.len().alias("times"), pl.col(AT).min().alias("first"), pl.col(AT).max().alias("last"), pl.col(BEFORE, AFTER).first())
    return tuple(
        Finding(
            expectation="counter",
            severity=severity,
            entity=row[ENTITY],
            parameter=parameter,
            period_start=row["first"].replace(second=0, microsecond=0) if cadence >= timedelta(minutes=1) else row["first"],
            period_end=row["last"] + cadence,
            found=f"{row['times']:,} times backwards, first from {row[BEFORE]:,.6g} to {row[AFTER]:,.6g}",
            expected="a counter that rises, or begins anew at zero",
            sentence=f"The counter {parameter} of {row[ENTITY]} ran backwards {row['times']:,} times, first at "
            f"{row['first']:%Y-%m-%d %H:%M} UTC from {row[BEFORE]:,.6g} to {row[AFTER]:,.6g}, which is no restart from zero: "
            "two senders are mixed, members of a sum come and go, or it is no counter. Its rises then are none.",
        )
        for row in told.iter_rows(named=True)
    )


def restarts(falls: pl.DataFrame, *, parameter: str, at_most: int) -> tuple[Finding, ...]:
    """Entities whose counter began anew more than `at_most` times on a day. `falls`: as of the function of that name."""
    day = pl.col(AT).dt.truncate("1d").alias("day")
    by_day = falls.filter(~pl.col(BACKWARDS)).group_by(ENTITY, day, maintain_order=True).agg(pl.len().alias("times"))
    often = by_day.filter(pl.col("times") > at_most).group_by(ENTITY, maintain_order=True)
    told = often.agg(pl.len().alias("days"), pl.col("day").min().alias("first"), pl.col("day").max().alias("last"), pl.col("times").max())
    return tuple(
        Finding(
            expectation="counter restarts",
            severity="warn",
            entity=row[ENTITY],
            parameter=parameter,
            period_start=row["first"],
            period_end=row["last"] + timedelta(days=1),
            found=f"up to {row['times']:,} restarts a day, on {row['days']:,} {'day' if row['days'] == 1 else 'days'}",
            expected=f"at most {at_most:,} restarts a day",
            sentence=f"The counter {parameter} of {row[ENTITY]} began anew at zero up to {row['times']:,} times a day, first on "
            f"{row['first']:%Y-%m-%d}: what it counts is restarted again and again, and what came before each restart is lost.",
        )
        for row in told.iter_rows(named=True)
    )
