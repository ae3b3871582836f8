"""Train: from a run's panel to weights, with progress at the terminal and in the UI."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl
from prefect import task

from flows import checkpoints, console
from flows.artifacts import Bar, tell_table
from flows.exhibits import HISTORY, path_of
from flows.prepare import work
from flows.retries import ONCE
from flows.runs import Run
from flows.settings import Settings
from flows.starts import start_of
from serving.release import save_weights
from telemetry import contract as contracts
from telemetry import panel as panels
from telemetry.contract import Contract
from telemetry.panel import Panel

Beginning = Literal["fresh", "champion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is asked for instead of what the contract says; None leaves it."""

    epochs: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    start: Beginning | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedFacts:
    """What a training was, by figures; the weights are `work/weights.safetensors` in the run's folder.

    Attributes:
        resumed_epochs: those that a run which was killed had done before.
        started_from: the release whose weights it began with.
        fresh_because: why not the champion's, where these were asked for.
    """

    epochs: int
    best_epoch: int
    loss: float
    validation_loss: float
    seconds: float
    device: str
    compiles: int
    resumed_epochs: int
    started_from: str | None
    fresh_because: str | None

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """Its part of a summary."""
        return {"training": asdict(self)}

    @property
    def sentence(self) -> str:
        """For a person."""
        told = f"{self.epochs} epochs on {self.device}, validation loss {self.validation_loss:.4f} (epoch {self.best_epoch})"
        told += f"; gone on after epoch {self.resumed_epochs}, where a run was killed" if self.resumed_epochs else ""
        told += f"; begun with the weights of {self.started_from}" if self.started_from else ""
        return told + (f"; begun afresh: {self.fresh_because}" if self.fresh_because else "")


def network_of(panel: Panel, *, contract: Contract) -> Any:  # Any: models.config.Network, imported late with JAX
    """The network's shape for this panel."""
    from models.config import Network
    from models.losses import EXTRAS

    told = contract.training
    return Network(
        parameters=len(panel.parameters),
        calendar=int(panel.calendar.shape[-1]),
        entities=len(panel.entities),
        targets=panel.targets,
        leads=contract.leads.steps,
        shortcut=contract.leads.shortcut,
        hidden=told.hidden,
        cells=told.cells,
        dense=told.dense,
        embedding=told.embedding,
        extras=EXTRAS[told.loss],
        static=int(panel.static.shape[-1]),
    )


def training_of(contract: Contract, *, changes: Changes | None = None) -> Any:  # Any: models.config.Training, imported late with JAX
    """How the contract says that its network is trained."""
    from models.config import Training

    told, asked = contract.training, changes or Changes()
    return Training(
        batch=told.batch,
        learning_rate=asked.learning_rate or told.learning_rate,
        schedule=told.schedule,
        rise=told.rise,
        loss=told.loss,
        clip=told.clip,
        precision=told.precision,
        epochs=asked.epochs or told.epochs,
        patience=told.patience,
        time_steps=contract.windows.time_steps,
        warmup_steps=contract.windows.warmup_steps,
        supervision=contract.windows.supervision,
        overlapping=told.overlapping,
        seed=told.seed if asked.seed is None else asked.seed,
        unknown_share=told.unknown_share,
    )


@task(name="train", **ONCE)
def train(*, contract: str, folder: str, changes: Changes) -> TrainedFacts:
    """Fit the contract's network to the run's panel.

    Raises:
        TrainingError: there is nothing to learn from, or the loss is not finite any more.
    """
    from models import train as trainer  # JAX takes seconds to import

    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    panel = panels.load(work(folder) / "panel")
    parts = pl.read_parquet(work(folder) / "parts.parquet")
    network, training = network_of(panel, contract=declared), training_of(declared, changes=changes)
    how = changes.start or declared.training.start
    start = start_of(how, panel=panel, network=network, contract=declared, parts=parts, settings=settings)
    bar, history = Bar("training-progress", description="Epochs of the training"), list[trainer.Epoch]()
    with console.epochs(training.epochs) as advance, checkpoints.kept(settings, now=datetime.now(UTC)) as kept:

        def on_epoch(epoch: trainer.Epoch) -> None:
            history.append(epoch)
            advance(epoch.number, f"loss {epoch.loss:.4f}, validation {epoch.validation_loss:.4f}")
            bar.advance(epoch.number / training.epochs)

        try:
            trained = trainer.fit(
                panel, network=network, training=training, start=start.weights, on_epoch=on_epoch, checkpoints=kept.folder
            )
        finally:
            _leave(history, folder=folder)
        resumed = kept.resumed()
    bar.advance(1.0)
    save_weights(trained.weights, path=work(folder) / "weights.safetensors")
    record = {"network": network.to_dict(), "training": asdict(training), "entities": panel.entities}
    record["training"] |= {"started_from": start.release} if start.release else {}  # of a fresh one nothing, as ever
    record["learned_until"], record["chosen_until"] = (str(parts[end].max()) for end in ("train_end", "calibrate_end"))
    (work(folder) / "training.json").write_text(json.dumps(record), encoding="utf-8")
    best = min(trained.history, key=lambda epoch: epoch.validation_loss)
    return TrainedFacts(
        epochs=len(trained.history),
        best_epoch=best.number,
        loss=best.loss,
        validation_loss=best.validation_loss,
        seconds=round(sum(epoch.seconds for epoch in trained.history), 3),
        device=trained.device,
        compiles=trained.compiles,
        resumed_epochs=resumed,
        started_from=start.release,
        fresh_because=start.why,
    )


def _leave(history: list[Any], *, folder: str) -> None:  # Any: models.train.Epoch, imported late with JAX
    """The epochs that were done, for the page; of a training that broke off too."""
    if history:
        path = path_of(Path(folder), name=HISTORY)
        path.parent.mkdir(exist_ok=True)
        pl.DataFrame([asdict(epoch) for epoch in history]).write_parquet(path)


def train_stage(run: Run, *, contract: str, changes: Changes) -> TrainedFacts:
    """Train, and tell how it went."""
    with run.stage("train") as stage:
        facts = train(contract=contract, folder=str(run.folder), changes=changes)
        stage.note = facts.sentence
        tell_table("training", rows=[asdict(facts)], description="How the training went")
    return facts
