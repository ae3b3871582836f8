"""Shrinkage: how far an entity's own number is believed, and how far that of the others, by how many minutes its own rests on.

    log bar = w * log own bar + (1 - w) * mean log bar of the others, w = n / (n + n0)

The others of the same target, that is; n0 is told by the bars themselves (empirical Bayes; Efron and Morris, Stein's Estimation Rule and
Its Competitors, 1973). What two halves of the calibrate part say of one entity differs by chance and by drift; how much entities differ
beyond that is what an own number is good for. n0 is the number of minutes at which both are equal.
"""

from typing import Final

import polars as pl

from telemetry.schema import COUNT, TARGET, THRESHOLD

FIRST: Final = "first"
SECOND: Final = "second"
LENDS: Final = "lends"
"""Whether it is one of those who others lean on: no newcomer."""
LEAST_LENDERS: Final = 3
"""With fewer of them nobody can say how much entities differ, and everybody keeps its own."""
_MEANS: Final = {THRESHOLD: "__mean__", FIRST: "__mean_of_first__", SECOND: "__mean_of_second__"}
_EQUAL: Final = "__equal__"


def shrunk(bars: pl.DataFrame) -> pl.DataFrame:
    """`bars` with THRESHOLD, FIRST and SECOND moved towards those of the same target; the halves as bars that rest on half the minutes.

    Args:
        bars: one row per entity and target: THRESHOLD and COUNT, as learned from all its minutes; FIRST and SECOND, the same from the
            first and the second half of them (null where there is none); LENDS. All bars are positive.
    """
    own, lender = pl.col(THRESHOLD).log(), pl.col(LENDS)
    halves = (pl.col(FIRST).log() - pl.col(SECOND).log()).filter(lender)
    chance = halves.pow(2).mean() / 4  # of the mean of both halves
    between = (own.filter(lender).var() - chance).clip(lower_bound=0.0)
    minutes = pl.col(COUNT).filter(lender).mean()
    enough = (lender & pl.col(FIRST).is_not_null() & pl.col(SECOND).is_not_null()).sum() >= LEAST_LENDERS
    told = bars.group_by(TARGET).agg(
        *(pl.col(bar).log().filter(lender).mean().alias(mean) for bar, mean in _MEANS.items()),
        pl.when(enough & (chance > 0)).then(minutes * chance / between).otherwise(0.0).alias(_EQUAL),
    )
    return (
        bars.join(told, on=TARGET, how="left", maintain_order="left")
        .with_columns(_moved(bar, minutes=pl.col(COUNT) if bar == THRESHOLD else pl.col(COUNT) / 2) for bar in _MEANS)
        .drop(*_MEANS.values(), _EQUAL)
    )


def _moved(bar: str, *, minutes: pl.Expr) -> pl.Expr:
    weight = believed(minutes, equal=pl.col(_EQUAL))
    return pl.coalesce((weight * pl.col(bar).log() + (1 - weight) * pl.col(_MEANS[bar])).exp(), bar).alias(bar)


def believed(minutes: pl.Expr, *, equal: pl.Expr | float) -> pl.Expr:
    """The weight n / (n + n0) of an own number that rests on n minutes, n0 = `equal`; all of it where n0 is 0, none where infinite."""
    n0 = pl.lit(equal) if isinstance(equal, float) else equal
    return pl.when(n0 > 0).then(minutes / (minutes + n0)).otherwise(1.0)
