"""The ledger for a person or a machine: every release with what became of it, the newest last, and the champion."""

from typing import Any

from flows.lakes import lake_of
from flows.settings import Settings
from serving import ledger
from telemetry import contract as contracts
from telemetry.schema import AT, REASON, RELEASE

Told = dict[str, Any]  # Any: plain JSON


def told(contract: str, *, settings: Settings) -> Told:
    """`champion` (an id or null) and `events`: at, event, release, reason."""
    lake = lake_of(contracts.load(settings.contract_path(contract)), settings=settings)
    standing = ledger.champion(lake)
    events = ledger.history(lake).select(AT, ledger.EVENT, RELEASE, REASON).to_dicts()
    return {"contract": contract, "champion": standing.release if standing else None, "events": events}


def as_text(told: Told) -> str:
    """One line an event, then who is in force."""
    lines = [f"{event[AT]:%Y-%m-%d %H:%M}  {event[ledger.EVENT]:<8} {event[RELEASE]}  {event[REASON]}" for event in told["events"]]
    force = f"{told['champion']} is in force." if told["champion"] else "No release is in force."
    return "\n".join([*lines, force])
