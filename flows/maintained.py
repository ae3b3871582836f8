"""Who was worked on when, brought up to date before anything is scored, and what scores must be told anew for it.

The version of the table `maintenance` that a release's scores know is noted after everything else is written: a kill in between costs time.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from serving.release import Release
from serving.stretches import CHANGES, NEVER
from telemetry import maintenance
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.masks import SPANS
from telemetry.schema import ENTITIES, ENTITY, RELEASE, Schema

TABLE: Final = "maintained"
KNOWN: Final[Schema] = {RELEASE: pl.String, "maintenance_version": pl.Int64}
"""Which version of the table `maintenance` the scores of a release know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintained:
    """Who is worked on.

    Attributes:
        told: PERIODS of `telemetry.maintenance`.
        spans: SPANS of `telemetry.masks`, what is not believed for it.
        changes: CHANGES, where somebody is worked on now and was not when scores were written, or the other way round.
        version: of the table.
    """

    told: pl.DataFrame
    spans: pl.DataFrame
    changes: pl.DataFrame
    version: int


def maintain(lake: Lake, *, release: Release, contract: Contract, begun: bool) -> Maintained:
    """Who is worked on, for a release that scores by a contract, and that has scores already if it has `begun`."""
    version = lake.version(maintenance.TABLE)
    nobody = maintenance.empty()
    if version is None:
        return Maintained(told=nobody, spans=pl.DataFrame(schema=SPANS), changes=pl.DataFrame(schema=CHANGES), version=NEVER)
    entities = lake.read("entities", schema=ENTITIES).collect()[ENTITY].to_list()
    now = maintenance.periods(maintenance.windows(lake, version=version), entities=entities)
    before = _known(lake, release=release.id)
    was = nobody if before == NEVER else maintenance.periods(maintenance.windows(lake, version=before), entities=entities)
    every = list(maintenance.PERIODS)
    changes = pl.concat([now.join(was, on=every, how="anti"), was.join(now, on=every, how="anti")]) if begun else nobody
    return Maintained(
        told=now, spans=maintenance.spans(now, parameters=contract.names), changes=changes.select(list(CHANGES)), version=version
    )


def note(lake: Lake, *, release: Release, told: Maintained) -> None:
    """Write down what the release's scores know."""
    if told.version != NEVER:
        lake.merge(TABLE, pl.DataFrame([(release.id, told.version)], schema=KNOWN, orient="row"), keys=(RELEASE,))


def _known(lake: Lake, *, release: str) -> int:
    rows = lake.read(TABLE, schema=KNOWN).filter(pl.col(RELEASE) == release).collect()
    return int(rows["maintenance_version"][0]) if rows.height else NEVER
