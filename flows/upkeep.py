"""The state of a lake's tables, for a person or a machine, and what keeps them small and quick."""

from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from flows.lakes import lake_of
from flows.settings import Settings
from telemetry import contract as contracts
from telemetry import upkeep

Told = dict[str, Any]  # Any: plain JSON


def status(contract: str, *, settings: Settings) -> Told:
    """`tables`: table, rows, files, megabytes, version, oldest and newest day, and scattered: what compaction would write anew."""
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    tables = [
        {name: str(value) if isinstance(value, date) else value for name, value in asdict(table).items()} for table in upkeep.status(lake)
    ]
    return {"contract": contract, "lake": lake.root, "tables": tables}


def as_text(told: Told) -> str:
    """A line a table."""
    if not told["tables"]:
        return f"The lake {told['lake']} holds no table yet."
    head = f"{'table':<11}{'rows':>13}{'files':>7}{'MB':>10}{'version':>9}  {'from':<11}{'to':<11}scattered"
    lines = [
        f"{t['table']:<11}{t['rows']:>13,}{t['files']:>7,}{t['megabytes']:>10,.1f}{t['version']:>9,}  "
        f"{t['oldest'] or '-':<11}{t['newest'] or '-':<11}{t['scattered'] or ''}".rstrip()
        for t in told["tables"]
    ]
    return "\n".join([head, *lines])


def compacted(contract: str, *, settings: Settings) -> Told:
    """`files_fewer` by table, and a sentence."""
    declared = contracts.load(settings.contract_path(contract))
    fewer = upkeep.compact(lake_of(declared, settings=settings))
    told = ", ".join(f"{count:,} files of {table}" for table, count in fewer.items())
    return {"contract": contract, "files_fewer": fewer, "sentence": f"Fewer by {told}." if told else "No table had too many files."}


def retained(contract: str, *, settings: Settings, now: datetime) -> Told:
    """`rows_removed` by table, and a sentence."""
    declared = contracts.load(settings.contract_path(contract))
    gone = upkeep.retain(lake_of(declared, settings=settings), contract=declared, now=now)
    told = ", ".join(f"{count:,} rows of {table}" for table, count in gone.items())
    return {"contract": contract, "rows_removed": gone, "sentence": f"Removed {told}." if told else "Nothing was older than is kept."}
