"""`tidewatch train`: a training without its judgement, and where its time goes."""

from enum import StrEnum
from typing import Annotated

import typer

from flows.commands import ContractOption, JsonOption, SourceOption, run

app = typer.Typer()


class Start(StrEnum):
    """With which weights a training begins."""

    FRESH = "fresh"
    CHAMPION = "champion"


StartOption = Annotated[
    Start | None, typer.Option(help="Instead of the contract's; champion: begin with the weights in force, where they fit.")
]


@app.command()
def train(
    contract: ContractOption = "fleet",
    source: SourceOption = "",
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time of a training goes, part by part.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the contract's.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Instead of the contract's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the contract's.")] = None,
    start: StartOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check, prepare and train; nothing is judged or published, and only the figures are kept.

    Exit codes: 0 trained, 1 crashed, 2 refused: wrong use, a mistake in the
    contract, a source that cannot be read, or a training that cannot go on (the
    message tells the training steps and the weights); 3 stopped by a data check.

    A training that was killed goes on after its last whole epoch when it is asked
    for again over the same telemetry.
    """
    run(
        "train",
        as_json=as_json,
        contract=contract,
        source=source,
        profile=profile,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        start=None if start is None else start.value,
    )
