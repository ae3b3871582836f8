"""What looks like a sustained outage in telemetry that is about to be learned from, and that nobody has labelled or declared.

The grid is cut into periods of half an hour, and the median of every target in each is held against the same half hour of the other weeks
(of the other days, where there are fewer than four weeks). A period is off where at least two targets and a third of them (or the only
one) are off at once: at most half or at least twice of what is usual, beyond all that was seen at that time of the week, and by eight times
the usual scatter. Targets that are no better known than that to their own past are not looked at. Two such periods in a row, an hour, are
told. A model that learns an outage forgives it the next time.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import polars as pl

from telemetry.contract import Contract
from telemetry.schema import AT, END, ENTITY, START, TARGET
from validation.findings import Finding, Severity

EXPECTATION: Final = "outage"
PERIOD: Final = timedelta(minutes=30)
LEAST_PERIODS: Final = 2
LEAST_WEEKS: Final = 4
LEAST_DAYS: Final = 8
FACTOR: Final = 2.0
SCATTERS: Final = 8.0
REGULAR_SHARE: Final = 0.95
REGULAR_FACTOR: Final = 1.5
"""Of its periods, the share in which a target is within this factor of what is usual: of others nobody can say what an outage is."""
NORMAL_SCATTER: Final = 1.4826
"""Times the median absolute deviation is the standard deviation, if values are normal."""
LEAST_TARGETS: Final = 2
LEAST_SHARE: Final = 1 / 3
"""Of the targets: of dozens, two are always somewhere else."""
MOST_TOLD: Final = 20
"""More findings than these are not read."""
LEVEL: Final = "level"
_SLOT: Final = "__slot__"
_USUAL: Final = "__usual__"
_LEAST: Final = "__least__"
_MOST: Final = "__most__"
_SCATTER: Final = "__scatter__"
_RUN: Final = "__run__"


def outages(grid: pl.LazyFrame, *, contract: Contract, known: pl.DataFrame, severity: Severity) -> tuple[Finding, ...]:
    """A finding for each, the longest first.

    Args:
        grid: rows of `grid_schema`, what is known to be wrong taken out.
        contract: its targets and its cadence.
        known: `entity, start, end`: labelled incidents, and whatever else is not learned from; of them nothing is told.
        severity: of the findings.
    """
    if contract.time.cadence > PERIOD / 2:
        return ()
    off = _without(_off(_levels(grid, contract=contract), targets=len(contract.targets)), known=known)
    runs = (
        off.sort(ENTITY, AT)
        .with_columns((pl.col(AT).diff().over(ENTITY) != PERIOD).fill_null(value=True).cum_sum().over(ENTITY).alias(_RUN))
        .group_by(ENTITY, _RUN)
        .agg(pl.col(AT).min().alias(START), (pl.col(AT).max() + PERIOD).alias(END), pl.col(TARGET).explode().unique().sort())
        .filter(pl.col(END) - pl.col(START) >= LEAST_PERIODS * PERIOD)
        .sort(pl.col(END) - pl.col(START), ENTITY, START, descending=[True, False, False])
    )
    return tuple(_finding(each, severity=severity) for each in runs.head(MOST_TOLD).iter_rows(named=True))


def _levels(grid: pl.LazyFrame, *, contract: Contract) -> pl.DataFrame:
    """`entity, at, target, level`: medians of the periods of which at least half was told."""
    steps = PERIOD // contract.time.cadence
    by = [ENTITY, pl.col(AT).dt.truncate(PERIOD)]
    told = [pl.col(name).drop_nulls() for name in contract.targets]
    medians = [pl.when(values.len() >= steps / 2).then(values.median()) for values in told]
    wide = grid.group_by(by).agg(each.alias(name) for each, name in zip(medians, contract.targets, strict=True))
    return wide.unpivot(index=[ENTITY, AT], variable_name=TARGET, value_name=LEVEL).drop_nulls(LEVEL).collect(engine="in-memory")


def _off(levels: pl.DataFrame, *, targets: int) -> pl.DataFrame:
    """`entity, at, target`, the targets that are off, in the periods in which enough of them are."""
    every = [ENTITY, TARGET]
    weeks = (pl.col(AT).max() - pl.col(AT).min()).dt.total_days().over(ENTITY) >= 7 * LEAST_WEEKS - 1
    minute = pl.col(AT).dt.hour().cast(pl.Int32) * 60 + pl.col(AT).dt.minute()
    slotted = levels.with_columns((pl.when(weeks).then(pl.col(AT).dt.weekday()).otherwise(0).cast(pl.Int32) * 1440 + minute).alias(_SLOT))
    slot = [*every, _SLOT]
    least = pl.when(pl.col(_SLOT) >= 1440).then(LEAST_WEEKS).otherwise(LEAST_DAYS)
    ranked = slotted.with_columns(
        pl.col(LEVEL).median().over(slot).alias(_USUAL),
        pl.when(pl.col(LEVEL) == pl.col(LEVEL).min().over(slot))
        .then(pl.col(LEVEL).bottom_k(2).max().over(slot))
        .otherwise(pl.col(LEVEL).min().over(slot))
        .alias(_LEAST),
        pl.when(pl.col(LEVEL) == pl.col(LEVEL).max().over(slot))
        .then(pl.col(LEVEL).top_k(2).min().over(slot))
        .otherwise(pl.col(LEVEL).max().over(slot))
        .alias(_MOST),
    ).filter(pl.len().over(slot) >= least)
    away = (pl.col(LEVEL) - pl.col(_USUAL)).abs()
    scattered = ranked.with_columns((NORMAL_SCATTER * away.median().over(every)).alias(_SCATTER))
    low = (pl.col(LEVEL) * FACTOR <= pl.col(_USUAL)) & (pl.col(LEVEL) * FACTOR <= pl.col(_LEAST))
    high = (pl.col(LEVEL) >= pl.col(_USUAL) * FACTOR) & (pl.col(LEVEL) >= pl.col(_MOST) * FACTOR)
    ratio = pl.max_horizontal(pl.col(LEVEL) / pl.col(_USUAL), pl.col(_USUAL) / pl.col(LEVEL))
    regular = ratio.quantile(REGULAR_SHARE).over(every) <= REGULAR_FACTOR
    sure = regular & (away > SCATTERS * pl.col(_SCATTER)) & (pl.col(_SCATTER) > 0) & (pl.col(_USUAL) > 0)
    told = scattered.filter((low | high) & sure).group_by(ENTITY, AT).agg(TARGET)
    return told.filter(pl.col(TARGET).list.len() >= max(min(LEAST_TARGETS, targets), targets * LEAST_SHARE))


def _without(off: pl.DataFrame, *, known: pl.DataFrame) -> pl.DataFrame:
    """`off` without periods that touch what is known."""
    near = off.join(known.select(ENTITY, START, END), on=ENTITY)
    touched = near.filter(pl.col(AT) + PERIOD > pl.col(START), pl.col(AT) < pl.col(END))
    return off.join(touched.select(ENTITY, AT).unique(), on=[ENTITY, AT], how="anti")


def _finding(each: dict[str, Any], *, severity: Severity) -> Finding:  # Any: a row
    hours = (each[END] - each[START]) / timedelta(hours=1)
    first, *others = each[TARGET]
    names = ", ".join(each[TARGET])
    when = f"{each[START]:%Y-%m-%d %H:%M} to {each[END]:%Y-%m-%d %H:%M} UTC"
    return Finding(
        expectation=EXPECTATION,
        severity=severity,
        entity=each[ENTITY],
        parameter=first,
        period_start=each[START],
        period_end=each[END],
        found=f"{names} at most half or at least twice of what is usual then, for {hours:g} hours",
        expected="no outage that nobody has labelled, where telemetry is learned from",
        sentence=f"{each[ENTITY]} looks like an outage of {hours:g} hours, {when}: {names} {'are' if others else 'is'} far from what is "
        "usual at that time of the week. Nobody has labelled it; a model that learns from it forgives it the next time.",
        beside=tuple(others),
    )


def unconfirmed(incidents: pl.DataFrame, *, known: pl.DataFrame) -> Iterator[Finding]:
    """A warning for each incident that releases raised, of an hour or more, that is left out of the training without anybody's word.

    Args:
        incidents: `entity, start, end`.
        known: `entity, start, end`: labelled incidents.
    """
    pairs = incidents.join(known, on=ENTITY, suffix="_known")
    told = pairs.filter(pl.col(START) < pl.col(f"{END}_known"), pl.col(END) > pl.col(f"{START}_known"))
    open_ones = incidents.join(told.select(ENTITY, START).unique(), on=[ENTITY, START], how="anti")
    long = open_ones.filter(pl.col(END) - pl.col(START) >= LEAST_PERIODS * PERIOD).sort(START, ENTITY, descending=[True, False])
    for entity, start, end in long.head(MOST_TOLD).iter_rows():
        when = f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        yield Finding(
            expectation=f"{EXPECTATION} confirmed",
            severity="warn",
            entity=entity,
            parameter=None,
            period_start=start,
            period_end=end,
            found="an incident that a release raised and nobody confirmed",
            expected="a label, a maintenance window, or neither",
            sentence=f"{entity} was in an incident {when} that nobody has labelled: it is left out of the training, and counts in the "
            "accuracy as a miss of the model.",
        )
