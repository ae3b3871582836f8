"""What each parameter is worth: the network is trained again without one of them at a time.

    python tests/benchmarks/ablation.py [--customers 6] [--days 60] [--epochs N] [--seeds 3] [--parameter NAME ...] [--json]

The fleet of the demo with fewer customers (none arriving), ingested and prepared by its contract, trained as the contract has it: --seeds
times with all parameters, which tells how much is luck, and with seed 0 without each parameter.

A parameter that is dropped is one that the network never observes: 0, and marked as not observed, in every step that it reads, in
training, validation and forecasts alike. The five targets are dropped in the same way, from what is read alone: they are still forecast,
and all forecasts of all five are judged, so every row is measured on the same values. `itself` is the accuracy of a dropped target's own
forecasts, beside that with all parameters. At last all targets, all others, and all parameters at once are dropped: where two parameters
say the same, the network misses neither of them alone, and without any it knows entity and calendar only.

Told are, over the parallel test, accuracy, skill and validation loss; the differences to all parameters with seed 0 (of accuracy in
percentage points); and these differences in standard deviations between the seeds with all parameters (of a sample). What is nearer to 0
than 2 of them may be luck. A deviation of 3 seeds is itself known to within a factor of 2 or so.

The last line of --json is one record. Nothing is demanded of it; the exit code is 0.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, 4)))

from telemetry.fleet import FleetConfig  # noqa: E402  (the environment is set first)
from telemetry.schema import TARGET  # noqa: E402
from tests.benchmarks.learner import telemetries  # noqa: E402
from tests.benchmarks.learner.dropped import without  # noqa: E402
from tests.benchmarks.learner.figures import percent  # noqa: E402
from tests.benchmarks.learner.telemetries import Prepared, Telemetry  # noqa: E402
from validation.metrics import ACCURACY, measure  # noqa: E402

TARGETS, OTHERS, ALL = GROUPS = ("all targets", "all others", "all parameters")
LUCK: Final = 2.0
"""Standard deviations between seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a training came to.

    Attributes:
        dropped: a parameter; empty for none.
        by_target: accuracy of each target's forecasts.
    """

    dropped: str
    seed: int
    accuracy: float
    skill: float
    validation_loss: float
    by_target: dict[str, float]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Standard deviations between trainings that differ in the seed alone."""

    accuracy: float
    skill: float
    validation_loss: float


def outcome(made: Prepared, *, telemetry: Telemetry, dropped: str, seed: int, epochs: int | None) -> Outcome:
    """Train without a parameter, and judge."""
    began = time.perf_counter()
    training = telemetries.training_of(telemetry.contract, seed=seed, epochs=epochs)
    with without(indices(dropped, made=made)):
        candidate, trained = telemetries.learned(made.panel, contract=telemetry.contract, scales=made.scales, training=training)
        rows = telemetries.forecasts(candidate, panel=made.panel)
    told = measure(rows, block_minutes=telemetry.contract.gate.block_minutes)
    return Outcome(
        dropped=dropped,
        seed=seed,
        accuracy=told.metrics.accuracy,
        skill=told.metrics.skill,
        validation_loss=min(epoch.validation_loss for epoch in trained.history),
        by_target=dict(told.by_target.select(TARGET, ACCURACY).iter_rows()),
        seconds=round(time.perf_counter() - began, 1),
    )


def indices(dropped: str, *, made: Prepared) -> tuple[int, ...]:
    """What is dropped, as indices into the panel's parameters: of a parameter, of one of GROUPS, or of none."""
    targets, every = made.panel.targets, range(len(made.panel.parameters))
    if dropped == TARGETS:
        return targets
    if dropped == ALL:
        return tuple(every)
    if dropped == OTHERS:
        return tuple(index for index in every if index not in targets)
    return (made.panel.parameters.index(dropped),) if dropped else ()


def spread(full: list[Outcome]) -> Spread:
    """How much the same training differs between seeds; 0 of a single one."""

    def deviation(name: str) -> float:
        values = [getattr(one, name) for one in full]
        return statistics.stdev(values) if len(values) > 1 else 0.0

    return Spread(accuracy=deviation("accuracy"), skill=deviation("skill"), validation_loss=deviation("validation_loss"))


def in_units(difference: float, *, of: float) -> float | None:
    """A difference in standard deviations; None where these are not known."""
    return difference / of if of > 0 else None


def beyond_luck(dropped: list[Outcome], *, all_of_them: Outcome, between: Spread) -> tuple[list[str], list[str]]:
    """What was missed by more than LUCK deviations: of accuracy, and of the validation loss."""
    worth = [one.dropped for one in dropped if one.accuracy - all_of_them.accuracy < -LUCK * between.accuracy]
    loss = [one.dropped for one in dropped if one.validation_loss - all_of_them.validation_loss > LUCK * between.validation_loss]
    return worth, loss


HEAD: Final = (
    f"{'without':20}{'accuracy':>11}{'points':>9}{'in sd':>8}{'skill':>10}{'change':>10}{'in sd':>8}"
    f"{'validation':>12}{'change':>10}{'in sd':>8}{'itself':>11}{'with all':>11}{'s':>6}"
)


def line(one: Outcome, *, all_of_them: Outcome, between: Spread) -> str:
    """A row of the table."""
    accuracy, skill, loss = (getattr(one, name) - getattr(all_of_them, name) for name in ("accuracy", "skill", "validation_loss"))
    units = [
        "-" if value is None else f"{value:+.1f}"
        for value in (
            in_units(accuracy, of=between.accuracy),
            in_units(skill, of=between.skill),
            in_units(loss, of=between.validation_loss),
        )
    ]
    itself = one.by_target.get(one.dropped)
    return (
        f"{one.dropped or f'none, seed {one.seed}':20}{percent(one.accuracy, digits=3):>11}{100 * accuracy:>+9.3f}{units[0]:>8}"
        f"{one.skill:>10.4f}{skill:>+10.4f}{units[1]:>8}{one.validation_loss:>12.5f}{loss:>+10.5f}{units[2]:>8}"
        f"{percent(itself):>11}{percent(all_of_them.by_target.get(one.dropped)):>11}{one.seconds:>6.0f}"
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=6)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--epochs", type=int, help="instead of the contract's")
    parser.add_argument("--seeds", type=int, default=3, help="of the training with all parameters")
    parser.add_argument("--parameter", action="append", help="drop only these; 'all targets', 'all others' and 'all parameters' are groups")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr if asked.json else sys.stdout, flush=True)

    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tidewatch-ablation-") as name:
        folder = Path(name)
        telemetry = telemetries.of_fleet(FleetConfig(customers=asked.customers, days=asked.days, arriving=0), folder=folder)
        made = telemetries.prepared(telemetry, folder=folder / "panel")
        how: dict[str, Any] = {"telemetry": telemetry, "epochs": asked.epochs}
        full = [outcome(made, dropped="", seed=seed, **how) for seed in range(asked.seeds)]
        between = spread(full)
        say(f"{asked.customers} customers in 2 regions, {asked.days} days; the targets come first")
        say(HEAD)
        for one in full:
            say(line(one, all_of_them=full[0], between=between))
        targets = made.panel.target_names
        every = (*targets, *(name for name in made.panel.parameters if name not in targets), *GROUPS)
        dropped = []
        for parameter in asked.parameter or every:
            dropped.append(outcome(made, dropped=parameter, seed=0, **how))
            say(line(dropped[-1], all_of_them=full[0], between=between))
    worth, worth_loss = beyond_luck(dropped, all_of_them=full[0], between=between) if len(full) > 1 else ([], [])
    seconds = round(time.perf_counter() - began, 1)
    say(
        f"Worth more than {LUCK:g} sd of accuracy ({100 * between.accuracy:.4f} points each): {', '.join(worth) or 'none'}; "
        f"of validation loss ({between.validation_loss:.6f} each): {', '.join(worth_loss) or 'none'}. {seconds:.0f} s in all."
    )
    if asked.json:
        record = {"full": [asdict(one) for one in full], "spread": asdict(between), "dropped": [asdict(one) for one in dropped]}
        print(json.dumps(record | {"worth": worth, "worth_loss": worth_loss, "seconds": seconds}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
