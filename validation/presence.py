"""Steps of a grid -> how much of an entity arrived on which day, and when the last of it did; and what of that is too little or too old.

The findings only warn: an incident may be the reason, or a departure.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import polars as pl

from telemetry.schema import ENTITY, TIME
from validation.findings import Finding
from validation.places import DAY_US, observed, place

DAY: Final = "day"
STEPS: Final = "steps"
OLDEST: Final = "oldest"
NEWEST: Final = "newest"
DAYS_BEFORE: Final = 14
"""Full days that the last one is held against."""
LEAST_DAYS_BEFORE: Final = 3
_ONE_DAY: Final = timedelta(days=1)


def count(grid: pl.DataFrame) -> pl.DataFrame:
    """Per entity and day (UTC) on which it was observed: in how many `steps`, the `oldest` and the `newest` of them; sorted."""
    days = place(grid, every_us=DAY_US)
    told = observed(grid, places=days)
    counted = pl.DataFrame(
        {
            ENTITY: days.entities.gather(days.entity),
            DAY: pl.Series(days.period).cast(pl.Int32).cast(pl.Date),
            STEPS: pl.Series(told.rows).cast(pl.UInt32),
            OLDEST: pl.Series(told.oldest).cast(TIME),
            NEWEST: pl.Series(told.newest).cast(TIME),
        }
    )
    return counted.filter(pl.col(STEPS) > 0).sort(ENTITY, DAY)


def scarce(days: pl.DataFrame, *, cadence: timedelta, least_share: float) -> tuple[Finding, ...]:
    """Entities observed in fewer steps of the last full day than `least_share` of the median of their full days before. `days`: of `count`.

    The last full day is the same for all: the newest observed step of any entity ends it or lies after it. The day on which an entity
    arrived is no full one, unless it began with it. Who was not seen in the last full day or after it has departed before.
    """
    if days.is_empty():
        return ()
    day = (_newest(days) + cadence).date() - _ONE_DAY
    low = _held_against_before(days, day=day).filter(pl.col(STEPS) < least_share * pl.col("usual")).sort(ENTITY)
    return tuple(
        Finding(
            expectation="volume",
            severity="warn",
            entity=row[ENTITY],
            parameter=None,
            period_start=_midnight(day),
            period_end=_midnight(day + _ONE_DAY),
            found=f"{row[STEPS]:,} steps on {day}",
            expected=f"at least {least_share:.0%} of {row['usual']:,.0f} steps, the median of the {row['before']} full days before",
            sentence=f"{row[ENTITY]} was observed in {row[STEPS]:,} steps on {day}, and in {row['usual']:,.0f} (median) on the "
            f"{row['before']} full days before: it broke down, it left, or not all of that day has arrived.",
        )
        for row in low.iter_rows(named=True)
    )


def _held_against_before(days: pl.DataFrame, *, day: date) -> pl.DataFrame:
    """`entity`, `steps` of the day, `usual` (median of the full days before) and `before` (how many); a day without a step counts as 0."""
    seen = days.group_by(ENTITY).agg(pl.col(OLDEST).min(), pl.col(NEWEST).max()).filter(pl.col(NEWEST) >= _midnight(day))
    arrived = pl.col(OLDEST).dt.date()
    since = pl.when(pl.col(OLDEST).dt.time() == time()).then(arrived).otherwise(arrived.dt.offset_by("1d"))
    calendar = pl.DataFrame({DAY: [day - n * _ONE_DAY for n in range(DAYS_BEFORE + 1)]})
    full = seen.select(ENTITY, since.alias("since")).join(calendar, how="cross").filter(pl.col(DAY) >= pl.col("since"))
    steps, last = pl.col(STEPS).fill_null(0), pl.col(DAY) == day
    held = [steps.filter(last).sum(), steps.filter(~last).median().alias("usual"), last.not_().sum().alias("before")]
    told = full.join(days, on=[ENTITY, DAY], how="left").group_by(ENTITY).agg(held)
    return told.filter(pl.col("before") >= LEAST_DAYS_BEFORE)


def stale(days: pl.DataFrame, *, cadence: timedelta, stale_hours: float, departed_days: int | None = None) -> tuple[Finding, ...]:
    """Entities whose newest observed step is more than `stale_hours` older than the newest of all. `days`: of `count`.

    Who departed is none of them: its silence is no news any more, and `telemetry.presence.history` tells it. An entity departs with the
    first day that lies more than `departed_days` (the contract's; null: nobody departs) after the last day on which it was observed.
    """
    if days.is_empty():
        return ()
    newest = _newest(days)
    age = (newest - pl.col(NEWEST)).alias("age")
    old = days.group_by(ENTITY).agg(pl.col(NEWEST).max()).with_columns(age).filter(pl.col("age") > timedelta(hours=stale_hours))
    if departed_days is not None:
        old = old.filter(pl.lit(newest.date()) - pl.col(NEWEST).dt.date() <= timedelta(days=departed_days))
    return tuple(
        Finding(
            expectation="freshness",
            severity="warn",
            entity=row[ENTITY],
            parameter=None,
            period_start=row[NEWEST] + cadence,
            period_end=newest + cadence,
            found=f"newest step {_hours(row['age'])} older than the newest of all",
            expected=f"at most {stale_hours:g} hours",
            sentence=f"{row[ENTITY]} was last observed at {row[NEWEST]:%Y-%m-%d %H:%M} UTC, {_hours(row['age'])} before the newest step of "
            "all entities: its source broke down, or it left.",
        )
        for row in old.sort(ENTITY).iter_rows(named=True)
    )


def _hours(age: timedelta) -> str:
    return f"{age / timedelta(hours=1):,.1f} hours"


def _newest(days: pl.DataFrame) -> datetime:
    newest: datetime = days.get_column(NEWEST).max()  # type: ignore[assignment]  # of a column of times
    return newest


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
