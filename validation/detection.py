"""How good a detector is at finding incidents: the same figures for a release, its challenger, every baseline and a team's own rules.

    event          a labelled incident of one entity. It is found if an incident of that entity overlaps it, the label's end being
                   `serving.incidents.TOLERANCE_MINUTES` later. There is no point adjustment: minutes between do not count as found
    incident       what a detector told, counted by its name in `incident`: a rule that fires for a region tells one incident of several
                   entities. It is false if it is that of no event in any of them
    recall         found events / events
    precision      incidents that are not false / incidents (Tatbul et al., "Precision and Recall for Time Series", NeurIPS 2018, with
                   existence alone rewarded: alpha = 1, no bias, no overlap)
    minutes        from an event's start until its first incident was opened, over the events that were found: median and worst
    entity-week    a week in which an entity was watched, every watched step counting as much as it lasts. A customer is the first key of
                   its entities, and watched while any of them is
    VUS-PR         see `validation.vus`; the mean over the entities that have an event. None for who gives no score
    promised       share of a target's normal steps that may be anomalous, as the thresholds promise it
    realised       share that is: steps with a verdict (no newcomer's, no borrowed threshold), labelled ones and the minutes after them left
                   out, all entities and targets pooled; of a standstill nothing is promised, and it is none of them
    worst tenth    mean over the worst tenth of the entities (rounded down, at least one), by that figure itself: of recall and VUS-PR among
                   those that have events, of false incidents among all that were watched

What cannot be measured is None, never 0.
"""

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from telemetry.schema import AT, END, ENTITY, INCIDENT, KIND, LABEL, SCORE, STANDSTILL, START, SURPRISE, TARGET, TIME, VERDICT, Schema
from validation.vus import vus_pr

SECONDS_PER_WEEK: Final = 7 * 24 * 3600
FOUND: Final = "found"
FALSE: Final = "false"
MINUTES_TO_DETECT: Final = "minutes_to_detect"
KEY: Final = "key"
DETECTOR: Final = "detector"
CUSTOMER: Final = "customer"
STEPS: Final = "steps"
JUDGED: Final = ("normal", "anomalous")
"""Verdicts that thresholds of one's own gave."""
EVENTS: Final = "events"
RECALL: Final = "recall"
INCIDENTS_TOLD: Final = "incidents"
FALSE_TOLD: Final = "false_incidents"
REALISED: Final = "realised_rate"
VUS: Final = "vus_pr"
WEEKS: Final = "weeks"
FALSE_A_WEEK: Final = "false_per_week"
BY_ENTITY: Final[Schema] = {
    ENTITY: pl.String,
    WEEKS: pl.Float64,
    EVENTS: pl.Int64,
    FOUND: pl.Int64,
    RECALL: pl.Float64,
    INCIDENTS_TOLD: pl.Int64,
    FALSE_TOLD: pl.Int64,
    FALSE_A_WEEK: pl.Float64,
    MINUTES_TO_DETECT: pl.Float64,
    VUS: pl.Float64,
    REALISED: pl.Float64,
}
BY_KIND: Final[Schema] = {
    KIND: pl.String,
    EVENTS: pl.Int64,
    FOUND: pl.Int64,
    RECALL: pl.Float64,
    MINUTES_TO_DETECT: pl.Float64,
    "worst_minutes": pl.Float64,
}
BY_TARGET: Final[Schema] = {TARGET: pl.String, STEPS: pl.Int64, REALISED: pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a detector told of a period.

    Attributes:
        name: of the detector.
        incidents: INCIDENTS with `false`, as `serving.incidents.match` gives them.
        labels: LABELS with `key`, `found` and `minutes_to_detect`, likewise.
        scores: SCORES, or None of who gives no verdicts.
        ranks: `entity, at, score, label`, higher is more anomalous, or None of who gives no score.
    """

    name: str
    incidents: pl.DataFrame
    labels: pl.DataFrame
    scores: pl.LazyFrame | None = None
    ranks: pl.DataFrame | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """The figures of one detector; see the module for what each is."""

    detector: str
    vus_pr: float | None
    events: int
    found: int
    recall: float | None
    incidents: int
    false_incidents: int
    precision: float | None
    minutes_to_detect: float | None
    worst_minutes_to_detect: float | None
    entity_weeks: float
    customer_weeks: float
    incidents_per_entity_week: float | None
    false_per_entity_week: float | None
    incidents_per_customer_week: float | None
    false_per_customer_week: float | None
    promised_rate: float | None
    realised_rate: float | None
    worst_decile_recall: float | None
    worst_decile_vus_pr: float | None
    worst_decile_false_per_week: float | None

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """The figures as plain JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """The figures of one detector, and the same by entity (BY_ENTITY), by kind of event (BY_KIND) and by target (BY_TARGET)."""

    figures: Detection
    by_entity: pl.DataFrame
    by_kind: pl.DataFrame
    by_target: pl.DataFrame


def detect(told: Told, *, watched: pl.LazyFrame, promised: float | None, cadence_seconds: int, tolerance_minutes: int) -> Detected:
    """The figures of what a detector told.

    Args:
        told: its incidents beside the events, its verdicts and its scores.
        watched: `entity, at`, each step in which an entity was watched once; the same for all who are compared.
        promised: share of a target's normal steps that may be anomalous; None where nothing is promised.
        cadence_seconds: length of a step.
        tolerance_minutes: for how long after a label's end a step is not taken for normal.
    """
    weeks = cadence_seconds / SECONDS_PER_WEEK
    steps = watched.group_by(ENTITY).agg(pl.len().cast(pl.Int64).alias(STEPS)).collect()
    of_customers = watched.select(pl.col(ENTITY).str.split("/").list.first().alias(CUSTOMER), AT).unique().select(pl.len()).collect().item()
    normal = _normal(told, tolerance_minutes=tolerance_minutes)
    by_entity = _by_entity(told, steps=steps, weeks=weeks, normal=normal)
    opened = told.incidents.group_by(INCIDENT).agg(pl.col(FALSE).all())
    false, events, found = int(opened[FALSE].sum()), told.labels.height, int(told.labels[FOUND].sum())
    minutes = told.labels[MINUTES_TO_DETECT]
    entity_weeks, customer_weeks = float(steps[STEPS].sum()) * weeks, float(of_customers) * weeks
    figures = Detection(
        detector=told.name,
        vus_pr=_number(by_entity[VUS].mean()),
        events=events,
        found=found,
        recall=found / events if events else None,
        incidents=opened.height,
        false_incidents=false,
        precision=1 - false / opened.height if opened.height and events else None,
        minutes_to_detect=_number(minutes.median()),
        worst_minutes_to_detect=_number(minutes.max()),
        entity_weeks=entity_weeks,
        customer_weeks=customer_weeks,
        incidents_per_entity_week=opened.height / entity_weeks if entity_weeks else None,
        false_per_entity_week=false / entity_weeks if entity_weeks else None,
        incidents_per_customer_week=opened.height / customer_weeks if customer_weeks else None,
        false_per_customer_week=false / customer_weeks if customer_weeks else None,
        promised_rate=promised if told.scores is not None else None,
        realised_rate=_realised(normal),
        worst_decile_recall=_worst_tenth(by_entity[RECALL]),
        worst_decile_vus_pr=_worst_tenth(by_entity[VUS]),
        worst_decile_false_per_week=_worst_tenth(by_entity[FALSE_A_WEEK], greatest=True),
    )
    by_target = normal.group_by(TARGET).agg(pl.col(STEPS).sum(), _share().alias(REALISED)).select(list(BY_TARGET)).sort(TARGET)
    return Detected(figures=figures, by_entity=by_entity, by_kind=_by_kind(told.labels), by_target=by_target)


def _number(value: Any) -> float | None:  # Any: what an aggregate of Polars may be
    return float(value) if isinstance(value, int | float) else None


def _normal(told: Told, *, tolerance_minutes: int) -> pl.DataFrame:
    """`entity, target, steps, anomalous`: of the normal steps that were judged, how many there are and how many are anomalous."""
    empty = {ENTITY: pl.String, TARGET: pl.String, STEPS: pl.Int64, "anomalous": pl.Int64}
    if told.scores is None:
        return pl.DataFrame(schema=empty)
    judged = told.scores.filter(pl.col(VERDICT).is_in(JUDGED), pl.col(TARGET) != STANDSTILL).select(ENTITY, AT, TARGET, SURPRISE)
    return (
        marked(judged, labels=told.labels, after_minutes=tolerance_minutes)
        .filter(~pl.col(LABEL))
        .group_by(ENTITY, TARGET)
        .agg(pl.len().cast(pl.Int64).alias(STEPS), (pl.col(SURPRISE) > 1).sum().cast(pl.Int64).alias("anomalous"))
        .sort(ENTITY, TARGET)
        .collect()
    )


def marked(rows: pl.LazyFrame, *, labels: pl.DataFrame, after_minutes: int = 0) -> pl.LazyFrame:
    """`rows`, by time, with `label`: whether a step of an entity begins within one of its LABELS, or so long after its end."""
    ends = (
        labels.select(ENTITY, pl.col(START).alias(AT), (pl.col(END) + timedelta(minutes=after_minutes)).alias(END))
        .sort(AT)
        .with_columns(pl.col(END).cum_max().over(ENTITY))
    )
    joined = rows.sort(AT).join_asof(ends.lazy(), on=AT, by=ENTITY, strategy="backward", check_sortedness=False)
    return joined.with_columns((pl.col(AT) < pl.col(END)).fill_null(value=False).alias(LABEL)).drop(END)


def _share() -> pl.Expr:
    return pl.col("anomalous").sum() / pl.col(STEPS).sum()


def _realised(normal: pl.DataFrame) -> float | None:
    return None if normal.is_empty() else _number(normal.select(_share()).item())


def _by_entity(told: Told, *, steps: pl.DataFrame, weeks: float, normal: pl.DataFrame) -> pl.DataFrame:
    events = told.labels.group_by(ENTITY).agg(
        pl.len().cast(pl.Int64).alias(EVENTS), pl.col(FOUND).sum().cast(pl.Int64), pl.col(MINUTES_TO_DETECT).median()
    )
    lone = told.incidents.with_columns(pl.col(FALSE).all().over(INCIDENT))
    opened = lone.group_by(ENTITY).agg(pl.len().cast(pl.Int64).alias(INCIDENTS_TOLD), pl.col(FALSE).sum().cast(pl.Int64).alias(FALSE_TOLD))
    realised = normal.group_by(ENTITY).agg(_share().alias(REALISED))
    whole = steps.select(ENTITY, (pl.col(STEPS) * weeks).alias(WEEKS))
    for part in (events, opened, _vus(told.ranks), realised):
        whole = whole.join(part, on=ENTITY, how="left")
    counts = pl.col(EVENTS, FOUND, INCIDENTS_TOLD, FALSE_TOLD).fill_null(0)
    return (
        whole.with_columns(counts)
        .with_columns(
            pl.when(pl.col(EVENTS) > 0).then(pl.col(FOUND) / pl.col(EVENTS)).alias(RECALL),
            (pl.col(FALSE_TOLD) / pl.col(WEEKS)).alias(FALSE_A_WEEK),
        )
        .select(list(BY_ENTITY))
        .sort(RECALL, FALSE_A_WEEK, ENTITY, descending=[False, True, False], nulls_last=True)
    )


def _by_kind(labels: pl.DataFrame) -> pl.DataFrame:
    minutes = pl.col(MINUTES_TO_DETECT)
    return (
        labels.group_by(KIND)
        .agg(
            pl.len().cast(pl.Int64).alias(EVENTS),
            pl.col(FOUND).sum().cast(pl.Int64),
            pl.col(FOUND).mean().alias(RECALL),
            minutes.median(),
            minutes.max().alias("worst_minutes"),
        )
        .select(list(BY_KIND))
        .sort(RECALL, KIND)
    )


def _vus(ranks: pl.DataFrame | None) -> pl.DataFrame:
    """`entity, vus_pr` of the entities that have a labelled step."""
    known: list[tuple[str, float]] = []
    if ranks is not None:
        labelled = ranks.filter(pl.col(LABEL).any().over(ENTITY)).sort(ENTITY, AT)
        known = [
            (str(name), vus_pr(rows[SCORE].cast(pl.Float64).to_numpy(), rows[LABEL].to_numpy()))
            for (name,), rows in labelled.partition_by(ENTITY, as_dict=True, maintain_order=True).items()
        ]
    return pl.DataFrame(known, schema={ENTITY: pl.String, VUS: pl.Float64}, orient="row")


def _worst_tenth(values: pl.Series, *, greatest: bool = False) -> float | None:
    """The mean of the worst tenth of what is not null: the least, or the greatest.

    >>> _worst_tenth(pl.Series([0.5, None, 1.0]))
    0.5
    """
    known = np.sort(values.drop_nulls().to_numpy())
    if not known.size:
        return None
    many = max(known.size // 10, 1)
    return float((known[-many:] if greatest else known[:many]).mean())


def compared(every: list[Told]) -> pl.DataFrame:
    """Which event each detector found: `entity, start, end, kind`, and a column for each detector, minutes to detect or null (missed)."""
    first = every[0].labels.select(ENTITY, START, END, KIND).sort(ENTITY, START)
    for told in every:
        own = told.labels.select(ENTITY, START, END, KIND, pl.col(MINUTES_TO_DETECT).alias(told.name))
        first = first.join(own, on=[ENTITY, START, END, KIND], how="left", maintain_order="left")
    return first.with_columns(pl.col(START, END).cast(TIME))


def only(every: list[Told], *, one: str, other: str) -> pl.DataFrame:
    """The events that one detector found and another missed: `entity, start, end, kind`."""
    table = compared([told for told in every if told.name in (one, other)])
    return table.filter(pl.col(one).is_not_null() & pl.col(other).is_null()).select(ENTITY, START, END, KIND)
