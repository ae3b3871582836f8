"""Volume under the precision-recall surface: how well a score ranks anomalous minutes, tolerant of where exactly a label was drawn.

Definition: Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin, "Volume Under the Surface: A New Accuracy Evaluation Measure for
Time-Series Anomaly Detection", PVLDB 15(11), 2022, section 4. For every width w = 0 .. window, the labels are sloped outwards by w // 2
steps, a range-aware precision-recall curve is drawn, and the areas under the curves are averaged. There is no point adjustment.

Nothing here visits thresholds one by one: the predictions of falling thresholds are nested, so each step needs only the index of the
first threshold that predicts it, and every count along the curve is a cumulative histogram of those indices. The cost is
O(window * (steps + thresholds)).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = 250
"""Points of each precision-recall curve, as published."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """Maximal runs of labelled steps: first and last index of each, both inclusive."""

    first: Ints
    last: Ints


def vus_pr(score: Floats, label: NDArray[np.bool_], *, window: int = 100, thresholds: int = THRESHOLDS) -> float:
    """Area under the precision-recall curve, averaged over label widths 0 .. window; 1 is a perfect ranking.

    Args:
        score: f64[step], higher is more anomalous; steps are equally spaced.
        label: bool[step], True where the step was labelled anomalous.
        window: greatest width, in steps, that labels are blurred by (half of it on each side).
        thresholds: points of each curve.

    Raises:
        ValueError: shapes differ, a score is not finite, or no step is labelled (the measure has no value then).
    """
    _refuse_unusable(score, label)
    runs = _runs(label)
    reached = _first_threshold_reached(score, thresholds=thresholds)
    predicted = _cumulative(reached, thresholds=thresholds)
    areas = [_area(label, runs, reached, predicted, width=width) for width in range(window + 1)]
    return float(np.mean(areas))


def _refuse_unusable(score: Floats, label: NDArray[np.bool_]) -> None:
    if score.ndim != 1 or score.shape != label.shape:
        raise ValueError(f"score and label must be two series of one length, not {score.shape} and {label.shape}")
    if not np.isfinite(score).all():
        raise ValueError(f"{int((~np.isfinite(score)).sum())} of {score.size} scores are not finite")
    if not label.any():
        raise ValueError("no step is labelled: VUS-PR has no value without an anomaly")


def _runs(label: NDArray[np.bool_]) -> _Runs:
    """The labelled runs.

    >>> _runs(np.array([True, False, True, True]))
    _Runs(first=array([0, 2]), last=array([0, 3]))
    """
    edges = np.diff(label.astype(np.int8), prepend=0, append=0)
    return _Runs(first=np.flatnonzero(edges == 1), last=np.flatnonzero(edges == -1) - 1)


def _first_threshold_reached(score: Floats, *, thresholds: int) -> Ints:
    """i64[step]: index of the highest of `thresholds` falling thresholds (evenly spaced ranks of the scores) that a step reaches."""
    ranks = np.linspace(0, score.size - 1, thresholds).astype(np.int64)
    falling = np.sort(-score)[ranks]
    return np.searchsorted(falling, -score, side="left").astype(np.int64)


def _cumulative(reached: Ints, *, thresholds: int, weights: Floats | None = None) -> Floats:
    """f64[threshold]: how many (or how much weight) of `reached` are predicted at each threshold."""
    return np.cumsum(np.bincount(reached, weights=weights, minlength=thresholds)[:thresholds], dtype=np.float64)


def _area(label: NDArray[np.bool_], runs: _Runs, reached: Ints, predicted: Floats, *, width: int) -> float:
    """Area under the curve for labels blurred by `width`.

    With h labelled hits, b blurred hits (weights of predicted steps beside a label) and P labelled steps, the paper's recall is
    (h + b) / (P + b / 2), times the share of blurred runs in which anything was predicted; precision is (h + b) / predicted.
    """
    thresholds = predicted.size
    weight = _slopes(runs, steps=label.size, width=width)
    weight[label] = 0
    beside = np.flatnonzero(weight)
    hits = _cumulative(reached[label], thresholds=thresholds)
    blurred = _cumulative(reached[beside], thresholds=thresholds, weights=weight[beside])
    found = _share_of_runs_found(runs, reached, thresholds=thresholds, reach=width // 2)
    recall = np.minimum((hits + blurred) / (np.count_nonzero(label) + blurred / 2), 1) * found
    precision = (hits + blurred) / predicted
    return float(np.diff(recall, prepend=0) @ precision)


def _slopes(runs: _Runs, *, steps: int, width: int) -> Floats:
    """f64[step]: sqrt(1 - distance / width) up to width // 2 steps outside of each run, added where runs are close, at most 1."""
    distance = np.arange(1, width // 2 + 1)
    height = np.sqrt(1 - distance / max(width, 1))
    place = np.concatenate([runs.last[:, None] + distance, runs.first[:, None] - distance])
    inside = (place >= 0) & (place < steps)
    heights = np.broadcast_to(height, place.shape)[inside]
    slopes: Floats = np.minimum(np.bincount(place[inside], weights=heights, minlength=steps), 1.0)
    return slopes


def _share_of_runs_found(runs: _Runs, reached: Ints, *, thresholds: int, reach: int) -> Floats:
    """f64[threshold]: share of the runs, widened by `reach` and merged where they touch, that hold at least one predicted step."""
    apart = runs.last[:-1] + reach < runs.first[1:] - reach
    first = np.maximum(runs.first[np.concatenate([[True], apart])] - reach, 0)
    last = np.minimum(runs.last[np.concatenate([apart, [True]])] + reach, reached.size - 1)
    bounds = np.stack([first, last + 1], axis=1).ravel()
    earliest = np.minimum.reduceat(np.append(reached, thresholds), bounds)[::2]
    share: Floats = _cumulative(earliest, thresholds=thresholds) / first.size
    return share
