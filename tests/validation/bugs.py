"""The bug bank: each kind of arithmetic error that telemetry has met, planted into a clean grid at a random entity, parameter and time.

A bug begins somewhere between half and nine tenths of the span and lasts to its end, or for some days; it strikes one entity, all of a
customer, or all of a region. What was planted is told beside the grid, so that a check can be held against it.

Some bugs change next to nothing: log(1 + x) of an x of 0.05 is 0.049. `within_noise` tells them from the others by the planted values and
the clean ones alone, whatever a check says of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.schema import AT, ENTITY
from validation.forms import ALL_ZERO, TEMPERATURES

FACTORS: Final = (1000.0, 1024.0, 60.0, 3600.0, 8.0, 100.0, 1e6)
SHORTEST: Final = timedelta(days=2)
TELLING: Final = 0.5
"""Share of an entity's values that must be other than zero for a parameter to be struck: zero is zero in every unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A bug.

    Attributes:
        kind: as `KINDS` calls it.
        entities: whom it struck.
        parameters: what of them; two where columns were swapped.
        start: its first instant.
        end: exclusive.
    """

    kind: str
    entities: frozenset[str]
    parameters: tuple[str, ...]
    start: datetime
    end: datetime

    @property
    def rows(self) -> pl.Expr:
        """True for the rows that it struck."""
        within = pl.col(AT).is_between(pl.lit(self.start), pl.lit(self.end), closed="left")
        return within & pl.col(ENTITY).is_in(list(self.entities))

    @property
    def series(self) -> set[tuple[str, str]]:
        """Entity and parameter of all that it struck."""
        return {(entity, parameter) for entity in self.entities for parameter in self.parameters}


def matches(cause: str, planted: Planted) -> bool:
    """Whether a check has named the bug; of a division that left nothing but zeros nobody can tell by what it was."""
    if planted.kind == "swapped columns":
        return cause in {f"swapped with {name}" for name in planted.parameters}
    return cause == planted.kind or (planted.kind.startswith("integer division") and cause == ALL_ZERO)


class NothingToStrikeError(ValueError):
    """Nothing can bear a bug of that kind."""


Bug = Callable[[pl.DataFrame, Planted], pl.DataFrame]


def plant(grid: pl.DataFrame, *, kind: str, seed: int, parameters: tuple[str, ...] | None = None) -> tuple[pl.DataFrame, Planted]:
    """The grid with a bug of that kind.

    Args:
        grid: entity, at, observed and parameters; `customer/region` are the entities.
        kind: one of `EVERY_KIND`.
        seed: chooses where and when.
        parameters: those that may be struck; all that tell something by default. For `OF_DEGREES` name those that are told in degrees.

    Raises:
        NothingToStrikeError: nothing that was chosen can bear such a bug.
    """
    rng = np.random.default_rng([seed, *kind.encode()])
    entities = _struck(grid, rng=rng)
    names = _telling(grid, entities=entities, names=parameters, kind=kind)
    if len(names) < (2 if kind in TWO else 1):
        raise NothingToStrikeError(kind)
    chosen = tuple(str(name) for name in rng.choice(names, size=min(2, len(names)), replace=False))
    first, last = grid.filter(pl.col(ENTITY).is_in(list(entities))).select(first=pl.col(AT).min(), last=pl.col(AT).max()).row(0)
    start = (first + (last - first) * float(rng.uniform(0.5, 0.9))).replace(second=0, microsecond=0)
    whole = rng.random() < 0.6 or last - start < 2 * SHORTEST
    end = last + timedelta(seconds=1) if whole else start + SHORTEST + (last - start - SHORTEST) * float(rng.uniform(0.2, 1))
    planted = Planted(kind=kind, entities=entities, parameters=chosen if kind in TWO else chosen[:1], start=start, end=end)
    return EVERY_KIND[kind](grid, planted), planted


def _struck(grid: pl.DataFrame, *, rng: np.random.Generator) -> frozenset[str]:
    every = grid.group_by(ENTITY).agg(pl.col(AT).min()).filter(pl.col(AT) == pl.col(AT).min())[ENTITY].sort().to_list()
    one = str(rng.choice(every))
    customer, _, region = one.partition("/")
    extent = rng.integers(3)
    if extent == 1:
        return frozenset(name for name in every if name.partition("/")[0] == customer)
    if extent == 2 and region:
        return frozenset(name for name in every if name.partition("/")[2] == region)
    return frozenset({one})


def _telling(grid: pl.DataFrame, *, entities: frozenset[str], names: tuple[str, ...] | None, kind: str) -> list[str]:
    told = names or tuple(name for name in grid.columns if name not in (ENTITY, AT, "observed"))
    if kind in POSITIVE:
        told = tuple(name for name in told if (grid[name].min() or 0.0) >= 0)
    shares = grid.filter(pl.col(ENTITY).is_in(list(entities))).group_by(ENTITY).agg((pl.col(told) != 0).mean())
    return [name for name in told if (shares[name].min() or 0.0) >= TELLING]


def _changed(grid: pl.DataFrame, planted: Planted, value: Callable[[pl.Expr], pl.Expr]) -> pl.DataFrame:
    (name,) = planted.parameters
    return grid.with_columns(pl.when(planted.rows).then(value(pl.col(name))).otherwise(pl.col(name)).alias(name))


def _multiplied(by: float) -> Bug:
    return lambda grid, planted: _changed(grid, planted, lambda value: value * by)


def _divided_whole(by: float) -> Bug:
    return lambda grid, planted: _changed(grid, planted, lambda value: (value / by).floor())


def _swapped(grid: pl.DataFrame, planted: Planted) -> pl.DataFrame:
    one, other = planted.parameters
    return grid.with_columns(
        pl.when(planted.rows).then(pl.col(other)).otherwise(pl.col(one)).alias(one),
        pl.when(planted.rows).then(pl.col(one)).otherwise(pl.col(other)).alias(other),
    )


def named(factor: float) -> str:
    """How the kind of a factor is called.

    >>> named(1000.0), named(1 / 60)
    ('x1000', 'x1/60')
    """
    return f"x{factor:.0f}" if factor > 1 else f"x1/{1 / factor:.0f}"


def _of_scale(factor: float, offset: float) -> Bug:
    return lambda grid, planted: _changed(grid, planted, lambda value: value * factor + offset)


def within_noise(grid: pl.DataFrame, frame: pl.DataFrame, *, planted: Planted) -> bool:
    """Whether a bug changes no series that it struck by more than its noise.

    A step is changed by more where the planted value and the clean one differ by more than the series' noise; a series is, where more than
    half of its struck steps are. The noise is that of the clean series outside of the struck time: 1.4826 times the median distance of a
    value from the one a day before, or an hour before where no day is known. Values of which none is below zero are compared by their
    logarithms, which are the same in every unit.

    Args:
        grid: clean.
        frame: with the bug.
        planted: which.
    """
    return not any(_beyond(grid, frame, planted=planted, entity=entity, name=name) for entity, name in planted.series)


def _beyond(grid: pl.DataFrame, frame: pl.DataFrame, *, planted: Planted, entity: str, name: str) -> bool:
    whose = pl.col(ENTITY) == entity
    clean = grid.filter(whose).select(AT, pl.col(name).cast(pl.Float64).alias("clean"), planted.rows.alias("struck"))
    both = clean.with_columns(frame.filter(whose)[name].cast(pl.Float64).alias("planted"))
    both = both.filter(pl.col("clean").is_finite(), pl.col("planted").is_finite())
    if (both["clean"] >= 0).all():  # a zero stays one, or becomes one: as far as can be
        both = both.with_columns(
            pl.when(pl.col("planted") >= 0).then(pl.col("planted").log()).otherwise(float("inf")).alias("planted"),
            pl.col("clean").log(),
        )
    calm = both.filter(~pl.col("struck")).select(AT, pl.col("clean").alias("now"))
    distances = [_distances(calm, lag=lag) for lag in (timedelta(days=1), timedelta(hours=1))]
    noise = next((1.4826 * float(np.median(told)) for told in distances if len(told) >= LEAST_PAIRS), 0.0)
    struck = both.filter(pl.col("struck"), pl.col("clean").is_finite())
    changed = (struck["planted"] - struck["clean"]).abs() > noise
    return bool(changed.sum() > len(changed) / 2)


def _distances(calm: pl.DataFrame, *, lag: timedelta) -> NDArray[np.float64]:
    """How far values are from those a lag before."""
    pairs = calm.join(calm.select((pl.col(AT) + lag).alias(AT), pl.col("now").alias("before")), on=AT)
    told = pairs.select((pl.col("now") - pl.col("before")).abs().alias("step")).filter(pl.col("step").is_finite())["step"]
    return told.to_numpy()


LEAST_PAIRS: Final = 30
TWO: Final = frozenset({"swapped columns"})
POSITIVE: Final = frozenset({"logarithm", "integer division by 60"})
"""What is no number, or nothing new, where values are below zero."""
KINDS: Final[dict[str, Bug]] = {
    **{named(factor): _multiplied(factor) for factor in FACTORS},
    **{named(1 / factor): _multiplied(1 / factor) for factor in FACTORS},
    "sign": _multiplied(-1.0),
    "logarithm": lambda grid, planted: _changed(grid, planted, lambda value: (value + 1).log()),
    "integer division by 60": _divided_whole(60),
    "swapped columns": _swapped,
}
OF_DEGREES: Final[dict[str, Bug]] = {kind: _of_scale(factor, offset) for kind, (factor, offset) in TEMPERATURES.items()}
"""Kinds that only a temperature can bear."""
EVERY_KIND: Final = {**KINDS, **OF_DEGREES}
