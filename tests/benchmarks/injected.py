"""How strong a fault must be to be found, and how soon it is: injected into copies of a simulated fleet and of real telemetry.

    python tests/benchmarks/injected.py [--json] [--sets fleet,smd,jumpstarter] [--data FOLDER] [--seeds 5] [--first 0] [--each 12]
        [--days 60]

Each set is learned once, by its contract; then faults of every class and strength (`telemetry/injection.py`) are put into copies of its
parallel test, anew with every seed, and judged by the path of every minute. Recall by class and strength is pooled over the seeds, with
Wilson's interval; the figures of the whole are told by seed too. Of the fleet, customers that arrive while it is judged, or shortly before,
stand beside mature ones: their recall is to be at least 0.8 of the others'. What the control `nothing` finds is luck. The fleet is
simulated with the first seed. Seeds below 100 are for this report; settings are chosen on others.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import polars as pl

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from flows.injected import Outcome, meet, recall, site  # noqa: E402  (the checkout is put on the path first)
from flows.parallel_test import try_out  # noqa: E402
from telemetry import contract as contracts  # noqa: E402
from telemetry.injection import NOTHING, STRENGTH  # noqa: E402
from telemetry.schema import END, ENTITY, KIND, START  # noqa: E402
from tests.benchmarks.learner import telemetries, worlds  # noqa: E402
from tests.benchmarks.learner.telemetries import Telemetry  # noqa: E402
from validation.injected import (  # noqa: E402
    FAULTS,
    FOUND,
    LEAST,
    MATURE,
    MINUTES_TO_DETECT,
    MOST,
    NEWCOMERS,
    RECALL,
    WHO,
    grade,
    matters,
    reached,
)

SETS: Final = ("fleet", "smd", "jumpstarter")
ARRIVALS: Final = (-8.0, 1.0, 3.5, 6.0, 9.0)
"""Days after the parallel test's begin on which the fleet's new customers arrive."""
RATIO: Final = 0.8
"""The least recall of newcomers, as a share of that of mature customers."""


def telemetry_of(name: str, *, data: Path, days: int, seed: int, folder: Path) -> Telemetry:
    """A set, ingested; the seed is the simulated one's."""
    if name == "fleet":
        late = tuple(0.8 * days + day for day in ARRIVALS)
        return telemetries.of_fleet(worlds.arriving(customers=12 + len(late), days=days, arrival_days=late, seed=seed), folder=folder)
    contract = contracts.load(telemetries.CONTRACTS / f"{name}.toml")
    return telemetries.of_source(data / name, contract=contract, folder=folder)


def outcomes(telemetry: Telemetry, *, seeds: range, each: int, folder: Path) -> list[Outcome]:
    """What one model makes of the faults of every seed."""
    contract = telemetry.contract
    believed, _ = telemetries.checked(telemetry, folder=folder / "checks")
    made = telemetries.prepared(believed, folder=folder / "panel")
    candidate, _ = telemetries.learned(made.panel, contract=contract, scales=made.scales, training=telemetries.training_of(contract))
    plain = try_out(candidate, panel=made.panel, contract=contract, into=folder / "plain")
    candidate = replace(candidate, views=plain.views)
    avoid, told = plain.incidents.select(ENTITY, START, END), []
    for seed in seeds:
        at = site(made.panel, scales=made.scales, contract=contract, avoid=avoid, seed=seed, each=each)
        found = meet(
            candidate, at=at, panel=at.panel, thresholds=plain.thresholds, contract=contract, labels=telemetry.labels, into=folder / "copy"
        )
        told.append(found)
        shares = ", ".join(f"{who} {recall(found.met, who=who)}" for who in (MATURE, NEWCOMERS))
        print(f"{contract.name}, seed {seed}: recall of {shares}", file=sys.stderr, flush=True)
    return told


def record(told: list[Outcome]) -> dict[str, Any]:  # Any: plain JSON
    """The figures of a set."""
    every = pl.concat([outcome.met for outcome in told])
    graded = grade(every)
    mature, new = ([recall(outcome.met, who=who) for outcome in told] for who in (MATURE, NEWCOMERS))
    weeks, false = sum(outcome.weeks for outcome in told), sum(outcome.false for outcome in told)
    late = every.filter(FOUND, matters()).group_by(WHO).agg(pl.col(MINUTES_TO_DETECT).median()).sort(WHO)
    return {
        "faults": every.filter(pl.col(KIND) != NOTHING).height,
        "recall": _spread(mature),
        "newcomer_recall": _spread(new),
        "newcomer_share": _spread([n / m if n is not None and m else None for n, m in zip(new, mature, strict=True)]),
        "minutes_to_detect": dict(late.iter_rows()),
        "false_per_entity_week": false / weeks,
        "wakes": sum(outcome.wakes for outcome in told),
        "entity_weeks": weeks,
        "found_from": reached(graded).to_dicts(),
        "by_strength": graded.to_dicts(),
    }


def _spread(values: list[float | None]) -> dict[str, Any] | None:  # Any: plain JSON
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"mean": statistics.fmean(known), "spread": statistics.stdev(known) if len(known) > 1 else 0.0, "seeds": known}


def table(name: str, told: dict[str, Any]) -> str:  # Any: plain JSON
    """For a person."""
    lines = [
        f"\n{name}: {told['faults']} faults; false incidents per entity-week {told['false_per_entity_week']:.3f}, wakes {told['wakes']}"
    ]
    for row in told["by_strength"]:
        minutes = "" if row[MINUTES_TO_DETECT] is None else f"{row[MINUTES_TO_DETECT]:6.1f} min"
        lines.append(
            f"  {row[WHO]:10}{row[KIND]:12}{row[STRENGTH]:6g}  {row[FOUND]:4}/{row[FAULTS]:<4} {row[RECALL]:.3f} "
            f"[{row[LEAST]:.3f}, {row[MOST]:.3f}] {minutes}"
        )
    keys = [key for key in ("recall", "newcomer_recall", "newcomer_share") if told[key]]
    lines += [f"  {key:18}{told[key]['mean']:.3f} +- {told[key]['spread']:.3f}" for key in keys]
    return "\n".join([*lines, f"  found from         {told['found_from']}", f"  minutes to detect  {told['minutes_to_detect']}"])


def main() -> int:
    """Print what is found; 1 where newcomers' faults are found less often than is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TIDEWATCH_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--each", type=int, default=12, help="faults of a class and strength on mature entities, for every seed")
    parser.add_argument("--days", type=int, default=60, help="of the simulated fleet")
    asked = parser.parse_args()
    told: dict[str, Any] = {}
    for name in asked.sets.split(","):
        if name != "fleet" and not (asked.data / name).is_dir():
            print(f"There is no {name} at {asked.data}.", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory(prefix="tidewatch-injected-") as folder:
            telemetry = telemetry_of(name, data=asked.data, days=asked.days, seed=asked.first, folder=Path(folder))
            told[name] = record(
                outcomes(telemetry, seeds=range(asked.first, asked.first + asked.seeds), each=asked.each, folder=Path(folder))
            )
        if not asked.json:
            print(table(name, told[name]), flush=True)
    share = (told.get("fleet", {}).get("newcomer_share") or {}).get("mean")
    if asked.json:
        print(json.dumps({"sets": told, "newcomer_share": share, "asked": RATIO, "seeds": asked.seeds, "first": asked.first}, default=str))
    return int(share is not None and share < RATIO)


if __name__ == "__main__":
    sys.exit(main())
