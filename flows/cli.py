"""The command line: `tidewatch`. Every command is one flow; what it refuses is told without a traceback.

Exit codes: 0 done (a model that the gate holds is a result, not a failure), 1 crashed, 2 refused (wrong use, a contract with a mistake,
a source that cannot be read), 3 stopped by a data check.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import cli_backtest, cli_lake, cli_maintenance, cli_quarantine, cli_shadow, cli_suspensions, cli_sweep, cli_train
from flows.cli_train import StartOption
from flows.commands import ContractOption, JsonOption, LabelsOption, SourceOption, guarded, run, tell, text_of

app = typer.Typer(
    name="tidewatch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Learns the tides of every customer's telemetry and says when the water is wrong.",
)
app.add_typer(cli_quarantine.app)
app.add_typer(cli_suspensions.app)
app.add_typer(cli_maintenance.app)
app.add_typer(cli_lake.app)
app.add_typer(cli_sweep.app)
app.add_typer(cli_train.app)
app.add_typer(cli_backtest.app)
app.add_typer(cli_shadow.app)


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
    run("demo", as_json=as_json, fault=fault, crippled=training is Training.CRIPPLED, seed=seed)


@app.command()
def ingest(
    source: Annotated[str, typer.Option("--source", "-s", help="Folder, file, glob or URL of readings.")],
    contract: ContractOption = "fleet",
    labels: LabelsOption = None,
    since: Annotated[
        str | None, typer.Option(help="Ask a database or server from here on: 2026-01-31T06:00:00Z, or 2d for the last two days.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="... and up to here, exclusive. Files are always read whole.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring what is new at a source into the grid, exactly once.

    A source is a folder, file or glob of CSV, TSV, JSON lines (plain or packed)
    or Parquet, local or in an object store (s3://, gs://, az://); a Delta table;
    postgresql://...; or the http(s):// address of a Prometheus server.

    Rows that cannot be read go to the quarantine with their reason, and a file
    that cannot be read at all stops no other: tidewatch quarantine list.

    Credentials belong into the environment: in single quotes,
    'postgresql://${PGUSER}:${PGPASSWORD}@db/fleet' names its variables;
    PROMETHEUS_TOKEN is what a Prometheus server is sent.
    """
    run("ingest", as_json=as_json, contract=contract, source=source, labels=text_of(labels), since=since, until=until)


@app.command()
def check(contract: ContractOption = "fleet", source: SourceOption = "", as_json: JsonOption = False) -> None:
    """Check telemetry without learning from it; exit code 3 if it must not be learned from.

    Exit codes: 0 passed (warnings too), 1 crashed, 2 refused: wrong use, a mistake
    in the contract, or a source that cannot be read; 3 a check stopped it.

    The Data Docs, pages that need no server, say what was found and what to do.
    With --json the last line of stdout is one object: verdict, sentence, findings
    and data_docs, their index page; error names what was refused.
    """
    run("check", as_json=as_json, contract=contract, source=source)


@app.command()
def retrain(
    contract: ContractOption = "fleet",
    source: SourceOption = "",
    labels: LabelsOption = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the contract's.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Instead of the contract's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the contract's.")] = None,
    start: StartOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn new weights and thresholds; they replace the champion only through the gate."""
    run(
        "retrain",
        as_json=as_json,
        contract=contract,
        source=source,
        labels=text_of(labels),
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        start=None if start is None else start.value,
    )


@app.command()
def recalibrate(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Set the thresholds anew on the latest telemetry, with the champion's weights."""
    run("recalibrate", as_json=as_json, contract=contract)


@app.command()
def score(contract: ContractOption = "fleet", source: SourceOption = "", as_json: JsonOption = False) -> None:
    """Score every minute that the champion has not scored yet, and open and close incidents."""
    run("score", as_json=as_json, contract=contract, source=source)


@app.command(name="report")
def quality_report(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Write the data-quality report of what the lake holds; nothing is stopped by it."""
    run("quality-report", as_json=as_json, contract=contract)


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")], contract: ContractOption = "fleet", as_json: JsonOption = False
) -> None:
    """Revoke the champion; the newest release that is not revoked takes over."""
    run("rollback", as_json=as_json, contract=contract, reason=reason)


@app.command()
def releases(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Show the ledger: what was published, held and revoked, and which release is in force."""

    def start() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import releases as ledgers
        from flows.settings import Settings

        told = ledgers.told(contract, settings=Settings())
        return told, ledgers.as_text(told)

    tell(start, as_json=as_json)


@app.command()
def entities(contract: ContractOption = "fleet", as_json: JsonOption = False) -> None:
    """Show who is watched: newcomers, who is present, who departed since when, and who came back."""

    def start() -> tuple[dict[str, Any], str]:  # Any: plain JSON
        from flows import entities as watched
        from flows.settings import Settings

        told = watched.told(contract, settings=Settings())
        return told, watched.as_text(told)

    tell(start, as_json=as_json)


@app.command()
def init(
    sample: Annotated[Path, typer.Argument(help="A file or folder with some hours of readings: CSV, TSV, JSON lines or Parquet.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The contract to write; a file that is there is never overwritten.")],
    name: Annotated[str, typer.Option(help="Of the contract: small letters, digits and _; by default that of the file.")] = "",
) -> None:
    """Draft a contract for a sample of telemetry: keys, time, units and aggregations, each with the reason of the guess.

    The draft is for a person to finish: every line marked REVIEW is to be settled
    with someone who knows this telemetry. Until the line `reviewed = false` is
    deleted, no command takes it.
    """

    def start() -> None:
        from flows import drafts

        typer.echo(drafts.written(sample, out=out, name=name or drafts.name_of(out)))

    guarded(start)


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the Prefect UI and API.")] = 4200,
    pages_port: Annotated[int, typer.Option(help="Port of the runs' pages.")] = 4201,
) -> None:
    """Start a Prefect server with every deployment and its schedule; Ctrl-C ends it cleanly."""

    def start() -> None:
        from flows import up as serving  # Prefect takes a second to import

        serving.run(port=port, pages_port=pages_port)

    guarded(start)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
