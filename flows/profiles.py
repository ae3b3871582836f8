"""Profiles: what every parameter was on each day is stored with the run, and held against what the champion learned."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from flows.exhibits import COMPARED, path_of
from flows.settings import Settings
from serving import ledger
from serving.release import load
from telemetry.contract import Contract
from telemetry.errors import ReleaseError
from telemetry.lake import Lake
from telemetry.schema import COHORT, DAY, ENTITIES, ENTITY
from validation import drift, figures, history, site
from validation.findings import Finding

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """What the release in force learned: until when, and PROFILES of the days before."""

    release: str
    until: datetime
    profiles: pl.DataFrame


def keep(lake: Lake, *, grid: pl.LazyFrame, contract: Contract, folder: Path, at: datetime, settings: Settings) -> tuple[Finding, ...]:
    """Store the profiles of `grid`, and say which entities have drifted away from what the champion learned: warnings only.

    Beside that the run is left COMPARED of the last finished day, for its page, and its Data Docs a page on drift.

    Args:
        lake: whose table `profiles`.
        grid: rows of `grid_schema`.
        contract: of the telemetry.
        folder: of the run, named by its id.
        at: when it is, UTC.
        settings: where the releases lie.
    """
    profiles = history.profile(grid, contract=contract)
    added = history.store(lake, profiles=profiles, run=folder.name, at=at)
    logger.info("%d of %d profiles are new, or told otherwise than before", added, profiles.height)
    last = drift.last_day(profiles)
    if last is None:
        return ()
    learned = learned_by_champion(lake, settings=settings)
    _leave(lake, profiles=profiles.filter(pl.col(DAY) == last), learned=learned, folder=folder)
    if learned is None:
        return ()
    found = drift.drift(profiles, champion=learned.profiles, contract=contract)
    findings = drift.findings(found, contract=contract, release=learned.release, learned_until=learned.until, last=last)
    days = drift.paths(profiles, champion=learned.profiles, found=found)
    told = site.Other(name=drift.EXPECTATION, at=at, told=_told(found, learned=learned), findings=findings)
    site.add(folder, told, pictures=_pictures(days, findings=findings, limit=contract.checks.drift_effect))
    return findings


def _told(found: pl.DataFrame, *, learned: Learned) -> str:
    """What the Data Docs say was looked at."""
    if found.is_empty():
        return f"There are not enough days yet to hold anything against what release {learned.release} learned from."
    return (
        f"{found.height} parameters of {found[ENTITY].n_unique()} entities, over their last {drift.LAST_DAYS} days, were held against what "
        f"release {learned.release} learned from (until {learned.until:%Y-%m-%d})."
    )


def _pictures(days: pl.DataFrame, *, findings: Sequence[Finding], limit: float) -> dict[str, str]:
    """By `figures.name_of`; of the first findings, as on the other pages."""
    told = ((finding, days.filter(pl.col(ENTITY) == finding.entity)) for finding in findings[: figures.DRAWN])
    return {figures.name_of(finding): figures.departure(rows, finding=finding, limit=limit) for finding, rows in told if rows.height}


def _leave(lake: Lake, *, profiles: pl.DataFrame, learned: Learned | None, folder: Path) -> None:
    cohorts = lake.read("entities", schema=ENTITIES).select(ENTITY, COHORT).collect()
    known = profiles.clear() if learned is None else learned.profiles
    compared = history.compare(profiles, past=history.stored(lake), cohort=cohorts, champion=known)
    path = path_of(folder, name=COMPARED)
    path.parent.mkdir(parents=True, exist_ok=True)
    compared.write_parquet(path)


def learned_by_champion(lake: Lake, *, settings: Settings) -> Learned | None:
    """What the release in force learned, as it was stored when that was published; null where there is none, or it does not say."""
    standing = ledger.champion(lake)
    until = None if standing is None else learned_until(standing.release, settings=settings)
    if standing is None or until is None:
        return None
    profiles = history.stored(lake, at=standing.at, before=until)
    if profiles.is_empty():  # the release is older than the first profile
        profiles = history.stored(lake, before=until)
    return Learned(release=standing.release, until=until, profiles=profiles)


def learned_until(release: str, *, settings: Settings) -> datetime | None:
    """The end of a release's training, UTC; null where the release does not say."""
    try:
        told = load(release, folder=settings.releases_folder).manifest.get("learned_until")
    except ReleaseError as error:  # telemetry is checked all the same: a retrain, which begins with a check, is the way out
        logger.warning("nothing is said of drift: %s", error.message)
        return None
    if not told:
        return None
    until = datetime.fromisoformat(str(told))
    return until.astimezone(UTC) if until.tzinfo else until.replace(tzinfo=UTC)
