"""An operator's budget of incidents, and how many were opened: two months of a fleet, with thresholds that are set anew as they are live.

    python tests/benchmarks/budget.py [--seeds 5] [--first 0] [--customers 8] [--budgets 1/customer_week 3/customer_week 2/shift] [--json]

For each seed the fleet of `parallel_test.py` is simulated and its model learned; then its two months are judged once for each budget, by
the contract with that budget and nothing else (`judgement/weeks.py`). Realised are incidents of mature customers that nothing explains,
as `parallel_test.py` counts false ones, silences and standstills apart, which no threshold opens:

    promised        of the budget, a customer-week or a shift
    realised        the same as it was, of `incidents` in `units` customer-weeks or shifts
    ratio           realised / promised, as the mean over the seeds; `by_seed` has each
    found           of `labelled` incidents, by these thresholds
    by_week         incidents of every week of the test, for each seed: what comes in one week is not spread evenly

Of n incidents the realised number is known to 1 / sqrt(n) at best. Seeds below 100 are for the report; settings are chosen on others. The
last line of --json is one record; the exit code is 1 where a budget is more than 20 % off.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, 4)))

import polars as pl  # noqa: E402  (the environment is set first)

from flows.parallel_test import Candidate  # noqa: E402
from serving.budget import SHIFT_HOURS  # noqa: E402
from serving.incidents import SILENCE  # noqa: E402
from telemetry.schema import STANDSTILL, START, TARGET  # noqa: E402
from telemetry.sections import Budget  # noqa: E402
from tests.benchmarks import parallel_test  # noqa: E402
from tests.benchmarks.judgement import figures, weeks  # noqa: E402
from tests.benchmarks.judgement.weeks import MATURE, Weeks  # noqa: E402

BUDGETS: Final = ("1/customer_week", "3/customer_week", "2/shift")
WITHIN: Final = 0.2
Record = dict[str, Any]  # Any: plain JSON


def budget_of(text: str) -> Budget:
    """What `1/customer_week` stands for; a ValueError where it stands for nothing."""
    incidents, _, per = text.partition("/")
    return Budget.model_validate({"incidents": float(incidents), "per": per})


def with_budget(told: Weeks, budget: Budget) -> Weeks:
    """The same weeks under a contract that has a budget."""
    policy = told.contract.thresholds.model_copy(update={"budget": budget})
    contract = told.contract.model_copy(update={"thresholds": policy})
    return replace(told, telemetry=replace(told.telemetry, contract=contract))


def of_budget(told: Weeks, *, budget: Budget, candidate: Candidate, parts: pl.DataFrame, folder: Path) -> Record:
    """The figures of one budget on one fleet."""
    asked = with_budget(told, budget)
    judged = weeks.judged(asked, candidate=candidate, parts=parts, folder=folder)
    counted = figures.beside(judged.incidents, told=asked)
    opened = figures.false(judged.incidents, told=asked).filter(pl.col(MATURE), ~pl.col(TARGET).is_in([SILENCE, STANDSTILL]))
    shifts = asked.size.judged_days * 24 / SHIFT_HOURS
    units = counted["customer_weeks"] if budget.per == "customer_week" else shifts
    week = ((pl.col(START) - pl.lit(asked.size.learned_at)).dt.total_days() // 7).alias("week")
    by_week = dict(opened.group_by(week).len().iter_rows())
    return {
        "promised": budget.incidents,
        "realised": opened.height / units,
        "ratio": opened.height / units / budget.incidents,
        "incidents": opened.height,
        "units": units,
        "found": counted["found"],
        "labelled": counted["incidents"],
        "by_week": [by_week.get(number, 0) for number in range(-(-asked.size.judged_days // 7))],
    }


def together(records: list[Record]) -> Record:
    """One budget over the seeds: sums of what was counted, means of the rest."""
    summed = {name: sum(each[name] for each in records) for name in ("incidents", "units", "found", "labelled")}
    means = {name: sum(each[name] for each in records) / len(records) for name in ("promised", "realised", "ratio")}
    return summed | means | {"by_seed": [each["ratio"] for each in records], "by_week": [each["by_week"] for each in records]}


def main(arguments: list[str] | None = None) -> int:
    """Measure, and say whether the budgets were held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--customers", type=int, default=weeks.Size().customers)
    parser.add_argument("--budgets", nargs="+", default=list(BUDGETS), help="each as incidents/customer_week or incidents/shift")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    budgets = {text: budget_of(text) for text in asked.budgets}
    size = replace(weeks.Size(), customers=asked.customers)
    found: dict[str, list[Record]] = {name: [] for name in budgets}
    began = time.perf_counter()
    for seed in range(asked.first, asked.first + asked.seeds):
        with tempfile.TemporaryDirectory(prefix="tidewatch-budget-") as place:
            folder = Path(place)
            told, candidate, parts = parallel_test.made(size, seed=seed, contract=parallel_test.contract_of(None), folder=folder)
            for number, (name, budget) in enumerate(budgets.items()):
                into = folder / f"judged{number}"
                found[name].append(of_budget(told, budget=budget, candidate=candidate, parts=parts, folder=into))
                print(f"seed {seed}, {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    record: Record = {name: together(own) for name, own in found.items()}
    off = [name for name, own in record.items() if abs(own["ratio"] - 1) > WITHIN]
    if asked.json:
        print(json.dumps({"budgets": record, "seconds": round(time.perf_counter() - began, 1), "missed": off}))
    else:
        for name, own in record.items():
            spread = f"{min(own['by_seed']):.2f} to {max(own['by_seed']):.2f}"
            print(
                f"{name:18} realised {own['realised']:.2f}, {own['ratio']:.2f} of it ({spread}), on {own['incidents']} incidents; "
                f"found {own['found']} of {own['labelled']}"
            )
    return bool(off)


if __name__ == "__main__":
    raise SystemExit(main())
