"""`tidewatch backtest`: a period over again by a release, beside baselines and the team's own threshold rules."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands import ContractOption, JsonOption, run, text_of

app = typer.Typer()


@app.command()
def backtest(
    contract: ContractOption = "fleet",
    since: Annotated[
        str | None,
        typer.Option(help="From here on: 2026-01-31T06:00:00Z, or 14d for the last two weeks. Default: where it was calibrated."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to here, exclusive. Default: the end of what the lake holds.")] = None,
    release: Annotated[
        str, typer.Option(help="Its id; by default the champion, or an older one of its weights whose thresholds know less.")
    ] = "",
    rules: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Your own threshold rules, a file as Prometheus reads it.")
    ] = None,
    in_sample: Annotated[
        bool, typer.Option("--in-sample", help="Go through what the release has learned from, too; the figures are marked.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Go through a period again: what would have been told, and what missed.

    Live scoring is repeated, step by step and without a look ahead; nothing is
    written to the lake. Beside the release stand the last value, the same minute
    a week before, a robust z and a PCA, with thresholds by the same rule, and
    your own threshold rules: which incidents each found that the other missed.

    Exit codes: 0 done, 1 crashed, 2 refused: wrong use, no such release, a rules
    file that cannot be read, or a period that the release has learned from.
    """
    run(
        "backtest",
        as_json=as_json,
        contract=contract,
        since=since,
        until=until,
        release=release,
        rules=text_of(rules) or "",
        in_sample=in_sample,
    )
