"""Profile: a training is taken apart within a run, to say where its time goes."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prefect import task

from flows import console
from flows.artifacts import tell_table
from flows.prepare import work
from flows.profiled import HEADS, NUMBERS, cells, sentence
from flows.retries import ONCE
from flows.runs import Run
from flows.settings import Settings
from flows.train import Changes, network_of, training_of
from telemetry import contract as contracts
from telemetry import panel as panels

Facts = dict[str, Any]  # Any: plain JSON


@task(name="profile training", **ONCE)
def profile_training(*, contract: str, folder: str, changes: Changes) -> Facts:
    """Take the training apart that the contract asks for, over the run's panel.

    Raises:
        TrainingError: there is nothing to learn from.
    """
    from models.profile import profile  # JAX takes seconds to import

    declared = contracts.load(Settings().contract_path(contract))
    panel = panels.load(work(folder) / "panel")
    network, training = network_of(panel, contract=declared), training_of(declared, changes=changes)
    told = asdict(profile(panel, network=network, training=training))
    return {name: _rounded(value) for name, value in told.items()} | {"parts": [_rounded(part) for part in told["parts"]]}


def profile_stage(run: Run, *, contract: str, changes: Changes) -> Facts:
    """Profile, and tell where the time goes."""
    with run.stage("profile") as stage:
        told: Facts = profile_training(contract=contract, folder=str(run.folder), changes=changes)
        stage.note = sentence(told)
        rows = [dict(zip(HEADS, row, strict=True)) for row in cells(told)]
        tell_table("profile", rows=rows, description=f"Where the time of a training goes: {sentence(told)}")
    console.table(HEADS, rows=cells(told), numbers=NUMBERS)
    return told


def _rounded(told: Any) -> Any:  # Any: plain JSON
    """Six digits are more than a clock is worth."""
    if isinstance(told, Mapping):
        return {name: _rounded(value) for name, value in told.items()}
    return float(f"{told:.6g}") if isinstance(told, float) else told
