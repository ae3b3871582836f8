"""`tidewatch suspensions`: parameters that are not believed while they are watched, and how one is believed again."""

from typing import Annotated, Any

import typer

from flows.commands import ContractOption, JsonOption, tell

app = typer.Typer(
    name="suspensions",
    no_args_is_help=True,
    help="Parameters whose unit broke while they were watched: listed, and lifted where they are right after all.",
)


@app.command(name="list")
def listed(
    contract: ContractOption = "fleet",
    every: Annotated[bool, typer.Option("--all", help="Show those that have ended, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the parameters that the champion does not believe: of whom, since when, and why."""

    def start() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import suspended
        from flows.settings import Settings

        told = suspended.told(contract, settings=Settings(), every=every)
        return told, suspended.as_text(told)

    tell(start, as_json=as_json)


@app.command()
def lift(
    entity: Annotated[str, typer.Argument(help="Whose, such as acme/eu.")],
    parameter: Annotated[str, typer.Argument(help="Of the contract, such as queries.")],
    at: Annotated[
        str | None,
        typer.Option(help="From when on it is believed: 2026-01-31T06:00:00Z. Default: after what is scored by now. Its start: all of it."),
    ] = None,
    contract: ContractOption = "fleet",
    as_json: JsonOption = False,
) -> None:
    """Believe a parameter again, as it is: its level from then on is its own.

    The next scoring scores it from that instant on, also where that lies in the
    past, and opens and withdraws incidents accordingly.
    """

    def start() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import suspended
        from flows.settings import Settings

        told = suspended.lifted(contract, settings=Settings(), entity=entity, parameter=parameter, at=at)
        return told, told["sentence"]

    tell(start, as_json=as_json)
