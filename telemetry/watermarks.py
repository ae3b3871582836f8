"""How far the feeds have come -> until when every step is complete, so that nothing is judged that is still on its way."""

from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from telemetry.contract import Contract
from telemetry.schema import AT, COUNT, FEED, NEWEST, TIME, WATERMARKS, conform

WAITS: Final = 20
LEAST_WAITS: Final = 3
"""Of fewer times between arrivals nobody can tell what is usual."""


def complete_until(watermarks: pl.DataFrame, *, contract: Contract, now: datetime) -> datetime | None:
    """The end (exclusive) of what is complete in every feed that is still alive; null where there is nothing to wait for.

    A step is complete in a feed once its newest reading lies `late.offset_minutes` after the step's end. With an offset of 0 nothing is
    waited for: the step of the newest reading counts too, as is right where one reading makes a step.

    A feed is silent, and no longer holds the others back, when it is `late.silence_minutes` behind the newest reading of all, or when
    nothing newer has come of it for so long by the clock. So a replay of old telemetry waits for its slowest feed as live telemetry
    does, and what is left of a feed that has ended is complete in the end. A clock that runs ahead makes nobody silent: its
    readings count as of `now`.

    Args:
        watermarks: WATERMARKS, in any order; none for a lake that was written by hand.
        contract: its cadence and what it says of lateness.
        now: the instant of asking.
    """
    late, cadence = contract.late, contract.time.cadence
    step = (pl.col(NEWEST).min() - timedelta(minutes=late.offset_minutes)).dt.truncate(cadence)
    alive = _alive(watermarks, contract=contract, now=now)
    until: datetime | None = alive.select(step if late.offset_minutes else step + cadence).item()
    return until


def slowest(watermarks: pl.DataFrame, *, contract: Contract, now: datetime) -> str | None:
    """The feed that `complete_until` waits for, the first by name among equals; null where there is none."""
    alive = _alive(watermarks, contract=contract, now=now)
    return alive.sort(NEWEST, FEED)[FEED].first() if alive.height else None  # type: ignore[return-value]  # the column's type


def _alive(watermarks: pl.DataFrame, *, contract: Contract, now: datetime) -> pl.DataFrame:
    """Those that are not silent."""
    silence = timedelta(minutes=contract.late.silence_minutes)
    clock = pl.lit(now).cast(TIME)
    behind = pl.min_horizontal(pl.col(NEWEST).max(), clock) - pl.col(NEWEST)
    return conform(watermarks, WATERMARKS, name="watermarks").filter(behind < silence, clock - pl.col(AT) < silence)


def heard_until(watermarks: pl.DataFrame, *, arrivals: pl.DataFrame, contract: Contract, now: datetime) -> datetime | None:
    """The instant (exclusive) until which rows would have come if they were there; null where telemetry is not live.

    Where nothing comes any more, only the clock tells of it. A feed is live if its newest reading was no older than `late.silence_minutes`
    when it came; what is read from files of long ago is not. How long one waits for a live feed in vain before that means anything is seen
    from what was usual: twice the median of the last `WAITS` times between its arrivals, or `late.offset_minutes` if that is longer; a
    feed that comes once an hour is not missed after five minutes.

    Args:
        watermarks: WATERMARKS, in any order.
        arrivals: `feed, at`, when something new was ingested, such as SOURCES; repeated instants count once.
        contract: its cadence and what it says of lateness.
        now: the instant of asking.
    """
    late = contract.late
    fresh = pl.col(AT) - pl.col(NEWEST) <= timedelta(minutes=late.silence_minutes)
    live = conform(watermarks, WATERMARKS, name="watermarks").filter(fresh).select(FEED)
    between = pl.col(AT).unique().sort().diff().drop_nulls().tail(WAITS)
    waits = arrivals.join(live, on=FEED).group_by(FEED).agg(between.median().alias(AT), between.len().alias(COUNT))
    usual = waits.filter(pl.col(COUNT) >= LEAST_WAITS)[AT].max()
    if not isinstance(usual, timedelta):
        return None
    wait, cadence = max(2 * usual, timedelta(minutes=late.offset_minutes)), contract.time.cadence
    return now - wait - (now - wait - datetime(1970, 1, 1, tzinfo=UTC)) % cadence
