"""Where tracked thresholds stand when a stretch begins: told by what the release has scored before it, and by who labelled what."""

from datetime import datetime

import polars as pl

from serving.release import Release
from serving.thresholds import LEAST_THRESHOLD, promised_rate
from serving.tracking import offsets
from telemetry.lake import Lake
from telemetry.schema import AT, END, ENTITY, LABEL, LABELS, RELEASE, SCORES, START, SURPRISE, TARGET
from telemetry.sections import Thresholds


def standing(lake: Lake, *, release: Release, policy: Thresholds, cadence_seconds: int, before: datetime) -> pl.DataFrame | None:
    """OFFSETS of `serving.tracking` from what the release scored before an instant; None where thresholds are not tracked."""
    if not policy.track:
        return None
    scored = lake.read("scores", schema=SCORES).filter(pl.col(RELEASE) == release.id, pl.col(AT) < before)
    past = scored.select(ENTITY, TARGET, AT, SURPRISE).sort(AT).collect()
    labels = lake.read("labels", schema=LABELS).collect().sort(START)
    ended = pl.col(END).cum_max().over(ENTITY)
    marked = past.join_asof(labels.select(ENTITY, pl.col(START).alias(AT), ended), on=AT, by=ENTITY, check_sortedness=False)
    known = marked.with_columns((pl.col(AT) < pl.col(END)).fill_null(value=False).alias(LABEL))
    rate = promised_rate(policy, cadence_seconds=cadence_seconds)
    return offsets(known, thresholds=release.thresholds, rate=rate, step=policy.track, least=LEAST_THRESHOLD)
