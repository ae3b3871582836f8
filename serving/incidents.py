"""From surprises to incidents of an entity, and from incidents to what was found, missed and falsely told.

An entity is anomalous in a step in which any of its targets has a surprise above 1 that the operator does not excuse (see
`serving.operator`). An incident opens when `open_minutes` of `open_within` steps are anomalous, and closes after `close_minutes` steps
without an anomalous one (all counted in steps of the cadence, which are minutes by default). It begins with the first anomalous step of
those that opened it and ends right after its last one.

Telemetry that stands still for longer than it may is such an anomaly too, with the target `standstill` (see `serving.standstill`).

Silence is an incident of its own, with the target `silence`: an entity that was reporting (rows in `open_minutes` of the last
`open_within` steps) has no row for `open_within` steps or more. It is told then, and lasts from the first missing step until rows come
again, which closes it, or until the entity counts as departed (see `telemetry.presence`); its peak is the number of missing steps as a
share of `open_within`.

What opens and closes by turns is damped, silences and the others each for themselves:

    reopening   an incident that begins within `reopen_minutes` of the close of the one before is the same incident, told again under its
                name; the time between belongs to it (as with `keep_firing_for` of a Prometheus alert)
    flapping    an entity whose incidents have opened more than `flaps` times within `flap_minutes`, reopenings included, flaps: its
                incident stays open until nothing has opened for `flap_minutes` (as Nagios holds back what changes its state too often,
                and wants it steadier before it believes it again)

Both go by what was before, so that nothing that was told is taken back later.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from serving.operator import NORMAL
from telemetry.schema import (
    AT,
    END,
    ENTITY,
    INCIDENT,
    INCIDENTS,
    LABELS,
    OPENED,
    PEAK,
    RELEASE,
    SCORES,
    START,
    SURPRISE,
    TARGET,
    TIME,
    VERDICT,
    conform,
)
from telemetry.sections import Thresholds

SILENCE: Final = "silence"
FOUND: Final = "found"
FALSE: Final = "false"
MINUTES_TO_DETECT: Final = "minutes_to_detect"
KEY: Final = "key"
TOLERANCE_MINUTES: Final = 10
"""A label of a minute or two ends before so many anomalous steps have come as open an incident; its wake is still its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Incidents beside labels.

    Attributes:
        found: labels that some incident overlaps.
        missed: labels that none does.
        false: incidents that overlap no label.
        labels: LABELS with `key` (entity and start), `found`, and `minutes_to_detect`: from the label's start until its first incident
            was opened, 0 if that was before, null if missed.
        incidents: INCIDENTS with `false`.
    """

    found: int
    missed: int
    false: int
    labels: pl.DataFrame
    incidents: pl.DataFrame

    @property
    def found_keys(self) -> frozenset[str]:
        """The keys of the labels that were found, for the gate."""
        return frozenset(self.labels.filter(FOUND).get_column(KEY).to_list())


def open_incidents(
    scores: pl.DataFrame,
    *,
    policy: Thresholds,
    cadence_seconds: int,
    until: datetime | None = None,
    departed_days: int | None = None,
    waiting: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """INCIDENTS of all entities, by entity and start.

    Args:
        scores: SCORES of one release, in any order.
        policy: when an incident opens and closes.
        cadence_seconds: length of a step.
        until: end (exclusive) of what could have been reported; an entity that is silent then is so until then. Default: right after
            the last row of any entity.
        departed_days: a silence ends with the last of so many days after that of the last row. Default: it does not.
        waiting: `entity, at` of rows that have come and are not scored yet: whoever has them is not silent. Default: none.
    """
    cadence = timedelta(seconds=cadence_seconds)
    rows = conform(scores, SCORES, name="scores")
    end = pl.col(AT).max() + cadence if until is None else pl.lit(until, dtype=TIME)
    counts = rows.lazy().with_columns(pl.when(~_excused()).then(SURPRISE).alias(SURPRISE))
    steps = counts.group_by(ENTITY, AT).agg(_worst(), pl.col(SURPRISE).max().alias(PEAK), pl.col(RELEASE).first()).sort(ENTITY, AT)
    never = pl.lit(None, dtype=TIME)
    departs = never if departed_days is None else pl.col(AT).dt.truncate("1d") + timedelta(days=departed_days + 1)
    present = steps.select(ENTITY, AT, RELEASE) if waiting is None else _with(waiting, steps=steps)
    silences = _silences(present, policy=policy, cadence=cadence, end=end, departs=departs)
    told = _damped(pl.concat([_surprises(steps, policy=policy, cadence=cadence), silences]), policy=policy, cadence=cadence)
    named = told.with_columns(_name().alias(INCIDENT)).select(list(INCIDENTS)).sort(ENTITY, START, TARGET).collect()
    return conform(named, INCIDENTS, name="incidents")


def reach(policy: Thresholds, *, cadence_seconds: int) -> timedelta:
    """How long after its end a later step may still change an incident, or how one that begins later is told."""
    held = max(policy.close_minutes + policy.reopen_minutes, policy.flap_minutes if policy.flaps else 0)
    return timedelta(seconds=cadence_seconds) * (policy.open_within + held)


def _with(waiting: pl.DataFrame, *, steps: pl.LazyFrame) -> pl.LazyFrame:
    """`entity, at, release` of the steps, and of those that are not scored yet."""
    later = waiting.lazy().select(ENTITY, AT, pl.lit(None, dtype=pl.String).alias(RELEASE))
    every = pl.concat([steps.select(ENTITY, AT, RELEASE), later]).group_by(ENTITY, AT).agg(pl.col(RELEASE).drop_nulls().first())
    return every.sort(ENTITY, AT).with_columns(pl.col(RELEASE).fill_null(pl.col(RELEASE).drop_nulls().first()))


def _damped(told: pl.LazyFrame, *, policy: Thresholds, cadence: timedelta) -> pl.LazyFrame:
    """Incidents of which those that are the same are one: from the first to the last of them, with the greatest peak."""
    silent = pl.col(TARGET) == SILENCE
    whose = (ENTITY, "silent")
    again = policy.reopen_minutes * cadence
    reopens = pl.when("silent").then(pl.lit(again)).otherwise(pl.lit(policy.close_minutes * cadence + again))
    lately = pl.col(START) - pl.col(START).shift(policy.flaps).over(whose) <= policy.flap_minutes * cadence
    often = lately.fill_null(value=False) if policy.flaps else pl.lit(value=False)
    settled = pl.max_horizontal(reopens, pl.lit(policy.flap_minutes * cadence))
    held = pl.when(pl.col("flapping").shift(1).over(whose)).then(settled).otherwise(reopens)
    same = pl.col(START) - pl.col(END).shift(1).over(whose) < held
    worst = pl.col(PEAK).arg_max()
    return (
        told.with_columns(silent.alias("silent"))
        .sort(*whose, START)
        .with_columns(often.alias("flapping"))
        .with_columns((~same.fill_null(value=False)).cum_sum().over(whose).alias("run"))
        .group_by(*whose, "run")
        .agg(pl.col(START, OPENED, RELEASE).first(), pl.col(END).max(), pl.col(PEAK).max(), pl.col(TARGET).get(worst))
    )


def _excused() -> pl.Expr:
    """True for a surprise that the operator does not want to hear of."""
    return (pl.col(SURPRISE) > 1).fill_null(value=False) & (pl.col(VERDICT) == NORMAL)


def _worst() -> pl.Expr:
    """The target with the greatest surprise, the first by name among equals."""
    return pl.col(TARGET).sort_by([pl.col(SURPRISE).fill_null(-1.0), TARGET], descending=[True, False]).first()


def _surprises(steps: pl.LazyFrame, *, policy: Thresholds, cadence: timedelta) -> pl.LazyFrame:
    """Incidents of anomalous steps."""
    since_last = pl.col(AT) - pl.col(AT).shift(1).over(ENTITY)
    opening = pl.col(AT).shift(policy.open_minutes - 1).over(ENTITY)
    opens = pl.col(AT) - opening <= (policy.open_within - 1) * cadence
    anomalous = (
        steps.filter(pl.col(PEAK) > 1)
        .with_columns((since_last > policy.close_minutes * cadence).fill_null(True).cum_sum().over(ENTITY).alias("run"))
        .with_columns(pl.when(opens).then(opening).alias("opening"))
        .with_columns(pl.max_horizontal(pl.col("opening").min(), pl.col(AT).min()).over(ENTITY, "run").alias(START))
    )
    worst = pl.col(PEAK).arg_max()
    return (
        anomalous.filter(pl.col("opening").is_not_null().any().over(ENTITY, "run"), pl.col(AT) >= pl.col(START))
        .group_by(ENTITY, "run", START)
        .agg(
            (pl.col(AT).filter(pl.col("opening").is_not_null()).min() + cadence).alias(OPENED),
            (pl.col(AT).max() + cadence).alias(END),
            pl.col(PEAK).max(),
            pl.col(TARGET).get(worst),
            pl.col(RELEASE).first(),
        )
        .select(ENTITY, START, OPENED, END, PEAK, TARGET, RELEASE)
    )


def _silences(present: pl.LazyFrame, *, policy: Thresholds, cadence: timedelta, end: pl.Expr, departs: pl.Expr) -> pl.LazyFrame:
    """Incidents of missing rows."""
    reported = pl.col(AT) - pl.col(AT).shift(policy.open_minutes - 1).over(ENTITY) <= (policy.open_within - 1) * cadence
    back = pl.min_horizontal(pl.col(AT).shift(-1).over(ENTITY).fill_null(end), end, departs)
    missing = (pl.col(END) - pl.col(START)).dt.total_microseconds() / (cadence / timedelta(microseconds=1))
    return (
        present.with_columns((pl.col(AT) + cadence).alias(START), back.alias(END), reported.alias("reported"))
        .filter("reported", missing >= policy.open_within)
        .with_columns((pl.col(START) + policy.open_within * cadence).alias(OPENED), (missing / policy.open_within).alias(PEAK))
        .select(ENTITY, START, OPENED, END, PEAK, pl.lit(SILENCE).alias(TARGET), RELEASE)
    )


def _name() -> pl.Expr:
    """An incident's id: the same whenever and however often the same stretch is scored."""
    silent = pl.when(pl.col(TARGET) == SILENCE).then(pl.lit("/silence")).otherwise(pl.lit(""))
    return pl.concat_str(_entity_and_start(), silent)


def _entity_and_start() -> pl.Expr:
    """For example `acme/eu@2026-01-31T09:15:00Z`."""
    return pl.concat_str(pl.col(ENTITY), pl.lit("@"), pl.col(START).dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


def match(incidents: pl.DataFrame, *, labels: pl.DataFrame, tolerance_minutes: int = TOLERANCE_MINUTES) -> Matched:
    """Which labels were found and which incidents are false.

    An incident and a label of its entity belong together if they overlap, the label's end being `tolerance_minutes` later. There is no
    point adjustment: an incident is one incident, however much of a label it covers.

    Args:
        incidents: INCIDENTS.
        labels: LABELS.
        tolerance_minutes: how long after a label's end an incident may still begin.
    """
    told = conform(incidents, INCIDENTS, name="incidents").with_row_index("incident_row")
    asked = conform(labels, LABELS, name="labels").with_row_index("label_row")
    late = pl.col("label_end") + timedelta(minutes=tolerance_minutes)
    periods = asked.select(ENTITY, "label_row", pl.col(START).alias("label_start"), pl.col(END).alias("label_end"))
    pairs = told.join(periods, on=ENTITY).filter(pl.col(START) < late, pl.col(END) > pl.col("label_start"))
    wait = (pl.col(OPENED) - pl.col("label_start")).dt.total_seconds().clip(lower_bound=0) / 60
    first = pairs.group_by("label_row").agg(wait.min().alias(MINUTES_TO_DETECT))
    found = (
        asked.join(first, on="label_row", how="left", maintain_order="left")
        .with_columns(pl.col(MINUTES_TO_DETECT).is_not_null().alias(FOUND))
        .with_columns(_entity_and_start().alias(KEY))
        .drop("label_row")
    )
    in_a_pair = pl.col("incident_row").is_in(pairs.get_column("incident_row").implode())
    judged = told.with_columns((~in_a_pair).alias(FALSE)).drop("incident_row")
    hits, false = int(found.get_column(FOUND).sum()), int(judged.get_column(FALSE).sum())
    return Matched(found=hits, missed=found.height - hits, false=false, labels=found, incidents=judged)
