"""From forecasts to verdicts: one surprise per entity, minute and target, a joint score per entity and minute, and who was covered when.

surprise   z / THRESHOLD (see `serving.thresholds`); above 1 = anomalous, whatever the release
verdict    normal or anomalous, or why it was not judged: "warming" (a newcomer, or its threshold is borrowed; the surprise is told all the
           same, and enough of it opens an incident), "no data" (no finite forecast, or no threshold to borrow) or "quarantined" (its
           value is not believed, see `withheld`)
instant    of an entity and minute: the surprise of the target JOINT, all targets together (see `serving.views`); where a release has no
           views, the mean surprise of the targets
standstill that an entity stands still for longer than it may (see `serving.standstill`) is a verdict of its own, of the target STANDSTILL:
           told in the steps in which it does, with run / bar as the surprise; "actual" is the run, "forecast" the bar. It has no threshold
           and no promise, what an entity is ranked by does not know of it, and of what the operator says only dead bands excuse it
score      the greatest instant so far, each halved for every `HALF_LIFE_STEPS` steps that have gone since: the onset is told at once, and
           who was in trouble a moment ago still ranks before who was not. It ranks minutes; it decides nothing
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from serving.lending import complete, grown
from serving.operator import excused
from serving.surprise import Z, errors, joint
from serving.thresholds import LEAST_THRESHOLD, promised_rate
from serving.tracking import tracked
from telemetry.schema import (
    ACTUAL,
    AT,
    COUNT,
    COVERAGE,
    ENTITY,
    FORECAST,
    JOINT,
    LABEL,
    NEWCOMER,
    RELEASE,
    SCORE,
    SCORES,
    STANDSTILL,
    STATE,
    SURPRISE,
    TARGET,
    THRESHOLD,
    TIME,
    VERDICT,
    Schema,
    conform,
)
from telemetry.sections import Parameter, Thresholds

NORMAL: Final = "normal"
ANOMALOUS: Final = "anomalous"
WARMING: Final = "warming"
NO_DATA: Final = "no data"
SCORED: Final = "scored"
QUARANTINED: Final = "quarantined"

INSTANT: Final = "instant"
ENTITY_SCORES: Final[Schema] = {
    ENTITY: pl.String,
    AT: TIME,
    SCORE: pl.Float64,
    INSTANT: pl.Float64,
    LABEL: pl.Boolean,
}
"""`score` and `instant` as above."""
HALF_LIFE_STEPS: Final = 10
"""As many as the quiet minutes after which an incident closes by default."""
LEAST_SCORE: Final = 1e-6
"""A logarithm needs more than nothing."""
MINUTES: Final[Schema] = {ENTITY: pl.String, AT: TIME}
_WITHHELD: Final = "__withheld__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a release says of a stretch of telemetry.

    Attributes:
        scores: SCORES, by entity, time and target.
        entities: ENTITY_SCORES, by entity and time; minutes without any z are left out.
    """

    scores: pl.DataFrame
    entities: pl.DataFrame


def score(
    forecasts: pl.DataFrame,
    *,
    thresholds: pl.DataFrame,
    release: str,
    parameters: Mapping[str, Parameter] | None = None,
    policy: Thresholds | None = None,
    cadence_seconds: int = 60,
    begin: pl.DataFrame | None = None,
    blind: pl.DataFrame | None = None,
) -> Scored:
    """Surprise and verdict of every entity, minute and target, and the joint score of every entity and minute.

    Args:
        forecasts: FORECASTS, all leads, in order of time within an entity; whole entities, or the score starts anew.
        thresholds: THRESHOLDS; an entity without its own borrows the medians, and its own minutes take over (see `serving.lending`).
        release: id of the release that forecast.
        parameters: of the contract in force; what the operator says of them (see `serving.operator`) excuses from the verdict.
        policy: of the contract in force; says whether thresholds are tracked (see `serving.tracking`). They are not, by default.
        cadence_seconds: length of a step.
        blind: `entity, at` of minutes of which the network did not see everything that came; none by default.
        begin: OFFSETS of tracked thresholds before the first row; none by default.
    """
    known = complete(thresholds, entities=forecasts.get_column(ENTITY).unique())
    bars = known.group_by(ENTITY, TARGET).agg(pl.col(THRESHOLD).first(), pl.col(COUNT).first())
    found = joint(errors(forecasts), thresholds=known, blind=blind).join(bars, on=[ENTITY, TARGET], how="left", maintain_order="left")
    ranked = grown(found, cadence_seconds=cadence_seconds).with_columns((pl.col(Z) / pl.col(THRESHOLD)).alias(SURPRISE))
    moved = ranked
    if policy is not None and policy.track > 0:
        rate = promised_rate(policy, cadence_seconds=cadence_seconds)
        moved = tracked(ranked, rate=rate, step=policy.track, least=LEAST_THRESHOLD, begin=begin)
    judged = moved.with_columns((pl.col(Z) / pl.col(THRESHOLD)).alias(SURPRISE)).with_columns(
        _verdict().alias(VERDICT), pl.lit(release).alias(RELEASE)
    )
    of_target = pl.when(pl.col(TARGET) != JOINT)  # the joint number has no unit that a person would know
    told = (of_target.then(pl.col(name).cast(pl.Float64)).alias(name) for name in (ACTUAL, FORECAST))
    scores = judged.select(list(SCORES)).with_columns(*told)
    if parameters:
        free = excused(scores, forecasts=forecasts, thresholds=known, parameters=parameters)
        scores = scores.with_columns(pl.when(free & (pl.col(SURPRISE) > 1)).then(pl.lit(NORMAL)).otherwise(VERDICT).alias(VERDICT))
    still = _standing(forecasts, own=known.filter(pl.col(COUNT) > 0), release=release)
    every = pl.concat([scores, still]).sort(ENTITY, AT, maintain_order=True) if still.height else scores
    return Scored(scores=conform(every, SCORES, name="scores"), entities=entity_scores(ranked))


def _standing(forecasts: pl.DataFrame, *, own: pl.DataFrame, release: str) -> pl.DataFrame:
    """SCORES of STANDSTILL; who has no threshold of its own is still warming."""
    warming = pl.col(NEWCOMER) | ~pl.col(ENTITY).is_in(own.get_column(ENTITY).unique().implode())
    run, bar = (pl.col(name).cast(pl.Float64) for name in (ACTUAL, FORECAST))
    return forecasts.filter(pl.col(TARGET) == STANDSTILL).select(
        ENTITY,
        AT,
        TARGET,
        run,
        bar,
        (run / bar).alias(SURPRISE),
        pl.when(warming).then(pl.lit(WARMING)).otherwise(pl.lit(ANOMALOUS)).alias(VERDICT),
        pl.lit(release).alias(RELEASE),
    )


def _verdict() -> pl.Expr:
    return (
        pl.when(pl.col(SURPRISE).is_null())
        .then(pl.lit(NO_DATA))
        .when(pl.col(NEWCOMER) | (pl.col(COUNT) == 0))
        .then(pl.lit(WARMING))
        .when(pl.col(SURPRISE) > 1)
        .then(pl.lit(ANOMALOUS))
        .otherwise(pl.lit(NORMAL))
    )


def entity_scores(judged: pl.DataFrame) -> pl.DataFrame:
    """ENTITY_SCORES of rows with `entity, at, target, surprise, label`, such as SCORES of which it is known what is labelled."""
    wholes = pl.col(TARGET) == JOINT
    minutes = (
        judged.lazy()
        .filter(pl.col(SURPRISE).is_not_null(), pl.col(TARGET) != STANDSTILL)
        .group_by(ENTITY, AT)
        .agg(
            pl.coalesce(pl.col(SURPRISE).filter(wholes).first(), pl.col(SURPRISE).filter(~wholes).mean()).alias(INSTANT),
            pl.col(LABEL).any(),
        )
        .sort(ENTITY, AT)
        .with_columns(held(INSTANT).alias(SCORE))
        .select(list(ENTITY_SCORES))
        .collect()
    )
    return conform(minutes, ENTITY_SCORES, name="entity scores")


def held(column: str) -> pl.Expr:
    """The greatest so far, each halved for every `HALF_LIFE_STEPS` since: in logarithms, a running maximum beside a falling line.

    Args:
        column: not negative; one row a step, in order of time within ENTITY.
    """
    fallen = math.log(2) / HALF_LIFE_STEPS * pl.int_range(pl.len()).over(ENTITY)
    rising = (pl.col(column).clip(lower_bound=LEAST_SCORE).log() + fallen).cum_max().over(ENTITY)
    return (rising - fallen).exp()


def withheld(rows: pl.DataFrame, *, believed: pl.DataFrame, targets: Sequence[str], release: str) -> pl.DataFrame:
    """SCORES of the targets whose values are not believed: "quarantined", without value, forecast and surprise.

    Args:
        rows: `entity, at` and targets, as they were told.
        believed: the same rows in the same order, null where a value is not believed.
        targets: the release's.
        release: its id.
    """
    empty = pl.lit(None, dtype=pl.Float64)
    parts = [
        rows.filter(rows[target].is_not_null() & believed[target].is_null()).select(
            ENTITY,
            AT,
            pl.lit(target).alias(TARGET),
            *(empty.alias(name) for name in (ACTUAL, FORECAST, SURPRISE)),
            pl.lit(QUARANTINED).alias(VERDICT),
            pl.lit(release).alias(RELEASE),
        )
        for target in targets
    ]
    return conform(pl.concat(parts), SCORES, name="withheld scores")


def coverage(minutes: pl.DataFrame, *, scores: pl.DataFrame, quarantined: pl.DataFrame, release: str) -> pl.DataFrame:
    """COVERAGE: exactly one state for every entity and minute that should have been watched.

    In this order: quarantined, as a whole; scored, if any target has a verdict; warming, if any is warming; quarantined, if the value of
    any is not believed; no data.

    Args:
        minutes: MINUTES that should have been watched; repeated ones count once.
        scores: SCORES of them; other minutes are passed over.
        quarantined: MINUTES whose readings were refused.
        release: id of the release in force.
    """
    said = pl.col(VERDICT)
    states = (
        scores.lazy()
        .filter(pl.col(TARGET) != STANDSTILL)
        .group_by(ENTITY, AT)
        .agg(
            said.is_in([NORMAL, ANOMALOUS]).any().alias(SCORED),
            (said == WARMING).any().alias(WARMING),
            (said == QUARANTINED).any().alias(_WITHHELD),
        )
    )
    refused = quarantined.lazy().select(ENTITY, AT).unique().with_columns(pl.lit(True).alias(QUARANTINED))
    state = (
        pl.when(QUARANTINED)
        .then(pl.lit(QUARANTINED))
        .when(SCORED)
        .then(pl.lit(SCORED))
        .when(WARMING)
        .then(pl.lit(WARMING))
        .when(_WITHHELD)
        .then(pl.lit(QUARANTINED))
        .otherwise(pl.lit(NO_DATA))
    )
    covered = (
        minutes.lazy()
        .select(ENTITY, AT)
        .unique()
        .join(states, on=[ENTITY, AT], how="left")
        .join(refused, on=[ENTITY, AT], how="left")
        .select(ENTITY, AT, state.alias(STATE), pl.lit(release).alias(RELEASE))
        .sort(ENTITY, AT)
        .collect()
    )
    return conform(covered, COVERAGE, name="coverage")
