"""The score of Numenta's anomaly benchmark, profile "standard" (Lavin and Ahmad, ICMLA 2015, and the code of the benchmark, `sweeper.py`).

Of each window the earliest detection counts, the more the earlier it comes; a window without one costs 1; each detection outside costs up
to 0.11, the less the shorter after a window it comes. 100 is a detector that finds every window at its first row and nothing else, 0 one
that says nothing. The first 0.15 of a series are not scored.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

FALSE_POSITIVE: Final = 0.11
FALSE_NEGATIVE: Final = 1.0
FAR: Final = 3.0
"""Windows past its end after which a detection is as false as can be."""

Floats = NDArray[np.float64]
Series = tuple[Floats, NDArray[np.bool_]]
"""Scores and labels of the rows that are judged."""


def nab_score(series: Sequence[Series], *, threshold: float) -> float:
    """The normalised score of detections `score > threshold` over all series.

    Raises:
        ValueError: no series has a window.
    """
    windows = sum(len(_runs(label)) for _, label in series)
    if not windows:
        raise ValueError("there is no window, so nothing could be found")
    total = sum(_raw(score > threshold, label=label) for score, label in series)
    return 100.0 * (total + FALSE_NEGATIVE * windows) / (windows * (1.0 + FALSE_NEGATIVE))


def best_threshold(series: Sequence[Series], *, candidates: int = 400) -> float:
    """The threshold with the greatest score: fitted on what it is judged by, as that benchmark's own runner does it."""
    pooled = np.concatenate([score for score, _ in series])
    tried = np.unique(np.quantile(pooled, 1 - np.geomspace(1e-5, 0.2, candidates)))
    return float(max(tried, key=lambda threshold: nab_score(series, threshold=float(threshold))))


def _raw(told: NDArray[np.bool_], *, label: NDArray[np.bool_]) -> float:
    """What detections of one series earn and cost."""
    runs = _runs(label)
    place = np.arange(len(label))
    outside = told & ~label
    cost = np.full(len(label), -1.0)
    earned = 0.0
    for first, last in runs:
        width = last - first + 1
        after = place > last
        cost[after] = _sigmoid((place[after] - last) / max(width - 1, 1))
        hits = np.flatnonzero(told[first : last + 1])
        earned += _sigmoid(np.array([-(width - hits[0]) / width]))[0] / _sigmoid(np.array([-1.0]))[0] if hits.size else -FALSE_NEGATIVE
    return float(earned + FALSE_POSITIVE * cost[outside].sum())


def _sigmoid(position: Floats) -> Floats:
    """From +1 at a window's first row over 0 at its last to -1 far behind it."""
    return np.where(position > FAR, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, FAR))) - 1.0)


def _runs(label: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last row of each window."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], label.astype(np.int8), [0]])))
    return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]
