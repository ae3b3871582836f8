"""The digits that values are told with, and what they say of the arithmetic that was done to them.

Taken back by the right factor values have the digits again that they had before, and by no other: so 1000 is told from 1024, and a
division that lost its remainder from one that did not.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from validation.shifts import CONVERSIONS, NEAR

Floats = NDArray[np.float64]

DIGITS: Final = 9
"""Decimals that are looked for at most."""
ON_THE_GRID: Final = 0.99
"""Of the values: the others may be means of several."""
ROUNDING: Final = 1e-12
"""Of a value, lost in a few operations with 64-bit numbers."""
WIDE: Final = np.log(1.3)
"""How far, in logarithms, the measured factor may be from one that the digits speak for."""


def exact_factor(before: Floats, after: Floats, *, near: float) -> float | None:
    """The conversion by which values have the digits again that they had before; null where the digits tell nothing.

    >>> exact_factor(np.array([3.1, 4.7, 12.0]), np.array([3174.4, 4812.8, 12390.4]), near=1010.0)
    1024.0
    """
    digits = digits_of(before)
    if digits is None or not len(after):
        return None
    candidates = [size if near > 1 else 1 / size for size in CONVERSIONS]
    fitting = [told for told in candidates if abs(np.log(near / told)) <= WIDE and _on_grid(after / told, digits=digits)]
    finest = digits_of(after)
    if not fitting or (near < 1 and finest is not None and finest <= digits):
        return None  # a quotient has more digits than what was divided
    return min(fitting, key=lambda told: abs(np.log(near / told)))


def lost_remainder(before: Floats, after: Floats, *, near: float) -> float | None:
    """The conversion that values were divided by, where only whole numbers are left; null where it was none.

    Args:
        before: the values before.
        after: those after it.
        near: by how much the level has fallen, roughly: it tells less of small numbers than their mean does.

    >>> lost_remainder(np.array([130.0, 250.0, 65.0, 170.0]), np.array([2.0, 4.0, 1.0, 2.0]), near=70.0)
    60.0
    """
    if digits_of(before) is None or digits_of(after) != 0 or before.mean() <= 0:
        return None
    size = before.mean() / (after.mean() + 0.5)  # half a step is lost on average
    nearest = min(CONVERSIONS, key=lambda told: abs(np.log(size / told)))
    return nearest if min(abs(np.log(size / nearest)), abs(np.log(near / nearest))) <= WIDE + np.log1p(NEAR) else None


def digits_of(values: Floats) -> int | None:
    """How many decimals the values have, if they are so few that they were told that way."""
    return next((digits for digits in range(DIGITS) if _on_grid(values, digits=digits)), None) if len(values) else None


def _on_grid(values: Floats, *, digits: int) -> bool:
    scaled = values * 10.0**digits
    return bool(np.mean(np.abs(scaled - np.round(scaled)) <= ROUNDING * np.abs(scaled)) >= ON_THE_GRID)
