"""The command line: `tidewatch`. Every command is one flow; what it refuses is told without a traceback.

Exit codes: 0 done (a model that the gate holds is a result, not a failure), 1 crashed, 2 refused, 3 stopped by a data check.
"""

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="tidewatch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Learns the tides of every customer's telemetry and says when the water is wrong.",
)

ContractOption = Annotated[str, typer.Option("--contract", "-c", help="A contract that ships (fleet, smd), or the path of a TOML file.")]
SourceOption = Annotated[str, typer.Option("--source", "-s", help="Folder, file or glob of readings; empty: what the lake holds.")]
LabelsOption = Annotated[Path | None, typer.Option("--labels", help="Parquet file of known incidents: entity, start, end, kind.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]


class Training(StrEnum):
    """How the demo trains."""

    NORMAL = "normal"
    CRIPPLED = "crippled"


@app.command()
def demo(
    fault: Annotated[str, typer.Option(help="Plant a fault into the telemetry first, e.g. x100: the check must stop it.")] = "",
    training: Annotated[Training, typer.Option(help="crippled: hardly any training; the gate must hold it.")] = Training.NORMAL,
    seed: Annotated[int, typer.Option(help="Seed of the simulated fleet.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run the whole pipeline on a simulated fleet: ingest, check, train, judge, release, score."""
    _run("demo", as_json=as_json, fault=fault, crippled=training is Training.CRIPPLED, seed=seed)


@app.command()
def ingest(source: SourceOption, contract: ContractOption = "fleet", labels: LabelsOption = None, as_json: JsonOption = False) -> None:
    """Bring the new files of a source into the grid, exactly once."""
    _run("ingest", as_json=as_json, contract=contract, source=source, labels=_text(labels))


@app.command()
def check(contract: ContractOption = "fleet", source: SourceOption = "", as_json: JsonOption = False) -> None:
    """Check telemetry without learning from it; exit code 3 if it must not be learned from."""
    _run("check", as_json=as_json, contract=contract, source=source)


@app.command()
def retrain(
    contract: ContractOption = "fleet",
    source: SourceOption = "",
    labels: LabelsOption = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the contract's.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Instead of the contract's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the contract's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Learn new weights and thresholds; they replace the champion only through the gate."""
    _run(
        "retrain",
        as_json=as_json,
        contract=contract,
        source=source,
        labels=_text(labels),
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
    )


@app.command()
def recalibrate(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Set the thresholds anew on the latest telemetry, with the champion's weights."""
    _run("recalibrate", as_json=as_json, contract=contract)


@app.command()
def score(contract: ContractOption = "fleet", source: SourceOption = "", as_json: JsonOption = False) -> None:
    """Score every minute that the champion has not scored yet, and open and close incidents."""
    _run("score", as_json=as_json, contract=contract, source=source)


@app.command(name="report")
def quality_report(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Write the data-quality report of what the lake holds; nothing is stopped by it."""
    _run("quality-report", as_json=as_json, contract=contract)


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")], contract: ContractOption = "fleet", as_json: JsonOption = False
) -> None:
    """Revoke the champion; the newest release that is not revoked takes over."""
    _run("rollback", as_json=as_json, contract=contract, reason=reason)


@app.command()
def releases(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Show the ledger: what was published, held and revoked, and which release is in force."""

    def start() -> None:
        from flows import releases as ledgers
        from flows.settings import Settings

        told = ledgers.told(contract, settings=Settings())
        typer.echo(json.dumps(told, default=str) if as_json else ledgers.as_text(told))

    _guarded(start, as_json=as_json)


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the Prefect UI and API.")] = 4200,
    pages_port: Annotated[int, typer.Option(help="Port of the runs' pages.")] = 4201,
) -> None:
    """Start a Prefect server with every deployment and its schedule; Ctrl-C ends it cleanly."""

    def start() -> None:
        from flows import up as serving  # Prefect takes a second to import

        serving.run(port=port, pages_port=pages_port)

    _guarded(start)


def _run(name: str, *, as_json: bool, **parameters: Any) -> None:  # Any: a flow's own parameters
    def start() -> None:
        from flows.runtime import prepare
        from flows.settings import Settings

        settings = Settings()
        _preflight(parameters, settings=settings)
        prepare(settings)
        from flows.catalogue import flow_of  # after the environment is set: Prefect reads it at import

        summary = flow_of(name)(**parameters)
        if as_json:
            typer.echo(json.dumps(summary, default=str))

    _guarded(start, as_json=as_json)


def _preflight(parameters: dict[str, Any], *, settings: Any) -> None:  # Any: as in _run; flows.settings.Settings, imported late
    """What can be refused at once is refused before a Prefect API is started: a contract with a mistake, a source that is not there."""
    from telemetry import contract as contracts
    from telemetry.errors import SourceMissingError

    if "contract" in parameters:
        contracts.load(settings.contract_path(parameters["contract"]))
    source = parameters.get("source")
    if source and not any(sign in source for sign in "*?[") and not Path(source).exists():
        raise SourceMissingError(f"There is no file or folder {source}.", hint="name a folder, file or glob of readings.")


def _guarded(start: Callable[[], None], *, as_json: bool = False) -> None:
    from telemetry.errors import DataCheckError, TidewatchError

    try:
        start()
    except TidewatchError as error:
        typer.secho(f"{type(error).__name__}: ", fg="red", bold=True, nl=False, err=True)
        typer.echo(error, err=True)
        if as_json:
            typer.echo(json.dumps(error.summary or {"verdict": "refused", "sentence": error.message, "hint": error.hint}, default=str))
        raise typer.Exit(3 if isinstance(error, DataCheckError) else 2) from None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
