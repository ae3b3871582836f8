"""How far the feeds have come -> until when every step is complete, so that nothing is judged that is still on its way."""

from datetime import datetime, timedelta

import polars as pl

from telemetry.contract import Contract
from telemetry.schema import AT, FEED, NEWEST, TIME, WATERMARKS, conform


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
