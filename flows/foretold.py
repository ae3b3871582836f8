"""What a release says of a stretch: forecasts and scores of whom it knows, and of whom it does not (see `flows.lent`)."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from flows import lent
from flows.feeding import guard_of, tell_accepted
from flows.feeding import run as run_guarded
from flows.maintained import Maintained
from flows.parallel_test import Candidate
from flows.prepare import build
from flows.suspensions import impossible
from flows.tracked import standing
from flows.trust import trusted
from serving.forecasts import tell
from serving.lending import MEMORY
from serving.maintenance import excused
from serving.operator import boring
from serving.release import Release
from serving.scorer import score as judge_minutes
from serving.scorer import withheld
from serving.stretches import Progress, Stretch
from serving.surprise import SLOW_STEPS
from serving.suspensions import spans
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.masks import masked, possible
from telemetry.revisions import Span
from telemetry.schema import AT, ENTITY, FORECASTS, SCORES


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What there is to do.

    Attributes:
        floor: nothing before it is scored by this release.
        frontier: everything before it is scored, but for `changes`.
        until: end of what is complete.
        heard: everything before it would have come if it were there; never before `until`.
        changes: CHANGES before the frontier.
        late: how many of the grid's rows they are made of.
        waits_for: as in `Advanced`.
        suspended: SUSPENSIONS, what is not believed.
        worked_on: who was in maintenance when.
        impossible: what cannot be, as it is found.
    """

    lake: Lake
    release: Release
    learned: Contract
    declared: Contract
    candidate: Candidate
    done: Progress
    floor: datetime
    frontier: datetime
    heard: datetime
    changes: pl.DataFrame
    late: int
    waits_for: str | None
    suspended: pl.DataFrame
    worked_on: Maintained
    folder: str
    impossible: list[pl.DataFrame] = field(default_factory=list)

    @property
    def until(self) -> datetime:
        return self.done.until

    def span(self, since: datetime, until: datetime, *, entities: tuple[str, ...] | None = None) -> Span:
        """Its rows of a span, as far as they are to be written."""
        return Span(release=self.release.id, since=max(since, self.floor), until=min(until, self.until), entities=entities)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """Rows of `grid_schema`: as they came, without what cannot be, and without what is not believed."""

    came: pl.DataFrame
    could_be: pl.DataFrame
    believed: pl.DataFrame

    def of(self, asked: pl.Expr) -> "_Told":
        """Some of them."""
        return _Told(came=self.came.filter(asked), could_be=self.could_be.filter(asked), believed=self.believed.filter(asked))


def foretell(job: Job, *, stretch: Stretch) -> tuple[pl.DataFrame, pl.DataFrame]:
    """FORECASTS and SCORES of a stretch."""
    out = pl.concat([spans(job.suspended), job.worked_on.spans])
    told = _told(job, since=stretch.anchor, stretch=stretch, out=out)
    if told.came.filter(pl.col(AT) >= stretch.start).is_empty():
        return pl.DataFrame(schema=FORECASTS), pl.DataFrame(schema=SCORES)
    job.impossible.append(impossible(told.came, could_be=told.could_be, contract=job.learned, since=max(stretch.start, job.frontier)))
    strangers = lent.strangers(told.came, release=job.release)
    if strangers and lent.has_tides(job.release):
        of_them = pl.col(ENTITY).is_in(strangers)
        theirs = _told(job, since=stretch.anchor - MEMORY, stretch=stretch, out=out, whose=of_them)
        parts = [_of(job, told=theirs, stretch=stretch, strangers=strangers, out=out, memory=MEMORY)]
        known = told.of(~of_them)
        parts += [] if known.came.is_empty() else [_of(job, told=known, stretch=stretch, strangers=[], out=out)]
        rows, judged = (pl.concat(frames) for frames in zip(*parts, strict=True))
    else:
        rows, judged = _of(job, told=told, stretch=stretch, strangers=strangers, out=out)
    within = pl.col(AT) >= stretch.start
    unjudged = withheld(
        told.came.filter(within), believed=told.believed.filter(within), targets=job.learned.targets, release=job.release.id
    )
    return rows.filter(within), excused(pl.concat([judged.filter(within), unjudged]), told=job.worked_on.told)


def _told(job: Job, *, since: datetime, stretch: Stretch, out: pl.DataFrame, whose: pl.Expr | None = None) -> _Told:
    """The rows of a stretch and of what is before it from an instant on; of everybody, by default."""
    until = min(stretch.reach, job.until)
    rows = job.lake.grid(contract=job.learned, since=since, until=until, version=job.done.grid)
    came = (rows if whose is None else rows.filter(whose)).filter(pl.col(AT) < stretch.end).collect()
    could_be = possible(came.lazy(), contract=job.learned).collect()
    return _Told(came=came, could_be=could_be, believed=masked(could_be.lazy(), spans=out).collect())


def _of(
    job: Job, *, told: _Told, stretch: Stretch, strangers: list[str], out: pl.DataFrame, memory: timedelta = timedelta(0)
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """FORECASTS and SCORES of the entities of some rows, from so long before a stretch on as what is told within rests on."""
    lender = lent.Lender(lake=job.lake, version=job.done.grid, release=job.release, contract=job.learned, spans=out)
    scales = lender.scales(before=stretch.start, strangers=strangers)
    panel = build(told.believed.lazy(), lake=job.lake, contract=job.learned, scales=scales, parts=None)
    may = boring(panel, scales=scales, parameters=job.declared.parameters)
    panel, likened = lender.likened(panel, before=stretch.anchor - memory, strangers=strangers)
    ahead = int((stretch.start - memory).timestamp()) * 1_000_000 - panel.start_us
    start = max(0, ahead // (panel.cadence_seconds * 1_000_000) - SLOW_STEPS)  # the last errors before it add up with its first ones
    guard = guard_of(job.release.thresholds, panel=panel, leads=job.candidate.network.leads, contract=job.learned)
    guard = trusted(guard, views=job.release.views, panel=panel)
    fed = run_guarded(job.candidate, panel=panel, start=start, guard=guard)
    tell_accepted(fed, panel=panel, start=start, since=job.frontier, until=job.until, contract=job.learned)
    rows = tell(panel, fed.forecasts, leads=job.learned.leads.steps, scales=scales, start=start, views=job.release.views, boring=may)
    rows = rows if likened is None else likened.judged_by(job.release.thresholds).restored(rows)
    return rows, _judged(job, rows=rows, blind=_blind(told.came, believed=told.believed, names=job.learned.names))


def _blind(told: pl.DataFrame, *, believed: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """`entity, at` of the rows of which something that came is not believed."""
    return told.filter(pl.any_horizontal([told[name].is_not_null() & believed[name].is_null() for name in names])).select(ENTITY, AT)


def _judged(job: Job, *, rows: pl.DataFrame, blind: pl.DataFrame) -> pl.DataFrame:
    """SCORES of FORECASTS, by thresholds that stand where the scores before them have moved them, if they are tracked."""
    policy, seconds = job.declared.thresholds, job.learned.time.cadence_seconds
    before = rows.select(pl.col(AT).min()).item() or job.floor
    return judge_minutes(
        rows,
        thresholds=job.release.thresholds,
        release=job.release.id,
        parameters=job.declared.parameters,
        policy=policy,
        cadence_seconds=seconds,
        blind=blind,
        begin=standing(job.lake, release=job.release, policy=policy, cadence_seconds=seconds, before=before),
    ).scores
