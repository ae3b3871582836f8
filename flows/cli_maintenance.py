"""`tidewatch maintenance`: when somebody works on whom, so that it is neither learned from nor judged."""

from typing import Annotated, Any

import typer

from flows.commands import ContractOption, JsonOption, tell

app = typer.Typer(
    name="maintenance",
    no_args_is_help=True,
    help="Maintenance windows: declared, listed and taken back. What is told then is neither learned from nor judged.",
)
EntitiesArgument = Annotated[str, typer.Argument(help="Of whom, as a shell's pattern in quotes: 'acme/*', 'acme/eu', '*'.")]
FromOption = Annotated[str, typer.Option("--from", help="From when on: 2026-01-31T06:00:00Z, or 2h for two hours ago.")]


@app.command()
def add(
    entities: EntitiesArgument,
    start: FromOption,
    end: Annotated[str, typer.Option("--to", help="Until when, exclusive: 2026-01-31T09:00:00Z.")],
    reason: Annotated[str, typer.Option(help="What is done, in a few words.")],
    contract: ContractOption = "fleet",
    as_json: JsonOption = False,
) -> None:
    """Declare a window; also one that is over: the next scoring withdraws what it had raised in it.

    A window of the same entities and the same start is told anew.
    """

    def told() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import maintenance
        from flows.settings import Settings

        done = maintenance.added(contract, settings=Settings(), pattern=entities, start=start, end=end, reason=reason)
        return done, done["sentence"]

    tell(told, as_json=as_json)


@app.command(name="list")
def listed(
    contract: ContractOption = "fleet",
    every: Annotated[bool, typer.Option("--all", help="Show those that were taken back, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the windows: of whom, from when until when, and why."""

    def told() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import maintenance
        from flows.settings import Settings

        found = maintenance.told(contract, settings=Settings(), every=every)
        return found, maintenance.as_text(found)

    tell(told, as_json=as_json)


@app.command()
def remove(entities: EntitiesArgument, start: FromOption, contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Take a window back, named by its entities and its start: the next scoring judges it after all."""

    def told() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import maintenance
        from flows.settings import Settings

        done = maintenance.removed(contract, settings=Settings(), pattern=entities, start=start)
        return done, done["sentence"]

    tell(told, as_json=as_json)
