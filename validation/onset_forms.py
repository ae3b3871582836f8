"""How much more likely values are if an error of arithmetic was made than if their series has truly changed.

Under an error values are what it makes of those before it, grid and all: thousandths of whole numbers have decimals, thousands of them
end in zeros, and that three numbers do so by chance is as unlikely as 1000 to the third. Without one they go on as before, or have come to
some other level on the same grid. All likelihoods are logarithms, of values on a grid but for its spacing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from validation.forms import LOGARITHM, SIGN, called
from validation.onset_past import DECIMALS, Flags, Floats, Ints, Past, median, on_grid
from validation.shifts import CONVERSIONS

ANY_LEVEL: Final = 6.0
"""The width, in logarithms, of where a series may come to lie when it truly changes."""
OFF_GRID: Final = -7.0
"""That an honest value is off the grid of those before it, or of another sign than all of them."""
CROSSED: Final = -9.0
"""That a series whose values all had one sign comes to have the other."""
IMPOSSIBLE: Final = -50.0
FAR: Final = 60.0
"""Series fall to an eighth of what they were every day."""
MOST: Final = 30
"""Values of a case that are told from repeated ones."""
WHOLE: Final = 2.0
"""What a value on a coarse grid tells where those before were on none."""
OUTAGE: Final = float(np.log(0.9))
"""That a value is zero in an outage."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case(Past):
    """Values that follow some steps, and what was known before each of these: the fields of `Past`, [case, 1] each.

    Attributes:
        value: f64[case, n], from the step on; NaN where nothing was told.
        fresh: f64[case, n], 1 where a value was not told before in its case: what is only repeated is no more evidence.
    """

    value: Floats
    fresh: Floats

    @property
    def told(self) -> Flags:
        """bool[case, n]: what tells something; zero is zero in every unit."""
        return np.asarray(np.isfinite(self.value) & (self.value != 0))

    @property
    def size(self) -> Floats:
        """f64[case, n]: the logarithm of what is told; 0 elsewhere."""
        return np.log(np.abs(np.where(self.told, self.value, 1.0)))

    @property
    def centre(self) -> Floats:
        """f64[case, 1]: the median of these."""
        return np.nan_to_num(median(np.where(self.told, self.size, np.nan)))

    @property
    def decimals(self) -> Floats:
        """f64[case, 1]: of a decimal grid, else NaN."""
        return np.where((self.grid >= 0) & (self.grid <= DECIMALS), self.grid, np.nan)

    def only(self, these: Flags | Ints) -> "Case":
        """Some of the cases."""
        return Case(**{each.name: getattr(self, each.name)[these] for each in fields(self)})


def case(past: Past, *, value: Floats, step: Ints, series: Ints, length: int) -> Case:
    """The values of some steps and series and of those that follow, at most `length`."""
    steps = step[:, None] + np.arange(length)
    told = np.where(steps < len(value), value[np.minimum(steps, len(value) - 1), series[:, None]], np.nan)
    fresh = np.ones(told.shape)
    for place in range(1, length if length <= MOST else 0):
        fresh[:, place] = (told[:, :place] != told[:, place : place + 1]).all(axis=1)
    known = {each.name: getattr(past, each.name)[step, series][:, None] for each in fields(Past)}
    return Case(value=told, fresh=fresh, **known)


def unchanged(cases: Case) -> Floats:
    """f64[case, n]: the likelihood of each value if all goes on as before."""
    other = np.sign(cases.value) * cases.sign < 0
    likely = _density(cases.size, level=cases.level, noise=cases.noise) + _off(cases) + OFF_GRID * other
    return np.where(cases.told, likely, 0.0)


def changed(cases: Case) -> Floats:
    """f64[case]: the likelihood of all values if the series has come to some other level."""
    likely = _density(cases.size, level=cases.centre, noise=cases.noise) + _off(cases)
    count = np.maximum(cases.told.sum(axis=1), 1)
    chance = np.minimum(np.log(cases.noise[:, 0] * np.sqrt(2 * np.pi / count) / ANY_LEVEL), 0.0)
    other = (np.sign(cases.value) * cases.sign < 0).any(axis=1)
    total: Floats = np.where(cases.told, likely, 0.0).sum(axis=1) + chance + CROSSED * other
    return total


def multiplied(cases: Case, *, factor: float) -> Floats:
    """f64[case, n]: the likelihood of each value if those before were multiplied."""
    fits = on_grid(cases.value / factor, grid=cases.grid) & (np.sign(cases.value) * cases.sign >= 0)
    gain = np.where(np.isfinite(cases.decimals), np.log(factor), 0.0)
    likely = _density(cases.size, level=cases.level + np.log(factor), noise=cases.noise) + gain * cases.fresh
    return np.where(cases.told, np.where(fits, likely, IMPOSSIBLE), 0.0)


def flipped(cases: Case) -> Floats:
    """f64[case, n]: the likelihood of each value if it had lost or got a sign."""
    other = np.sign(cases.value) * cases.sign < 0
    likely = _density(cases.size, level=cases.level, noise=cases.noise)
    return np.where(cases.told, np.where(other & on_grid(cases.value, grid=cases.grid), likely, IMPOSSIBLE), 0.0)


def logarithm(cases: Case) -> Floats:
    """f64[case, n]: the likelihood of each value if log(1 + x) was told for x."""
    value = np.where(cases.told & (cases.value > 0) & (cases.value < 40), cases.value, 1.0)
    told = np.expm1(value)
    fits = on_grid(told, grid=cases.grid, slack=1e-15 * (1 + told) * (1 + value)) & (value == cases.value) & (cases.sign > 0)
    width = np.where(np.isfinite(cases.decimals), 0.0, np.log1p(told)) * cases.fresh
    likely = _density(np.log(told), level=cases.level, noise=cases.noise) + width
    return np.where(cases.told, np.where(fits, likely, IMPOSSIBLE), 0.0)


def divided_whole(cases: Case, *, by: float) -> Floats:
    """f64[case, n]: the likelihood of each value if those before were divided and lost their remainder; zeros tell a little."""
    value = np.where(np.isfinite(cases.value) & (cases.value >= 0), cases.value, 0.0)
    with np.errstate(all="ignore"):
        edges = [(np.log(by * (value + more)) - cases.level) / cases.noise for more in (0.0, 1.0)]
    share = np.maximum(_distribution(edges[1]) - np.where(value == 0, 0.0, _distribution(edges[0])), 1e-9)
    spacing = np.where(np.isfinite(cases.decimals), np.nan_to_num(cases.decimals) * np.log(10), WHOLE)
    fits = (value == cases.value) & (value == np.round(value)) & (cases.sign > 0)
    likely = np.log(share) + np.where(value == 0, -OUTAGE, spacing * cases.fresh)
    return np.where(np.isfinite(cases.value), np.where(fits, likely, IMPOSSIBLE), 0.0)


def exchanged(cases: Case, others: Case) -> Floats:
    """f64[case, n]: the likelihood of each value if it were one of the other series."""
    fits = on_grid(cases.value, grid=others.grid) & (np.sign(cases.value) * others.sign >= 0)
    finer = (cases.decimals - others.decimals) * np.log(10)
    known = np.isfinite(others.decimals)
    gain = np.where(np.isfinite(finer), finer, np.where(known, WHOLE, 0.0))
    likely = _density(cases.size, level=others.level, noise=others.noise) + gain
    return np.where(cases.told, np.where(fits, likely, IMPOSSIBLE), 0.0)


def single(cases: Case) -> Iterator[tuple[str, float | None, Floats]]:
    """Every error that strikes one series: its name, the factor by which it changes the level, and f64[case, n] its likelihood."""
    for size in CONVERSIONS:
        for factor in (size, 1 / size):
            yield called(factor), factor, multiplied(cases, factor=factor)
        if size >= FAR:
            yield f"integer division by {size:.0f}", 1 / size, divided_whole(cases, by=size)
    yield LOGARITHM, None, logarithm(cases)
    yield SIGN, None, flipped(cases)


def _off(cases: Case) -> Floats:
    """f64[case, n]: what it adds that a value is off its grid, where it counts as if it were of the usual size."""
    finer = np.where(np.isfinite(cases.decimals), np.minimum(cases.size - cases.level, 0.0), 0.0)
    usual: Floats = np.where(on_grid(cases.value, grid=cases.grid), 0.0, OFF_GRID * cases.fresh + finer)
    return usual


def _density(size: Floats, *, level: Floats, noise: Floats) -> Floats:
    """The logarithm of Student's density, four degrees of freedom, of exp(size) around exp(level)."""
    density: Floats = np.log(0.375) - 2.5 * np.log1p(((size - level) / noise) ** 2 / 4) - np.log(noise) - size
    return density


def _distribution(z: Floats) -> Floats:
    """Student's, four degrees of freedom."""
    inner = 1 + np.minimum(np.abs(z), 1e8) ** 2 / 4
    told = np.clip(z, -1e8, 1e8) / np.sqrt(inner)
    below: Floats = 0.5 + 0.375 * told * (1 - told**2 / 12)
    return below
