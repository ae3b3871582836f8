"""Injected faults: a copy of the parallel test in which faults of every class and strength are hidden, and what a model finds of them.

Real telemetry has few labelled incidents. Here every class is known in place and strength (see `telemetry.injection`), on normal
stretches of real entities, mature ones and newcomers apart, through the very path by which minutes are judged. The copy stays in memory.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flows import exhibits
from flows.check import believed
from flows.parallel_test import Candidate, end_of, released, try_out
from flows.prepare import build, work
from flows.settings import Settings
from serving import ledger
from serving.incidents import FALSE, MINUTES_TO_DETECT, match
from serving.release import load
from serving.stretches import CONTEXT_WINDOWS
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.injection import NOTHING, Yardstick, cut, inject, known_deviations, yardstick
from telemetry.injection_plan import plan
from telemetry.lake import Lake
from telemetry.panel import Panel, Part
from telemetry.schema import END, ENTITY, INCIDENTS, KIND, LABELS, START
from validation.injected import FOUND, MATURE, MET, NEWCOMERS, WHO, FaultsFound, found_of, grade, matters

EACH: Final = 12
"""Faults of every class and strength, on mature entities; half as many on newcomers."""
GAP_WINDOWS: Final = 2
"""Peace between two faults: the network's state has forgotten one when the next comes."""
MOST_MATURE, MOST_NEWCOMERS = 32, 16
MOST_STEPS: Final = 300_000
"""Of all entities together: more would not make the figures better, only later."""
SEED: Final = 0
AFTER: Final = "after"
WEEK_SECONDS: Final = 7 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Site:
    """Where faults are put.

    Attributes:
        panel: the stretch of telemetry that is copied, scaled as for the candidate; judged is its TEST part.
        faults: PLAN of `telemetry.injection`.
        newcomers: those of them (a bool each) that strike a newcomer.
        by: what they are measured by.
        start: the first step of the stretch in the panel that it is cut from.
    """

    panel: Panel
    faults: pl.DataFrame
    newcomers: pl.Series
    by: Yardstick
    start: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What a model made of the faults of a site.

    Attributes:
        met: MET, a row a fault.
        false: incidents that overlap no fault, no label and no fault's wake.
        wakes: incidents that begin in the gap after a fault, and overlap none.
        weeks: entity-weeks that were judged.
    """

    met: pl.DataFrame
    false: int
    wakes: int
    weeks: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """The candidate's outcome, and the champion's over the same faults."""

    candidate: Outcome
    champion: Outcome | None

    @property
    def found(self) -> FaultsFound:
        """For the gate."""
        return found_of(self.candidate.met, champion=self.champion.met if self.champion else None)

    @property
    def sentence(self) -> str:
        """For a person: of the faults that nobody may miss, how many were found."""
        return f"{self.found.found} of {self.found.faults}"

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """Its part of a summary."""
        return facts(self.candidate) | {"injected_recall_champion": None if self.champion is None else recall(self.champion.met)}

    @property
    def frame(self) -> pl.DataFrame:
        """GRADED of both models, with the column `model`."""
        told = [(exhibits.CANDIDATE, self.candidate), *([(exhibits.CHAMPION, self.champion)] if self.champion else [])]
        return pl.concat([grade(outcome.met).with_columns(pl.lit(name).alias(exhibits.MODEL)) for name, outcome in told])


def recall(met: pl.DataFrame, *, who: str = MATURE) -> float | None:
    """The share found of the faults that nobody may miss; None where there are none."""
    share = met.filter(matters(), pl.col(WHO) == who)[FOUND].mean()
    return share if isinstance(share, float) else None


def facts(outcome: Outcome) -> dict[str, Any]:  # Any: plain JSON
    """What a summary tells of an outcome."""
    counted = outcome.met.filter(matters(), pl.col(WHO) == MATURE)
    return {
        "injected_faults": outcome.met.filter(pl.col(KIND) != NOTHING).height,
        "injected_recall": recall(outcome.met),
        "injected_recall_newcomers": recall(outcome.met, who=NEWCOMERS),
        "injected_minutes_to_detect": counted.filter(FOUND)[MINUTES_TO_DETECT].median(),
        "injected_false_per_week": outcome.false / outcome.weeks if outcome.weeks else None,
    }


def site(
    panel: Panel,
    *,
    scales: pl.DataFrame,
    contract: Contract,
    avoid: pl.DataFrame,
    seed: int = SEED,
    each: int = EACH,
    trained: bool = False,
) -> Site:
    """Choose entities, a stretch of the TEST part, and the faults to put there.

    Args:
        panel: scaled telemetry with its parts.
        scales: SCALES with which it was scaled.
        contract: names targets, ranges and windows.
        avoid: `entity, start, end` of what is not normal beside the labels: incidents.
        seed: the same seed makes the same site.
        each: faults of every class and strength on mature entities.
        trained: the panel has no training part, and `scales` are those of a training: its deviations count.
    """
    rng = np.random.default_rng(seed)
    entities = _chosen(panel, rng=rng)
    within = _within(panel.part[entities] == Part.TEST)
    context = CONTEXT_WINDOWS * contract.windows.time_steps + max(contract.leads.steps)
    begin = int(np.flatnonzero(within.any(axis=0))[0]) if within.any() else panel.steps - 1
    start = max(0, begin - context, panel.steps - MOST_STEPS // max(1, len(entities)))
    stretch = cut(panel, entities=entities, start=start)
    gap = GAP_WINDOWS * contract.windows.time_steps
    normal = within[:, start:] & ~_spread(stretch.incident, after=gap) & ~_spread(_marked(stretch, avoid=avoid), after=gap)
    normal[:, :context] = False
    part = np.array(stretch.part)
    part[:, :context] = np.where(part[:, :context] == Part.TEST, Part.GAP, part[:, :context])
    stretch = replace(stretch, part=part)
    by = yardstick(panel, scales=scales, contract=contract, entities=entities)
    by = known_deviations(by, scales=scales, contract=contract) if trained else by
    parts = [
        plan(stretch, by=by, scales=scales, where=normal & where, seed=seed, each=count, gap_steps=gap)
        for where, count in ((~stretch.newcomer, each), (stretch.newcomer, max(1, each // 2)))
    ]
    newcomers = pl.Series(WHO, [False] * parts[0].height + [True] * parts[1].height, dtype=pl.Boolean)
    return Site(panel=stretch, faults=pl.concat(parts), newcomers=newcomers, by=by, start=start)


def _chosen(panel: Panel, *, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of those whose TEST part is used: newcomers in it and mature ones, so many of each at random."""
    test = panel.part == Part.TEST
    young = (test & panel.newcomer).any(axis=1)
    chosen = [
        rng.permutation(np.flatnonzero(test.any(axis=1) & which))[:most] for which, most in ((young, MOST_NEWCOMERS), (~young, MOST_MATURE))
    ]
    return np.sort(np.concatenate(chosen))


def _within(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool[E, T]: from the first step of each to its last one.

    >>> _within(np.array([[False, True, False, True, False]])).tolist()
    [[False, True, True, True, False]]
    """
    begun = np.maximum.accumulate(there, axis=1)
    ahead = np.maximum.accumulate(there[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(begun & ahead)


def _spread(marked: NDArray[np.bool_], *, after: int) -> NDArray[np.bool_]:
    """bool[E, T]: the marked steps and so many after each of them.

    >>> _spread(np.array([[False, True, False, False]]), after=1).tolist()
    [[False, True, True, False]]
    """
    count = np.cumsum(marked, axis=1)
    before = np.pad(count, ((0, 0), (after + 1, 0)))[:, : marked.shape[1]]
    return np.asarray(count > before)


def _marked(panel: Panel, *, avoid: pl.DataFrame) -> NDArray[np.bool_]:
    """bool[E, T]: within the periods (entity, start, end)."""
    known = avoid.join(pl.DataFrame({ENTITY: panel.entities}).with_row_index("e"), on=ENTITY)
    step_us = panel.cadence_seconds * 1_000_000
    edges = np.zeros((len(panel.entities), panel.steps + 1), dtype=np.int32)
    for column, sign in ((START, 1), (END, -1)):
        ahead = known[column].dt.epoch("us").to_numpy() - panel.start_us
        np.add.at(edges, (known["e"].to_numpy(), np.clip(-(-ahead // step_us), 0, panel.steps)), sign)
    return np.asarray(np.cumsum(edges, axis=1)[:, :-1] > 0)


def meet(
    candidate: Candidate, *, at: Site, panel: Panel, thresholds: pl.DataFrame, contract: Contract, labels: pl.DataFrame, into: Path
) -> Outcome:
    """Judge a copy with the faults of a site as every minute is judged.

    Args:
        candidate: who judges.
        at: where the faults are.
        panel: the site's telemetry, scaled as for the candidate; it stays as it is.
        thresholds: THRESHOLDS to judge by.
        contract: when an incident opens and closes.
        labels: LABELS, what is an incident already.
        into: a folder that is not there yet; it is removed again.
    """
    shutil.rmtree(into, ignore_errors=True)  # of an attempt that failed
    injected = inject(panel, faults=at.faults, by=at.by, scales=candidate.scales)
    seen = try_out(candidate, panel=injected.panel, contract=contract, into=into, thresholds=thresholds)
    shutil.rmtree(into)
    incidents = seen.incidents.select(list(INCIDENTS))
    struck = injected.labels.filter(pl.col(KIND) != NOTHING)
    gap = GAP_WINDOWS * contract.windows.time_steps * contract.time.cadence
    wakes = struck.select(ENTITY, pl.col(END).alias(START), (pl.col(END) + gap).alias(END), pl.lit(AFTER).alias(KIND))
    known = pl.concat([struck.select(list(LABELS)), labels.select(list(LABELS))])
    strangers = match(incidents, labels=known).incidents.filter(FALSE)
    false = match(strangers.select(list(INCIDENTS)), labels=wakes).false
    told = match(incidents, labels=injected.labels.select(list(LABELS))).labels
    new = pl.struct(ENTITY, "draw").is_in(at.faults.filter(at.newcomers).select(pl.struct(ENTITY, "draw")).to_series().implode())
    lasted = (pl.col(END) - pl.col(START)).dt.total_seconds() / 60
    late = pl.when(pl.col(MINUTES_TO_DETECT) > 0, pl.col(MINUTES_TO_DETECT) <= lasted).then(MINUTES_TO_DETECT)
    met = pl.concat([injected.labels, told.select(late)], how="horizontal").with_columns(
        pl.when(new).then(pl.lit(NEWCOMERS)).otherwise(pl.lit(MATURE)).alias(WHO), pl.col(MINUTES_TO_DETECT).is_not_null().alias(FOUND)
    )
    judged = int((injected.panel.part == Part.TEST).sum()) * contract.time.cadence_seconds / WEEK_SECONDS
    return Outcome(met=met.select(list(MET)), false=false, wakes=strangers.height - false, weeks=judged)


def trial(
    candidate: Candidate, *, panel: Panel, thresholds: pl.DataFrame, incidents: pl.DataFrame, contract: Contract, lake: Lake,
    labels: pl.DataFrame, folder: str,
) -> Trial:  # fmt: skip
    """The candidate and the champion over the same faults; the page's exhibit is left in the run's folder.

    Args:
        candidate: that wants to be released.
        panel: the run's.
        thresholds: THRESHOLDS of the candidate.
        incidents: INCIDENTS that it opened in the parallel test as it was: no fault is put there.
        contract: the run's.
        lake: its telemetry and its ledger.
        labels: LABELS.
        folder: the run's.
    """
    at = site(panel, scales=candidate.scales, contract=contract, avoid=incidents.select(ENTITY, START, END))
    into = work(folder) / "injected"
    own = meet(candidate, at=at, panel=at.panel, thresholds=thresholds, contract=contract, labels=labels, into=into)
    theirs = _champion(at, whole=panel, lake=lake, contract=contract, labels=labels, folder=folder)
    made = Trial(candidate=own, champion=theirs)
    data = exhibits.path_of(Path(folder), name=exhibits.INJECTED)
    data.parent.mkdir(exist_ok=True)
    made.frame.write_parquet(data)
    return made


def _champion(at: Site, *, whole: Panel, lake: Lake, contract: Contract, labels: pl.DataFrame, folder: str) -> Outcome | None:
    """The release in force over the faults of a site, with its own contract, scales and thresholds; None if there is none."""
    standing = ledger.champion(lake)
    if standing is None:
        return None
    release = load(standing.release, folder=Settings().releases_folder)
    learned = contracts.parse(release.contract, path=f"of release {release.id}")
    since = end_of(whole) - at.panel.steps * contract.time.cadence
    grid = believed(lake.grid(contract=learned, since=since, until=end_of(whole)), folder=folder)
    parts = pl.read_parquet(work(folder) / "parts.parquet")
    built = build(grid.filter(pl.col(ENTITY).is_in(at.panel.entities)), lake=lake, contract=learned, scales=release.scales, parts=parts)
    place = {name: index for index, name in enumerate(at.panel.entities)}
    rows = [place[name] for name in built.entities]
    ahead = (built.start_us - at.panel.start_us) // (contract.time.cadence_seconds * 1_000_000)
    panel = replace(
        built, part=np.array(at.panel.part[rows, ahead : ahead + built.steps])
    )  # the very steps that the candidate is judged by
    candidate = released(release)
    return meet(
        candidate,
        at=at,
        panel=panel,
        thresholds=release.thresholds,
        contract=contract,
        labels=labels,
        into=work(folder) / "injected_champion",
    )
