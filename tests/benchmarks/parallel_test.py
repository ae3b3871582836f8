"""The parallel test: two months of a simulated fleet with incidents of every kind, judged minute after minute beside threshold rules.

    python tests/benchmarks/parallel_test.py [--seeds 5] [--first 0] [--customers 8] [--baselines 1] [--json]

For each seed a fleet of 8 customers in two regions is simulated (`telemetry.fleet`): 60 days are learned, as a retrain does it, the next
60 are judged by its frozen weights, by the production's own way (`flows.parallel_test.try_out`), with thresholds that are set anew every
week (`judgement/weeks.py`). One customer arrives early in the learning
part, three within the test. 27 incidents of nine kinds fall into the test, nine others into the newcomers' first month; what counts as
one was written down before anything was measured, in `telemetry.faults`. No label of the test is known to anything that judges.

Asked for, as the mean over the seeds:

    incidents, found            entities struck while mature, and those of them of which an incident was opened while they were: all
    false_per_customer_week     incidents of mature customers' entities that nothing explains: at most 1
    minutes_to_detect           median over the events, what is missed counting as infinite: at most 5
    promised_rate, realised_rate anomalous minutes per entity, target and week: within 20 % of each other
    newcomer_minutes            the worst arriving entity's first trustworthy minute (see `judgement/newcomers.py`): at most 60
    newcomer_false_per_week     incidents of newcomers that nothing explains, per customer-week: at most 1

Beside it, over the same weeks and held to the same truth: threshold rules (`judgement/rules.py`), and for the first seed the
baselines of `flows.beside` (last value, seasonal naive, robust z, PCA), calibrated in the same way.

How figures are counted is told in `judgement/figures.py`. Seeds below 100 are for this report; settings are chosen on others. The last
line of --json is one record; the exit code is 1 where something asked for is missed.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, 4)))

import polars as pl  # noqa: E402  (the environment is set first)

from flows.beside import baselines  # noqa: E402
from flows.parallel_test import Candidate  # noqa: E402
from telemetry import contract as contracts  # noqa: E402
from telemetry.contract import Contract  # noqa: E402
from tests.benchmarks.judgement import figures, newcomers, rules, weeks  # noqa: E402
from tests.benchmarks.judgement.weeks import Size  # noqa: E402

FALSE_PER_WEEK: Final = 1.0
MINUTES: Final = 5.0
WITHIN: Final = 0.2
NEWCOMER_MINUTES: Final = 60
SPREAD: Final = (
    "incidents", "found", "events", "events_found", "found_share", "false_per_customer_week", "minutes_to_detect", "realised_rate",
    "realised_rate_with_wakes", "newcomer_minutes", "newcomer_minutes_median", "newcomer_false_per_customer_week", "newcomer_recall",
    "rules_found", "rules_false_per_customer_week", "rules_minutes_to_detect",
)  # fmt: skip
Record = dict[str, Any]  # Any: plain JSON
Say = Callable[[str], None]


def of_seed(size: Size, *, seed: int, contract: Contract, folder: Path, say: Say, with_baselines: bool = True) -> Record:
    """The figures of one fleet."""
    began = time.perf_counter()
    told, candidate, parts = made(size, seed=seed, contract=contract, folder=folder)
    judged = weeks.judged(told, candidate=candidate, parts=parts, folder=folder / "judged")
    record: Record = {"seed": seed} | figures.beside(judged.incidents, told=told)
    record |= figures.rates(judged.minutes, promised=contract.thresholds.false_alarms_per_week)
    record["found_share"] = record["found"] / max(record["incidents"], 1)
    record["newcomer_recall"] = record["newcomer_found"] / max(record["newcomer_incidents"], 1)
    fresh = newcomers.looked_at(told, judgement=judged, folder=folder / "newcomers")
    waits = [each.minutes for each in fresh]
    record["newcomer_minutes"] = None if None in waits or not waits else max(wait for wait in waits if wait is not None)
    record["newcomer_minutes_median"] = figures.median(waits)
    record["newcomers"] = [asdict(each) for each in fresh]
    ruled = of_rules(told, folder=folder)
    record |= {
        f"rules_{name}": ruled[name]
        for name in ("found", "false_per_customer_week", "minutes_to_detect", "newcomer_false_per_customer_week")
    }
    record["rules"] = ruled
    record["baselines"] = {}
    if with_baselines:
        record["baselines"] = of_baselines(told, candidate=candidate, parts=parts, folder=folder / "baselines")
    record["seconds"] = round(time.perf_counter() - began, 1)
    for line in lines(record):
        say(line)
    return record


def made(size: Size, *, seed: int, contract: Contract, folder: Path) -> tuple[weeks.Weeks, Candidate, pl.DataFrame]:
    """A fleet, and the model that was learned of it."""
    told = weeks.weeks(size, seed=seed, folder=folder / "fleet", contract=contract)
    candidate, parts = weeks.learned(told, folder=folder / "panel")
    return told, candidate, parts


def of_baselines(told: weeks.Weeks, *, candidate: Candidate, parts: pl.DataFrame, folder: Path) -> Record:
    """The figures of all that stands beside a release."""
    panel = weeks.panel_of(told, candidate=candidate, parts=parts)
    rivals = baselines(panel, scales=candidate.scales, contract=told.contract, into=folder)
    return {rival.name: figures.beside(rival.incidents, told=told) for rival in rivals}


def of_rules(told: weeks.Weeks, *, folder: Path) -> Record:
    """The figures of threshold rules whose numbers are read off the learning part."""
    known = told.telemetry.until(told.size.learned_at)
    path = folder / "rules.yml"
    rules.write(path, grid=known.grid, labels=known.labels, keys=told.contract.entity.keys)
    alerts = rules.told(path, grid=told.telemetry.grid.lazy(), contract=told.contract, since=told.size.learned_at)
    return figures.beside(rules.merged(alerts), told=told) | {"alerts": alerts.height}


def lines(record: Record) -> Iterator[str]:
    """A seed's figures for a person."""
    yield (
        f"seed {record['seed']} ({record['seconds']:.0f} s): found {record['found']} of {record['incidents']} "
        f"({record['events_found']} of {record['events']} events wholly), {_number(record['minutes_to_detect'])} min to detect, "
        f"{record['false_per_customer_week']:.2f} false a customer-week (worst {record['worst_customer_false_per_week']:.2f})"
    )
    kinds = record["by_kind"].items()
    yield "  " + ", ".join(f"{kind} {row['found']}/{row['incidents']} ({_number(row['minutes_to_detect'])} min)" for kind, row in kinds)
    if record["missed"]:
        yield f"  missed: {', '.join(record['missed'])}"
    yield (
        f"  promised {record['promised_rate']:g} a week, realised {record['realised_rate']:.3f} (with the hours after incidents "
        f"{record['realised_rate_with_wakes']:.3f}; by entity {record['realised_least_entity']:.2f} to "
        f"{record['realised_worst_entity']:.2f}; newcomers {_number(record['realised_rate_newcomers'])})"
    )
    fresh = ", ".join(f"{each['entity']} {_number(each['minutes'])}" for each in record["newcomers"])
    yield (
        f"  newcomers: trusted from minute {fresh}; found {record['newcomer_found']} of {record['newcomer_incidents']}, "
        f"{_number(record['newcomer_false_per_customer_week'])} false a customer-week"
    )
    for name, row in {"rules": record["rules"], **record["baselines"]}.items():
        yield (
            f"  {name:10} found {row['found']} of {row['incidents']}, {_number(row['minutes_to_detect'])} min, "
            f"{_number(row['false_per_customer_week'])} false a customer-week; newcomers {row['newcomer_found']} of "
            f"{row['newcomer_incidents']}, {_number(row['newcomer_false_per_customer_week'])}"
        )


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:.4g}"


def summed(records: list[Record]) -> Record:
    """Over the seeds: counts are added up, all else is their mean; `spread` has all of them by mean, deviation, least and largest."""
    spread = {name: figures.spread([record[name] for record in records]) for name in SPREAD}
    told: Record = {name: spread[name]["mean"] for name in SPREAD} | {"promised_rate": records[0]["promised_rate"]}
    told |= {name: sum(record[name] for record in records) for name in ("incidents", "found", "events", "events_found", "rules_found")}
    fresh = [each["minutes"] for record in records for each in record["newcomers"]]
    told["newcomer_minutes"] = None if None in fresh or not fresh else max(fresh)
    told["newcomers_never"] = sum(minutes is None for minutes in fresh)
    for name in ("minutes_to_detect", "rules_minutes_to_detect", "newcomer_minutes_median"):
        told[name] = None if spread[name]["without"] else spread[name]["mean"]
    told["by_kind"] = {
        kind: {
            name: sum(record["by_kind"][kind][name] for record in records if kind in record["by_kind"]) for name in ("incidents", "found")
        }
        for kind in sorted({kind for record in records for kind in record["by_kind"]})
    }
    asked = ("found", "incidents", "false_per_customer_week", "minutes_to_detect", "newcomer_found")
    told["baselines"] = {name: {key: row[key] for key in asked} for name, row in records[0]["baselines"].items()}
    return told | {"spread": spread, "by_seed": records}


def missed(record: Record) -> list[str]:
    """What is asked for and not met, in sentences."""
    off = abs(record["realised_rate"] / record["promised_rate"] - 1)
    asked = {
        f"{record['incidents'] - record['found']} incidents were not found": record["found"] == record["incidents"],
        f"{record['false_per_customer_week']:.2f} false incidents a customer-week": record["false_per_customer_week"] <= FALSE_PER_WEEK,
        f"{_number(record['minutes_to_detect'])} minutes to detect": _at_most(record["minutes_to_detect"], MINUTES),
        f"the promised rate is missed by {100 * off:.0f} %": off <= WITHIN,
        f"a newcomer is trusted from minute {_number(record['newcomer_minutes'])} on": _at_most(
            record["newcomer_minutes"], NEWCOMER_MINUTES
        ),
        f"{_number(record['newcomer_false_per_customer_week'])} false incidents a newcomer-week": _at_most(
            record["newcomer_false_per_customer_week"], FALSE_PER_WEEK
        ),
    }
    return [sentence for sentence, met in asked.items() if not met]


def _at_most(value: float | None, bar: float) -> bool:
    return value is not None and math.isfinite(value) and value <= bar


def main(arguments: list[str] | None = None) -> int:
    """Measure, and say whether what is asked for is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--baselines", type=int, default=1, help="of so many seeds they are judged, too")
    parser.add_argument("--customers", type=int, default=Size().customers)
    parser.add_argument("--leads", help="instead of the contract's, such as 1,15,60")
    parser.add_argument("--write-rules", type=Path, help="only this: the rules of the demo's fleet, at this place")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)

    def say(text: str) -> None:
        print(text, file=sys.stderr if asked.json else sys.stdout, flush=True)

    if asked.write_rules:
        rules.of_demo(asked.write_rules)
        return 0
    began = time.perf_counter()
    records: list[Record] = []
    for seed in range(asked.first, asked.first + asked.seeds):
        with tempfile.TemporaryDirectory(prefix="tidewatch-parallel-") as folder:
            size = replace(Size(), customers=asked.customers)
            how: Record = {"seed": seed, "contract": contract_of(asked.leads), "folder": Path(folder), "say": say}
            records.append(of_seed(size, **how, with_baselines=len(records) < asked.baselines))
    record = summed(records)
    wrong = missed(record)
    say(f"{len(records)} seeds, mean ± deviation:")
    for name, row in record["spread"].items():
        say(f"  {name:34} {_number(row['mean']):>9} ± {_number(row['sd'])}" + (f", never in {row['without']}" if row["without"] else ""))
    record["missed"], record["seconds"] = wrong, round(time.perf_counter() - began, 1)
    say(
        f"{record['seconds']:.0f} s in all. " + (f"Asked for and missed: {'; '.join(wrong)}." if wrong else "All that is asked for is met.")
    )
    if asked.json:
        print(json.dumps(record))
    return 1 if wrong else 0


def contract_of(leads: str | None) -> Contract:
    """The fleet's, maybe with other leads."""
    declared = contracts.load(ROOT / "infra" / "contracts" / "fleet.toml")
    if leads is None:
        return declared
    steps = tuple(int(lead) for lead in leads.split(","))
    return declared.model_copy(update={"leads": declared.leads.model_copy(update={"steps": steps})})


if __name__ == "__main__":
    raise SystemExit(main())
