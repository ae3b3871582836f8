"""`tidewatch quarantine`: what could not be read, and a second reading of it."""

from typing import Annotated, Any

import typer

from flows.commands import ContractOption, JsonOption, tell

app = typer.Typer(
    name="quarantine",
    no_args_is_help=True,
    help="Rows that could not be read: listed by reason, shown one by one, read again after the contract has learned better.",
)


@app.command(name="list")
def by_reason(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """List the reasons for which rows are in quarantine, the most frequent first, each with an example."""

    def start() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import quarantine
        from flows.settings import Settings

        told = quarantine.told(contract, settings=Settings())
        return told, quarantine.as_text(told)

    tell(start, as_json=as_json)


@app.command()
def show(
    contract: ContractOption = "fleet",
    source: Annotated[str, typer.Option("--source", "-s", help="Only of parts with this in their name, such as a file's path.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many rows at most.")] = 20,
    every: Annotated[bool, typer.Option("--all", help="Show rows that were read after all, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show rows in quarantine as they stood in their source, each with its reason, the latest first."""

    def start() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import quarantine
        from flows.settings import Settings

        told = quarantine.rows_told(contract, settings=Settings(), source=source, limit=limit, every=every)
        return told, quarantine.rows_as_text(told)

    tell(start, as_json=as_json)


@app.command()
def retry(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Read the rows in quarantine again, by the contract as it is now.

    A row is read from what is kept of it: its file need not be there any more.
    What reads now goes into the grid and is marked resolved; the rest stays, with
    its new reason. A file that could not be read at all is read again by
    tidewatch ingest.
    """

    def start() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import quarantine
        from flows.settings import Settings

        told = quarantine.retried(contract, settings=Settings())
        return told, told["sentence"]

    tell(start, as_json=as_json)
