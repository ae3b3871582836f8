"""Whom a release does not know, live: told in deviations of their own from their first minutes on (see `telemetry.strangers`).

A score of theirs is a function of the grid and the release, as everybody's: of the rows of a stretch, of those that its state is warmed up
on, of what their bars remember (`serving.lending`), and of the last days before that. So a reading of theirs that comes late matters for
`LENT` longer than one of somebody whom the release knows.

A release that is older than the tides has them scaled by their own last days before each stretch.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from serving.lending import MEMORY
from serving.release import Release
from telemetry import scaling
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.masks import masked, possible
from telemetry.panel import Panel
from telemetry.schema import END, ENTITY
from telemetry.strangers import REACH, Lent, liken, strangers_of

LENT: Final = REACH + MEMORY
"""How far back from what is scored, and from what its state is warmed up on, their own days are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lender:
    """What scales are told of.

    Attributes:
        lake: its grid ...
        version: ... as it was then.
        release: whose strangers they are.
        contract: that it was learned with.
        spans: SPANS of what is not believed.
    """

    lake: Lake
    version: int
    release: Release
    contract: Contract
    spans: pl.DataFrame

    def scales(self, *, before: datetime, strangers: list[str]) -> pl.DataFrame:
        """SCALES of the release, and where it has no tides those of strangers, of their own days before an instant."""
        if not strangers or has_tides(self.release):
            return self.release.scales
        return scaling.lend(self.release.scales, grid=self._past(before, strangers=strangers), contract=self.contract)

    def likened(self, panel: Panel, *, before: datetime, strangers: list[str]) -> tuple[Panel, Lent | None]:
        """A panel that begins at an instant, with its strangers as `telemetry.strangers` tells them."""
        if not strangers or not has_tides(self.release) or self.release.views is None:
            return panel, None
        past = self._past(before, strangers=strangers).collect()
        return liken(panel, scales=self.release.scales, tides=self.release.views.tides, contract=self.contract, past=past)

    def _past(self, before: datetime, *, strangers: list[str]) -> pl.LazyFrame:
        rows = self.lake.grid(contract=self.contract, since=before - REACH, until=before, version=self.version)
        own = rows.filter(pl.col(ENTITY).is_in(strangers))
        return masked(possible(own, contract=self.contract), spans=self.spans)


def has_tides(release: Release) -> bool:
    """Whether a release knows how its entities' days usually go."""
    return release.views is not None and release.views.tides is not None


def strangers(told: pl.DataFrame, *, release: Release) -> list[str]:
    """Who of the rows with `entity` is not known to a release, in order."""
    return strangers_of(told.get_column(ENTITY).unique().sort().to_list(), scales=release.scales)


def reaching(changes: pl.DataFrame, *, release: Release) -> pl.DataFrame:
    """CHANGES, those of entities that the release does not know for as long as their scales are told of them."""
    theirs = pl.col(ENTITY).is_in(strangers(changes, release=release))
    return changes.with_columns(pl.when(theirs).then(pl.col(END) + LENT).otherwise(END).alias(END))
