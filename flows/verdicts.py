"""From the grid to scores, coverage and incidents: what is new is scored once it is complete, and what came late is scored after all.

The tables are a function of the grid, of the release and of what operators have lifted, whatever was late and however often one asked:
exactly one score for each entity, minute, target and release, and one state for each entity and minute in which it is watched. What is
suspended (see `flows.suspensions`) and what cannot be is told first and is not believed afterwards. Every write replaces a span by what it
should be, and how far all this went is noted last, so that a kill in between costs time and nothing else.
"""

from dataclasses import dataclass
from dataclasses import replace as with_
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from flows import lent
from flows.foretold import Job, foretell
from flows.maintained import maintain, note
from flows.opened import Due
from flows.opened import tell as tell_incidents
from flows.parallel_test import released
from flows.prepare import work
from flows.suspensions import hold, together
from serving.maintenance import covered
from serving.release import Release
from serving.scorer import coverage
from serving.stretches import (
    CHANGES,
    NEVER,
    Progress,
    Stretch,
    between,
    filled,
    influence,
    length,
    merged,
    progress,
    remember,
    touched,
)
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.errors import EmptySourceError
from telemetry.lake import Lake
from telemetry.presence import newcomers, watched
from telemetry.revisions import Span, as_of, changed, replace
from telemetry.schema import (
    AT,
    COVERAGE,
    END,
    ENTITIES,
    ENTITY,
    FEED,
    LEAD,
    RELEASE,
    SCORES,
    SOURCES,
    START,
    TIME,
    WATERMARKS,
)
from telemetry.tables import DAY
from telemetry.watermarks import complete_until, heard_until, slowest

FORGOTTEN: Final = timedelta(days=7)
"""Where nobody can tell any more what became of the grid since the last scoring, everything of so long before it is scored anew."""
_BEFORE: Final = "__before__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """What a scoring did.

    Attributes:
        since: the first instant of which something was written.
        until: everything before it is scored.
        minutes: entity-minutes that are covered now and were not before.
        late: entity-minutes whose readings came, or were told otherwise, after they had been scored.
        waits_for: the feed that what is not complete yet waits for, null where all that is there is scored.
        suspended: SUSPENSIONS of the release.
        impossible: IMPOSSIBLE among what is scored now and was not before.
    """

    since: datetime
    until: datetime
    minutes: int
    late: int
    waits_for: str | None
    suspended: pl.DataFrame
    impossible: pl.DataFrame


def advance(lake: Lake, *, release: Release, contract: Contract, folder: str, now: datetime) -> Advanced:
    """Bring scores, coverage and incidents of a release up to date. Safe to run again at any point.

    Args:
        lake: its telemetry and its tables.
        release: that scores, by the contract that it was learned with.
        contract: as it is now: when an incident opens, how late readings come, after how many days one has departed.
        folder: the run's; rows for the page's excerpts are left there.
        now: by which a feed is silent.

    Raises:
        EmptySourceError: nothing was ingested yet.
    """
    job = _job(lake, release=release, contract=contract, folder=folder, now=now)
    anew = touched(job.changes, contract=job.learned, after=influence(job.learned))
    minutes = 0
    for stretch in merged(between(job.frontier, job.until, contract=job.learned), anew):
        if stretch.end > job.floor:
            minutes += _score(job, stretch=stretch, entities=anew.get(stretch, ()))
    _cover_anew(job)
    _incidents(job)
    remember(lake, release=release.id, done=job.done)
    note(lake, release=release, told=job.worked_on)
    first = job.changes[START].min()
    since = min(first, job.frontier) if isinstance(first, datetime) else job.frontier
    return Advanced(
        since=since,
        until=job.until,
        minutes=minutes,
        late=job.late,
        waits_for=job.waits_for,
        suspended=job.suspended,
        impossible=together(job.impossible),
    )


def _job(lake: Lake, *, release: Release, contract: Contract, folder: str, now: datetime) -> Job:
    learned = contracts.parse(release.contract, path=f"of release {release.id}")
    begun = datetime.fromisoformat(release.manifest["calibrated_until"])
    marks = lake.read("watermarks", schema=WATERMARKS).collect()  # before the grid: it then holds what they tell of
    grid, entities = lake.version("grid"), lake.version("entities")
    if grid is None:
        raise EmptySourceError(f"The lake {lake.root} holds no grid.", hint="ingest a source first: tidewatch ingest.")
    before = progress(lake, release=release.id)
    frontier = begun if before is None else min(before.until, _end(lake, release=release.id, contract=learned) or begun)
    complete = complete_until(marks, contract=contract, now=now)
    there = _rows(lake, version=grid, since=frontier).select(pl.col(AT).max()).collect().item()
    end = frontier if there is None else there + learned.time.cadence
    until = max(frontier, min(end, complete or end))
    floor = max(begun, until - timedelta(days=contract.retention.scores_days))
    done = Progress(until=until, grid=grid, entities=NEVER if entities is None else entities)
    found = _changes(lake, before=before, done=done, contract=learned, floor=floor, frontier=frontier) if before else _none()
    if found is None:
        frontier, found = max(floor, frontier - FORGOTTEN), _none()
    changes, late = found
    frontier = max(floor, frontier)
    held = hold(lake, release=release, contract=learned, before=before, done=done, begun=begun, frontier=frontier, changes=changes)
    worked_on = maintain(lake, release=release, contract=learned, begun=before is not None)
    arrivals = lake.read("sources", schema=SOURCES).select(FEED, AT).collect()
    heard = heard_until(marks, arrivals=arrivals, contract=contract, now=now)
    return Job(
        lake=lake,
        release=release,
        learned=learned,
        declared=contract,
        candidate=released(release),
        done=with_(done, suspensions=held.version, lifts=held.lifts),
        floor=floor,
        frontier=frontier,
        heard=max(until, heard or until),
        changes=_before(lent.reaching(pl.concat([changes, held.changes, worked_on.changes]), release=release), frontier=frontier),
        late=late,
        waits_for=slowest(marks, contract=contract, now=now) if until < end else None,
        suspended=held.told,
        worked_on=worked_on,
        folder=folder,
    )


def _none() -> tuple[pl.DataFrame, int]:
    return pl.DataFrame(schema=CHANGES), 0


def _end(lake: Lake, *, release: str, contract: Contract) -> datetime | None:
    """The first instant of which the release has no coverage."""
    last = lake.read("coverage", schema=COVERAGE).filter(pl.col(RELEASE) == release).select(pl.col(AT).max()).collect().item()
    return None if last is None else last + contract.time.cadence


def _rows(lake: Lake, *, version: int, since: datetime) -> pl.LazyFrame:
    """`entity, at, day` of the grid's rows as they are stored, from an instant on."""
    table = lake.open("grid", version=version)
    if table is None:
        return pl.LazyFrame(schema={ENTITY: pl.String, AT: TIME, DAY: pl.Date})
    return lake.scan(table).filter(pl.col(DAY) >= since.date(), pl.col(AT) >= since).select(ENTITY, AT, DAY)


def _changes(
    lake: Lake, *, before: Progress, done: Progress, contract: Contract, floor: datetime, frontier: datetime
) -> tuple[pl.DataFrame, int] | None:
    """CHANGES from the floor to the frontier, and how many rows they are made of; null if nobody can tell any more."""
    rows = changed(lake, "grid", since=before.grid, until=done.grid, names=contract.names)
    aged = _aged(lake, before=before, contract=contract)
    if rows is None or aged is None:
        return None
    matters = floor - influence(contract) - length(contract) - lent.LENT  # of the first stretch that is written
    late = rows.filter(pl.col(AT) >= matters, pl.col(AT) < frontier)
    cadence = contract.time.cadence
    points = late if not filled(contract) else pl.concat([late, rows.filter(pl.col(AT) >= frontier).group_by(ENTITY).agg(pl.col(AT).min())])
    rewritten = points.select(ENTITY, pl.col(AT).alias(START), (pl.col(AT) + cadence).alias(END))
    if filled(contract) and rewritten.height:
        rewritten = _with_gaps(lake, spans=rewritten, version=done.grid, contract=contract)
    return _before(pl.concat([rewritten, aged]), frontier=frontier), late.filter(pl.col(AT) >= floor).height


def _before(changes: pl.DataFrame, *, frontier: datetime) -> pl.DataFrame:
    return changes.with_columns(pl.col(END).clip(upper_bound=frontier)).filter(pl.col(START) < pl.col(END))


def _with_gaps(lake: Lake, *, spans: pl.DataFrame, version: int, contract: Contract) -> pl.DataFrame:
    """CHANGES that begin right after the row before: the contract says what the steps of a gap were once a row comes after it."""
    reach = length(contract) + 2 * influence(contract)
    oldest = spans.select(pl.col(START).min() - reach).item()
    rows = _rows(lake, version=version, since=oldest).select(ENTITY, AT, pl.col(AT).alias(_BEFORE)).collect().sort(AT)
    there = spans.sort(START).join_asof(rows, left_on=START, right_on=AT, by=ENTITY, allow_exact_matches=False, check_sortedness=False)
    before = pl.col(_BEFORE) + contract.time.cadence
    return there.with_columns(pl.coalesce(before, START).alias(START)).select(list(CHANGES))


def _aged(lake: Lake, *, before: Progress, contract: Contract) -> pl.DataFrame | None:
    """CHANGES of those that are newcomers at other times than was known before: an older reading of theirs has come."""
    empty = pl.DataFrame(schema=ENTITIES)
    known = empty if before.entities == NEVER else as_of(lake, "entities", version=before.entities, schema=ENTITIES)
    if known is None:
        return None
    now = lake.read("entities", schema=ENTITIES).collect()
    old, new = (newcomers(told, contract=contract) for told in (known, now))
    both = pl.concat([old.join(new, on=list(CHANGES), how="anti"), new.join(old, on=list(CHANGES), how="anti")])
    return both.group_by(ENTITY).agg(pl.col(START).min(), pl.col(END).max()).sort(ENTITY)


def _score(job: Job, *, stretch: Stretch, entities: tuple[str, ...]) -> int:
    """Write what a stretch says: of `entities` as far as it was scored before, of all from there on. How many entity-minutes are new."""
    rows, scores = foretell(job, stretch=stretch)
    begin, end = max(stretch.start, job.frontier), min(stretch.end, job.until)
    if entities and stretch.start < job.frontier:
        span = job.span(stretch.start, min(stretch.end, job.frontier), entities=entities)
        replace(job.lake, "scores", scores.filter(span.rows), span=span, schema=SCORES)
    _keep(rows, scores=scores, folder=job.folder, name=f"{stretch.start:%Y%m%dT%H%M%S}")
    if begin >= end:
        return 0
    span = job.span(begin, end)
    replace(job.lake, "scores", scores.filter(span.rows), span=span, schema=SCORES)
    covered = _coverage(job, scores=scores, span=span)
    replace(job.lake, "coverage", covered, span=span, schema=COVERAGE)
    return covered.height


def _coverage(job: Job, *, scores: pl.DataFrame, span: Span) -> pl.DataFrame:
    """Exactly one state for every entity and minute of a span in which it is watched."""
    since, until, cadence = span.since, span.until or job.until, job.learned.time.cadence
    steps = pl.datetime_range(since, until, cadence, closed="left", eager=True, time_unit="us").cast(TIME).alias(AT)
    reach = datetime.combine(since.date(), datetime.min.time(), since.tzinfo) - timedelta(days=job.declared.newcomer.departed_days)
    rows = _rows(job.lake, version=job.done.grid, since=reach).filter(pl.col(AT) < until)
    if span.entities is not None:
        rows = rows.filter(pl.col(ENTITY).is_in(span.entities))
    seen = rows.group_by(ENTITY, DAY).agg(pl.col(AT).min()).collect()
    every = seen.select(ENTITY).unique().sort(ENTITY).join(steps.to_frame(), how="cross")
    minutes = watched(every, seen=seen, contract=job.declared)
    states = coverage(minutes, scores=scores, quarantined=minutes.clear(), release=job.release.id)
    return covered(states, told=job.worked_on.told)


def _cover_anew(job: Job) -> None:
    """The states of those that were told otherwise, for as long as their rows keep them watched."""
    after = max(influence(job.learned), timedelta(days=job.declared.newcomer.departed_days + 1))
    for stretch, entities in touched(job.changes, contract=job.learned, after=after).items():
        span = job.span(stretch.start, min(stretch.end, job.frontier), entities=entities)
        if span.until is not None and span.since < span.until:
            scores = job.lake.read("scores", schema=SCORES).filter(span.rows).collect()
            replace(job.lake, "coverage", _coverage(job, scores=scores, span=span), span=span, schema=COVERAGE)


def _incidents(job: Job) -> None:
    """Incidents and their groups, as the scores now tell them."""
    due = Due(
        lake=job.lake,
        release=job.release.id,
        contract=job.declared,
        frontier=job.frontier,
        until=job.until,
        heard=job.heard,
        changes=job.changes,
        rows=lambda since: _rows(job.lake, version=job.done.grid, since=since),
        worked_on=job.worked_on.told,
    )
    tell_incidents(due)


def _keep(rows: pl.DataFrame, *, scores: pl.DataFrame, folder: str, name: str) -> None:
    """What the page's excerpts are cut from."""
    for table, frame in (("lead1", rows.filter(pl.col(LEAD) == 1)), ("scores", scores)):
        (work(folder) / "scored" / table).mkdir(parents=True, exist_ok=True)
        frame.write_parquet(work(folder) / "scored" / table / f"{name}.parquet")
