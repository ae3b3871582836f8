"""Score: every minute that the champion has not scored yet gets its surprise, its verdict and its state, once; incidents open and close."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
from prefect import flow, task

from flows.artifacts import tell_table
from flows.excerpts import excerpts
from flows.ingest import ingest_stage
from flows.judge import incidents_told
from flows.lakes import labels_of, lake_of
from flows.parallel_test import forecasts_of, released
from flows.prepare import build, work
from flows.reporting import closing
from flows.retries import RETRY
from flows.runs import Run, begin
from flows.settings import Settings
from serving import ledger
from serving.forecasts import tell
from serving.incidents import Matched, match, open_incidents
from serving.release import Release, load
from serving.scorer import coverage
from serving.scorer import score as judge_minutes
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.errors import ReleaseError
from telemetry.lake import Lake
from telemetry.schema import AT, COVERAGE, END, ENTITIES, ENTITY, FIRST_SEEN, INCIDENTS, LEAD, RELEASE, SCORES, START, TIME

CONTEXT_WINDOWS: Final = 4
"""How many windows of the past the network's state is warmed up on."""
LOOK_BACK: Final = timedelta(hours=1)
"""An incident that ended within this time may still be open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredFacts:
    """What a scoring did, by counts, and where the release stands against what is labelled."""

    release: str
    since: datetime
    until: datetime
    minutes: int
    incidents: int
    labelled: int
    found: int
    missed: int
    false: int

    @property
    def sentence(self) -> str:
        """For a person."""
        told = f"{self.minutes:,} entity-minutes scored by {self.release}; {self.incidents} incidents since it was calibrated"
        beside = f": {self.found} of {self.labelled} labelled ones found, {self.false} false" if self.labelled else ""
        return f"{told}{beside}."

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """Its part of a summary."""
        return {
            "scored_minutes": self.minutes,
            "scored_until": self.until.isoformat(),
            "incidents": self.incidents,
            "incidents_injected": self.labelled,
            "incidents_found": self.found,
            "incidents_missed": self.missed,
            "false_incidents": self.false,
            "scored_by": self.release,
        }


@task(name="score minutes", **RETRY)
def score_minutes(*, contract: str, folder: str) -> ScoredFacts:
    """Score what is new. Every table is written once, from where it ended: a kill in between leaves nothing twice and nothing out."""
    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    standing = ledger.champion(lake)
    if standing is None:
        raise ReleaseError("No release is in force that could score.", hint="train one first: tidewatch retrain.")
    release = load(standing.release, folder=settings.releases_folder)
    begun = datetime.fromisoformat(release.manifest["calibrated_until"])
    tables = {"scores": SCORES, "coverage": COVERAGE}
    ends = {name: _end(lake, name, schema, release=release.id) or begun for name, schema in tables.items()}
    since = min(ends.values())
    minutes, until = _score(lake, release=release, since=since, ends=ends, folder=folder)
    _incidents(lake, release=release, contract=declared, since=since, until=until)
    every = lake.read("incidents", schema=INCIDENTS).filter(pl.col(RELEASE) == release.id).collect()
    labels = labels_of(lake).filter(pl.col(START) >= begun, pl.col(START) < until)
    matched = match(every, labels=labels)
    _leave(matched, release=release, contract=declared, since=since, folder=folder)
    return ScoredFacts(
        release=release.id,
        since=since,
        until=until,
        minutes=minutes,
        incidents=every.height,
        labelled=labels.height,
        found=matched.found,
        missed=matched.missed,
        false=matched.false if labels.height else 0,
    )


def _end(lake: Lake, table: str, schema: Any, *, release: str) -> datetime | None:  # Any: telemetry.schema.Schema
    """The first instant that the table does not hold yet for this release."""
    last = lake.read(table, schema=schema).filter(pl.col(RELEASE) == release).select(pl.col(AT).max()).collect().item()
    return None if last is None else last + timedelta(microseconds=1)


def _score(
    lake: Lake,
    *,
    release: Release,
    since: datetime,
    ends: dict[str, datetime],
    folder: str,
) -> tuple[int, datetime]:
    """Write the scores and the coverage of every minute from `since` on; how many entity-minutes, and until when."""
    candidate, learned = released(release), contracts.parse(release.contract, path=f"of release {release.id}")
    cadence = learned.time.cadence
    context = (CONTEXT_WINDOWS * learned.windows.time_steps + max(learned.leads.steps)) * cadence
    grid = lake.grid(contract=learned, since=since - context)
    last = grid.select(pl.col(AT).max()).collect().item()
    if last is None or last < since:
        return 0, since
    panel = build(grid, lake=lake, contract=learned, scales=release.scales, parts=None)
    start = max(0, -int((panel.start_us - int(since.timestamp() * 1e6)) // (panel.cadence_seconds * 1_000_000)))
    scaled = forecasts_of(candidate, panel=panel, start=start)
    rows = tell(panel, scaled, leads=learned.leads.steps, scales=release.scales, start=start)
    scored = judge_minutes(rows, thresholds=release.thresholds, release=release.id).scores
    until = last + cadence
    covered = _coverage(lake, scores=scored, since=since, until=until, contract=learned, release=release.id)
    for name, frame in (("scores", scored), ("coverage", covered)):
        lake.append(name, frame.filter(pl.col(AT) >= ends[name]))
    _keep(rows, scored=scored, folder=folder)
    return covered.height, until


def _coverage(lake: Lake, *, scores: pl.DataFrame, since: datetime, until: datetime, contract: Contract, release: str) -> pl.DataFrame:
    """Exactly one state for every entity and minute since it was first seen."""
    steps = pl.datetime_range(since, until, contract.time.cadence, closed="left", eager=True).dt.cast_time_unit("us")
    aligned = steps.dt.truncate(contract.time.cadence).cast(TIME).alias(AT)
    every = lake.read("entities", schema=ENTITIES).collect().join(aligned.to_frame(), how="cross")
    minutes = every.filter(pl.col(AT) >= pl.col(FIRST_SEEN), pl.col(AT) >= since).select(ENTITY, AT)
    return coverage(minutes, scores=scores, quarantined=minutes.clear(), release=release)


def _incidents(lake: Lake, *, release: Release, contract: Contract, since: datetime, until: datetime) -> None:
    """Open and close incidents over the new minutes, going back to the start of any that may still be open."""
    known = lake.read("incidents", schema=INCIDENTS).filter(pl.col(RELEASE) == release.id, pl.col(END) >= since - LOOK_BACK)
    oldest = known.select(pl.col(START).min()).collect().item()
    back = min(oldest or since, since) - LOOK_BACK
    scores = lake.read("scores", schema=SCORES).filter(pl.col(RELEASE) == release.id, pl.col(AT) >= back).collect()
    opened = open_incidents(scores, policy=contract.thresholds, cadence_seconds=contract.time.cadence_seconds, until=until)
    lake.merge("incidents", opened, keys=("incident", RELEASE))


def _keep(rows: pl.DataFrame, *, scored: pl.DataFrame, folder: str) -> None:
    """What the page's excerpts are cut from."""
    for name, frame in (("lead1", rows.filter(pl.col(LEAD) == 1)), ("scores", scored)):
        (work(folder) / "scored" / name).mkdir(parents=True, exist_ok=True)
        frame.write_parquet(work(folder) / "scored" / name / "all.parquet")


def _leave(matched: Matched, *, release: Release, contract: Contract, since: datetime, folder: str) -> None:
    """What the page shows, under `data`."""
    data = Path(folder) / "data"
    data.mkdir(exist_ok=True)
    incidents_told(matched).write_parquet(data / "incidents.parquet")
    matched.labels.write_parquet(data / "labels.parquet")
    measured = work(folder) / "scored"
    if measured.exists() and matched.incidents.filter(pl.col(END) > since).height:  # a minute in which nothing happened needs no plot
        told = excerpts(measured, matched=matched, thresholds=release.thresholds, contract=contract)
        told.write_parquet(data / "excerpts.parquet")


def score_stage(run: Run, *, contract: str, source: str) -> ScoredFacts:
    """The stages that `score` and `demo` share."""
    if source:
        ingest_stage(run, contract=contract, source=source)
    with run.stage("score") as stage:
        scored = score_minutes(contract=contract, folder=str(run.folder))
        stage.note = scored.sentence
        tell_table("scored", rows=[scored.facts()], description=scored.sentence)
    return scored


@flow(name="score", log_prints=True)
def score(contract: str = "fleet", source: str = "") -> dict[str, Any]:  # Any: plain JSON
    """Score every minute that the champion has not scored yet.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
        source: Folder, file or glob of readings to ingest first. Empty: only what the lake holds.
    """
    settings = Settings()
    run = begin("score", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        if champion_of(contract, settings=settings) is None:
            told = "There is nothing to score with: no release is in force."
            summary.update(verdict="idle", sentence=told, hint="train one: tidewatch retrain, or the deployment of that name.")
            return summary
        scored = score_stage(run, contract=contract, source=source)
        summary.update(scored.facts(), verdict="scored", sentence=scored.sentence)
    return summary


def champion_of(contract: str, *, settings: Settings) -> str | None:
    """The id of the release in force for a contract."""
    standing = ledger.champion(lake_of(contracts.load(settings.contract_path(contract)), settings=settings))
    return standing.release if standing else None
