"""The digits that values are told with, and what they say of the arithmetic that was done to them.

Taken back by the right error values have the digits again that they had before, and by no other: so 1000 is told from 1024, and a
division that lost its remainder from one that did not. Digits are decimals, or the 24 binary ones of single precision, in which many
exporters keep what they tell: of those a multiplication in double precision leaves none, but for powers of two.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from validation.shifts import CONVERSIONS, NEAR

Floats = NDArray[np.float64]

DIGITS: Final = 9
"""Decimals that are looked for at most."""
ON_THE_GRID: Final = 0.99
"""Of the values: the others may be means of several."""
AGAIN: Final = 0.9
"""Of the values that must have the digits again."""
ROUNDING: Final = 1e-12
"""Of a value, lost in a few operations with 64-bit numbers."""
SINGLE_ROUNDING: Final = 2.0**-23
"""Of a value, lost where it is kept in single precision."""
BY_CHANCE: Final = 0.25
"""Of values kept in single precision: where decimals so fine are met by chance so often, a value tells nothing of them."""
BITS: Final = 16
"""Binary digits that short numbers have at most."""
TELLING: Final = 0.5
"""Of the values that must tell something."""
LEAST_VALUES: Final = 8
"""So many of them, at least."""
WIDE: Final = np.log(1.3)
"""How far, in logarithms, the measured factor may be from one that the means speak for."""
REACH: Final = np.log(2.5)
"""The same for one that the digits speak for."""
Make = Callable[[Floats], Floats]
Told = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """What values have in common.

    Attributes:
        decimals: how many they have; null where it is single precision that they are kept in.
        rounding: of a value, by which it may miss them.
    """

    decimals: int | None
    rounding: float

    def holds(self, values: Floats, *, share: float) -> bool:
        """Whether at least so many of the values are on it."""
        if self.decimals is not None:
            return _on_grid(values, digits=self.decimals, rounding=self.rounding, share=share)
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.mean(np.abs(values - values.astype(np.float32)) <= self.rounding * np.abs(values)) >= share)

    def tells(self, values: Floats) -> bool:
        """Whether values are small enough for it to be more than chance that they are on it."""
        if self.decimals is None:
            return True
        telling = np.abs(values) * 10.0**self.decimals * self.rounding * 2 <= BY_CHANCE
        return bool(np.mean(telling) >= TELLING)

    def beside(self, values: Floats) -> Floats:
        """Values of the grid next to these."""
        if self.decimals is not None:
            return values + 10.0**-self.decimals
        return np.nextafter(values.astype(np.float32), np.float32(np.inf)).astype(np.float64)


def restored(before: Floats, after: Floats, *, do: Make, undo: Make) -> Told:
    """Whether values have the digits again that they had before, and would not by chance, once an error is undone.

    Args:
        before: the values before it.
        after: those after it.
        do: makes the error.
        undo: takes it back.

    >>> before = np.array([3.1, 4.7, 12.0])
    >>> restored(before, np.log1p(before), do=np.log1p, undo=np.expm1), restored(before, before * 2, do=np.log1p, undo=np.expm1)
    ('yes', 'no')
    """
    with np.errstate(all="ignore"):
        known, told = (values[np.isfinite(values) & (values != 0)] for values in (before, after))
        back, made = undo(told), do(known)
        if not len(told) or not np.isfinite(back).all():
            return "unknown"
        answers = {_answer(grid, told=told, back=back, made=made, twice=undo(known), undo=undo) for grid in _grids(known)}
    return "no" if "no" in answers else "yes" if "yes" in answers else "unknown"


def _answer(grid: _Grid, *, told: Floats, back: Floats, made: Floats, twice: Floats, undo: Make) -> Told:
    if not grid.tells(back):
        return "unknown"
    kept, is_single = grid.holds(told, share=AGAIN), grid.decimals is None
    if not grid.holds(back, share=AGAIN):
        return "unknown" if is_single and kept else "no"  # what was stored after the error has the store's precision, whatever was done
    if not kept:
        return "yes"
    if not grid.holds(made[np.isfinite(made)], share=AGAIN):
        return "unknown" if is_single else "no"  # a quotient has more digits than what was divided
    by_chance = grid.holds(undo(grid.beside(told)), share=AGAIN) or grid.holds(twice[np.isfinite(twice)], share=AGAIN)
    return "unknown" if by_chance else "yes"


def _grids(values: Floats) -> Iterator[_Grid]:
    """Those that values are on.

    Numbers of single precision end in decimals too, the larger they are the fewer: these say nothing, but where all are whole and small.
    """
    digits, precise = digits_of(values), _Grid(decimals=None, rounding=ROUNDING)
    if len(values) < LEAST_VALUES or not (precise.holds(values, share=ON_THE_GRID) and _fine(values)):
        if digits is not None:
            yield _Grid(decimals=digits, rounding=ROUNDING)
        return
    yield precise
    if digits == 0 and np.median(np.abs(values)) < 1 / SINGLE_ROUNDING:
        yield _Grid(decimals=0, rounding=ROUNDING)
        return
    loose = [_Grid(decimals=decimals, rounding=SINGLE_ROUNDING) for decimals in range(DIGITS)]
    yield from [grid for grid in loose if grid.tells(values) and grid.holds(values, share=ON_THE_GRID)][:1]


def _fine(values: Floats) -> bool:
    """Whether most values have so many binary digits that they are hardly of single precision by chance."""
    part = np.frexp(values)[0] * 2.0**BITS
    return bool(np.mean(part != np.round(part)) >= TELLING)


def exact_factor(before: Floats, after: Floats, *, near: float) -> float | None:
    """The conversion by which values have the digits again that they had before; null where the digits tell nothing.

    >>> exact_factor(np.array([3.1, 4.7, 12.0]), np.array([3174.4, 4812.8, 12390.4]), near=1010.0)
    1024.0
    """
    candidates = [size if near > 1 else 1 / size for size in CONVERSIONS]
    fitting = [told for told in candidates if abs(np.log(near / told)) <= REACH and of_factor(before, after, factor=told) == "yes"]
    return min(fitting, key=lambda told: abs(np.log(near / told)), default=None)


def of_factor(before: Floats, after: Floats, *, factor: float) -> Told:
    """Whether the digits say that values were multiplied by `factor`."""
    return restored(before, after, do=lambda values: values * factor, undo=lambda values: values / factor)


def single(before: Floats, after: Floats) -> bool:
    """Whether values are kept in single precision, before and after, and not because they are short."""
    before, after = (values[np.isfinite(values) & (values != 0)] for values in (before, after))
    kept = [grid for grid in _grids(before) if grid.decimals is None]
    return bool(kept) and len(after) > 0 and kept[0].holds(after, share=AGAIN)


def lost_remainder(before: Floats, after: Floats, *, near: float) -> float | None:
    """The conversion that values were divided by, where only whole numbers are left; null where it was none.

    Args:
        before: the values before.
        after: those after it.
        near: by how much the level has fallen, roughly: it tells less of small numbers than their mean does.

    >>> lost_remainder(np.array([130.0, 250.0, 65.0, 170.0]), np.array([2.0, 4.0, 1.0, 2.0]), near=70.0)
    60.0
    """
    if not len(before) or digits_of(after) != 0 or before.mean() <= 0:
        return None
    size = before.mean() / (after.mean() + 0.5)  # half a step is lost on average
    nearest = min(CONVERSIONS, key=lambda told: abs(np.log(size / told)))
    return nearest if min(abs(np.log(size / nearest)), abs(np.log(near / nearest))) <= WIDE + np.log1p(NEAR) else None


def digits_of(values: Floats) -> int | None:
    """How many decimals the values have, if they are so few that they were told that way."""
    return next((digits for digits in range(DIGITS) if _on_grid(values, digits=digits)), None) if len(values) else None


def _on_grid(values: Floats, *, digits: int, rounding: float = ROUNDING, share: float = ON_THE_GRID) -> bool:
    scaled = values * 10.0**digits
    return bool(np.mean(np.abs(scaled - np.round(scaled)) <= rounding * np.abs(scaled)) >= share)
