"""What every parameter was on each day: stored with every run, and held against its past, its cohort and what the champion learned.

Everything is in canonical units. A profile is a row of PROFILES, the statistics of a parameter of an entity on one finished day (UTC).
Polars reads the grid; the order statistics come from numpy, which sorts the steps of many days at once: a tenth of the time that the
quantiles of groups take in Polars, whatever its engine. The sums are of sorted values in a row of fixed length: the same values give the
same profile to the last bit, in whatever order and in how many files they lie.
"""

from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from deltalake import DeltaTable
from numpy.typing import NDArray

from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.schema import (
    AT,
    COHORT,
    COMPARED,
    DAY,
    DISTINCT,
    ENTITY,
    GREATEST,
    LEAST,
    MEAN,
    MEDIAN,
    NULL_SHARE,
    OBSERVATIONS,
    PARAMETER,
    PROFILES,
    Q01,
    Q25,
    Q75,
    Q99,
    RUN,
    SD,
    SPREAD,
    STORED_PROFILES,
    TIME,
    ZERO_SHARE,
    conform,
)

TABLE: Final = "profiles"
PAST_DAYS: Final = 14
"""Stored days that an entity's own past is the median of."""
QUANTILES: Final = {Q01: 0.01, Q25: 0.25, MEDIAN: 0.5, Q75: 0.75, Q99: 0.99}
KEYS: Final = (ENTITY, PARAMETER, DAY)
_DAYS_AT_ONCE: Final = 2048  # 24 MB of a minute's cadence: larger ones leave the processor's caches
_DAY: Final = timedelta(days=1)
_DAYS_END: Final = 10_000_000
"""More days than a 64-bit time in microseconds may have, so that entity and day make one number."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def profile(grid: pl.LazyFrame, *, contract: Contract) -> pl.DataFrame:
    """PROFILES of every finished day of `grid`, sorted by entity, parameter and day.

    A day is finished once the newest step of all reaches its end; a day that is still going on would tell of its morning only.

    Args:
        grid: rows of `grid_schema`, in any order.
        contract: its parameters and cadence.
    """
    cadence = contract.time.cadence
    rows = grid.select(ENTITY, AT, *contract.names).collect(engine="in-memory")
    finished = (pl.col(AT).max() + cadence).dt.date()
    kept = rows.select(pl.col(AT).dt.date() < finished).to_series().to_numpy()
    if not kept.any():
        return pl.DataFrame(schema=PROFILES)
    days = _Days(rows, kept=kept, steps=-(-_DAY // cadence))
    told = pl.concat(days.told(name) for name in contract.names)
    return conform(told, PROFILES, name=TABLE).sort(KEYS)


class _Days:
    """Where the steps of each day of each entity lie in `rows`: bool[row] `kept` says which of them count."""

    def __init__(self, rows: pl.DataFrame, *, kept: NDArray[np.bool_], steps: int) -> None:
        entity = pl.col(ENTITY).cast(pl.Categorical).to_physical().cast(pl.Int64)
        key = rows.select(entity * _DAYS_END + pl.col(AT).dt.date().to_physical()).to_series().to_numpy()
        self.rows = rows
        self.order: Integers | None = None if kept.all() else np.flatnonzero(kept)
        key = key if self.order is None else key[self.order]
        starts = _starts(key)
        if len(np.unique(key[starts])) < len(starts):
            order = np.argsort(key, kind="stable")
            self.order = order if self.order is None else self.order[order]
            starts = _starts(key[order])
        self.starts = np.append(starts, len(key))
        self.counts = np.diff(self.starts)
        self.width = max(steps, int(self.counts.max()))
        first = starts if self.order is None else self.order[starts]
        self.keys = rows[first].select(ENTITY, pl.col(AT).dt.date().alias(DAY))

    def told(self, name: str) -> pl.DataFrame:
        """PROFILES of one parameter."""
        values = self.rows.get_column(name).to_numpy()
        values = values if self.order is None else values[self.order]
        parts = [self._part(values, first=first) for first in range(0, len(self.counts), _DAYS_AT_ONCE)]
        told = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
        return self.keys.with_columns(pl.Series(column, array) for column, array in told.items()).select(
            ENTITY, pl.lit(name).alias(PARAMETER), DAY, *(_number(column) for column in PROFILES if column not in KEYS)
        )

    def _part(self, values: Floats, *, first: int) -> dict[str, NDArray[np.generic]]:
        counts = self.counts[first : first + _DAYS_AT_ONCE]
        begin, end = self.starts[first], self.starts[first + len(counts)]
        days = np.full((len(counts), self.width), np.nan)
        days[np.arange(self.width) < counts[:, None]] = values[begin:end]
        return _statistics(days, steps=counts)


def _starts(key: Integers) -> Integers:
    return np.flatnonzero(np.diff(key, prepend=key[0] - 1))


def _number(column: str) -> pl.Expr:
    """Null where it is no finite number: of a day without values, or of values whose sum is beyond all floats."""
    whole = PROFILES[column] == pl.Int64
    return pl.col(column) if whole else pl.when(pl.col(column).is_finite()).then(pl.col(column)).alias(column)


def _statistics(days: Floats, *, steps: Integers) -> dict[str, NDArray[np.generic]]:
    """The columns of PROFILES.

    Args:
        days: f64[day, step], which is overwritten; nan = not observed, or no step.
        steps: i64[day], how many there are.
    """
    finite = np.isfinite(days)
    days[~finite] = np.nan
    days.sort(axis=1)  # nan last
    n = finite.sum(axis=1)
    told = np.arange(days.shape[1]) < n[:, None]
    with np.errstate(all="ignore"):  # no value at all, or too large ones: null in the end
        mean = np.where(told, days, 0.0).sum(axis=1) / n
        deviation = np.square(np.where(told, days - mean[:, None], 0.0)).sum(axis=1)
        return {
            OBSERVATIONS: n,
            NULL_SHARE: 1.0 - n / steps,
            ZERO_SHARE: (days == 0).sum(axis=1) / n,
            LEAST: days[:, 0],
            **{column: _quantile(days, n=n, share=share) for column, share in QUANTILES.items()},
            GREATEST: _quantile(days, n=n, share=1.0),
            MEAN: mean,
            SD: np.sqrt(deviation / np.where(n > 1, n - 1, np.nan)),
            DISTINCT: (days[:, 1:] > days[:, :-1]).sum(axis=1) + (n > 0),
        }


def _quantile(days: Floats, *, n: Integers, share: float) -> Floats:
    """Of sorted days, between two values in proportion."""
    place = np.maximum(n - 1, 0) * share
    low = place.astype(np.int64)
    high = np.minimum(low + 1, np.maximum(n - 1, 0))
    row = np.arange(len(days))
    below, above = days[row, low], days[row, high]
    return np.asarray(below + (above - below) * (place - low), dtype=np.float64)


def store(lake: Lake, *, profiles: pl.DataFrame, run: str, at: datetime) -> int:
    """Add the days that are new, or told otherwise than when they were stored last; the same content twice adds nothing.

    Args:
        lake: whose table `profiles`.
        profiles: PROFILES.
        run: the id of the run that measured them.
        at: when that was, UTC.

    Returns:
        How many rows were added.
    """
    told = conform(profiles, PROFILES, name=TABLE)

    def attempt(table: DeltaTable | None) -> int:
        known = _latest(lake.rows(table, schema=STORED_PROFILES))
        fresh = told.join(known, on=list(PROFILES), how="anti", nulls_equal=True, maintain_order="left")
        if fresh.height:
            noted = fresh.with_columns(pl.lit(run).alias(RUN), pl.lit(at).cast(TIME).alias(AT))
            lake.put(TABLE, conform(noted, STORED_PROFILES, name=TABLE), opened=table)
        return fresh.height

    return lake.commit(TABLE, attempt)


def stored(lake: Lake, *, at: datetime | None = None, before: datetime | None = None) -> pl.DataFrame:
    """PROFILES of every day as they were stored last, sorted.

    Args:
        lake: whose table `profiles`.
        at: as it was known then; by default now.
        before: days that ended by then only.
    """
    rows = lake.read(TABLE, schema=STORED_PROFILES)
    if at is not None:
        rows = rows.filter(pl.col(AT) <= pl.lit(at).cast(TIME))
    if before is not None:
        rows = rows.filter(pl.col(DAY) < pl.lit(before.date()))
    return _latest(rows.collect())


def _latest(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort(AT).unique(KEYS, keep="last").select(list(PROFILES)).sort(KEYS)


def compare(now: pl.DataFrame, *, past: pl.DataFrame, cohort: pl.DataFrame, champion: pl.DataFrame) -> pl.DataFrame:
    """COMPARED: how each day's median and spread stand to what they were, are elsewhere, and were when the champion learned.

    The own past is the median of the `PAST_DAYS` days stored before that day; the cohort is the median of its other entities on the same
    day; the champion's is the median of the days that it learned from.

    Args:
        now: PROFILES of the days in question.
        past: PROFILES that are stored.
        cohort: `entity, cohort`; an entity whose cohort is null, or that is not named, has none.
        champion: PROFILES of the days that the champion learned from.
    """
    days = _levels(now)
    told = days.join_asof(_own(_levels(past)), on=DAY, by=[ENTITY, PARAMETER], allow_exact_matches=False, check_sortedness=False)
    told = told.join(_others(days, cohort=cohort), on=KEYS, how="left").join(_reference(champion), on=[ENTITY, PARAMETER], how="left")
    ratios = [_log_ratio(name) for name in COMPARED if name not in KEYS]
    return conform(told.select(*KEYS, *ratios), COMPARED, name="comparison").sort(KEYS)


def _levels(profiles: pl.DataFrame) -> pl.DataFrame:
    """`entity, parameter, day, median, spread` of the days with a value, in time."""
    told = profiles.filter(pl.col(OBSERVATIONS) > 0).select(*KEYS, MEDIAN, (pl.col(Q75) - pl.col(Q25)).alias(SPREAD))
    return told.sort(DAY, ENTITY, PARAMETER)


def _own(past: pl.DataFrame) -> pl.DataFrame:
    rolling = pl.col(MEDIAN, SPREAD).rolling_median(PAST_DAYS, min_samples=1).over(ENTITY, PARAMETER).name.suffix("_past")
    return past.select(*KEYS, rolling)


def _others(days: pl.DataFrame, *, cohort: pl.DataFrame) -> pl.DataFrame:
    """The medians of a cohort without each of its entities in turn: of the sorted values, those in the middle once its own is out."""
    told = days.join(cohort.select(ENTITY, COHORT).drop_nulls().unique(ENTITY), on=ENTITY)
    groups = [COHORT, PARAMETER, DAY]
    found = []
    for name in (MEDIAN, SPREAD):
        placed = told.sort(*groups, name).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
        own, first = pl.col("row") - pl.col("row").min().over(groups), pl.col("row").min().over(groups)
        others = pl.len().over(groups).cast(pl.Int64) - 1
        middle = [place + (place >= own) for place in ((others - 1) // 2, others // 2)]
        value = pl.mean_horizontal(pl.col(name).gather(pl.min_horizontal(first + place, pl.len() - 1)) for place in middle)
        found.append(placed.select(*KEYS, pl.when(others > 0).then(value).alias(f"{name}_{COHORT}")))
    return found[0].join(found[1], on=KEYS)


def _reference(champion: pl.DataFrame) -> pl.DataFrame:
    return _levels(champion).group_by(ENTITY, PARAMETER).agg(pl.col(MEDIAN, SPREAD).median().name.suffix("_champion"))


def _log_ratio(name: str) -> pl.Expr:
    ratio = pl.col(name.partition("_")[0]) / pl.col(name)
    return pl.when((ratio > 0) & ratio.is_finite()).then(ratio.log()).alias(name)
