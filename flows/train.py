"""Train: from a run's panel to weights, with progress at the terminal and in the UI."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from prefect import task

from flows import console
from flows.artifacts import Bar, tell_table
from flows.prepare import work
from flows.retries import ONCE
from flows.runs import Run
from flows.settings import Settings
from serving.release import save_weights
from telemetry import contract as contracts
from telemetry import panel as panels
from telemetry.contract import Contract
from telemetry.panel import Panel


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedFacts:
    """What a training was, by figures; the weights are `work/weights.safetensors` in the run's folder."""

    epochs: int
    best_epoch: int
    loss: float
    validation_loss: float
    seconds: float
    device: str
    compiles: int

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """Its part of a summary."""
        return {"training": asdict(self)}


def network_of(panel: Panel, *, contract: Contract) -> Any:  # Any: models.config.Network, imported late with JAX
    """The network's shape for this panel."""
    from models.config import Network

    return Network(
        parameters=len(panel.parameters),
        calendar=int(panel.calendar.shape[1]),
        entities=len(panel.entities),
        targets=panel.targets,
        leads=contract.leads.steps,
        shortcut=contract.leads.shortcut,
        hidden=contract.training.hidden,
        dense=contract.training.dense,
        embedding=contract.training.embedding,
    )


@task(name="train", **ONCE)
def train(*, contract: str, folder: str, epochs: int | None, learning_rate: float | None, seed: int | None) -> TrainedFacts:
    """Fit the contract's network to the run's panel."""
    from models import train as trainer  # JAX takes seconds to import
    from models.config import Training

    declared = contracts.load(Settings().contract_path(contract))
    panel = panels.load(work(folder) / "panel")
    told = declared.training
    training = Training(
        batch=told.batch,
        learning_rate=learning_rate or told.learning_rate,
        schedule=told.schedule,
        epochs=epochs or told.epochs,
        patience=told.patience,
        time_steps=declared.windows.time_steps,
        warmup_steps=declared.windows.warmup_steps,
        supervision=declared.windows.supervision,
        seed=told.seed if seed is None else seed,
    )
    network = network_of(panel, contract=declared)
    bar = Bar("training-progress", description="Epochs of the training")
    with console.epochs(training.epochs) as advance:

        def on_epoch(epoch: trainer.Epoch) -> None:
            advance(epoch.number, f"loss {epoch.loss:.4f}, validation {epoch.validation_loss:.4f}")
            bar.advance(epoch.number / training.epochs)

        trained = trainer.fit(panel, network=network, training=training, on_epoch=on_epoch)
    bar.advance(1.0)
    save_weights(trained.weights, path=work(folder) / "weights.safetensors")
    record = {"network": network.to_dict(), "training": asdict(training), "entities": panel.entities}
    record["learned_until"] = str(pl.read_parquet(work(folder) / "parts.parquet")["train_end"].max())
    (work(folder) / "training.json").write_text(json.dumps(record), encoding="utf-8")
    data = Path(folder) / "data"
    data.mkdir(exist_ok=True)
    pl.DataFrame([asdict(epoch) for epoch in trained.history]).write_parquet(data / "history.parquet")
    best = min(trained.history, key=lambda epoch: epoch.validation_loss)
    return TrainedFacts(
        epochs=len(trained.history),
        best_epoch=best.number,
        loss=best.loss,
        validation_loss=best.validation_loss,
        seconds=round(sum(epoch.seconds for epoch in trained.history), 3),
        device=trained.device,
        compiles=trained.compiles,
    )


def train_stage(run: Run, *, contract: str, epochs: int | None, learning_rate: float | None, seed: int | None) -> TrainedFacts:
    """Train, and tell how it went."""
    with run.stage("train") as stage:
        facts = train(contract=contract, folder=str(run.folder), epochs=epochs, learning_rate=learning_rate, seed=seed)
        stage.note = f"{facts.epochs} epochs on {facts.device}, validation loss {facts.validation_loss:.4f} (epoch {facts.best_epoch})"
        tell_table("training", rows=[asdict(facts)], description="How the training went")
    return facts
