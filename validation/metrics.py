"""How good a release's forecasts of the next step are: accuracy with its lower bound, skill, and the same by entity and by target.

Counted are the rows of lead 1 that are neither a newcomer's nor labelled as an incident. There is no point adjustment, and the tolerance
is one training standard deviation (SIGMA), fixed before anything is measured.

accuracy     share of rows with |actual - forecast| <= SIGMA; a forecast that is no finite number is a miss
skill        1 - MAE / MAE of repeating the last value, both in units of SIGMA over the rows that have a last value, so that targets
             and entities weigh alike. 0 where both are 0 or there is no such row; -1 where only the repetition is perfect
lower bound  one-sided 95 % Wilson bound (Wilson, JASA 22, 1927) with the effective sample size of clustered rows in place of their number
             (Korn and Graubard, Survey Methodology 24, 1998). Clusters are blocks: an entity's rows of `block_minutes`, all targets pooled.
             With h hits of n rows in each of m blocks and p = sum(h) / sum(n), the variance is that of a ratio over clusters,

                 v = m / (m - 1) * sum((h - p n)^2) / sum(n)^2,        n_eff = min(p (1 - p) / v, sum(n)).

             Blocks are taken as independent of one another. Where no row missed, the misses' clustering is unknown and every block counts
             as one row; a single block counts as one row as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from telemetry.schema import ACTUAL, AT, ENTITY, FORECAST, LABEL, LEAD, NEWCOMER, ORACLE, PERSISTENCE, SIGMA, TARGET, TIME, Schema

ACCURACY: Final = "accuracy"
ACCURACY_PERSISTENCE: Final = "accuracy_persistence"
ACCURACY_ORACLE: Final = "accuracy_oracle"
SKILL: Final = "skill"
ROWS: Final = "rows"
ORACLES: Final[Schema] = {ENTITY: pl.String, AT: TIME, TARGET: pl.String, ORACLE: pl.Float32}
"""What a forecaster that knew the generating process would have said, where somebody knows it."""

TOLERANCE_SIGMAS: Final = 1.0
Z_95_ONE_SIDED: Final = 1.6448536269514722
BLOCK: Final = "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What was measured. Every number is finite; without a counted row all are 0 and `rows` says so.

    Attributes:
        accuracy: share of the rows within one SIGMA.
        accuracy_lower: its one-sided 95 % lower bound.
        accuracy_persistence: the same share for repeating the last value, over the rows that have one.
        accuracy_oracle: the same share for the oracle, over the rows it knows; None without an oracle.
        skill: 1 - MAE / MAE of repeating the last value.
        rows: counted rows.
        not_finite: those of them whose forecast is no finite number.
        blocks: blocks that the lower bound is taken over.
        entity_skill_share: share of the entities whose own skill is above 0.
        worst_decile_accuracy: mean accuracy of the worst tenth of the entities (rounded down, at least one).
    """

    accuracy: float
    accuracy_lower: float
    accuracy_persistence: float
    accuracy_oracle: float | None
    skill: float
    rows: int
    not_finite: int
    blocks: int
    entity_skill_share: float
    worst_decile_accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured: the figures, and the same by entity and target.

    Attributes:
        metrics: over all.
        by_entity: one row each: entity, rows, accuracy, accuracy_persistence, accuracy_oracle, skill; worst accuracy first.
        by_target: likewise by target.
        by_entity_target: likewise by entity and target.
    """

    metrics: Metrics
    by_entity: pl.DataFrame
    by_target: pl.DataFrame
    by_entity_target: pl.DataFrame


def measure(forecasts: pl.DataFrame | pl.LazyFrame, *, block_minutes: int, oracle: pl.DataFrame | None = None) -> Measured:
    """The metrics of the counted rows.

    Args:
        forecasts: FORECASTS; other leads, newcomers' and labelled rows are passed over.
        block_minutes: length of the blocks of the lower bound.
        oracle: ORACLES, or None.
    """
    sums = _sums(forecasts.lazy(), block_minutes=block_minutes, oracle=oracle)
    by_entity = _told(sums, by=[ENTITY])
    whole = _told(sums, by=[]).row(0, named=True)
    blocks = sums.group_by(ENTITY, BLOCK).agg(pl.col("hits", ROWS).sum())
    metrics = Metrics(
        accuracy=whole[ACCURACY],
        accuracy_lower=_lower_bound(blocks),
        accuracy_persistence=whole[ACCURACY_PERSISTENCE] or 0.0,
        accuracy_oracle=whole[ACCURACY_ORACLE],
        skill=whole[SKILL],
        rows=whole[ROWS],
        not_finite=int(sums["not_finite"].sum()),
        blocks=blocks.height,
        entity_skill_share=_mean(by_entity.select(pl.col(SKILL) > 0).to_series()),
        worst_decile_accuracy=_mean(by_entity[ACCURACY].bottom_k(max(by_entity.height // 10, 1))),
    )
    return Measured(
        metrics=metrics,
        by_entity=by_entity,
        by_target=_told(sums, by=[TARGET]),
        by_entity_target=_told(sums, by=[ENTITY, TARGET]),
    )


def _sums(forecasts: pl.LazyFrame, *, block_minutes: int, oracle: pl.DataFrame | None) -> pl.DataFrame:
    """Hits, rows and absolute errors per entity, target and block: all that any figure is made of, in one pass over the rows."""
    counted = forecasts.filter(pl.col(LEAD) == 1, ~pl.col(NEWCOMER), ~pl.col(LABEL))
    if oracle is None:
        counted = counted.with_columns(pl.lit(None, dtype=pl.Float32).alias(ORACLE))
    else:
        counted = counted.join(oracle.lazy().select(list(ORACLES)), on=[ENTITY, AT, TARGET], how="left")
    error, of_persistence, of_oracle = (_error_in_sigmas(told) for told in (FORECAST, PERSISTENCE, ORACLE))
    compared = error.is_finite() & of_persistence.is_not_null()
    block = pl.col(AT).dt.epoch("s") // (60 * block_minutes)
    return (
        counted.group_by(ENTITY, TARGET, block.alias(BLOCK))
        .agg(
            pl.len().cast(pl.Int64).alias(ROWS),
            _hits(error).alias("hits"),
            (~error.is_finite()).fill_null(True).sum().alias("not_finite"),
            _hits(of_persistence).alias("hits_persistence"),
            of_persistence.count().alias("rows_persistence"),
            _hits(of_oracle).alias("hits_oracle"),
            of_oracle.count().alias("rows_oracle"),
            error.filter(compared).sum().alias("error"),
            of_persistence.filter(compared).sum().alias("error_persistence"),
        )
        .collect()
    )


def _error_in_sigmas(told: str) -> pl.Expr:
    actual, sigma = pl.col(ACTUAL).cast(pl.Float64), pl.col(SIGMA).cast(pl.Float64)
    return (actual - pl.col(told).cast(pl.Float64)).abs() / sigma


def _hits(error: pl.Expr) -> pl.Expr:
    return (error <= TOLERANCE_SIGMAS).fill_null(False).sum().cast(pl.Int64)  # NaN compares as greater than every number: a miss


def _told(sums: pl.DataFrame, *, by: Sequence[str]) -> pl.DataFrame:
    """Accuracies and skill of each group, worst accuracy first; without groups, of all rows in one."""
    totals = pl.all().exclude(ENTITY, TARGET, BLOCK).sum()
    grouped = sums.group_by(by).agg(totals) if by else sums.select(totals)
    return grouped.select(
        *by,
        ROWS,
        _share("hits", ROWS).fill_null(0.0).alias(ACCURACY),
        _share("hits_persistence", "rows_persistence").alias(ACCURACY_PERSISTENCE),
        _share("hits_oracle", "rows_oracle").alias(ACCURACY_ORACLE),
        _skill().alias(SKILL),
    ).sort(ACCURACY, *by)


def _share(part: str, whole: str) -> pl.Expr:
    return pl.when(pl.col(whole) > 0).then(pl.col(part) / pl.col(whole))


def _skill() -> pl.Expr:
    error, of_persistence = pl.col("error"), pl.col("error_persistence")
    beaten_by_perfection = pl.when(error > 0).then(-1.0).otherwise(0.0)
    return pl.when(of_persistence > 0).then(1 - error / of_persistence).otherwise(beaten_by_perfection)


def _lower_bound(blocks: pl.DataFrame) -> float:
    """Wilson's one-sided lower bound of the blocks' pooled share of hits (columns `hits`, ROWS)."""
    hits, rows = blocks["hits"].cast(pl.Float64), blocks[ROWS].cast(pl.Float64)
    if blocks.is_empty():
        return 0.0
    share = float(hits.sum()) / float(rows.sum())
    return wilson_lower(share, size=_effective_size(hits, rows, share=share))


def _effective_size(hits: pl.Series, rows: pl.Series, *, share: float) -> float:
    """How many independent rows say as much about the share of hits as these clustered ones."""
    blocks, total = hits.len(), float(rows.sum())
    if blocks == 1:
        return 1.0
    spread = float(((hits - share * rows) ** 2).sum())
    variance = blocks / (blocks - 1) * spread / total**2
    binomial = share * (1 - share)
    if binomial == 0.0 or variance == 0.0:
        return float(blocks)
    return min(binomial / variance, total)


def wilson_lower(share: float, *, size: float) -> float:
    """Wilson's one-sided 95 % lower bound of a share seen in `size` independent rows.

    >>> round(wilson_lower(0.99, size=1000), 4)
    0.9833
    """
    z2 = Z_95_ONE_SIDED**2
    half = Z_95_ONE_SIDED * math.sqrt(share * (1 - share) / size + z2 / (4 * size * size))
    return max((share + z2 / (2 * size) - half) / (1 + z2 / size), 0.0)


def _mean(values: pl.Series) -> float:
    """The mean, 0 of nothing."""
    found = values.cast(pl.Float64).mean()
    return found if isinstance(found, float) else 0.0
