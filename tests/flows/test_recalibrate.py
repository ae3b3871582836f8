"""Recalibrate: which days its thresholds are of."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl

from flows.recalibrate import latest
from flows.starts import _seen_too_much
from telemetry.panel import Part
from tests.flows.places import declare, release_of
from tests.flows.test_trust import panel_of

T, G, C, E, A = Part.TRAIN, Part.GAP, Part.CALIBRATE, Part.TEST, Part.ABSENT


def test_the_latest_days_are_calibrated_on_but_for_the_last_window() -> None:
    parts = [[T, T, G, C, C, G, E, E, E, E], [A, T, G, C, A, G, E, E, E, A], [A, A, A, C, C, G, E, A, E, E]]
    steps = len(parts[0])
    made = panel_of(np.zeros((3, steps, 3)))
    panel = replace(made, part=np.array(parts, dtype=np.uint8))
    found = latest(panel, gap=2).part.tolist()
    assert found == [[T, T, G, C, C, C, C, C, G, G], [A, T, G, C, A, C, C, G, G, A], [A, A, A, C, C, C, C, A, G, G]]


def test_the_calibrate_part_may_begin_at_another_instant() -> None:
    parts = [[T, T, T, G, C, C, G, E, E, E]]
    panel = replace(panel_of(np.zeros((1, 10, 3))), part=np.array(parts, dtype=np.uint8))
    at = [datetime.fromtimestamp(900 * step, UTC) for step in range(10)]
    assert latest(panel, gap=1, since=at[2]).part.tolist() == [[T, T, C, C, C, C, C, C, C, G]]
    assert latest(panel, gap=1, since=at[5]).part.tolist() == [[T, T, T, G, T, C, C, C, C, G]]


def test_who_came_too_late_for_the_test_keeps_what_it_had() -> None:
    panel = replace(panel_of(np.zeros((1, 4, 3))), part=np.array([[C, C, G, G]], dtype=np.uint8))
    assert latest(panel, gap=1).part.tolist() == [[C, C, G, G]]


def test_weights_may_be_begun_with_however_late_their_thresholds_are_of() -> None:
    made = release_of(declare())
    day = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 10)]
    parts = pl.DataFrame({"train_end": [day[5]], "test_start": [day[7]]})

    def why(**manifest: str) -> str | None:
        told = {"learned_until": day[3].isoformat(), "calibrated_until": day[8].isoformat()} | manifest
        return _seen_too_much(replace(made, manifest=told), parts=parts)

    assert why(chosen_until=day[4].isoformat()) is None
    assert "was chosen by what came until 2026-01-09" in str(why(chosen_until=day[8].isoformat()))
    assert "was chosen by what came until 2026-01-09" in str(why())  # a release that does not tell
