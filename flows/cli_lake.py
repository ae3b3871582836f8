"""`tidewatch lake`: the tables of one kind of telemetry, and what keeps them small and quick."""

from typing import Any

import typer

from flows.commands import ContractOption, JsonOption, tell

app = typer.Typer(
    name="lake",
    no_args_is_help=True,
    help="The Delta tables: their state, many small files made few, and what is older than the contract keeps removed.",
)


@app.command()
def status(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Show every table: rows, files, size, version, first and last day, and the days that `compact` would write anew."""

    def start() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import upkeep
        from flows.settings import Settings

        told = upkeep.status(contract, settings=Settings())
        return told, upkeep.as_text(told)

    tell(start, as_json=as_json)


@app.command()
def compact(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Turn many small files into few. No row changes; safe while others read and write."""

    def start() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import upkeep
        from flows.settings import Settings

        told = upkeep.compacted(contract, settings=Settings())
        return told, told["sentence"]

    tell(start, as_json=as_json)


@app.command()
def retain(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Remove what is older than the contract's section [retention] keeps. This cannot be undone.

    Steps whose readings are removed are sealed: a reading that comes for one of
    them later goes to the quarantine.
    """

    def start() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from datetime import UTC, datetime

        from flows import upkeep
        from flows.settings import Settings

        told = upkeep.retained(contract, settings=Settings(), now=datetime.now(UTC))
        return told, told["sentence"]

    tell(start, as_json=as_json)
