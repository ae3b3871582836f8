"""Detectors that a judgement is held against, each f64[E, T]: what is greater is more anomalous."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.baselines import pca_score
from serving.surprise import LEAST_SD, NORMAL_SCALE_QUANTILE, SCALE_QUANTILE
from telemetry.panel import Panel, Part

MAD: Final = 1.4826
"""The median absolute deviation times this is the standard deviation of a normal distribution."""
LEAST_DEVIATION: Final = 1e-2


def pca(panel: Panel) -> NDArray[np.float64]:
    """What lies outside of the principal components that hold 0.9 of the variance of train."""
    return pca_score(panel.values, observed=panel.observed, fit=_fit(panel)).astype(np.float64)


def robust_z(panel: Panel) -> NDArray[np.float64]:
    """Mean over the observed parameters of |value - median| / (1.4826 MAD), both of train."""
    fit = _fit(panel)
    return np.stack([_robust_z(panel, entity=entity, fit=fit[entity]) for entity in range(len(panel.entities))])


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


def _robust_z(panel: Panel, *, entity: int, fit: NDArray[np.bool_]) -> NDArray[np.float64]:
    observed = panel.observed[entity]
    known = np.where(observed, panel.values[entity], np.nan).astype(np.float64)
    never = ~observed[fit].any(axis=0)
    known[:, never] = 0.0
    median = np.nanmedian(known[fit], axis=0)
    deviation = MAD * np.nanmedian(np.abs(known[fit] - median), axis=0)
    distance = np.where(observed, np.abs(known - median) / np.maximum(deviation, LEAST_DEVIATION), 0.0)
    told: NDArray[np.float64] = distance.sum(axis=1) / np.maximum(observed.sum(axis=1), 1)
    return told
