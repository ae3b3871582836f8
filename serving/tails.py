"""Tails: the z that a further minute exceeds with a promised probability, within what was seen and beyond it.

All of them are expressions over the column `z` of one group of minutes, the greatest first, so that one pass of Polars gives the bar of
every group.

    seen       the finite-sample rank of conformal prediction, between two minutes where it is no whole number
    beyond     where that rank is past the last minute: the generalised Pareto law of the excess over a high foot
    fitted     that law throughout, from its foot on
"""

from typing import Final

import polars as pl

from serving.surprise import Z

TAIL_SHARE: Final = 0.02
LEAST_TAIL: Final = 10
"""The tail is fitted to this share of the greatest z, but to no fewer than this many (or to all, if there are fewer)."""
GREATEST_SHAPE: Final = 0.5
"""Shapes are held within this: beyond it probability-weighted moments do not exist, and a few minutes show any shape."""
LEAST_SHAPE: Final = 1e-6
"""Nearer to 0 the law is the exponential one, and its formula divides 0 by 0."""


def conformal(*, rate: float, count: pl.Expr | None = None) -> pl.Expr:
    """The z that a further minute exceeds with probability `rate`, if minutes are exchangeable.

    With n minutes it is the (n + 1) (1 - rate)-th smallest z (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005,
    ch. 4), on the line between two of them where that is no whole number: rounded up, as there, a promise of few minutes would be kept by
    far too much. Where that rank is past n no minute shows it; it is then taken from the fitted tail, and no less than the greatest z.

    Args:
        rate: the promised probability.
        count: how many minutes the group stands for, where it holds only the greatest z of them; as many as it holds, by default.
    """
    n = pl.len() if count is None else count
    return pl.when(_rank(n, rate=rate) > n).then(pl.max_horizontal(_beyond(n, rate=rate), pl.col(Z).first())).otherwise(_seen(n, rate=rate))


def fitted(*, rate: float) -> pl.Expr:
    """The z that the fitted tail exceeds with probability `rate` (Siffer et al., Anomaly Detection in Streams with Extreme Value Theory,
    KDD 2017, sec. 3); a rate that is no tail's any more is read off the minutes.
    """
    n = pl.len()
    return pl.when(_tail(n) > n * rate).then(_beyond(n, rate=rate)).otherwise(_seen(n, rate=rate))


def _rank(n: pl.Expr, *, rate: float) -> pl.Expr:
    return (n + 1) * (1 - rate)


def _at(place: pl.Expr) -> pl.Expr:
    """The z at a place, 0 the greatest."""
    return pl.col(Z).get(place.cast(pl.Int64).clip(0, pl.len().cast(pl.Int64) - 1))


def _seen(n: pl.Expr, *, rate: float) -> pl.Expr:
    place = n - _rank(n, rate=rate)
    greater, less = _at(place.floor()), _at(place.ceil())
    return greater + (less - greater) * (place - place.floor())


def _tail(n: pl.Expr) -> pl.Expr:
    """How many z the tail is fitted to."""
    return pl.max_horizontal((n * TAIL_SHARE).ceil(), pl.min_horizontal(pl.lit(LEAST_TAIL), n)).cast(pl.Int64)


def _beyond(n: pl.Expr, *, rate: float) -> pl.Expr:
    """u + scale / shape * ((share of the tail / rate) ** shape - 1), u the tail's foot.

    That the excess over a high u follows this law is Pickands' theorem (1975); shape and scale are those of its probability-weighted
    moments (Hosking and Wallis, Parameter and Quantile Estimation for the Generalized Pareto Distribution, 1987):
    a0 = E[x], a1 = E[x (1 - F)], shape = 2 - a0 / (a0 - 2 a1), scale = a0 (1 - shape).
    """
    tail = _tail(n)
    foot = _at(tail)
    excess = pl.col(Z).head(tail) - foot
    first = excess.mean()
    second = (excess * ((pl.int_range(1, excess.len() + 1) - 0.65) / tail)).mean()
    told = (2 - first / (first - 2 * second)).clip(-GREATEST_SHAPE, GREATEST_SHAPE)
    shape = pl.when(told.is_finite() & (told.abs() > LEAST_SHAPE)).then(told).otherwise(LEAST_SHAPE)
    return foot + first * (1 - shape) / shape * ((tail / n / rate) ** shape - 1)
