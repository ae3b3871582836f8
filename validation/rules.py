"""Steps of a grid and a rule of the contract between two parameters -> who breaks it, how often, since when, with which values."""

from typing import Any, Final

import polars as pl

from telemetry.schema import AT, ENTITY, OBSERVED
from validation.findings import Finding, Severity
from validation.profile import Profile

EXAMPLES: Final = 3
"""Pairs of values that a finding shows."""
Row = dict[str, Any]  # Any: a Polars row


def breaches(grid: pl.DataFrame, *, left: str, right: str, or_equal: bool, tolerance: float) -> pl.DataFrame:
    """Per entity with a step in which `left` lies above `right` by more than a `tolerance` share of it, or is equal and must not be.

    Columns: `told` (steps that tell both as finite numbers), `broken` (how many of them), and of those that are `first, last` and the
    values of the first few, `lefts, rights`.
    """
    bound = pl.col(right) + tolerance * pl.col(right).abs()
    broken = pl.col(left) > bound if or_equal else pl.col(left) >= bound
    both = pl.col(OBSERVED) & pl.col(left).is_finite() & pl.col(right).is_finite()
    odd = pl.col("broken")
    told = [
        pl.len().alias("told"),
        odd.sum(),
        pl.col(AT).filter(odd).min().alias("first"),
        pl.col(AT).filter(odd).max().alias("last"),
        pl.col("lefts", "rights").filter(odd).head(EXAMPLES),
    ]
    if not grid.lazy().select((both & broken).any()).collect(engine="in-memory").item():
        grid = grid.clear()
    steps = grid.lazy().filter(both).select(ENTITY, AT, lefts=left, rights=right, broken=broken)
    return steps.group_by(ENTITY).agg(told).filter(odd > 0).sort(ENTITY).collect(engine="in-memory")


def broken(
    breaches: pl.DataFrame, *, profile: Profile, rule: str, parameter: str, at_most: float, severity: Severity
) -> tuple[Finding, ...]:
    """Entities that break a rule in too large a share of their steps.

    Args:
        breaches: as of the function of that name.
        profile: its cadence.
        rule: in words.
        parameter: the one that is too large.
        at_most: the share of an entity's steps that may break the rule.
        severity: of the findings.
    """
    worse = breaches.with_columns((pl.col("broken") / pl.col("told")).alias("share")).filter(pl.col("share") > at_most).sort(ENTITY)
    return tuple(
        Finding(
            expectation="rule",
            severity=severity,
            entity=row[ENTITY],
            parameter=parameter,
            period_start=row["first"],
            period_end=row["last"] + profile.cadence,
            found=f"{row['broken']:,} steps ({row['share']:.2%}) that break it, such as {_examples(row)}",
            expected=f"{rule} in all but {at_most:.3g} of the steps" if at_most else rule,
            sentence=f"{row[ENTITY]} breaks the rule {rule} in {row['broken']:,} of {row['told']:,} steps ({row['share']:.2%}), first at "
            f"{row['first']:%Y-%m-%d %H:%M} UTC, with {_examples(row)}: one of the two parameters is told wrongly, or the rule is wrong.",
        )
        for row in worse.iter_rows(named=True)
    )


def in_words(rule: str, *, tolerance: float) -> str:
    """A rule with its tolerance.

    >>> in_words("failed_queries <= queries", tolerance=0.05)
    'failed_queries <= queries + 5%'
    """
    return rule + (f" + {100 * tolerance:.3g}%" if tolerance else "")


def _examples(row: Row) -> str:
    return ", ".join(f"{left:.6g} against {right:.6g}" for left, right in zip(row["lefts"], row["rights"], strict=True))
