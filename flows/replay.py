"""A period over again: what live scoring would have written of it by some release, and nothing of it written where live scoring writes.

It is live scoring itself (`flows.verdicts.advance`) on a lake that reads what was measured from the real one and keeps the tables that
follow from it in a place of its own. Scores are a function of the grid, the release and what operators have lifted, whatever was late;
so those of a replay are those that live scoring wrote, to the last bit, with these exceptions: readings that came too late to be
scored in time count here as if they had been in time, and a suspension that was taken over from an older release is found anew.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from flows.verdicts import advance
from serving.release import Release
from serving.scorer import entity_scores
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.schema import AT, FEED, INCIDENTS, NEWEST, SCORES, WATERMARKS
from validation.detection import marked

MEASURED: Final = frozenset({"grid", "readings", "entities", "labels", "lifts", "maintenance"})
"""Tables that say what was, and what people said of it."""
CALIBRATED: Final = "calibrated_until"
_FEED: Final = "replay"


@dataclass(frozen=True, slots=True)
class Aside(Lake):
    """A lake of which all but the tables MEASURED lie elsewhere.

    Attributes:
        aside: folder of the others.
    """

    aside: str = field(kw_only=True)

    def uri(self, name: str) -> str:
        """Where a table lies."""
        return Lake.uri(self, name) if name in MEASURED else f"{self.aside}/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay told: SCORES and INCIDENTS of a release, as live scoring writes them."""

    scores: pl.LazyFrame
    incidents: pl.DataFrame


def replay(lake: Lake, *, release: Release, contract: Contract, since: datetime, until: datetime, folder: Path) -> Replayed:
    """What a release says of what was measured from an instant on.

    Args:
        lake: of which only what was measured is read.
        release: that scores, by the contract that it was learned with.
        contract: as it is now, by which incidents open and close.
        since: the first instant; by live scoring it is `calibrated_until` of the release's manifest.
        until: exclusive.
        folder: the run's; the tables are left under `work/replay`, rows for the page's excerpts as live scoring leaves them.

    Raises:
        EmptySourceError: nothing was ingested yet.
    """
    aside = Aside(lake.root, storage_options=lake.storage_options, aside=str(folder / "work" / "replay"))
    offset = timedelta(minutes=contract.late.offset_minutes)
    newest = until + offset if offset else until - contract.time.cadence
    aside.merge("watermarks", pl.DataFrame({FEED: [_FEED], NEWEST: [newest], AT: [until]}, schema=WATERMARKS), keys=(FEED,))
    begun = replace(release, manifest={**release.manifest, CALIBRATED: since.isoformat()})
    kept_for_good = contract.model_copy(update={"retention": contract.retention.model_copy(update={"scores_days": 100_000})})
    advance(aside, release=begun, contract=kept_for_good, folder=str(folder), now=until)
    return Replayed(
        scores=aside.read("scores", schema=SCORES), incidents=aside.read("incidents", schema=INCIDENTS).collect().sort("entity", "start")
    )


def ranks(scores: pl.LazyFrame, *, labels: pl.DataFrame) -> pl.DataFrame:
    """ENTITY_SCORES of SCORES, a step within one of LABELS being labelled."""
    return entity_scores(marked(scores, labels=labels).collect())
