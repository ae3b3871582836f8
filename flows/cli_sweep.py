"""`tidewatch sweep`: many small trainings, and the simplest design of those that equal the best."""

from enum import StrEnum
from typing import Annotated

import typer

from flows.commands import ContractOption, JsonOption, SourceOption, run

app = typer.Typer()


class Supervision(StrEnum):
    """Which of a window's forecasts are judged."""

    EVERY_STEP = "every_step"
    LAST_STEP = "last_step"


@app.command()
def sweep(
    contract: ContractOption = "fleet",
    source: SourceOption = "",
    designs: Annotated[
        str, typer.Option("--designs", help="all, a part of their names, or a pattern such as '2 x LSTM(64),*apart'.")
    ] = "all",
    time_steps: Annotated[str, typer.Option(help="Lengths of the windows, in steps.")] = "16,64,256",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of each design; a single one tells no spread.")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the contract's.")] = None,
    supervision: Annotated[Supervision | None, typer.Option(help="Instead of the contract's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare networks and windows, and say which is the simplest that forecasts as well as any.

    Three networks, windows of each length, overlapping and not, each with several
    seeds. Ranked by the gate's own measure over the calibration part; the parallel
    test is not looked at and nothing is published. Chosen is the cheapest within
    one standard error of the best; the lines for the contract are printed.

    A sweep that was ended goes on where it was when it is asked again over the
    same telemetry. Records go to MLflow where TIDEWATCH_TRACKING or
    MLFLOW_TRACKING_URI names a place.
    """
    lengths = _lengths(time_steps)
    told = None if supervision is None else supervision.value
    run(
        "sweep",
        as_json=as_json,
        contract=contract,
        source=source,
        designs=designs,
        time_steps=lengths,
        seeds=seeds,
        epochs=epochs,
        supervision=told,
    )


def _lengths(told: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in told.split(",")))
    except ValueError:
        raise typer.BadParameter(f"{told!r} are no lengths; expected whole numbers such as 16,64,256", param_hint="--time-steps") from None
