"""From scores to incidents, and from incidents to groups: what is new, and what is told otherwise, and nothing else.

Both tables are a function of the scores, the grid and the contract as it is now, whatever was late and however often one asked. An incident
can change for as long as `serving.incidents.reach` after its end; a group, for as long as one of its cluster can.

Silence is told at its onset: the rows of an entity that is watched are missed against the others, and where nothing comes any more from
anywhere, against the clock (see `telemetry.watermarks.heard_until`). Scores and coverage wait for the rows, incidents do not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from serving.groups import group, unsettled
from serving.incidents import open_incidents, reach
from serving.label_sets import labels
from serving.maintenance import silences
from telemetry.calendars import cohorts_of
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.revisions import Span, replace
from telemetry.schema import AT, END, ENTITIES, ENTITY, GROUPS, INCIDENTS, OPENED, RELEASE, SCORES, START, TIME
from telemetry.tables import DAY

_EDGE: Final = "__edge__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What has been scored, and is to be told of.

    Attributes:
        lake: whose tables.
        release: that scored.
        contract: as it is now.
        frontier: everything before it was scored before, but for `changes`.
        until: everything before it is scored.
        heard: everything before it would have come if it were there; never before `until`.
        changes: CHANGES before the frontier.
        rows: `entity, at, day` of the grid's rows from an instant on.
        worked_on: PERIODS of maintenance, in which silence is none.
    """

    lake: Lake
    release: str
    contract: Contract
    frontier: datetime
    until: datetime
    heard: datetime
    changes: pl.DataFrame
    rows: Callable[[datetime], pl.LazyFrame]
    worked_on: pl.DataFrame

    @property
    def settled(self) -> timedelta:
        """How long after its end an incident stays as it is."""
        return reach(self.contract.thresholds, cadence_seconds=self.contract.time.cadence_seconds)

    @property
    def margin(self) -> timedelta:
        """How long before a step others decide on whether it opens, or goes on with, an incident."""
        policy = self.contract.thresholds
        return (policy.open_within + policy.close_minutes) * self.contract.time.cadence


def tell(due: Due) -> None:
    """Write the incidents and the groups that what was scored, or told otherwise, could change. Safe to run again at any point."""
    edge = pl.lit(due.frontier - due.settled).cast(TIME)
    changed = due.changes.group_by(ENTITY).agg(pl.col(START).min())
    edges = changed.select(ENTITY, pl.min_horizontal(pl.col(START) - due.settled, edge).alias(_EDGE))
    known = due.lake.read("incidents", schema=INCIDENTS).filter(pl.col(RELEASE) == due.release).collect()
    open_again = pl.col(END) >= pl.coalesce(_EDGE, edge)
    stale = known.join(edges, on=ENTITY, how="left").filter(open_again).drop(_EDGE)
    opened = _opened(due, known=known, first=pl.concat([stale.select(ENTITY, START), changed.select(ENTITY, pl.col(START) - due.margin)]))
    told = opened.join(edges, on=ENTITY, how="left").filter(open_again).select(list(INCIDENTS))
    since = pl.concat([edges[_EDGE], pl.Series(_EDGE, [due.frontier - due.settled], dtype=TIME)]).min()
    assert isinstance(since, datetime)  # noqa: S101  (the column's type)
    stays = known.join(stale, on=list(INCIDENTS), how="anti", nulls_equal=True)
    span = Span(release=due.release, since=since, column=END)
    replace(due.lake, "incidents", pl.concat([stays.filter(pl.col(END) >= since), told]), span=span, schema=INCIDENTS)
    replace(due.lake, "groups", _grouped(due, incidents=pl.concat([stays, told]), since=since), span=span, schema=GROUPS)


def _opened(due: Due, *, known: pl.DataFrame, first: pl.DataFrame) -> pl.DataFrame:
    """INCIDENTS as the scores now tell them: of who is in `first` (`entity, start`) from there on, of the others where they are new."""
    policy, cadence = due.contract.thresholds, due.contract.time.cadence
    began = first.group_by(ENTITY).agg(pl.col(START).min())
    lately = pl.col(END) >= pl.col(_EDGE) - (policy.flap_minutes if policy.flaps else 0) * cadence
    flaps = known.join(began.rename({START: _EDGE}), on=ENTITY).filter(lately).select(ENTITY, START)  # it counts how often they opened
    begins = pl.concat([began, flaps]).group_by(ENTITY).agg(pl.col(START).min() - due.margin)
    default = due.frontier - 2 * due.margin
    scores = _scores_since(due, default=default, begins=begins.filter(pl.col(START) < pl.lit(default).cast(TIME)))
    opened = open_incidents(
        scores,
        policy=policy,
        cadence_seconds=due.contract.time.cadence_seconds,
        until=due.heard,
        departed_days=due.contract.newcomer.departed_days,
        waiting=due.rows(due.until).select(ENTITY, AT).collect() if due.heard > due.until else None,
    )
    return silences(opened, told=due.worked_on, policy=policy, cadence=cadence)


def _scores_since(due: Due, *, default: datetime, begins: pl.DataFrame) -> pl.DataFrame:
    """SCORES from an instant on, and of some entities from an earlier one on."""
    scores = due.lake.read("scores", schema=SCORES)
    recent = scores.filter(Span(release=due.release, since=default).rows).collect()
    first = begins[START].min()
    if not isinstance(first, datetime):
        return recent
    span = Span(release=due.release, since=first, until=default, entities=tuple(begins[ENTITY].sort().to_list()))
    older = scores.filter(span.rows).collect().join(begins, on=ENTITY).filter(pl.col(AT) >= pl.col(START)).drop(START)
    return pl.concat([older, recent])


def _grouped(due: Due, *, incidents: pl.DataFrame, since: datetime) -> pl.DataFrame:
    """GROUPS that end after an instant."""
    policy, seconds = due.contract.thresholds, due.contract.time.cadence_seconds
    those = unsettled(incidents, policy=policy, cadence_seconds=seconds, since=since)
    if those.is_empty():
        return pl.DataFrame(schema=GROUPS)
    entities = due.lake.read("entities", schema=ENTITIES).collect().sort(ENTITY)
    named = labels(tuple(entities[ENTITY]), contract=due.contract, cohorts=cohorts_of(entities))
    told = group(those, labels=named, policy=policy, cadence_seconds=seconds, watched=_watched(due, those=those))
    return told.filter(pl.col(END) >= pl.lit(since).cast(TIME))


def _watched(due: Due, *, those: pl.DataFrame) -> pl.DataFrame:
    """`entity, start, end`: from the first row of a day on, and all through the `departed_days` days after it."""
    first, last = those.select(first=pl.col(OPENED).min(), last=pl.col(OPENED).max()).row(0)
    days = timedelta(days=due.contract.newcomer.departed_days)
    seen = due.rows(datetime.combine(first.date(), datetime.min.time(), first.tzinfo) - days).filter(pl.col(AT) <= last)
    end = (pl.col(DAY) + days + timedelta(days=1)).cast(TIME)
    return seen.group_by(ENTITY, DAY).agg(pl.col(AT).min().alias(START)).select(ENTITY, START, end.alias(END)).collect()
