"""What the commands share: their options, how a flow is started, and how a refusal is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

ContractOption = Annotated[str, typer.Option("--contract", "-c", help="A contract that ships (fleet, smd), or the path of a TOML file.")]
SourceOption = Annotated[
    str, typer.Option("--source", "-s", help="Folder, file, glob or URL of readings to ingest first; empty: what the lake holds.")
]
LabelsOption = Annotated[
    Path | None,
    typer.Option("--labels", exists=True, dir_okay=False, help="Parquet file of known incidents: entity, start, end, kind."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]


def run(name: str, *, as_json: bool, **parameters: Any) -> None:  # Any: a flow's own parameters
    """Start the flow of that name, on an embedded Prefect API where none is named."""

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

    guarded(start, as_json=as_json)


def tell(start: Callable[[], tuple[dict[str, Any], str]], *, as_json: bool) -> None:  # Any: plain JSON
    """Print what `start` tells: for a machine, or for a person."""

    def shown() -> None:
        told, text = start()
        typer.echo(json.dumps(told, default=str) if as_json else text)

    guarded(shown, as_json=as_json)


def guarded(start: Callable[[], None], *, as_json: bool = False) -> None:
    """Run it; what Tidewatch refuses is told without a traceback, and is the exit code."""
    from telemetry.errors import DataCheckError, TidewatchError

    try:
        start()
    except TidewatchError as error:
        typer.secho(f"{type(error).__name__}: ", fg="red", bold=True, nl=False, err=True)
        typer.echo(error, err=True)
        if as_json:
            told = error.summary or {"verdict": "refused", "sentence": error.message, "hint": error.hint}
            typer.echo(json.dumps({**told, "error": type(error).__name__}, default=str))
        raise typer.Exit(3 if isinstance(error, DataCheckError) else 2) from None


def text_of(path: Path | None) -> str | None:
    """A path as a flow takes it."""
    return None if path is None else str(path)


def _preflight(parameters: dict[str, Any], *, settings: Any) -> None:  # Any: as in run; flows.settings.Settings, imported late
    """What can be refused at once is refused before a Prefect API is started: a contract with a mistake, a source that is not there.

    The credentials of a source go into the environment, so that Prefect does not keep them with the run's parameters.
    """
    import os
    from datetime import UTC, datetime

    from flows import locations
    from telemetry import contract as contracts
    from telemetry.errors import SourceMissingError
    from telemetry.feeds import local

    if "contract" in parameters:
        contracts.load(settings.contract_path(parameters["contract"]))
    for name in ("since", "until"):
        locations.instant(parameters.get(name), now=datetime.now(UTC), name=name)
    source = parameters.get("source")
    if not source:
        return
    path = local(locations.expanded(source, environment=os.environ))
    if path is not None and not any(sign in source for sign in "*?[") and not path.exists():
        raise SourceMissingError(f"There is no file or folder {source}.", hint="name a folder, file, glob or URL of readings.")
    parameters["source"] = locations.hidden(source, environment=os.environ)
