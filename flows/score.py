"""Score: every complete minute gets its surprise, its verdict and its state by the champion, once; incidents open and close."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
from prefect import flow, task

from flows import exhibits, grouped
from flows.artifacts import tell_table
from flows.excerpts import excerpts
from flows.ingest import ingest_stage
from flows.judge import incidents_told
from flows.lakes import labels_of, lake_of
from flows.prepare import work
from flows.reporting import closing
from flows.retries import RETRY
from flows.runs import Run, begin
from flows.settings import Settings
from flows.suspended import as_rows, shown
from flows.suspensions import VALUES
from flows.verdicts import Advanced, advance
from serving import ledger
from serving.incidents import Matched, match
from serving.release import Release, load
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.errors import ReleaseError
from telemetry.lake import Lake
from telemetry.schema import AT, END, ENTITY, GROUPS, INCIDENTS, PARAMETER, RELEASE, SCORES, START

NAMED: Final = 3
"""More suspensions than these are counted in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredFacts:
    """What a scoring did, by counts, and where the release stands against what is labelled."""

    release: str
    until: datetime
    minutes: int
    late: int
    waits_for: str | None
    incidents: int
    groups: int
    grouped: int
    labelled: int
    found: int
    missed: int
    false: int
    suspensions: list[dict[str, Any]]  # Any: plain JSON
    impossible: int

    @property
    def sentence(self) -> str:
        """For a person."""
        late = f", {self.late:,} late ones after all" if self.late else ""
        opened = f"{self.incidents} incidents since it was calibrated{self._together}"
        told = f"{self.minutes:,} entity-minutes scored by {self.release}{late}; {opened}"
        beside = f": {self.found} of {self.labelled} labelled ones found, {self.false} false" if self.labelled else ""
        waits = f"; what is newer than {self.until:%Y-%m-%d %H:%M} waits for {self.waits_for}" if self.waits_for else ""
        return f"{told}{beside}{waits}{self._withheld}."

    @property
    def _together(self) -> str:
        """How many of the incidents are one."""
        return f" ({self.grouped} of them in {self.groups} group{'s' if self.groups > 1 else ''})" if self.groups else ""

    @property
    def _withheld(self) -> str:
        """What is not believed, by name as far as it can be read at a glance."""
        named = ", ".join(f"{each[PARAMETER]} of {each[ENTITY]}" for each in self.suspensions[:NAMED])
        more = f" and {len(self.suspensions) - NAMED} more" if len(self.suspensions) > NAMED else ""
        suspended = f"; quarantined: {named}{more}" if self.suspensions else ""
        return f"{suspended}; {self.impossible:,} impossible values left out" if self.impossible else suspended

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """Its part of a summary."""
        return {
            "scored_minutes": self.minutes,
            "scored_until": self.until.isoformat(),
            "incidents": self.incidents,
            "incident_groups": self.groups,
            "incidents_grouped": self.grouped,
            "incidents_injected": self.labelled,
            "incidents_found": self.found,
            "incidents_missed": self.missed,
            "false_incidents": self.false,
            "scored_by": self.release,
            "suspended": len(self.suspensions),
            "impossible_values": self.impossible,
        }


@task(name="score minutes", **RETRY)
def score_minutes(*, contract: str, folder: str) -> ScoredFacts:
    """Score what is complete and new, and what came late. Safe to run again at any point."""
    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    standing = ledger.champion(lake)
    if standing is None:
        raise ReleaseError("No release is in force that could score.", hint="train one first: tidewatch retrain.")
    release = load(standing.release, folder=settings.releases_folder)
    done = advance(lake, release=release, contract=declared, folder=folder, now=datetime.now(UTC))
    every = lake.read("incidents", schema=INCIDENTS).filter(pl.col(RELEASE) == release.id).collect()
    groups = grouped.shown(lake.read("groups", schema=GROUPS).filter(pl.col(RELEASE) == release.id).collect())
    begun = datetime.fromisoformat(release.manifest["calibrated_until"])
    labels = labels_of(lake).filter(pl.col(START) >= begun, pl.col(START) < done.until)
    matched = match(every, labels=labels)
    _leave(
        matched,
        groups=groups,
        scores=_scores(lake, matched=matched, release=release, since=done.since),
        release=release,
        contract=declared,
        done=done,
        folder=folder,
    )
    return ScoredFacts(
        release=release.id,
        until=done.until,
        minutes=done.minutes,
        late=done.late,
        waits_for=done.waits_for,
        incidents=every.height,
        groups=groups.height,
        grouped=int(groups["incidents"].sum()),
        labelled=labels.height,
        found=matched.found,
        missed=matched.missed,
        false=matched.false if labels.height else 0,
        suspensions=as_rows(done.suspended.filter(pl.col(END).is_null())),
        impossible=int(done.impossible[VALUES].sum()),
    )


def _scores(lake: Lake, *, matched: Matched, release: Release, since: datetime) -> pl.LazyFrame:
    """SCORES of the incidents that are open, or were open at `since` or later: every minute is scored, and old ones were explained then."""
    first = matched.incidents.filter(pl.col(END) > since).select(pl.col(START).min()).item()
    scores = lake.read("scores", schema=SCORES).filter(pl.col(RELEASE) == release.id)
    return scores.filter(pl.col(AT) >= (since if first is None else first))


def _leave(
    matched: Matched,
    *,
    groups: pl.DataFrame,
    scores: pl.LazyFrame,
    release: Release,
    contract: Contract,
    done: Advanced,
    folder: str,
) -> None:
    """What the page shows, under `data`."""
    data = Path(folder) / "data"
    data.mkdir(exist_ok=True)
    incidents_told(matched, scores=scores).write_parquet(data / "incidents.parquet")
    matched.labels.write_parquet(data / "labels.parquet")
    told = {exhibits.GROUPS: groups, exhibits.SUSPENDED: shown(done.suspended, until=done.until), exhibits.IMPOSSIBLE: done.impossible}
    for name, frame in told.items():
        frame.write_parquet(exhibits.path_of(Path(folder), name=name))
    measured = work(folder) / "scored"
    if measured.exists() and matched.incidents.filter(pl.col(END) > done.since).height:  # a minute in which nothing happened needs no plot
        rows = excerpts(measured, matched=matched, thresholds=release.thresholds, contract=contract)
        rows.write_parquet(data / "excerpts.parquet")


def score_stage(run: Run, *, contract: str, source: str) -> ScoredFacts:
    """The stages that `score` and `demo` share."""
    if source:
        ingest_stage(run, contract=contract, source=source)
    with run.stage("score") as stage:
        scored = score_minutes(contract=contract, folder=str(run.folder))
        stage.note = scored.sentence
        tell_table("scored", rows=[scored.facts()], description=scored.sentence)
        if scored.suspensions:
            tell_table("suspended", rows=scored.suspensions, description="Quarantined parameters; tidewatch suspensions lifts them")
    return scored


@flow(name="score", log_prints=True)
def score(contract: str = "fleet", source: str = "") -> dict[str, Any]:  # Any: plain JSON
    """Score every complete minute that the champion has not scored yet, and those of which readings came late.

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
