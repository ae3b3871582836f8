"""Scales for those whom a release does not know: of their own last days, so that a new customer is told in deviations of its own.

They are told anew at the beginning of each stretch, of what came before it. So a score of theirs is a function of the grid and the release,
and a reading of theirs that comes late matters for `LENT` longer than one of somebody whom the release knows.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from serving.release import Release
from telemetry import scaling
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.masks import masked, possible
from telemetry.schema import COUNT, END, ENTITY

LENT: Final = timedelta(days=7)
"""How far back their own days are looked at."""


def scales(
    lake: Lake, *, version: int, release: Release, contract: Contract, told: pl.DataFrame, before: datetime, spans: pl.DataFrame
) -> pl.DataFrame:
    """SCALES of the release, and for the entities of `told` that it does not know those of their own days before an instant.

    Args:
        lake: its grid.
        version: of the grid.
        release: whose scales these are.
        contract: that it was learned with.
        told: rows with `entity`.
        before: an instant.
        spans: SPANS of what is not believed.
    """
    strangers = told.select(ENTITY).unique().join(_known(release), on=ENTITY, how="anti").get_column(ENTITY).sort().to_list()
    if not strangers:
        return release.scales
    rows = lake.grid(contract=contract, since=before - LENT, until=before, version=version).filter(pl.col(ENTITY).is_in(strangers))
    return scaling.lend(release.scales, grid=masked(possible(rows, contract=contract), spans=spans), contract=contract)


def reaching(changes: pl.DataFrame, *, release: Release) -> pl.DataFrame:
    """CHANGES, those of entities that the release does not know for as long as their scales are told of them."""
    known = pl.col(ENTITY).is_in(_known(release).get_column(ENTITY).implode())
    return changes.with_columns(pl.when(known).then(END).otherwise(pl.col(END) + LENT).alias(END))


def _known(release: Release) -> pl.DataFrame:
    return release.scales.filter(pl.col(COUNT) > 0).select(ENTITY).unique()
