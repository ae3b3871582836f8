"""What becomes of verdicts and incidents while somebody works on an entity: it is not judged, and no incident opens."""

from datetime import timedelta
from typing import Final

import polars as pl

from serving.incidents import SILENCE
from telemetry.maintenance import within
from telemetry.schema import (
    ACTUAL,
    COVERAGE,
    END,
    ENTITY,
    FORECAST,
    INCIDENT,
    INCIDENTS,
    OPENED,
    PEAK,
    START,
    STATE,
    SURPRISE,
    TARGET,
    VERDICT,
    conform,
)
from telemetry.sections import Thresholds

MAINTENANCE: Final = "maintenance"
_SINCE: Final = "__since__"
_UNTIL: Final = "__until__"


def excused(scores: pl.DataFrame, *, told: pl.DataFrame) -> pl.DataFrame:
    """SCORES in which nothing within PERIODS of `telemetry.maintenance` is judged: the verdict is "maintenance", without any number."""
    if told.is_empty():
        return scores
    hit = within(scores, told=told)
    none = pl.lit(None, dtype=pl.Float64)
    numbers = [pl.when(hit).then(none).otherwise(pl.col(name)).alias(name) for name in (ACTUAL, FORECAST, SURPRISE)]
    return scores.with_columns(*numbers, pl.when(hit).then(pl.lit(MAINTENANCE)).otherwise(VERDICT).alias(VERDICT))


def covered(coverage: pl.DataFrame, *, told: pl.DataFrame) -> pl.DataFrame:
    """COVERAGE in which every minute within PERIODS has the state "maintenance", whether rows came or not."""
    if told.is_empty():
        return coverage
    state = pl.when(within(coverage, told=told)).then(pl.lit(MAINTENANCE)).otherwise(STATE)
    return conform(coverage.with_columns(state.alias(STATE)), COVERAGE, name="coverage")


def silences(incidents: pl.DataFrame, *, told: pl.DataFrame, policy: Thresholds, cadence: timedelta) -> pl.DataFrame:
    """INCIDENTS without the silence of who is worked on: one that begins in maintenance begins where that ends, if it is long enough then.

    Args:
        incidents: INCIDENTS.
        told: PERIODS.
        policy: after how many steps silence is told.
        cadence: length of a step.
    """
    if told.is_empty():
        return incidents
    silent = incidents.filter(pl.col(TARGET) == SILENCE)
    worked = told.rename({START: _SINCE, END: _UNTIL})
    pairs = silent.join(worked, on=ENTITY).filter(pl.col(START) >= pl.col(_SINCE), pl.col(START) < pl.col(_UNTIL))
    later = pairs.group_by(INCIDENT).agg(pl.col(_UNTIL).max())
    moved = silent.join(later, on=INCIDENT, how="left").with_columns(pl.max_horizontal(START, _UNTIL).alias(START))
    missing = (pl.col(END) - pl.col(START)).dt.total_microseconds() / (cadence / timedelta(microseconds=1))
    at = pl.col(START).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    is_moved = pl.col(_UNTIL).is_not_null()
    kept = moved.filter(~is_moved | (missing >= policy.open_within)).with_columns(
        pl.when(is_moved).then(pl.concat_str(ENTITY, pl.lit("@"), at, pl.lit("/silence"))).otherwise(INCIDENT).alias(INCIDENT),
        pl.when(is_moved).then(pl.col(START) + policy.open_within * cadence).otherwise(OPENED).alias(OPENED),
        pl.when(is_moved).then(missing / policy.open_within).otherwise(PEAK).alias(PEAK),
    )
    every = pl.concat([incidents.filter(pl.col(TARGET) != SILENCE), kept.select(incidents.columns)])
    return conform(every.select(list(INCIDENTS)), INCIDENTS, name="incidents").sort(ENTITY, START, TARGET)
