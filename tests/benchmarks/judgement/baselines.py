"""The last value, and that of the same minute a week before, in a network's place: the same calibration, bars and incidents."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flows.parallel_test import Candidate
from serving.forecasts import tell_each
from serving.incidents import open_incidents
from serving.scorer import score
from serving.thresholds import calibrate
from telemetry.panel import Panel, Part
from tests.benchmarks.judgement.weeks import RELEASE, Weeks, panel_of

WEEK_STEPS: Final = 7 * 24 * 60
Floats = NDArray[np.float32]


def told(weeks: Weeks, *, candidate: Candidate, parts: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """INCIDENTS by baseline."""
    panel = panel_of(weeks, candidate=candidate, parts=parts)
    values, observed = np.asarray(panel.values)[:, :, list(panel.targets)], np.asarray(panel.observed)[:, :, list(panel.targets)]
    last = carried(values, observed=observed)
    return {
        "last value": _incidents(shifted(last, steps=1), panel=panel, weeks=weeks, candidate=candidate),
        "last week": _incidents(shifted(last, steps=WEEK_STEPS), panel=panel, weeks=weeks, candidate=candidate),
    }


def carried(values: Floats, *, observed: NDArray[np.bool_]) -> Floats:
    """f32[E, T, K]: each value, or the last one that was observed before; 0 where there was none."""
    steps = np.where(observed, np.arange(values.shape[1])[None, :, None], -1)
    last = np.maximum.accumulate(steps, axis=1)
    taken: Floats = np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=1), np.float32(0))
    return taken


def shifted(values: Floats, *, steps: int) -> Floats:
    """f32[E, T, 1, K]: the values of so many steps before, and 0 in the first ones.

    >>> shifted(np.ones((1, 3, 1), dtype=np.float32), steps=2).ravel().tolist()
    [0.0, 0.0, 1.0]
    """
    moved = np.zeros_like(values)
    moved[:, steps:] = values[:, :-steps]
    return moved[:, :, None]


def _incidents(forecasts: Floats, *, panel: Panel, weeks: Weeks, candidate: Candidate) -> pl.DataFrame:
    policy, seconds = weeks.contract.thresholds, weeks.contract.time.cadence_seconds

    def rows(part: Part) -> Iterator[pl.DataFrame]:
        each = tell_each(panel, forecasts, leads=(1,), scales=candidate.scales, start=0, part=part)
        return (frame for frame in each if frame.height)

    bars = calibrate(rows(Part.CALIBRATE), policy=policy, cadence_seconds=seconds)
    opened = [
        open_incidents(
            score(frame, thresholds=bars, release=RELEASE).scores,
            policy=policy,
            cadence_seconds=seconds,
            until=weeks.size.end,
            departed_days=weeks.contract.newcomer.departed_days,
        )
        for frame in rows(Part.TEST)
    ]
    return pl.concat(opened)
