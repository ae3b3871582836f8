"""Tracked thresholds stand where the scores before a stretch, and their labels, have moved them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from flows.tracked import standing
from serving.release import Release
from serving.tracking import OFFSET
from telemetry.lake import Lake
from telemetry.revisions import Span, replace
from telemetry.schema import ENTITY, LABELS, SCORES, THRESHOLDS
from telemetry.sections import Thresholds

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = Thresholds(track=0.5, false_alarms_per_week=100.8)


@dataclass
class Known:
    """All that is asked of a release."""

    id: str
    thresholds: pl.DataFrame


KNOWN = cast("Release", Known(id="r", thresholds=pl.DataFrame([("a", "q", 1, 1.0, 4.0, 99)], schema=THRESHOLDS, orient="row")))


def lake_of(folder: Path, *, surprises: list[float]) -> Lake:
    lake = Lake(str(folder))
    usual: dict[str, Any] = {"entity": "a", "target": "q", "actual": 1.0, "forecast": 1.0, "verdict": "", "release": "r"}
    rows = [usual | {"at": START + minute * MINUTE, "surprise": surprise} for minute, surprise in enumerate(surprises)]
    span = Span(release="r", since=START, until=START + timedelta(days=1), entities=None)
    replace(lake, "scores", pl.DataFrame(rows, schema=SCORES), span=span, schema=SCORES)
    return lake


def offset(lake: Lake, *, minutes: int) -> float:
    found = standing(lake, release=KNOWN, policy=POLICY, cadence_seconds=60, before=START + minutes * MINUTE)
    assert found is not None
    return float(found.filter(pl.col(ENTITY) == "a")[OFFSET].item())


def test_every_anomalous_minute_before_has_raised_the_threshold(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, surprises=[2.0, 0.5, 3.0, 9.0])
    assert offset(lake, minutes=3) == pytest.approx(0.5 * (2 - 3 * 0.01))


def test_what_an_operator_labelled_has_not(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, surprises=[2.0, 0.5, 3.0, 0.5])
    lake.merge_labels(pl.DataFrame([("a", START, START + 2 * MINUTE, "outage")], schema=LABELS, orient="row"))
    assert offset(lake, minutes=4) == pytest.approx(0.5 * (1 - 2 * 0.01))


def test_without_tracking_nothing_is_asked(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, surprises=[2.0])
    assert standing(lake, release=KNOWN, policy=Thresholds(), cadence_seconds=60, before=START + MINUTE) is None
    assert np.isfinite(offset(lake, minutes=1))
