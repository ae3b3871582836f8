"""What the learner reaches on the fleet of the demo, how much of that is luck, and whether a training can be repeated.

    python tests/benchmarks/learn.py [--seeds 5] [--seconds 20] [--epochs N] [--customers 12] [--days 60] [--part seeds ...] [--json]

The fleet is that of `tidewatch demo` (simulated with seed 0 over 60 + 2 days, ingested, checked and prepared by its contract, judged by
the first 60 days), and so is the training; only its seed changes. The panel is prepared once and mapped from a temporary folder.

    seeds   trained with the seeds 0 to N - 1, each judged over the parallel test as the gate judges it: accuracy beside that of repeating
            the last value and of the oracle, which knows the simulator's conditional mean. closed = (accuracy - last value) / (oracle -
            last value). seed_spread is the largest less the smallest accuracy, seed_deviation their standard deviation (of a sample),
            both in percentage points. compiles: how often an epoch was compiled in all these trainings together
    bytes   the weights of seed 0, trained again in a process of its own: the same bytes or not
    resume  the same in a process that is killed (SIGKILL) within its third epoch and begun anew: the same bytes or not
    wall    every step of a window judged against its last step alone, both trained for --seconds (to the nearest whole epoch, compilation
            apart). Judged are the same steps of the calibration part, in two ways: `carried`, as forecasts are made in service, the
            network's state carried from the panel's first step on; `windows`, each from the 64 steps before it and nothing else, which is
            what the last-step training has learned. The first is over every step, the second at 300 instants

The last line of --json is one record. Exits with 1 unless on the mean 95 % of the distance are closed, seed_spread is at most 0.1, there
was one compilation, the bytes are the same, and every step judged is no worse than the last step at equal time, `carried`.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, 4)))

import numpy as np  # noqa: E402  (the environment is set first)
import polars as pl  # noqa: E402

from flows.demo import HISTORY_DAYS, LIVE_DAYS, START  # noqa: E402
from flows.parallel_test import Candidate  # noqa: E402
from flows.train import network_of  # noqa: E402
from models import epochs  # noqa: E402
from models.config import Training  # noqa: E402
from models.predict import forecast  # noqa: E402
from serving.forecasts import tell  # noqa: E402
from telemetry.fleet import FleetConfig  # noqa: E402
from telemetry.panel import Part  # noqa: E402
from tests.benchmarks.learner import telemetries  # noqa: E402
from tests.benchmarks.learner.digests import digest  # noqa: E402
from tests.benchmarks.learner.figures import closed_share, deviation_points, epochs_within, percent, range_points  # noqa: E402
from tests.benchmarks.learner.telemetries import Prepared, Telemetry  # noqa: E402
from validation.metrics import Metrics, measure  # noqa: E402

PARTS: Final = ("seeds", "bytes", "resume", "wall")
CLOSED, SPREAD_POINTS = 0.95, 0.1
KILLED_AFTER: Final = 2
"""Epochs after which a training is killed, within the next."""
INSTANTS: Final = 300
CHILD: Final = ROOT / "tests" / "benchmarks" / "learner" / "child.py"
Say = Callable[[str], None]


def judged(rows: pl.DataFrame, *, telemetry: Telemetry) -> Metrics:
    """What the gate looks at."""
    return measure(rows, block_minutes=telemetry.contract.gate.block_minutes, oracle=telemetries.within(telemetry.oracle, rows)).metrics


def of_seeds(made: Prepared, *, telemetry: Telemetry, seeds: int, changes: dict[str, Any], say: Say) -> dict[str, Any]:
    """The accuracy of each seed, and the digest of the first one's weights."""
    say(f"{'seed':>4}{'accuracy':>11}{'bound':>10}{'last value':>12}{'oracle':>10}{'closed':>9}{'skill':>8}{'epochs':>8}{'seconds':>9}")
    before, told, first = epochs.compiled(), [], ""
    for seed in range(seeds):
        training = telemetries.training_of(telemetry.contract, seed=seed, **changes)
        candidate, trained = telemetries.learned(made.panel, contract=telemetry.contract, scales=made.scales, training=training)
        found = judged(telemetries.forecasts(candidate, panel=made.panel), telemetry=telemetry)
        best = found.accuracy_oracle or 0.0
        closed = closed_share(found.accuracy, persistence=found.accuracy_persistence, oracle=best)
        seconds = sum(epoch.seconds for epoch in trained.history)
        told.append({"seed": seed, "closed_share": closed, "seconds": round(seconds, 2)} | asdict(found))
        first = first or digest(trained.weights)
        say(
            f"{seed:>4}{percent(found.accuracy, digits=3):>11}{percent(found.accuracy_lower):>10}"
            f"{percent(found.accuracy_persistence):>12}{percent(best):>10}{percent(closed, digits=1):>9}{found.skill:>8.4f}"
            f"{len(trained.history):>8}{seconds:>9.1f}"
        )
    accuracies, shares = [one["accuracy"] for one in told], [one["closed_share"] for one in told]
    record = {
        "accuracy": statistics.fmean(accuracies),
        "accuracy_persistence": told[0]["accuracy_persistence"],
        "accuracy_oracle": told[0]["accuracy_oracle"],
        "closed_share": statistics.fmean(shares),
        "closed_share_least": min(shares),
        "seed_spread": range_points(accuracies),
        "seed_deviation": deviation_points(accuracies),
        "compiles": epochs.compiled() - before,
        "by_seed": told,
        "digest": first,
    }
    say(
        f"accuracy {percent(record['accuracy'], digits=3)} on the mean of {seeds} seeds; {percent(record['closed_share'], digits=1)} of "
        f"the distance closed, {percent(record['closed_share_least'], digits=1)} by the worst seed; between seeds "
        f"{record['seed_spread']:.3f} points (largest less smallest), {record['seed_deviation']:.3f} points (standard deviation); "
        f"{record['compiles']} compilation(s)"
    )
    return record


class Child:
    """A training in a process of its own."""

    def __init__(self, folder: Path, *, network: dict[str, Any], training: Training, checkpoints: Path | None) -> None:
        command = [sys.executable, str(CHILD), str(folder), "-" if checkpoints is None else str(checkpoints)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"network": network, "training": asdict(training)}))
        self.process.stdin.close()

    def told(self, *, kill_after: int | None = None) -> list[str]:
        """Its lines; it is killed as soon as so many epochs are over."""
        lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lines.append(line.strip())
            if lines[-1] == f"epoch {kill_after}":
                os.kill(self.process.pid, signal.SIGKILL)
                break
        self.process.wait()
        self.process.stdout.close()
        return lines


def of_bytes(folder: Path, *, network: dict[str, Any], training: Training, expected: str, say: Say) -> dict[str, Any]:
    """Trained again."""
    lines = Child(folder, network=network, training=training, checkpoints=None).told()
    same = lines[-1:] == [expected]
    say(f"seed {training.seed} trained again in a process of its own: {'the same bytes' if same else f'OTHER BYTES ({lines[-1:]})'}")
    return {"same_bytes": same}


def of_resume(folder: Path, *, network: dict[str, Any], training: Training, expected: str, say: Say) -> dict[str, Any]:
    """Killed, begun anew, and compared."""
    checkpoints = folder.parent / "checkpoints"
    how: dict[str, Any] = {"network": network, "training": training, "checkpoints": checkpoints}
    killed = Child(folder, **how).told(kill_after=KILLED_AFTER)
    lines = Child(folder, **how).told()
    after = next((int(line.split()[-1]) for line in lines if line.startswith("begins after")), 0)
    same = lines[-1:] == [expected] and after == KILLED_AFTER and killed[-1] == f"epoch {KILLED_AFTER}"
    say(
        f"killed within epoch {KILLED_AFTER + 1}, begun anew after epoch {after}: "
        f"{'the bytes of an uninterrupted training' if same else f'OTHER BYTES ({killed}, {lines})'}"
    )
    return {"resumed_equal": same, "resumed_after": after}


def of_wall(made: Prepared, *, telemetry: Telemetry, seconds: float, say: Say) -> dict[str, Any]:
    """Every step judged against the last step, at equal time."""
    told: dict[str, Any] = {}
    for supervision in ("every_step", "last_step"):
        training = telemetries.training_of(telemetry.contract, supervision=supervision, epochs=3)
        how: dict[str, Any] = {"contract": telemetry.contract, "scales": made.scales}
        _, tried = telemetries.learned(made.panel, training=training, **how)
        fastest = min(epoch.seconds for epoch in tried.history[1:])  # the first one's time is that of the compilation, too
        count = epochs_within(seconds, epoch_seconds=fastest)
        candidate, trained = telemetries.learned(made.panel, training=replace(training, epochs=count, patience=count), **how)
        carried = judged(telemetries.forecasts(candidate, panel=made.panel, part=Part.CALIBRATE), telemetry=telemetry)
        windows = judged(from_windows(candidate, made=made, steps=training.time_steps), telemetry=telemetry)
        took = sum(epoch.seconds for epoch in trained.history)
        told[supervision] = {
            "seconds": round(took, 2),
            "epochs": len(trained.history),
            "windows": sum(epoch.windows for epoch in trained.history),
            "accuracy": carried.accuracy,
            "skill": carried.skill,
            "accuracy_windows": windows.accuracy,
            "skill_windows": windows.skill,
        }
        say(
            f"{supervision:11} {took:6.1f} s, {len(trained.history)} epochs, {told[supervision]['windows']:,} windows: validation accuracy "
            f"carried {percent(carried.accuracy, digits=3)} (skill {carried.skill:.4f}), windows {percent(windows.accuracy, digits=3)} "
            f"(skill {windows.skill:.4f})"
        )
    every, last = told["every_step"], told["last_step"]
    gained = {name: 100 * (every[name] - last[name]) for name in ("accuracy", "accuracy_windows")}
    no_worse = gained["accuracy"] >= 0
    say(
        f"every step judged is {'no worse' if no_worse else 'WORSE'} at equal time: {gained['accuracy']:+.3f} points carried, "
        f"{gained['accuracy_windows']:+.3f} points windows"
    )
    return {"equal_wall": told | {"every_step_no_worse": no_worse, "points": gained}}


def from_windows(candidate: Candidate, *, made: Prepared, steps: int) -> pl.DataFrame:
    """FORECASTS of lead 1 at `INSTANTS` of the calibration part, each made from the `steps` before it alone."""
    panel, rows = made.panel, []
    there = np.flatnonzero((np.asarray(panel.part) == Part.CALIBRATE).any(axis=0))
    for at in np.unique(np.linspace(there[0] + steps, there[-1], INSTANTS).astype(int)):
        how: dict[str, Any] = {"network": candidate.network, "weights": candidate.weights, "context": steps - 1}  # and the step itself
        scaled = forecast(panel, start=int(at), stop=int(at) + 1, **how)
        rows.append(tell(panel, scaled, leads=candidate.network.leads, scales=made.scales, start=int(at), part=Part.CALIBRATE))
    return pl.concat(rows)


def main() -> int:
    """Measure, and say whether the aims are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each training in the part wall")
    parser.add_argument("--epochs", type=int, help="instead of the contract's")
    parser.add_argument("--customers", type=int, default=FleetConfig().customers)
    parser.add_argument("--days", type=int, default=HISTORY_DAYS)
    parser.add_argument("--part", action="append", choices=PARTS, help="only these; seeds come first, as others are compared with them")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    parts = {*(asked.part or PARTS), "seeds"}

    def say(text: str) -> None:
        print(text, file=sys.stderr if asked.json else sys.stdout, flush=True)

    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tidewatch-learn-") as name:
        folder = Path(name)
        config = FleetConfig(customers=asked.customers, days=asked.days + LIVE_DAYS, start=START)
        telemetry = telemetries.of_fleet(config, folder=folder).until(START + timedelta(days=asked.days))
        telemetry, report = telemetries.checked(telemetry, folder=folder / "check")
        made = telemetries.prepared(telemetry, folder=folder / "panel")
        seconds, rows = time.perf_counter() - began, telemetry.grid.height
        say(f"prepared in {seconds:.1f} s: {rows:,} entity-minutes, {len(report.stops)} findings that stop")
        changes = {"epochs": asked.epochs}
        record = of_seeds(made, telemetry=telemetry, seeds=asked.seeds, changes=changes, say=say)
        training = telemetries.training_of(telemetry.contract, seed=0, **changes)
        how: dict[str, Any] = {"network": network_of(made.panel, contract=telemetry.contract).to_dict(), "training": training}
        how |= {"expected": record["digest"], "say": say}
        if "bytes" in parts:
            record |= of_bytes(folder / "panel", **how)
        if "resume" in parts:
            record |= of_resume(folder / "panel", **how)
        if "wall" in parts:
            record |= of_wall(made, telemetry=telemetry, seconds=asked.seconds, say=say)
    record["seconds"] = round(time.perf_counter() - began, 1)
    say(f"{record['seconds']:.0f} s in all")
    if asked.json:
        print(json.dumps(record))
    return 0 if met(record) else 1


def met(record: dict[str, Any]) -> bool:
    """Whether the aims are met; what was not asked for counts as met."""
    return (
        record["closed_share"] >= CLOSED
        and record["seed_spread"] <= SPREAD_POINTS
        and record["compiles"] == 1
        and record.get("same_bytes", True)
        and record.get("resumed_equal", True)
        and record.get("equal_wall", {}).get("every_step_no_worse", True)
    )


if __name__ == "__main__":
    raise SystemExit(main())
