"""What thresholds promise, and what becomes of it on weeks that nobody has learned from: false alarms, and a budget of incidents.

    python tests/benchmarks/promise.py [--seeds 5] [--first 0] [--days 60] [--sets fleet smd] [--data FOLDER] [--json]

For each seed a fleet is simulated and learned as the demo does it, and its last fifth judged by `flows.parallel_test.try_out`; then public
sets by their contracts, on what their publishers have others judge (see `tests.benchmarks.judgement.sets`). No label of what is judged is
known to anything that judges, but for "tracked_labelled", and nothing is calibrated anew. Judged are minutes that no label names:

    promised_rate        anomalous minutes per entity, target and week (all targets, and all of them together), as the contract has it
    realised_rate        those that there were; within the hour after an incident apart
    with_wakes           the same with that hour
    ratio                realised_rate / promised_rate, over all entities together; for each seed, and least and greatest of the seeds
    entities             the same of the tenth of the entities that has least, of the middle one, and of the tenth that has most
    minutes              anomalous ones that the figure rests on

"in_force" is what the product tells by the contract as it is. Beside it by method (see `serving.thresholds`), and with thresholds that are
tracked (`serving.tracking`) by the contract's step, or STEP: "tracked" by what came before alone, "tracked_labelled" where operators label
incidents as they come. The forecasts are the same for all of these: fed under the contract's method, not tracked.

A budget is an operator's number of incidents; promised and realised by those it was solved on (all who are no newcomers, see
`serving.budget`), and the number of incidents that the latter rests on. Of n incidents the realised number is known to 1 / sqrt(n) at
best: 20 of them say 20 %.

Exits with 1 where what is in force is more than 20 % off the promise.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, 4)))

import polars as pl  # noqa: E402  (the environment is set first)

from flows.parallel_test import forecasts_of, try_out  # noqa: E402
from serving import budget as budgets  # noqa: E402
from serving.forecasts import tell_each  # noqa: E402
from serving.surprise import Z  # noqa: E402
from serving.thresholds import LEAST_THRESHOLD, SECONDS_PER_WEEK, Calibrated, calibrated, promised_rate  # noqa: E402
from serving.tracking import tracked  # noqa: E402
from telemetry import contract as contracts  # noqa: E402
from telemetry import windows  # noqa: E402
from telemetry.fleet import FleetConfig  # noqa: E402
from telemetry.panel import Part  # noqa: E402
from telemetry.schema import AT, COUNT, END, ENTITY, FIRST_SEEN, LABEL, STANDSTILL, START, SURPRISE, TARGET, THRESHOLD  # noqa: E402
from telemetry.sections import Budget, Thresholds  # noqa: E402
from tests.benchmarks.judgement import sets  # noqa: E402
from tests.benchmarks.learner import telemetries  # noqa: E402
from tests.benchmarks.learner.telemetries import Telemetry  # noqa: E402

METHODS: Final = ("conformal", "tail", "sigma", "mean_sd")
STEP: Final = 0.1
IN_FORCE: Final = "in_force"
TRACKED: Final = "tracked"
BUDGETS: Final = (
    Budget(incidents=1.0),
    Budget(incidents=3.0),
    Budget(incidents=2.0, per="shift"),
)
WAKE: Final = "wake"
WITHIN: Final = 0.2
Record = dict[str, Any]  # Any: plain JSON


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """What was told of the judged part, and what each way of calibration says of it.

    Attributes:
        files: with `entity, at, target, label, wake, z`, one entity each.
        in_force: with `entity, label, wake, surprise`, as the contract has it told, one entity each.
        ways: by name, the policy and what it made of the calibrate part.
        cadence_seconds: length of a step.
        mature: entities whose figures are told: those that were learned from.
    """

    files: tuple[Path, ...]
    in_force: tuple[Path, ...]
    ways: dict[str, tuple[Thresholds, Calibrated]]
    cadence_seconds: int
    mature: frozenset[str]


def judged(telemetry: Telemetry, *, folder: Path, seed: int, parts: pl.DataFrame | None = None) -> Judged:
    """Learned, tried out on the test part, and calibrated in every way."""
    contract = telemetry.contract
    cut = windows.cuts(telemetry.grid.lazy(), contract=contract) if parts is None else parts
    begin = cut.select(ENTITY, "test_start")
    known = telemetry.labels.join(begin, on=ENTITY).filter(pl.col(START) < pl.col("test_start")).drop("test_start")
    made = telemetries.prepared(replace(telemetry, labels=known), folder=folder / "panel", parts=cut)
    training = telemetries.training_of(contract, seed=seed)
    candidate, _ = telemetries.learned(made.panel, contract=contract, scales=made.scales, training=training)
    told = try_out(candidate, panel=made.panel, contract=contract, into=folder / "told")
    plain = contract.model_copy(update={"thresholds": contract.thresholds.model_copy(update={"track": 0.0})})
    seen = try_out(candidate, panel=made.panel, contract=plain, into=folder / "seen") if contract.thresholds.track else told
    scaled = forecasts_of(candidate, panel=made.panel)
    calm = replace(made.panel, incident=made.panel.hidden)
    ways = {}
    for name, policy in policies(contract.thresholds):
        quiet = tell_each(
            calm, scaled, leads=candidate.network.leads, scales=candidate.scales, start=0, part=Part.CALIBRATE, views=seen.views
        )
        ways[name] = (policy, calibrated(quiet, policy=policy, cadence_seconds=contract.time.cadence_seconds))
    arrived = (
        telemetry.entities.filter(pl.col(FIRST_SEEN) > pl.col(FIRST_SEEN).min()) if contract.newcomer.days else telemetry.entities.clear()
    )
    mature = frozenset(telemetry.entities[ENTITY].to_list()) - frozenset(arrived[ENTITY].to_list())
    plain_scores = "seen" if contract.thresholds.track else "told"
    return Judged(
        files=tuple(_written(folder / plain_scores, into=folder / "z", bars=_bars(seen.thresholds), labels=telemetry.labels)),
        in_force=tuple(_written(folder / "told", into=folder / IN_FORCE, bars=None, labels=telemetry.labels)),
        ways=ways,
        cadence_seconds=contract.time.cadence_seconds,
        mature=mature,
    )


def policies(policy: Thresholds) -> Iterator[tuple[str, Thresholds]]:
    """Every way of calibration by its name."""
    plain = policy.model_copy(update={"track": 0.0})
    for method in METHODS:
        yield method, plain.model_copy(update={"method": method})
    yield TRACKED, policy.model_copy(update={"method": "conformal", "track": policy.track or STEP})
    for budget in BUDGETS:
        yield f"{budget.incidents:g} per {budget.per}", plain.model_copy(update={"budget": budget})


def _bars(thresholds: pl.DataFrame) -> pl.DataFrame:
    return thresholds.group_by(ENTITY, TARGET).agg(pl.col(THRESHOLD).first(), pl.col(COUNT).first())


def _written(seen: Path, *, into: Path, bars: pl.DataFrame | None, labels: pl.DataFrame) -> Iterator[Path]:
    """The scores of each entity beside the truth: their surprise, or z where the bars are known that it is told by."""
    into.mkdir()
    for file in sorted((seen / "scores").glob("*.parquet")):
        scores = pl.read_parquet(file, columns=[ENTITY, AT, TARGET, SURPRISE]).filter(pl.col(SURPRISE).is_not_null())
        periods = labels.join(scores.select(ENTITY).unique(), on=ENTITY).select(pl.col(START).alias(AT), pl.col(END).alias("ended"))
        told = scores.filter(pl.col(TARGET) != STANDSTILL).sort(AT).join_asof(periods.sort(AT), on=AT)
        inside = (pl.col(AT) < pl.col("ended")).fill_null(value=False)
        wake = (pl.col(AT) < pl.col("ended") + pl.duration(hours=1)).fill_null(value=False) & ~inside
        marked = told.select(ENTITY, AT, TARGET, SURPRISE, inside.alias(LABEL), wake.alias(WAKE))
        if bars is not None:
            beside = marked.join(bars, on=[ENTITY, TARGET])
            marked = beside.select(ENTITY, AT, TARGET, LABEL, WAKE, (pl.col(SURPRISE) * pl.col(THRESHOLD)).alias(Z))
        marked.write_parquet(into / file.name)
        yield into / file.name


def alarms(told: Judged) -> pl.DataFrame:
    """`way, entity`, unlabelled `minutes` and anomalous ones, with and without wakes."""
    rows = []
    for file, as_told in zip(told.files, told.in_force, strict=True):
        z = pl.read_parquet(file)
        if z.item(0, ENTITY) not in told.mature:
            continue
        surprises = pl.read_parquet(as_told)
        rows.append(_counted(surprises.rename({SURPRISE: Z}).with_columns(pl.lit(1.0).alias(THRESHOLD)), way=IN_FORCE))
        for name, (policy, made) in told.ways.items():
            if policy.budget is None:
                judged_by = z.join(_bars(made.thresholds), on=[ENTITY, TARGET]).filter(pl.col(COUNT) > 0)
                ways = _tracked(judged_by, policy=policy, cadence_seconds=told.cadence_seconds) if policy.track else ((name, judged_by),)
                rows += [_counted(each, way=way) for way, each in ways]
    return pl.concat(rows)


def _tracked(z: pl.DataFrame, *, policy: Thresholds, cadence_seconds: int) -> Iterator[tuple[str, pl.DataFrame]]:
    rate = promised_rate(policy, cadence_seconds=cadence_seconds)
    blind = z.with_columns(pl.lit(value=False).alias(LABEL))
    yield TRACKED, tracked(blind, rate=rate, step=policy.track, least=LEAST_THRESHOLD).with_columns(z[LABEL])
    yield f"{TRACKED}_labelled", tracked(z, rate=rate, step=policy.track, least=LEAST_THRESHOLD)


def _counted(z: pl.DataFrame, *, way: str) -> pl.DataFrame:
    quiet = ~pl.col(LABEL)
    above = quiet & (pl.col(Z) > pl.col(THRESHOLD))
    apart = ~pl.col(WAKE)
    return z.group_by(ENTITY).agg(
        pl.lit(way).alias("way"),
        (quiet & apart).sum().cast(pl.Int64).alias("minutes"),
        (above & apart).sum().cast(pl.Int64).alias("anomalous"),
        quiet.sum().cast(pl.Int64).alias("minutes_with_wakes"),
        above.sum().cast(pl.Int64).alias("anomalous_with_wakes"),
    )


def promises(told: Judged) -> dict[str, Record]:
    """By way: promised and realised."""
    per_week = SECONDS_PER_WEEK / told.cadence_seconds
    found = {}
    for (way,), own in alarms(told).partition_by("way", as_dict=True, maintain_order=True).items():
        policy = told.ways.get(str(way), told.ways["conformal"])[0]
        promised = policy.false_alarms_per_week
        each = own.select(pl.col("anomalous") * per_week / pl.col("minutes") / promised).to_series()
        total = own.select(pl.exclude(ENTITY, "way").sum()).row(0, named=True)
        realised = total["anomalous"] * per_week / total["minutes"]
        found[str(way)] = {
            "promised_rate": promised,
            "realised_rate": realised,
            "ratio": realised / promised,
            "ratio_with_wakes": total["anomalous_with_wakes"] * per_week / total["minutes_with_wakes"] / promised,
            "entities": [each.quantile(share) for share in (0.1, 0.5, 0.9)],
            "minutes": total["anomalous"],
        }
    return found


def spent(told: Judged) -> dict[str, Record]:
    """By budget: promised and realised incidents of those it was solved on, silences and those that touch a label (or its wake) apart."""
    found = {}
    for name, (policy, made) in told.ways.items():
        if policy.budget is None or made.spent is None:
            continue
        bars, opened, steps = _bars(made.thresholds), 0, []
        for file in told.files:
            z = pl.read_parquet(file)
            if z.item(0, ENTITY) not in made.spent.entities:
                continue
            quiet = z.filter(~pl.col(LABEL), ~pl.col(WAKE)).join(bars, on=[ENTITY, TARGET])
            surprises = quiet.select(ENTITY, AT, TARGET, (pl.col(Z) / pl.col(THRESHOLD)).alias(SURPRISE))
            opened += budgets.count(surprises, policy=policy, cadence_seconds=told.cadence_seconds)
            steps.append(quiet.group_by(ENTITY, TARGET).agg(pl.len().cast(pl.Int64).alias(COUNT)))
        units = budgets.watched(pl.concat(steps), per=policy.budget.per, cadence_seconds=told.cadence_seconds)
        found[name] = {
            "per": policy.budget.per,
            "promised": policy.budget.incidents,
            "realised": opened / units,
            "ratio": opened / units / policy.budget.incidents,
            "incidents": opened,
            "units": units,
            "calibrated": made.spent.realised,
            "factor": made.spent.factor,
            "rests_on": made.spent.rests_on,
            "extrapolated": made.spent.extrapolated,
        }
    return found


def together(records: list[dict[str, Record]]) -> dict[str, Record]:
    """The mean of every number over the seeds, with the ratio of each."""
    found: dict[str, Record] = {}
    for name in records[0] if records else ():
        own = [each[name] for each in records if name in each]
        numbers = {key for key, value in own[0].items() if isinstance(value, int | float) and not isinstance(value, bool)}
        summed = {"minutes", "incidents", "units", "rests_on"} & numbers
        found[name] = {key: sum(each[key] for each in own) / (1 if key in summed else len(own)) for key in sorted(numbers)}
        found[name]["by_seed"] = [each["ratio"] for each in own]
        found[name] |= {key: [sum(each[key][i] for each in own) / len(own) for i in range(3)] for key in ("entities",) if key in own[0]}
    return found


def table(name: str, told: dict[str, Record]) -> str:
    """For a person."""
    lines = [name]
    for way, each in told.items():
        promised, realised = each.get("promised_rate", each.get("promised")), each.get("realised_rate", each.get("realised"))
        spread = f"{min(each['by_seed']):.2f} to {max(each['by_seed']):.2f}"
        lines.append(
            f"  {way:22} promised {promised:6.2f}  realised {realised:8.2f}  ratio {each['ratio']:6.2f}  ({spread})"
            + (f"  with wakes {each['ratio_with_wakes']:6.2f}" if "ratio_with_wakes" in each else "")
            + f"  rests on {each.get('minutes', each.get('incidents')):.0f}"
        )
    return "\n".join(lines)


def public(chosen: sets.PublicSet, *, data: Path, folder: Path) -> tuple[Telemetry, pl.DataFrame]:
    """A set as it is read, and its parts of time."""
    contract, source = contracts.load(chosen.contract), data / chosen.folder
    read = source
    if chosen.rewrite is not None:
        read = folder / "rewritten"
        read.mkdir()
        chosen.rewrite(source, read)
    telemetry = telemetries.of_source(read, contract=contract, folder=folder)
    return telemetry, sets.parts(telemetry.grid, public=chosen, source=source, contract=contract)


def main() -> int:
    """Print what was promised and what became of it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one line of JSON")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--first", type=int, default=0)
    arguments.add_argument("--days", type=int, default=60)
    known = {each.name: each for each in sets.SETS}
    arguments.add_argument("--sets", nargs="+", default=["fleet", "smd"], choices=["fleet", *known], metavar="SET")
    arguments.add_argument("--data", type=Path, default=Path(os.environ.get("TIDEWATCH_DATA", ROOT.parent / "shared" / "data")))
    asked = arguments.parse_args()
    records: Record = {}
    for name in asked.sets:
        if name != "fleet" and not (asked.data / known[name].folder).is_dir():
            print(f"{name}: no data in {asked.data}, left out", file=sys.stderr)
            continue
        kept, bought, began = [], [], time.perf_counter()
        for seed in range(asked.first, asked.first + asked.seeds):
            with tempfile.TemporaryDirectory(prefix="tidewatch-promise-") as place:
                folder = Path(place)
                if name == "fleet":
                    telemetry, parts = telemetries.of_fleet(FleetConfig(seed=seed, days=asked.days), folder=folder), None
                else:
                    telemetry, parts = public(known[name], data=asked.data, folder=folder)
                told = judged(telemetry, folder=folder, seed=seed, parts=parts)
                kept.append(promises(told))
                bought.append(spent(told))
            print(
                table(f"{name}, seed {seed}, {time.perf_counter() - began:.0f} s", together(kept[-1:]) | together(bought[-1:])),
                file=sys.stderr,
            )
        records[name] = {"promise": together(kept), "budget": together(bought)}
        print(table(name, records[name]["promise"] | records[name]["budget"]), file=sys.stderr if asked.json else sys.stdout, flush=True)
    if asked.json:
        print(json.dumps(records))
    checked = [each["promise"][IN_FORCE]["ratio"] for each in records.values()]
    return 0 if all(abs(ratio - 1) <= WITHIN for ratio in checked) else 1


if __name__ == "__main__":
    sys.exit(main())
