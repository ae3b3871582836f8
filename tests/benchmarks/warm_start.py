"""How many epochs a training needs that begins with the champion's weights, to be as good as one that begins afresh.

    python tests/benchmarks/warm_start.py [--customers 6] [--days 40] [--seed 0] [--json]

A simulated fleet is learned at an instant T as the contract says: the champion. A week later all is learned anew: afresh as the contract
says, and from the champion's weights with several learning rates and numbers of epochs, each with the contract's schedule over its own
epochs. Told are the validation losses, and the least epochs of each learning rate whose loss is not above the fresh training's.
"""

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, 4)))

from flows.starts import carried_over
from flows.train import network_of
from models import train as trainer
from telemetry.fleet import FleetConfig
from tests.benchmarks.learner import telemetries

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
WEEK: Final = 7
RATES: Final = (0.003, 0.001, 0.0003)
EPOCHS: Final = (1, 2, 3, 4)


def needed(losses: dict[int, float], *, bar: float) -> int | None:
    """The least epochs whose loss is not above the bar; None if none is.

    >>> needed({1: 0.31, 2: 0.29}, bar=0.3), needed({1: 0.31}, bar=0.3)
    (2, None)
    """
    return min((epochs for epochs, loss in losses.items() if loss <= bar), default=None)


def main() -> None:
    """Learn, learn again, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=6)
    parser.add_argument("--days", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one object as the last line")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        config = FleetConfig(customers=asked.customers, days=asked.days, start=START, seed=asked.seed)
        telemetry = telemetries.of_fleet(config, folder=Path(place))
        contract, until = telemetry.contract, START + timedelta(days=asked.days - WEEK)
        before = telemetries.prepared(telemetry.until(until), folder=Path(place) / "before")
        training = telemetries.training_of(contract)
        champion, _ = telemetries.learned(before.panel, contract=contract, scales=before.scales, training=training)
        panel = telemetries.prepared(telemetry, folder=Path(place) / "after").panel
        weights = carried_over(champion.weights, known=champion.entities, entities=panel.entities)

        def loss(*, start: Any, **changes: Any) -> float:  # Any: weights or None; fields of Training
            """The least validation loss of a training over the later panel."""
            how = telemetries.training_of(contract, **changes)
            trained = trainer.fit(panel, network=network_of(panel, contract=contract), training=how, start=start)
            return min(epoch.validation_loss for epoch in trained.history)

        fresh = {epochs: loss(start=None, epochs=epochs) for epochs in EPOCHS if epochs <= training.epochs}
        bar = fresh[max(fresh)]
        print(f"{len(panel.entities)} entities; learned at day {asked.days - WEEK}, and anew at day {asked.days}")
        print(f"{'begun':<12}{'rate':>8}" + "".join(f"{epochs:>9} ep" for epochs in EPOCHS) + f"{'needed':>9}")
        print(row("afresh", rate=training.learning_rate, losses=fresh, bar=bar))
        warm = {}
        for rate in RATES:
            warm[rate] = {epochs: loss(start=weights, epochs=epochs, learning_rate=rate) for epochs in EPOCHS}
            print(row("champion", rate=rate, losses=warm[rate], bar=bar), flush=True)
    if asked.json:
        told = {str(rate): needed(losses, bar=bar) for rate, losses in warm.items()}
        print(json.dumps({"fresh_epochs": max(fresh), "fresh_loss": bar, "epochs_needed": told, "entities": len(panel.entities)}))


def row(begun: str, *, rate: float, losses: dict[int, float], bar: float) -> str:
    """A line of the table."""
    figures = "".join(f"{losses[epochs]:>12.4f}" if epochs in losses else " " * 12 for epochs in EPOCHS)
    return f"{begun:<12}{rate:>8}{figures}{needed(losses, bar=bar) or '-':>9}"


if __name__ == "__main__":
    main()
