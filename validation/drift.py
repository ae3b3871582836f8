"""Whether telemetry has moved away from what the champion learned: by how far, not by how surely.

With thousands of values a day every difference is significant, so no test is asked. The effect of a parameter is

    (median of the last days - median of the training) / deviation of the training,

each median being that of the days' medians. The deviation is that of the days' medians, as it is medians that are compared, and at least
`LEAST_SHARE` of that of all single values: what hardly moves the values themselves is no reason to learn anew, however steady the days
were. Half, because a load that doubles may lie 0.6 of the values' deviation away where nights are quiet. An entity of whose parameters more
than the contract's `drift_share` lie beyond its `drift_effect` is warned of; nothing is stopped.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal

import polars as pl

from telemetry.contract import Contract
from telemetry.schema import (
    DAY,
    DAYS,
    DRIFT,
    DRIFTED,
    EFFECT,
    ENTITY,
    MEAN,
    MEDIAN,
    OBSERVATIONS,
    PARAMETER,
    SD,
    conform,
)
from validation.findings import Finding

EXPECTATION: Final = "drift"
LAST_DAYS: Final = 7
"""Whole weeks are compared: at weekends telemetry is another."""
LEAST_DAYS: Final = 5
"""With fewer days, of the last ones or of the training, nothing is said of a parameter."""
LEAST_SHARE: Final = 0.5
TOLD: Final = 3
"""Parameters that a finding names, those that moved most first."""
_TRAINING: Final = (f"{MEDIAN}_champion", f"{SD}_champion")


def drift(now: pl.DataFrame, *, champion: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """DRIFT of every parameter that has enough days in both, sorted by entity and parameter.

    Args:
        now: PROFILES; their last `LAST_DAYS` days count.
        champion: PROFILES of the days that the champion learned from.
        contract: its `checks.drift_effect`.
    """
    last = last_day(now)
    if last is None:
        return pl.DataFrame(schema=DRIFT)
    week = now.filter(pl.col(DAY) > last - timedelta(days=LAST_DAYS))
    told = _levels(week).join(_training(champion), on=[ENTITY, PARAMETER])
    median, known, deviation = pl.col(MEDIAN), pl.col(_TRAINING[0]), pl.col(_TRAINING[1])
    effect = pl.when(deviation > 0).then((median - known) / deviation)
    moved = pl.when(deviation > 0).then(effect.abs() > contract.checks.drift_effect).otherwise(median != known)
    told = told.with_columns(effect.alias(EFFECT), moved.alias(DRIFTED)).select(list(DRIFT))
    return conform(told, DRIFT, name="drift").sort(ENTITY, PARAMETER)


def last_day(profiles: pl.DataFrame) -> date | None:
    """The newest day of PROFILES; null where there is none."""
    found = profiles.get_column(DAY).max()
    return found if isinstance(found, date) else None


def _levels(profiles: pl.DataFrame) -> pl.DataFrame:
    days = profiles.filter(pl.col(OBSERVATIONS) > 0).group_by(ENTITY, PARAMETER).agg(pl.col(MEDIAN).median(), pl.len().alias(DAYS))
    return days.filter(pl.col(DAYS) >= LEAST_DAYS).drop(DAYS)


def _training(champion: pl.DataFrame) -> pl.DataFrame:
    """The median, and the deviation in which drift is told; all values together scatter within the days and between them."""
    n, mean = pl.col(OBSERVATIONS), pl.col(MEAN)
    centre = (n * mean).sum() / n.sum()
    within = (pl.col(SD).fill_null(0.0).pow(2) * (n - 1)).sum()
    between = (n * (mean - centre).pow(2)).sum()
    values = ((within + between) / (n.sum() - 1)).sqrt()
    deviation = pl.max_horizontal(pl.col(MEDIAN).std(), LEAST_SHARE * values)
    days = champion.filter(n > 0).group_by(ENTITY, PARAMETER)
    told = days.agg(pl.col(MEDIAN).median().alias(_TRAINING[0]), deviation.alias(_TRAINING[1]), pl.len().alias(DAYS))
    return told.filter((pl.col(DAYS) >= LEAST_DAYS) & pl.col(_TRAINING[1]).is_finite()).drop(DAYS)


def paths(now: pl.DataFrame, *, champion: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """How far each day was from the training: `entity, parameter, day, effect`, sorted, of what has moved most of each entity.

    Of an entity the `TOLD` drifted parameters with the largest effects are told; those that had been constant have none.

    Args:
        now: PROFILES of all days to tell of.
        champion: PROFILES of the days that the champion learned from.
        found: DRIFT of both.
    """
    moved = found.filter(pl.col(DRIFTED), pl.col(EFFECT).is_not_null()).sort(pl.col(EFFECT).abs(), PARAMETER, descending=[True, False])
    most = moved.group_by(ENTITY, maintain_order=True).head(TOLD).select(ENTITY, PARAMETER)
    days = now.filter(pl.col(OBSERVATIONS) > 0).join(most, on=[ENTITY, PARAMETER]).join(_training(champion), on=[ENTITY, PARAMETER])
    effect = (pl.col(MEDIAN) - pl.col(_TRAINING[0])) / pl.col(_TRAINING[1])
    return days.select(ENTITY, PARAMETER, DAY, effect.alias(EFFECT)).sort(ENTITY, PARAMETER, DAY)


def shares(found: pl.DataFrame, *, contract: Contract) -> pl.DataFrame:
    """Per entity of DRIFT `share` (of its parameters, drifted) and `advice`: 'retrain' or 'keep'; sorted by entity."""
    advice = pl.when(pl.col("share") > contract.checks.drift_share).then(pl.lit("retrain")).otherwise(pl.lit("keep"))
    return found.group_by(ENTITY).agg(pl.col(DRIFTED).mean().alias("share")).with_columns(advice.alias("advice")).sort(ENTITY)


def advice(found: pl.DataFrame, *, contract: Contract) -> Literal["retrain", "keep"]:
    """'retrain' where the drift (DRIFT) of any entity asks for it."""
    return "retrain" if (shares(found, contract=contract)["advice"] == "retrain").any() else "keep"


def findings(found: pl.DataFrame, *, contract: Contract, release: str, learned_until: datetime, last: date) -> tuple[Finding, ...]:
    """A warning for each entity whose drift asks for a retrain, sorted by entity.

    Args:
        found: DRIFT.
        contract: its limits.
        release: that is in force.
        learned_until: end of its training.
        last: newest day that was looked at.
    """
    asked = shares(found, contract=contract).filter(pl.col("advice") == "retrain")
    end = datetime.combine(last, time(), tzinfo=UTC) + timedelta(days=1)
    return tuple(
        _finding(rows, contract=contract, end=end, since=f"release {release} learned (until {learned_until:%Y-%m-%d})")
        for rows in (found.filter(pl.col(ENTITY) == entity) for entity in asked[ENTITY])
    )


def _finding(rows: pl.DataFrame, *, contract: Contract, end: datetime, since: str) -> Finding:
    entity = str(rows[ENTITY][0])
    moved = rows.filter(pl.col(DRIFTED)).sort(pl.col(EFFECT).abs(), PARAMETER, descending=[True, False], nulls_last=False)
    named = "; ".join(_told(row) for row in moved.head(TOLD).iter_rows(named=True))
    more = f"; and {moved.height - TOLD} more" if moved.height > TOLD else ""
    checks = contract.checks
    return Finding(
        expectation=EXPECTATION,
        severity="warn",
        entity=entity,
        parameter=None,
        period_start=end - timedelta(days=LAST_DAYS),
        period_end=end,
        found=f"{moved.height} of {rows.height} parameters drifted",
        expected=f"at most {checks.drift_share:.0%} of them further than {checks.drift_effect:g} x the deviation of the training away",
        sentence=f"In the last {LAST_DAYS} days {moved.height} of {rows.height} parameters of {entity} were elsewhere than when {since}: "
        f"{named}{more}.",
    )


def _told(row: dict[str, object]) -> str:
    by = f"{row[EFFECT]:+.1f} deviations" if row[EFFECT] is not None else "it had been constant"
    return f"{row[PARAMETER]} {row[MEDIAN]:.4g} instead of {row[_TRAINING[0]]:.4g} ({by})"
