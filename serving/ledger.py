"""The ledger of releases: an append-only table of what was published, held and revoked, and the one question it answers: which is in force?

The champion at an instant is the release published last that was not revoked since. Nothing is overwritten: rolling back is one more row
that revokes the champion, so that the one published before it is in force again, and rolling back once more walks one further back.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl

from serving.release import load
from telemetry.errors import ReleaseError
from telemetry.lake import Lake
from telemetry.schema import AT, REASON, RELEASE, TIME, Schema, conform

TABLE: Final = "releases"
EVENT: Final = "event"
METRICS: Final = "metrics"
SEQUENCE: Final = "sequence"
PUBLISH: Final = "publish"
HELD: Final = "held"
REVOKE: Final = "revoke"
LEDGER: Final[Schema] = {
    SEQUENCE: pl.Int64,
    AT: TIME,
    EVENT: pl.String,
    RELEASE: pl.String,
    REASON: pl.String,
    METRICS: pl.String,
}
"""One row an event, numbered in the order in which they were written; `metrics` is a JSON object."""

Figures = Mapping[str, Any]  # Any: a JSON object of figures, kept as it is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A release in force: since when, why, and with which metrics."""

    release: str
    at: datetime
    reason: str
    metrics: dict[str, Any]  # Any: as in Figures


def publish(lake: Lake, *, release: str, folder: Path, at: datetime, metrics: Figures, reason: str = "") -> None:
    """Put a release in force. Publishing the champion again changes nothing.

    Its directory is verified first, so the ledger never names a release that cannot be loaded.

    Raises:
        ReleaseError: the release is not in `folder`, or is damaged.
    """
    load(release, folder=folder)
    standing = champion(lake)
    if standing is None or standing.release != release:
        _append(lake, event=PUBLISH, release=release, at=at, reason=reason, metrics=metrics)


def hold(lake: Lake, *, release: str, at: datetime, metrics: Figures, reason: str) -> None:
    """Write down that a release was refused. It changes nothing about who is in force."""
    _append(lake, event=HELD, release=release, at=at, reason=reason, metrics=metrics)


def revoke(lake: Lake, *, release: str, at: datetime, reason: str) -> None:
    """Take a release out of force, now and for every later rollback, until it is published again.

    Raises:
        ReleaseError: it is not among the published ones, or already revoked.
    """
    standing = [row.release for row in in_force(history(lake))]
    if release not in standing:
        told = ", ".join(standing) or "none"
        raise ReleaseError(f"The release {release} cannot be revoked: it is not in force; published and not revoked: {told}.")
    _append(lake, event=REVOKE, release=release, at=at, reason=reason, metrics={})


def rollback(lake: Lake, *, at: datetime, reason: str) -> Standing | None:
    """Revoke the champion.

    Returns:
        The release that is in force then, published before it; None if there is none left.

    Raises:
        ReleaseError: no release is in force.
    """
    standing = champion(lake)
    if standing is None:
        raise ReleaseError("There is nothing to roll back: no release is in force.", hint="publish one: tidewatch retrain.")
    revoke(lake, release=standing.release, at=at, reason=reason)
    return champion(lake)


def champion(lake: Lake, *, at: datetime | None = None) -> Standing | None:
    """The release in force, now or as of `at`; None if there is none."""
    standing = in_force(history(lake, at=at))
    return standing[-1] if standing else None


def history(lake: Lake, *, at: datetime | None = None) -> pl.DataFrame:
    """LEDGER in the order in which it was written, up to and including `at`."""
    rows = lake.read(TABLE, schema=LEDGER)
    if at is not None:
        rows = rows.filter(pl.col(AT) <= at)
    return conform(rows.sort(SEQUENCE, AT, RELEASE).collect(), LEDGER, name=TABLE)


def in_force(events: pl.DataFrame) -> tuple[Standing, ...]:
    """The published releases that were not revoked since, the last published one last; `events` is LEDGER in order."""
    decisive = events.filter(pl.col(EVENT) != HELD)
    last = decisive.group_by(RELEASE, maintain_order=True).last().filter(pl.col(EVENT) == PUBLISH).sort(SEQUENCE, AT, RELEASE)
    return tuple(
        Standing(release=row[RELEASE], at=row[AT], reason=row[REASON], metrics=json.loads(row[METRICS])) for row in last.to_dicts()
    )


def _append(lake: Lake, *, event: Literal["publish", "held", "revoke"], release: str, at: datetime, reason: str, metrics: Figures) -> None:
    if at.tzinfo is None:
        raise ValueError(f"the time of an event needs its zone, which {at} lacks")
    events = history(lake)
    row = {
        SEQUENCE: events.height,
        AT: at,
        EVENT: event,
        RELEASE: release,
        REASON: reason,
        METRICS: json.dumps(dict(metrics), sort_keys=True, allow_nan=False),
    }
    lake.append(TABLE, conform(pl.DataFrame([row], schema=LEDGER), LEDGER, name=TABLE))
