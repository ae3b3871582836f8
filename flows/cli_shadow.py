"""`tidewatch shadow`: whether the release in force would find what it must."""

import typer

from flows.commands import ContractOption, JsonOption, run

app = typer.Typer()


@app.command()
def shadow(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Put faults into a copy of the latest day and tell what the release in force finds of them.

    Scores, incidents and alerts are not touched; recall by class and strength goes
    into the table shadow and onto the run's page.
    """
    run("shadow", as_json=as_json, contract=contract)
