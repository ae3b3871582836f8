"""What a network has to beat, all of it causal, every scale from the steps to fit on alone. NumPy only.

persistence      the last value
seasonal naive   the value of the same minute a week before, or where that was not observed, a day before (Hyndman and Athanasopoulos,
                 Forecasting: Principles and Practice, 3rd ed., 5.2); what was observed alone counts
robust z         distance from the median in units of 1.4826 times the median absolute deviation (Iglewicz and Hoaglin, How to Detect and
                 Handle Outliers, 1993): both by hour of the week for an entity that was fitted on in three weeks or more, by hour of the
                 day with three days or more, else over all
PCA              squared distance from the principal components that hold 0.9 of the variance (Jackson and Mudholkar,
                 Technometrics 21, 1979)
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

SMALLEST_DEVIATION = 1e-2
"""Floor under a parameter's deviation over the fit, in the units of the values (scaled ones, for a panel)."""
SMALLEST_SPREAD: Final = 0.1
"""Floor under a median absolute deviation, likewise: most counters are nearly always the same number."""
NORMAL: Final = 1.4826
"""The standard deviation of a normal variable over its median absolute deviation."""
LEAST_CYCLES: Final = 3
"""So many weeks, or days, make a median of each of their hours."""
HOURS_OF_WEEK: Final = 168
HOURS_OF_DAY: Final = 24
HOUR_SECONDS: Final = 3600
DAY_SECONDS: Final = 24 * HOUR_SECONDS


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


def seasonal_naive(values: NDArray[np.float32], *, observed: NDArray[np.bool_], cadence_seconds: int) -> NDArray[np.float32]:
    """f32[E, T, P]: for every step the value observed a week before it, else that of a day before, else NaN.

    >>> values = np.arange(9, dtype=np.float32).reshape(1, 9, 1)
    >>> seasonal_naive(values, observed=values != 7, cadence_seconds=24 * 3600)[0, :, 0].tolist()
    [nan, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 1.0]
    """
    day = max(DAY_SECONDS // cadence_seconds, 1)
    forecasts = np.full_like(values, np.nan)
    for back in (day, 7 * day):
        past, seen = values[:, :-back], observed[:, :-back]
        forecasts[:, back:] = np.where(seen, past, forecasts[:, back:])
    return forecasts


def robust_z(
    values: NDArray[np.float32], *, observed: NDArray[np.bool_], fit: NDArray[np.bool_], start_seconds: int, cadence_seconds: int
) -> NDArray[np.float32]:
    """f32[E, T, P]: how many robust deviations each value lies from what is usual for its entity, parameter and hour; 0 where unobserved.

    Args:
        values: f32[E, T, P].
        observed: bool[E, T, P].
        fit: bool[E, T], the steps to fit on. An entity without one is held against the medians over all others.
        start_seconds: of the first step, since 1970.
        cadence_seconds: length of a step.
    """
    entities, steps, parameters = values.shape
    hours = (start_seconds + np.arange(steps) * cadence_seconds) // HOUR_SECONDS
    middle = np.zeros((entities, HOURS_OF_WEEK, parameters), dtype=np.float32)
    spread = np.ones_like(middle)
    known = fit.any(axis=1)
    for learned in np.flatnonzero(known):
        used = fit[learned]
        middle[learned], spread[learned] = _usual(values[learned, used], observed=observed[learned, used], hours=hours[used])
    if known.any() and not known.all():
        middle[~known], spread[~known] = np.median(middle[known], axis=0), np.median(spread[known], axis=0)
    hour = hours % HOURS_OF_WEEK
    z = np.zeros_like(values)
    for entity in range(entities):
        z[entity] = np.where(observed[entity], (values[entity] - middle[entity, hour]) / spread[entity, hour], 0)
    return z


def _usual(
    values: NDArray[np.float32], *, observed: NDArray[np.bool_], hours: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Median and robust deviation f32[168, P] of every hour of the week, by the longest cycle that there is enough of."""
    period: int = next((cycle for cycle in (HOURS_OF_WEEK, HOURS_OF_DAY) if np.unique(hours // cycle).size >= LEAST_CYCLES), 1)
    bucket = hours % period
    order = np.argsort(bucket, kind="stable")
    edges = np.searchsorted(bucket[order], np.arange(period + 1))
    middle, spread = np.zeros((2, period, values.shape[1]), dtype=np.float32)
    for parameter in range(values.shape[1]):
        column, seen = values[order, parameter], observed[order, parameter]
        whole = _median_and_deviation(column[seen])
        for hour in range(period):
            rows = slice(edges[hour], edges[hour + 1])
            told = column[rows][seen[rows]]
            middle[hour, parameter], spread[hour, parameter] = _median_and_deviation(told) if told.size else whole
    repeated = HOURS_OF_WEEK // period
    return np.tile(middle, (repeated, 1)), np.tile(spread, (repeated, 1))


def _median_and_deviation(values: NDArray[np.float32]) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    middle = float(np.median(values))
    return middle, max(NORMAL * float(np.median(np.abs(values - middle))), SMALLEST_SPREAD)
