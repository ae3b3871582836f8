"""A six-hour outage, again and again: is it flagged as it was the first time, after retrains whose telemetry holds it unlabelled?

    python tests/benchmarks/outage_again.py [--json] [--seeds 0,1,2,3,4] [--arms on,off,never] [--customers 8] [--epochs 4]

A simulated fleet is learned for four weeks. On the next day one customer has an outage of six hours (volumes fall to 30 %, queries take
half as long again), nobody labels it, and a week later the network is learned anew; so three times more. Of every outage the score is the
mean, over its minutes and regions, of the greatest surprise of any target; beside it the peak and the share of minutes flagged.

The parts are cut so that it is hard: each retrain calibrates on the latest outage, and learns from those before.

    on    what the release in force told as an incident is masked, and its network reads its own forecasts meanwhile
    off   neither
    never as on, learned from the same fleet without any outage: what a retrain does to the score anyway, as its thresholds are learned anew
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from flows.parallel_test import Candidate, Seen, fed, forecasts_of, try_out  # noqa: E402
from flows.unconfirmed import believed, bounded  # noqa: E402
from serving.forecasts import tell  # noqa: E402
from serving.incidents import open_incidents  # noqa: E402
from serving.scorer import score  # noqa: E402
from serving.stretches import context  # noqa: E402
from telemetry import scaling, windows  # noqa: E402
from telemetry.contract import Contract  # noqa: E402
from telemetry.fleet import FleetConfig, simulate  # noqa: E402
from telemetry.maintenance import PERIODS  # noqa: E402
from telemetry.schema import AT, ENTITY, INCIDENTS, JOINT, SURPRISE, TARGET  # noqa: E402
from tests.benchmarks.learner import telemetries  # noqa: E402
from tests.benchmarks.learner.telemetries import Telemetry  # noqa: E402

DAY: Final = timedelta(days=1)
LEARNED: Final = 28
WEEKS: Final = 4
BEGINS: Final = timedelta(hours=8)
LASTS: Final = timedelta(hours=6)
CUSTOMER: Final = "acme"
VOLUMES: Final = ("reporting_devices", "queries", "positions")
FALL: Final = 0.3
SLOWER: Final = 1.5
WANTED: Final = 0.95
ARMS: Final = ("on", "off", "never")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What became of one outage, and of everybody else in its week."""

    mean: float
    single: float
    """The same without the joint surprise, of single targets alone."""
    peak: float
    flagged: float
    incidents: int
    false_incidents: int
    hidden: int
    by_first: float
    """The mean by the release that has never seen one, over the same minutes: what differs between outages is no matter of retrains."""


def outages(start: datetime) -> list[tuple[datetime, datetime]]:
    """When each begins and ends."""
    begins = [start + (LEARNED + 7 * week) * DAY + BEGINS for week in range(WEEKS)]
    return [(begin, begin + LASTS) for begin in begins]


def telemetry_of(*, seed: int, customers: int, folder: Path, struck: bool = True) -> Telemetry:
    """The fleet, ingested, with its outages or without."""
    made = simulate(FleetConfig(customers=customers, days=LEARNED + 7 * WEEKS, seed=seed, arriving=0, incidents=0, early_incidents=0))
    hit = pl.any_horizontal(pl.col("time").is_between(*each, closed="left") for each in outages(made.config.start))
    hit = hit & (pl.col("customer") == CUSTOMER) & pl.lit(struck)

    def told(name: str, factor: float) -> pl.Expr:
        return pl.when(hit).then((pl.col(name) * factor).round(2)).otherwise(name).alias(name)

    readings = made.readings.with_columns(*(told(name, FALL) for name in VOLUMES), told("query_time", SLOWER))
    readings = readings.with_columns(pl.col(VOLUMES).round(0))
    return telemetries.of_simulated(replace(made, readings=readings), folder=folder)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """A release: a network, what it is judged by, and how much it was not shown."""

    candidate: Candidate
    seen: Seen
    hidden: int


def learn(told: Telemetry, *, contract: Contract, incidents: pl.DataFrame, epochs: int, folder: Path) -> Learned:
    """Learn what was told so far, without the incidents (INCIDENTS) that releases raised."""
    grid = told.grid.lazy()
    parts = windows.cuts(grid, contract=contract)
    scales = scaling.fit(grid, contract=contract, entities=told.entities, cuts=parts)
    hidden = bounded(incidents.filter(believed()).select(list(PERIODS)), parts=parts, contract=contract)
    panel = windows.panel(
        grid, contract=contract, scales=scales, entities=told.entities, labels=told.labels, parts=parts, unconfirmed=hidden
    )
    training = telemetries.training_of(contract, epochs=epochs)
    candidate, _ = telemetries.learned(panel, contract=contract, scales=scales, training=training)
    seen = try_out(candidate, panel=panel, contract=contract, into=folder)
    return Learned(candidate=candidate, seen=seen, hidden=int(panel.unconfirmed.sum()))


def live(learned: Learned, told: Telemetry, *, since: datetime, until: datetime, contract: Contract) -> tuple[pl.DataFrame, pl.DataFrame]:
    """SCORES and INCIDENTS of a week, scored as it comes."""
    grid = told.grid.filter(pl.col(AT) >= since - context(contract), pl.col(AT) < until).lazy()
    candidate, seen = learned.candidate, learned.seen
    panel = windows.panel(grid, contract=contract, scales=candidate.scales, entities=told.entities, labels=told.labels, parts=None)
    plain = forecasts_of(candidate, panel=panel)
    made = fed(candidate, plain, panel=panel, thresholds=seen.thresholds, contract=contract, views=seen.views)
    ahead = int(np.searchsorted(np.arange(panel.steps) * panel.cadence_seconds * 1_000_000 + panel.start_us, since.timestamp() * 1e6))
    leads = candidate.network.leads
    rows = tell(panel, made[:, ahead:], leads=leads, scales=candidate.scales, start=ahead, views=seen.views)
    scores = score(rows, thresholds=seen.thresholds, release="live", parameters=contract.parameters).scores
    policy, seconds = contract.thresholds, contract.time.cadence_seconds
    return scores, open_incidents(scores, policy=policy, cadence_seconds=seconds, until=until)


def minutes_of(scores: pl.DataFrame, *, outage: tuple[datetime, datetime]) -> pl.DataFrame:
    """`entity, at, surprise`: the greatest of any target, in the minutes of the outage."""
    start, end = outage
    hit = scores.filter(pl.col(ENTITY).str.starts_with(f"{CUSTOMER}/"), pl.col(AT) >= start, pl.col(AT) < end)
    return hit.group_by(ENTITY, AT).agg(pl.col(SURPRISE).max())


def of_outage(scores: pl.DataFrame, incidents: pl.DataFrame, *, outage: tuple[datetime, datetime], hidden: int, by_first: float) -> Scored:
    """The outage's score; incidents that do not overlap it are false."""
    start, end = outage
    customer = pl.col(ENTITY).str.starts_with(f"{CUSTOMER}/")
    minutes = minutes_of(scores, outage=outage)
    mine = incidents.filter(customer, pl.col("start") < end, pl.col("end") > start)
    return Scored(
        mean=float(minutes.select(pl.col(SURPRISE).mean()).item()),
        single=float(minutes_of(scores.filter(pl.col(TARGET) != JOINT), outage=outage).select(pl.col(SURPRISE).mean()).item()),
        peak=float(minutes.select(pl.col(SURPRISE).max()).item()),
        flagged=float(minutes.select((pl.col(SURPRISE) > 1).mean()).item()),
        incidents=mine.height,
        false_incidents=incidents.height - mine.height,
        hidden=hidden,
        by_first=by_first,
    )


def of_arm(
    told: Telemetry, first: Learned, *, source: Telemetry, contract: Contract, masked: bool, epochs: int, folder: Path
) -> list[Scored]:
    """Every outage's score, with a retrain before each but the first; what is learned comes from `source`."""
    start = told.grid[AT].min()
    assert isinstance(start, datetime)
    found, raised, learned = list[Scored](), [pl.DataFrame(schema=INCIDENTS)], first
    for week, outage in enumerate(outages(start)):
        since = start + (LEARNED + 7 * week) * DAY
        if week:
            known = pl.concat(raised if masked else raised[:1])
            learned = learn(source.until(since), contract=contract, incidents=known, epochs=epochs, folder=folder / f"week{week}")
        until = since + 7 * DAY
        scores, incidents = live(learned, told, since=since, until=until, contract=contract)
        raised.append(incidents)
        others = scores if learned is first else live(first, told, since=since, until=until, contract=contract)[0]
        by_first = float(minutes_of(others, outage=outage).select(pl.col(SURPRISE).mean()).item())
        found.append(of_outage(scores, incidents, outage=outage, hidden=learned.hidden, by_first=by_first))
        print(f"{'masked' if masked else 'plain'} {week + 1}: {found[-1]}", file=sys.stderr, flush=True)
    return found


def measure(*, seed: int, customers: int, epochs: int, arms: tuple[str, ...], folder: Path) -> dict[str, Any]:  # Any: plain JSON
    """The arms on one fleet; they share the first release."""
    began = time.perf_counter()
    told = telemetry_of(seed=seed, customers=customers, folder=folder)
    split = told.contract.split.model_copy(update={"test_share": 0.1, "calibrate_share": 0.1})
    contract = told.contract.model_copy(update={"split": split})
    plain = contract.model_copy(update={"thresholds": contract.thresholds.model_copy(update={"feed_forecasts": False})})
    start = told.grid[AT].min()
    assert isinstance(start, datetime)
    clean = telemetry_of(seed=seed, customers=customers, folder=folder / "clean", struck=False) if "never" in arms else told
    nobody = pl.DataFrame(schema=INCIDENTS)
    first = learn(told.until(start + LEARNED * DAY), contract=contract, incidents=nobody, epochs=epochs, folder=folder / "first")
    both = {
        arm: of_arm(
            told,
            first,
            source=clean if arm == "never" else told,
            contract=plain if arm == "off" else contract,
            masked=arm == "on",
            epochs=epochs,
            folder=folder / arm,
        )
        for arm in arms
    }
    facts: dict[str, Any] = {"seed": seed, "seconds": round(time.perf_counter() - began)}
    for arm, found in both.items():
        facts[arm] = [
            {
                "mean": round(each.mean, 3),
                "peak": round(each.peak, 3),
                "flagged": round(each.flagged, 4),
                "relative": round(each.mean / found[0].mean, 4),
                "by_first_release": round(each.by_first, 3),
                "relative_to_first_release": round(each.mean / each.by_first, 4),
                "of_single_targets": round(each.single, 3),
                "relative_of_single_targets": round(each.single / found[0].single, 4),
                "relative_flagged": round(each.flagged / found[0].flagged, 4) if found[0].flagged else None,
                "incidents": each.incidents,
                "false_incidents": each.false_incidents,
                "hidden_minutes": each.hidden,
            }
            for each in found
        ]
    return facts


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", default="0", help="each is a fleet of its own")
    parser.add_argument("--customers", type=int, default=8, help="of two alone thresholds differ by a fifth from retrain to retrain")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--arms", default="on,off", help="of on (always measured), off and never")
    told = parser.parse_args(arguments)
    arms = tuple(arm for arm in ARMS if arm == "on" or arm in told.arms.split(","))
    runs = []
    for seed in (int(text) for text in told.seeds.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(seed=seed, customers=told.customers, epochs=told.epochs, arms=arms, folder=Path(folder)))
    last = {arm: [run[arm][-1]["relative"] for run in runs] for arm in arms}
    facts = {
        "wanted": WANTED,
        "relative_after_3_retrains": min(last["on"]),
        "relative_after_3_retrains_off": max(last["off"]) if "off" in last else None,
        "least_relative": min(each["relative"] for run in runs for each in run["on"][1:]),
        "spread": [min(last["on"]), max(last["on"])],
        "runs": runs,
    }
    if told.json:
        print(json.dumps(facts))
        return 0
    for run in runs:
        print(f"seed {run['seed']}, {run['seconds']} s")
        for arm in arms:
            print(f"  {arm:4} outage  mean    peak  flagged  relative  by first  incidents  false  hidden")
            for number, each in enumerate(run[arm]):
                print(
                    f"       {number + 1:6} {each['mean']:6.2f} {each['peak']:7.2f} {each['flagged']:8.1%} {each['relative']:9.1%} "
                    f"{each['relative_to_first_release']:9.1%} "
                    f"{each['incidents']:10} {each['false_incidents']:6} {each['hidden_minutes']:7}"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
