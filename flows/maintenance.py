"""Maintenance windows for a person or a machine: declared, listed and taken back."""

from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from flows import locations
from flows.blocks import moment
from flows.lakes import lake_of
from flows.settings import Settings
from telemetry import contract as contracts
from telemetry import maintenance
from telemetry.errors import TidewatchError
from telemetry.lake import Lake
from telemetry.maintenance import PATTERN, REMOVED_AT
from telemetry.schema import AT, END, ENTITIES, ENTITY, REASON, START

UNTIL: Final = "until"
SINCE: Final = "since"


class MaintenanceError(TidewatchError):
    """A maintenance window that cannot be meant, or that is not there."""


def told(contract: str, *, settings: Settings, every: bool = False) -> dict[str, Any]:  # Any: plain JSON
    """`maintenance`, the windows that stand and, if asked, those that were taken back; `in_maintenance`, who is worked on right now."""
    lake = _lake(contract, settings=settings)
    rows = lake.read(maintenance.TABLE, schema=maintenance.MAINTENANCE).collect().sort(START, PATTERN, descending=[True, False])
    stands = rows.filter(pl.col(REMOVED_AT).is_null())
    now = pl.lit(datetime.now(UTC))
    working = maintenance.periods(stands.filter(pl.col(START) <= now, pl.col(END) > now), entities=_entities(lake))
    return {
        "contract": contract,
        "maintenance": [_row(each) for each in (rows if every else stands).iter_rows(named=True)],
        "in_maintenance": working[ENTITY].unique().sort().to_list(),
        "lake": lake.root,
    }


def _row(each: dict[str, Any]) -> dict[str, Any]:  # Any: a row, plain JSON
    removed = each[REMOVED_AT]
    return {
        PATTERN: each[PATTERN],
        SINCE: each[START].isoformat(),
        UNTIL: each[END].isoformat(),
        REASON: each[REASON],
        "declared_at": each[AT].isoformat(),
        REMOVED_AT: removed.isoformat() if removed else None,
    }


def as_text(told: dict[str, Any]) -> str:  # Any: plain JSON
    """A line a window."""
    lines = [
        f"{each[PATTERN]}  {moment(each[SINCE])} to {moment(each[UNTIL])}  {each[REASON]}{'  (taken back)' if each[REMOVED_AT] else ''}"
        for each in told["maintenance"]
    ]
    return "\n".join([*lines, f"{len(told['in_maintenance'])} entities are in maintenance now."])


def added(contract: str, *, settings: Settings, pattern: str, start: str, end: str, reason: str) -> dict[str, Any]:  # Any: plain JSON
    """Declare a window; `named` says how many entities it names today.

    Args:
        contract: name of a contract that ships, or path of a TOML file.
        settings: where the lake is.
        pattern: of whom, such as `acme/*`.
        start: an instant as the command line takes it.
        end: likewise, exclusive.
        reason: why.

    Raises:
        MaintenanceError: it ends before it begins, gives no reason, or names nobody that the lake knows.
        SpanError: an instant cannot be read.
    """
    lake, now = _lake(contract, settings=settings), datetime.now(UTC)
    since, until = (locations.instant(text, now=now, name=name) for text, name in ((start, "from"), (end, "to")))
    if since is None or until is None or since >= until:
        raise MaintenanceError(
            f"A maintenance window from {start or 'nothing'} to {end or 'nothing'} has no length.",
            hint="give --from and --to as 2026-01-31T06:00:00Z, the later one last.",
        )
    if not reason.strip():
        raise MaintenanceError("A maintenance window needs a reason.", hint="say in a few words what is done: --reason 'new disks'.")
    known = _entities(lake)
    row = pl.DataFrame([(pattern, since, until, reason, now, None)], schema=maintenance.MAINTENANCE, orient="row")
    named = maintenance.periods(row, entities=known).height
    if not named:
        some = ", ".join(known[:3]) or "none yet"
        raise MaintenanceError(
            f"'{pattern}' names nobody: the lake knows {len(known)} entities, such as {some}.",
            hint="quote a pattern as a shell takes it: 'acme/*' is every region of acme.",
        )
    maintenance.declare(lake, pattern=pattern, start=since, end=until, reason=reason, now=now)
    sentence = (
        f"{pattern} ({named} entities) is in maintenance from {moment(since.isoformat())} to {moment(until.isoformat())} UTC: "
        "the next scoring judges none of it, and no training learns from it."
    )
    return {"contract": contract, "named": named, "sentence": sentence}


def removed(contract: str, *, settings: Settings, pattern: str, start: str) -> dict[str, Any]:  # Any: plain JSON
    """Take a window back; what was judged "maintenance" for it is judged by the next scoring.

    Raises:
        MaintenanceError: there is no such window.
    """
    lake, now = _lake(contract, settings=settings), datetime.now(UTC)
    since = locations.instant(start, now=now, name="from")
    if since is None or not maintenance.withdraw(lake, pattern=pattern, start=since, now=now):
        raise MaintenanceError(
            f"There is no maintenance window of '{pattern}' from {start} on.", hint="see which there are: tidewatch maintenance list."
        )
    return {"contract": contract, "sentence": f"{pattern} is not in maintenance from {moment(since.isoformat())} UTC on any more."}


def _lake(contract: str, *, settings: Settings) -> Lake:
    return lake_of(contracts.load(settings.contract_path(contract)), settings=settings)


def _entities(lake: Lake) -> list[str]:
    return lake.read("entities", schema=ENTITIES).collect()[ENTITY].sort().to_list()
