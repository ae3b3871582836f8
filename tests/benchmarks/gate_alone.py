"""What the accuracy gate lets through when nobody checks the raw telemetry first: a model is learned from every kind of scaling bug.

    python tests/benchmarks/gate_alone.py [--seeds 2] [--kind KIND ...] [--targets] [--json]

For each seed a fleet of 4 customers in 2 regions is simulated over 28 days (as in scaling_bugs.py), and a champion is learned from it as it
is. Then each kind of `tests/validation/bugs.py` is planted at a customer, region or entity, a parameter and a time that the seed chooses,
and from that telemetry a challenger is learned as `tidewatch retrain` does it, with the fleet's contract (its cut of time, scales, network,
epochs, seed, thresholds and bars), through the very functions of the retrain, but for the raw suite: the gate is told that the data checks
have passed. Beside its verdict stands what the raw suite says of the same telemetry:

    accuracy, bound   of the challenger over the parallel test, and its lower 95 % bound, which the gate looks at
    last value        accuracy of repeating the last value over the same rows
    gate              pass: the challenger would replace the champion; refuse: the bars that it did not pass are named
    tensors           what the suite over the scaled tensors finds; it compares them with the grid, which has the bug already
    raw suite         the cause that it names where it stops the run, before anything is learned

A bug that the gate refuses is counted as refused. `--targets` plants only into the five forecast parameters: the gate looks at no other.

The last line of `--json` is one record: bugs, kinds, gate_passed, gate_refused, raw_stopped, raw_named, passed_and_stopped, clean, by_bug.
Exits with 1 unless the clean fleet passes both, the raw suite stops every bug, and the gate lets at least one through.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from flows.parallel_test import Candidate, try_out  # noqa: E402  (the checkout is put on the path first)
from flows.train import network_of  # noqa: E402
from models import train as trainer  # noqa: E402
from models.config import Training  # noqa: E402
from serving.incidents import match  # noqa: E402
from serving.release import compose, same_bytes, write  # noqa: E402
from telemetry import scaling, windows  # noqa: E402
from telemetry.contract import Contract  # noqa: E402
from telemetry.panel import Panel  # noqa: E402
from telemetry.schema import AT, COHORT, END, ENTITIES, ENTITY, START, conform  # noqa: E402
from tests.benchmarks.scaling_bugs import Clean, outcome, simulated, stops  # noqa: E402
from tests.validation.bugs import KINDS, Planted, plant  # noqa: E402
from validation.checks import check_tensor  # noqa: E402
from validation.gate import Decision, Evidence, Hold, decide  # noqa: E402
from validation.metrics import Metrics, measure  # noqa: E402


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What `flows.prepare` makes of a grid."""

    grid: pl.DataFrame
    entities: pl.DataFrame
    parts: pl.DataFrame
    scales: pl.DataFrame
    panel: Panel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """A network and the thresholds that it was judged by."""

    candidate: Candidate
    thresholds: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the gate and the raw suite say of one telemetry; `kind` is empty where nothing was planted."""

    kind: str
    seed: int
    where: str
    begins_in: str
    target: bool
    accuracy: float
    accuracy_lower: float
    accuracy_persistence: float
    skill: float
    gate_passed: bool
    refused_for: tuple[str, ...]
    tensors: tuple[str, ...]
    raw_stopped: bool
    raw_named: bool
    raw_cause: str


def prepared(grid: pl.DataFrame, *, clean: Clean, scales: pl.DataFrame | None = None) -> Prepared:
    """Cut, scaled and made into a panel; with scales of its own unless others are given."""
    contract, lazy = clean.contract, grid.lazy()
    seen = [pl.col(AT).min().alias("first_seen"), pl.col(AT).max().alias("last_seen")]
    cohort = pl.col(ENTITY).str.split("/").list.last().alias(COHORT)  # the contract's: the region
    entities = conform(grid.group_by(ENTITY).agg(seen).with_columns(cohort).select(list(ENTITIES)).sort(ENTITY), ENTITIES, name="entities")
    parts = windows.cuts(lazy, contract=contract)
    told = scaling.fit(lazy, contract=contract, entities=entities, cuts=parts) if scales is None else scales
    panel = windows.panel(lazy, contract=contract, scales=told, entities=entities, labels=clean.labels, parts=parts)
    return Prepared(grid=grid, entities=entities, parts=parts, scales=told, panel=panel)


def trained(made: Prepared, *, contract: Contract) -> Candidate:
    """The contract's network, fitted to the panel."""
    told, network = contract.training, network_of(made.panel, contract=contract)
    training = Training(
        batch=told.batch,
        learning_rate=told.learning_rate,
        schedule=told.schedule,
        epochs=told.epochs,
        patience=told.patience,
        time_steps=contract.windows.time_steps,
        warmup_steps=contract.windows.warmup_steps,
        supervision=contract.windows.supervision,
        seed=told.seed,
    )
    fitted = trainer.fit(made.panel, network=network, training=training)
    return Candidate(network=network, weights=fitted.weights, scales=made.scales, entities=made.panel.entities)


def judged(made: Prepared, *, clean: Clean, champion: Learned | None, folder: Path) -> tuple[Learned, Metrics, Decision]:
    """Learned, measured over the parallel test beside the champion, and put before the gate, as `flows.judge` and `flows.publish` do it."""
    contract, candidate = clean.contract, trained(made, contract=clean.contract)
    seen = try_out(candidate, panel=made.panel, contract=contract, into=folder / "candidate")
    metrics = _measured(folder / "candidate", contract=contract)
    labels = _in_test(clean.labels, parts=made.parts)
    found = against = None
    if champion is not None:
        again = prepared(made.grid, clean=clean, scales=champion.candidate.scales)
        into = folder / "champion"
        other = try_out(champion.candidate, panel=again.panel, contract=contract, into=into, thresholds=champion.thresholds)
        against, found = _measured(into, contract=contract), match(other.incidents, labels=labels).found_keys
    release = compose(
        weights=candidate.weights,
        network=candidate.network.to_dict(),
        scales=made.scales,
        thresholds=seen.thresholds,
        contract=contract.model_dump(mode="json"),
        manifest={"entities": list(candidate.entities), "learned_until": str(made.parts["train_end"].max())},
        created_at=datetime.now(UTC),
    )
    write(release, folder=folder / "releases")
    evidence = Evidence(
        checks_passed=True,  # nobody has looked
        finite=seen.finite,
        same_bytes=same_bytes(release, folder=folder / "releases"),
        incidents_candidate=match(seen.incidents, labels=labels).found_keys if labels.height else None,
        incidents_champion=found if labels.height else None,
    )
    policy = contract.gate.model_copy(update={"injected_recall": 0.0})  # what is asked here is what accuracy sees
    decision = decide(metrics, champion=against, evidence=evidence, policy=policy)
    return Learned(candidate=candidate, thresholds=seen.thresholds), metrics, decision


def _measured(folder: Path, *, contract: Contract) -> Metrics:
    return measure(pl.scan_parquet(folder / "lead1" / "*.parquet"), block_minutes=contract.gate.block_minutes).metrics


def _in_test(labels: pl.DataFrame, *, parts: pl.DataFrame) -> pl.DataFrame:
    """The labelled incidents that begin within their entity's test part."""
    within = labels.join(parts.select(ENTITY, "test_start", pl.col(END).alias("test_end")), on=ENTITY)
    return within.filter(pl.col(START) >= pl.col("test_start"), pl.col(START) < pl.col("test_end")).select(labels.columns)


def told(
    grid: pl.DataFrame, *, clean: Clean, seed: int, planted: Planted | None, champion: Learned | None, before: frozenset[Any]
) -> tuple[Outcome, Learned]:
    """The gate's word and the raw suite's on one telemetry; `before`: series of which the raw suite stops the clean one."""
    with tempfile.TemporaryDirectory(prefix="tidewatch-gate-") as name:
        folder, made = Path(name), prepared(grid, clean=clean)
        learned, metrics, decision = judged(made, clean=clean, champion=champion, folder=folder)
        report = check_tensor(
            made.panel, scales=made.scales, grid=grid.lazy(), contract=clean.contract, folder=folder, entities=made.entities
        )
    found = stops(grid, contract=clean.contract)
    raw = outcome(planted, found=found, seed=seed, before=before) if planted else None
    struck = planted.parameters if planted else ()
    return Outcome(
        kind=planted.kind if planted else "",
        seed=seed,
        where=_where(planted) if planted else "",
        begins_in=_part(planted, parts=made.parts) if planted else "",
        target=bool(set(struck) & set(clean.contract.targets)),
        accuracy=round(metrics.accuracy, 5),
        accuracy_lower=round(metrics.accuracy_lower, 5),
        accuracy_persistence=round(metrics.accuracy_persistence, 5),
        skill=round(metrics.skill, 4),
        gate_passed=not isinstance(decision, Hold),
        refused_for=tuple(bar.sentence for bar in decision.bars if not bar.passed),
        tensors=tuple(sorted({finding.expectation for finding in report.stops})),
        raw_stopped=raw.stopped if raw else bool(found),
        raw_named=raw.named if raw else False,
        raw_cause=", ".join(raw.told) if raw else "",
    ), learned


def _where(planted: Planted) -> str:
    who = sorted(planted.entities)
    return f"{' and '.join(planted.parameters)} of {who[0]}{f' and {len(who) - 1} more' if len(who) > 1 else ''}"


def _part(planted: Planted, *, parts: pl.DataFrame) -> str:
    """The part of the time line in which it begins."""
    row = parts.filter(pl.col(ENTITY).is_in(list(planted.entities))).row(0, named=True)
    return next((part for part, end in (("train", "train_end"), ("calibrate", "calibrate_end")) if planted.start < row[end]), "test")


def measured(seeds: int, *, kinds: list[str], targets: bool, say: Callable[[str], None]) -> Iterator[Outcome]:
    """The clean telemetry of each seed, then each kind planted into it."""
    for seed in range(seeds):
        clean = simulated(seed)
        began = time.perf_counter()
        first, champion = told(clean.grid, clean=clean, seed=seed, planted=None, champion=None, before=frozenset())
        say(line(first, seconds=time.perf_counter() - began))
        yield first
        before = frozenset((each.entity, each.parameter) for each in stops(clean.grid, contract=clean.contract))
        for kind in kinds:
            began = time.perf_counter()
            grid, planted = plant(clean.grid, kind=kind, seed=seed, parameters=clean.contract.targets if targets else None)
            one, _ = told(grid, clean=clean, seed=seed, planted=planted, champion=champion, before=before)
            say(line(one, seconds=time.perf_counter() - began))
            yield one


HEAD: Final = (
    f"{'planted':24}{'begins in':11}{'accuracy':>9}{'bound':>9}{'last value':>12}  {'gate':8}{'tensors':10}{'raw suite':28}{'s':>4}  where"
)


def line(one: Outcome, *, seconds: float) -> str:
    """One row of the table, and below it the bars that were not passed."""
    raw = ("stops" if one.raw_stopped else "PASSES") if one.kind else ("STOPS" if one.raw_stopped else "passes")
    raw += f": {one.raw_cause}" if one.raw_stopped and one.kind else ""
    row = f"{one.kind or 'nothing':24}{one.begins_in:11}{one.accuracy:>9.2%}{one.accuracy_lower:>9.2%}{one.accuracy_persistence:>12.2%}  "
    row += f"{'pass' if one.gate_passed else 'refuse':8}{'stop' if one.tensors else 'pass':10}{raw:28}{seconds:>4.0f}  {one.where}"
    return "\n".join((row + (" (forecast)" if one.target else ""), *(f"    {reason}" for reason in one.refused_for)))


def figures(outcomes: list[Outcome]) -> dict[str, Any]:  # Any: plain JSON
    """The record."""
    bugs, clean = [one for one in outcomes if one.kind], [one for one in outcomes if not one.kind]
    return {
        "bugs": len(bugs),
        "kinds": len({one.kind for one in bugs}),
        "gate_passed": sum(one.gate_passed for one in bugs),
        "gate_refused": sum(not one.gate_passed for one in bugs),
        "raw_stopped": sum(one.raw_stopped for one in bugs),
        "raw_named": sum(one.raw_named for one in bugs),
        "passed_and_stopped": sum(one.gate_passed and one.raw_stopped for one in bugs),
        "tensors_stopped": sum(bool(one.tensors) for one in bugs),
        "median_accuracy_where_passed": _median([one.accuracy for one in bugs if one.gate_passed]),
        "clean": [asdict(one) for one in clean],
        "by_bug": [asdict(one) for one in bugs],
    }


def _median(values: list[float]) -> float | None:
    return round(float(np.median(values)), 5) if values else None


def main() -> int:
    """0 if the clean fleet passes both, every bug is stopped by the raw suite, and the gate alone would let one through."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--kind", action="append", choices=sorted(KINDS))
    parser.add_argument("--targets", action="store_true", help="plant into forecast parameters only")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr if asked.json else sys.stdout, flush=True)

    say(HEAD)
    outcomes = list(measured(asked.seeds, kinds=asked.kind or list(KINDS), targets=asked.targets, say=say))
    record = figures(outcomes)
    say(
        f"{record['bugs']} bugs of {record['kinds']} kinds: the gate alone lets {record['gate_passed']} through and refuses "
        f"{record['gate_refused']}; the raw suite stops {record['raw_stopped']} and names {record['raw_named']}."
    )
    if asked.json:
        print(json.dumps(record))
    sound = all(one.gate_passed and not one.raw_stopped for one in outcomes if not one.kind)
    return 0 if sound and record["raw_stopped"] == record["bugs"] and record["gate_passed"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
