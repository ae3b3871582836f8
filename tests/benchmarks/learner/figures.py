"""What the benchmarks of the learner make of accuracies."""

import statistics
from collections.abc import Sequence


def closed_share(accuracy: float, *, persistence: float, oracle: float) -> float:
    """How much of the distance from repeating the last value to the best possible forecast a model closes; 0 where there is none.

    >>> round(closed_share(0.985, persistence=0.945, oracle=0.995), 3)
    0.8
    """
    distance = oracle - persistence
    return (accuracy - persistence) / distance if distance > 0 else 0.0


def range_points(shares: Sequence[float]) -> float:
    """Largest less smallest, in percentage points.

    >>> round(range_points([0.9901, 0.9896, 0.9899]), 3)
    0.05
    """
    return 100 * (max(shares) - min(shares))


def deviation_points(shares: Sequence[float]) -> float:
    """Standard deviation of a sample (n - 1), in percentage points; 0 of a single one.

    >>> round(deviation_points([0.99, 0.98]), 3)
    0.707
    """
    return 100 * statistics.stdev(shares) if len(shares) > 1 else 0.0


def epochs_within(seconds: float, *, epoch_seconds: float) -> int:
    """How many whole epochs come nearest to a time, at least one.

    >>> epochs_within(20, epoch_seconds=6.5), epochs_within(1, epoch_seconds=6.5)
    (3, 1)
    """
    return max(1, round(seconds / epoch_seconds))


def percent(share: float | None, *, digits: int = 2) -> str:
    """A share for a person.

    >>> percent(0.98765), percent(None)
    ('98.77 %', '-')
    """
    return "-" if share is None else f"{100 * share:.{digits}f} %"
