"""Shadow: what the release in force finds of faults in a copy of the latest day, so that a detector that has gone blind is seen.

Scores, incidents and alerts are not touched: the copy is in memory, and what comes of it is written to a table of its own, `shadow`.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from prefect import flow, task

from flows import exhibits
from flows.artifacts import tell_table
from flows.blocks import percent
from flows.injected import GAP_WINDOWS, Outcome, facts, meet, site
from flows.lakes import labels_of, lake_of
from flows.parallel_test import released
from flows.prepare import build, work
from flows.reporting import closing
from flows.retries import RETRY
from flows.runs import begin
from flows.settings import Settings
from serving import ledger
from serving.release import Release, load
from serving.stretches import context, progress
from serving.suspensions import spans
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.errors import EmptySourceError, ReleaseError
from telemetry.injection import STEPS, STRENGTH
from telemetry.lake import Lake
from telemetry.masks import masked, possible
from telemetry.panel import Panel, Part
from telemetry.resample import lookback
from telemetry.schema import AT, END, ENTITY, INCIDENTS, KIND, RELEASE, START, SUSPENSIONS, TIME, Schema, conform
from validation.injected import FAULTS, FOUND, GRADED, MATURE, WHO, found_of, grade, matters, reached

TABLE: Final = "shadow"
SHADOW: Final[Schema] = {AT: TIME, RELEASE: pl.String, **GRADED}
"""What a release found of the faults in a copy of the telemetry that ends at `at`; a second run over the same tells the same rows."""
DAY: Final = timedelta(days=1)
NIGHTS_TOLD: Final = 14
LEAST_STRETCHES: Final = 8
"""A day of a coarse cadence has room for few faults: so many stretches of each entity are looked at in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadowed:
    """What the release in force found."""

    release: str
    since: datetime
    until: datetime
    outcome: Outcome

    @property
    def sentence(self) -> str:
        """For a person."""
        when = f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M}"
        counted = found_of(self.outcome.met)
        if not counted.faults:
            return f"No normal stretch of {when} is long enough for a fault that nobody may miss."
        found = f"{self.release} found {counted.found} of {counted.faults} ({percent(counted.recall)})"
        return f"{found} of the faults that nobody may miss, in a copy of {when}; the telemetry's own verdicts are as they were."

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """Its part of a summary."""
        least = reached(grade(self.outcome.met)).to_dicts() if self.outcome.met.height else []
        return facts(self.outcome) | {"injected_found_from": least, "scored_by": self.release, "scored_until": self.until.isoformat()}


@task(name="inject into a copy", **RETRY)
def shadow_day(*, contract: str, folder: str) -> Shadowed:
    """Put faults into a copy of the latest day, judge it, and note what was found. Safe to run again at any point."""
    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    standing = ledger.champion(lake)
    if standing is None:
        raise ReleaseError("No release is in force that could find anything.", hint="train one first: tidewatch retrain.")
    release = load(standing.release, folder=settings.releases_folder)
    learned = contracts.parse(release.contract, path=f"of release {release.id}")
    until = _until(lake, release=release, contract=learned)
    since = until - max(DAY, LEAST_STRETCHES * _stretch(learned))
    outcome = _judged(lake, release=release, learned=learned, declared=declared, since=since, until=until, folder=folder)
    graded = grade(outcome.met)
    rows = graded.with_columns(pl.lit(until).cast(TIME).alias(AT), pl.lit(release.id).alias(RELEASE)).select(list(SHADOW))
    if rows.height:
        lake.merge(TABLE, conform(rows, SHADOW, name=TABLE), keys=(AT, RELEASE, WHO, KIND, STRENGTH))
    data = exhibits.path_of(Path(folder), name=exhibits.INJECTED)
    data.parent.mkdir(exist_ok=True)
    graded.with_columns(pl.lit(exhibits.CHAMPION).alias(exhibits.MODEL)).write_parquet(data)
    _nights(lake).write_parquet(exhibits.path_of(Path(folder), name=exhibits.NIGHTS))
    return Shadowed(release=release.id, since=since, until=until, outcome=outcome)


def _nights(lake: Lake) -> pl.DataFrame:
    """Of the last runs, what was found of the faults that nobody may miss: `at, release, faults, found`, the newest first."""
    rows = lake.read(TABLE, schema=SHADOW).filter(matters(), pl.col(WHO) == MATURE)
    return rows.group_by(AT, RELEASE).agg(pl.col(FAULTS, FOUND).sum()).sort(AT, RELEASE, descending=True).head(NIGHTS_TOLD).collect()


def _until(lake: Lake, *, release: Release, contract: Contract) -> datetime:
    """The end of what the release has scored; of what there is, if it has not begun."""
    done = progress(lake, release=release.id)
    if done is not None:
        return done.until
    newest = lake.grid(contract=contract).select(pl.col(AT).max()).collect().item()
    if newest is None:
        raise EmptySourceError(f"The lake {lake.root} holds no row.", hint="ingest a source first: tidewatch ingest.")
    return datetime.fromisoformat(str(newest)) + contract.time.cadence


def _stretch(contract: Contract) -> timedelta:
    """The room that a fault takes."""
    return (max(STEPS.values()) + GAP_WINDOWS * contract.windows.time_steps) * contract.time.cadence


def _judged(
    lake: Lake, *, release: Release, learned: Contract, declared: Contract, since: datetime, until: datetime, folder: str
) -> Outcome:
    """What a release finds in a copy of a span."""
    suspended = lake.read("suspensions", schema=SUSPENSIONS).filter(pl.col(RELEASE) == release.id).collect()
    began = since - context(learned) - lookback(learned)
    could_be = possible(lake.grid(contract=learned, since=began, until=until), contract=learned)
    grid = masked(could_be, spans=spans(suspended))
    panel = build(grid, lake=lake, contract=learned, scales=release.scales, parts=None)
    panel = _judged_from(panel, since=since)
    opened = lake.read("incidents", schema=INCIDENTS).filter(pl.col(RELEASE) == release.id).select(ENTITY, START, END).collect()
    seed = (until - datetime(1970, 1, 1, tzinfo=UTC)).days  # other places and targets every day
    at = site(panel, scales=release.scales, contract=learned, avoid=opened, seed=seed, trained=True)
    return meet(
        released(release),
        at=at,
        panel=at.panel,
        thresholds=release.thresholds,
        contract=declared,
        labels=labels_of(lake),
        into=work(folder) / "shadow",
    )


def _judged_from(panel: Panel, *, since: datetime) -> Panel:
    """The panel whose steps before an instant are there for the network's state alone."""
    ahead = (since - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) - panel.start_us
    first = max(0, ahead // (panel.cadence_seconds * 1_000_000))
    part = np.array(panel.part)
    part[:, :first] = np.where(part[:, :first] == Part.TEST, Part.GAP, part[:, :first])
    return replace(panel, part=part)


@flow(name="shadow", log_prints=True)
def shadow(contract: str = "fleet") -> dict[str, Any]:  # Any: plain JSON
    """Put faults into a copy of the latest day and see what the release in force finds of them; nothing else is touched.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
    """
    settings = Settings()
    run = begin("shadow", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        lake = lake_of(contracts.load(settings.contract_path(contract)), settings=settings)
        if ledger.champion(lake) is None:
            told = "There is nothing to try: no release is in force."
            summary.update(verdict="idle", sentence=told, hint="train one: tidewatch retrain, or the deployment of that name.")
            return summary
        with run.stage("shadow") as stage:
            done = shadow_day(contract=contract, folder=str(run.folder))
            stage.note = done.sentence
            tell_table("shadow", rows=done.facts()["injected_found_from"], description=done.sentence)
        summary.update(done.facts(), verdict="done", sentence=done.sentence)
    return summary
