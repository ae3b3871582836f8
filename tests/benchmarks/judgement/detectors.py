"""Detectors that a judgement is held against, each f64[E, T]: what is greater is more anomalous."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models import baselines
from serving.surprise import LEAST_SD, NORMAL_SCALE_QUANTILE, SCALE_QUANTILE
from telemetry.panel import Panel, Part

MICROSECONDS: Final = 1_000_000


def pca(panel: Panel) -> NDArray[np.float64]:
    """What lies outside of the principal components that hold 0.9 of the variance of train."""
    return baselines.pca_score(panel.values, observed=panel.observed, fit=_fit(panel)).astype(np.float64)


def robust_z(panel: Panel) -> NDArray[np.float64]:
    """Mean over the observed parameters of how many robust deviations each lies from the usual of its hour; 0 where nothing is seen."""
    z = baselines.robust_z(
        panel.values,
        observed=panel.observed,
        fit=_fit(panel),
        start_seconds=panel.start_us // MICROSECONDS,
        cadence_seconds=panel.cadence_seconds,
    )
    told: NDArray[np.float64] = np.abs(z).sum(axis=-1, dtype=np.float64) / np.maximum(panel.observed.sum(axis=-1), 1)
    return told


def plain_lstm(panel: Panel, forecasts: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root mean square over leads and targets of the errors of forecasts f32[E, T, L, K], by their sizes in the calibrate part."""
    chosen = list(panel.targets)
    told = np.zeros(panel.values.shape[:2])
    for entity in range(len(panel.entities)):
        seen = panel.observed[entity][:, None, chosen]
        errors = np.where(seen, panel.values[entity][:, None, chosen] - forecasts[entity], 0.0)
        quiet = (panel.part[entity] == Part.CALIBRATE) & ~panel.incident[entity]
        of_all = np.ones(errors.shape[1:])  # where nothing calibrates: one training deviation
        usual = np.quantile(np.abs(errors[quiet]), SCALE_QUANTILE, axis=0) / NORMAL_SCALE_QUANTILE if quiet.any() else of_all
        told[entity] = np.sqrt(np.square(errors / np.maximum(usual, LEAST_SD)).mean(axis=(1, 2)))
    return told


def _fit(panel: Panel) -> NDArray[np.bool_]:
    return np.asarray((panel.part == Part.TRAIN) & ~panel.newcomer & ~panel.incident)
