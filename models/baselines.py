"""What a network has to beat: repeating the last value, and a principal component analysis. NumPy only."""

import numpy as np
from numpy.typing import NDArray

SMALLEST_DEVIATION = 1e-2
"""Floor under a parameter's deviation over the fit, in the units of the values (scaled ones, for a panel)."""


def pca_score(
    values: NDArray[np.float32], *, observed: NDArray[np.bool_], fit: NDArray[np.bool_], share: float = 0.9
) -> NDArray[np.float32]:
    """f32[E, T]: how much of each step is outside of what its entity's parameters usually do together.

    Per entity: standardise by the fit's mean and deviation, project on the fewest principal components that hold `share` of
    the variance, and sum the squared differences over the observed parameters. An entity without a step to fit on scores 0.

    Args:
        values: f32[E, T, P].
        observed: bool[E, T, P]; what is not observed counts as average, and adds nothing.
        fit: bool[E, T], the steps to fit on.
        share: of the variance that the components must hold.
    """
    scores = np.zeros(values.shape[:2], dtype=np.float32)
    for entity in range(values.shape[0]):
        if fit[entity].any():
            scores[entity] = _score(values[entity], observed=observed[entity], fit=fit[entity], share=share)
    return scores


def _score(values: NDArray[np.float32], *, observed: NDArray[np.bool_], fit: NDArray[np.bool_], share: float) -> NDArray[np.float32]:
    """f32[T], for one entity's values f32[T, P]."""
    used = observed & fit[:, None]
    count = np.maximum(used.sum(axis=0), 1)
    mean = np.sum(values, axis=0, where=used, dtype=np.float64) / count
    deviation = np.sqrt(np.sum((values - mean) ** 2, axis=0, where=used) / count)
    standard = np.where(observed, (values - mean) / np.maximum(deviation, SMALLEST_DEVIATION), 0)
    fitted = standard[fit]
    variances, axes = np.linalg.eigh(fitted.T @ fitted / len(fitted))
    held = np.cumsum(variances[::-1]) / max(variances.sum(), np.finfo(np.float64).tiny)
    components = axes[:, ::-1][:, : int(np.searchsorted(held, share)) + 1]
    residual = np.where(observed, standard - standard @ components @ components.T, 0)
    score: NDArray[np.float32] = np.square(residual).sum(axis=1).astype(np.float32)
    return score


def persistence(values: NDArray[np.float32], *, observed: NDArray[np.bool_], lead: int) -> NDArray[np.float32]:
    """f32[E, T, P]: for every step the last value observed `lead` or more steps before it; 0 where there was none yet.

    >>> values = np.array([[[1], [2], [0], [4]]], dtype=np.float32)
    >>> persistence(values, observed=values > 0, lead=1)[0, :, 0].tolist()
    [0.0, 1.0, 2.0, 2.0]
    """
    steps = np.arange(values.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(observed, steps, -1), axis=1)
    carried = np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=1), np.float32(0))
    forecasts = np.zeros_like(values)
    forecasts[:, lead:] = carried[:, : values.shape[1] - lead]
    return forecasts
