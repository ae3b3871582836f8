"""Profiles: what every parameter was on each day is stored with the run, and held against what the champion learned."""

import logging
from datetime import UTC, datetime

import polars as pl

from flows.settings import Settings
from serving import ledger
from serving.release import load
from telemetry.contract import Contract
from telemetry.errors import ReleaseError
from telemetry.lake import Lake
from validation import drift, history
from validation.findings import Finding

logger = logging.getLogger(__name__)


def keep(lake: Lake, *, grid: pl.LazyFrame, contract: Contract, run: str, at: datetime, settings: Settings) -> tuple[Finding, ...]:
    """Store the profiles of `grid`, and say which entities have drifted away from what the champion learned: warnings only.

    Args:
        lake: whose table `profiles`.
        grid: rows of `grid_schema`.
        contract: of the telemetry.
        run: the id of the run.
        at: when it is, UTC.
        settings: where the releases lie.
    """
    profiles = history.profile(grid, contract=contract)
    added = history.store(lake, profiles=profiles, run=run, at=at)
    logger.info("%d of %d profiles are new, or told otherwise than before", added, profiles.height)
    last, standing = drift.last_day(profiles), ledger.champion(lake)
    if last is None or standing is None:
        return ()
    until = learned_until(standing.release, settings=settings)
    if until is None:
        return ()
    learned = history.stored(lake, at=standing.at, before=until)
    if learned.is_empty():  # the release is older than the first profile
        learned = history.stored(lake, before=until)
    found = drift.drift(profiles, champion=learned, contract=contract)
    return drift.findings(found, contract=contract, release=standing.release, learned_until=until, last=last)


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
