"""How long a model stays good: learned at T, judged in the weeks after T, beside one that is learned anew every so often.

    python tests/benchmarks/staleness.py [--world same ...] [--weeks 8] [--every 2] [--customers 6] [--days 60] [--data FOLDER] [--json]

At T, after --days, a model is learned as `tidewatch retrain` does it (cut of time, scales, training, by the contract) and stays as it is,
weights and scales. --every so many weeks another one is learned of all that has come by then. Both are judged week by week, over what
came after the younger one was learned; a table for each world:

    same       a simulated fleet; nobody arrives, each customer grows by up to 2.5 % in 30 days
    customers  a third of its customers arrives in the first week after T; from week 6 on they are no newcomers, and judged
    clocks     its regions' clocks go forward by an hour in the middle of week 4 (`tests/benchmarks/learner/worlds.py`)
    services   real: 20 services of a content platform, every five minutes over 45 days (the folder jumpstarter), learned after 21 days,
               anew every week, with the fleet's shares of the parts in place of those that the set was published with
    uci        real: energy and climate of a house, every ten minutes from January to May (the folder uci_appliances); one target

    frozen     accuracy, skill, and beside them accuracy of repeating the last value and of the oracle, by the tolerance of the model that
               was learned at T, one deviation of its scales
    anew       accuracy of both models by one tolerance, that of the younger one, as the gate holds a champion against a challenger; the
               difference in percentage points, and the younger one's skill. In the first weeks both are the same model

Labelled incidents and newcomers are not judged, as before the gate. Each two weeks are forecast with the state carried from three days
before, and whole weeks only are told. Of the public sets `services` is trained for at most 30 epochs by the fleet's schedule, and the batch
of `uci` is 8: it has so few windows that one of 64 would make one training step an epoch.

The last line of --json is one record. Nothing is demanded of it; the exit code is 0.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, 4)))

import polars as pl  # noqa: E402  (the environment is set first)

from flows.parallel_test import Candidate, forecasts_of  # noqa: E402
from serving.forecasts import tell  # noqa: E402
from telemetry import contract as contracts  # noqa: E402
from telemetry import windows  # noqa: E402
from telemetry.schema import AT, ENTITY, LEAD, PARAMETER, SD, SIGMA, TARGET  # noqa: E402
from tests.benchmarks.learner import telemetries  # noqa: E402
from tests.benchmarks.learner.figures import percent  # noqa: E402
from tests.benchmarks.learner.telemetries import Telemetry  # noqa: E402
from tests.benchmarks.learner.worlds import WORLDS, world  # noqa: E402
from validation.metrics import Metrics, measure  # noqa: E402

WEEK: Final = timedelta(weeks=1)
CARRIED: Final = timedelta(days=3)
CLOCKS_WEEK: Final = 3.5
"""Weeks after T at which the clocks go forward."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """A public set: its contract, its folder, and how it is learned; None for what is asked for."""

    contract: str
    folder: str
    days: int | None
    every: int | None
    changes: dict[str, Any]  # Any: fields of Training
    split_of_fleet: bool = False


PUBLIC: Final = {
    "services": Public(
        contract="jumpstarter",
        folder="jumpstarter",
        days=21,
        every=1,
        changes={"epochs": 30, "learning_rate": 0.003, "schedule": "cosine"},
        split_of_fleet=True,
    ),
    "uci": Public(contract="uci_appliances", folder="uci_appliances", days=None, every=None, changes={"batch": 8}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """A row of a table.

    Attributes:
        week: after T, the first is 1.
        age_days: of the younger model's learning, at the week's begin.
        frozen: what the gate would measure of the model learned at T, by its own tolerance.
        frozen_too: its accuracy by the younger one's tolerance.
        anew: what the gate would measure of the younger one.
    """

    week: int
    age_days: float
    frozen: Metrics
    frozen_too: float
    anew: Metrics


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """What a table is made of: the telemetry, the instant T, the weeks between two learnings, and how is learned."""

    telemetry: Telemetry
    learned_at: datetime
    every: int
    changes: dict[str, Any]  # Any: fields of Training


def learned(telemetry: Telemetry, *, until: datetime, folder: Path, changes: dict[str, Any]) -> Candidate:
    """The model of a retrain at an instant."""
    known = telemetry.until(until)
    made = telemetries.prepared(known, folder=folder)
    training = telemetries.training_of(telemetry.contract, **changes)
    candidate, _ = telemetries.learned(made.panel, contract=telemetry.contract, scales=made.scales, training=training)
    return candidate


def forecasts(candidate: Candidate, *, telemetry: Telemetry, start: datetime, stop: datetime) -> pl.DataFrame:
    """FORECASTS of lead 1 from `start` to before `stop`."""
    grid = telemetry.grid.lazy().filter(pl.col(AT) >= start - CARRIED, pl.col(AT) < stop)
    panel = windows.panel(
        grid,
        contract=telemetry.contract,
        scales=candidate.scales,
        entities=telemetry.entities,
        labels=telemetry.labels,
        parts=None,
    )
    first = int((start.timestamp() * 1_000_000 - panel.start_us) // (panel.cadence_seconds * 1_000_000))
    scaled = forecasts_of(candidate, panel=panel, start=max(first, 0))
    return tell(panel, scaled, leads=candidate.network.leads, scales=candidate.scales, start=max(first, 0)).filter(pl.col(LEAD) == 1)


def by_tolerance(rows: pl.DataFrame, *, scales: pl.DataFrame) -> pl.DataFrame:
    """The rows held to the deviations of other scales; as they were where these know none."""
    sigma = scales.select(ENTITY, pl.col(PARAMETER).alias(TARGET), pl.col(SD).cast(pl.Float32).alias("other"))
    told = rows.join(sigma, on=[ENTITY, TARGET], how="left").with_columns(pl.coalesce("other", SIGMA).alias(SIGMA))
    return told.drop("other")


def weeks(case: Case, *, count: int, folder: Path, say: Say) -> list[Week]:
    """All rows of a table, as far as the telemetry holds whole weeks."""
    telemetry, learned_at, every = case.telemetry, case.learned_at, case.every
    count = min(count, (telemetry.grid.select(pl.col(AT).max()).item() + telemetry.contract.time.cadence - learned_at) // WEEK)
    frozen = learned(telemetry, until=learned_at, folder=folder / "0", changes=case.changes)
    anew, told = frozen, []
    say(HEAD)
    for first in range(0, count, every):
        start, stop = learned_at + first * WEEK, learned_at + min(first + every, count) * WEEK
        if first:
            anew = learned(telemetry, until=start, folder=folder / str(first), changes=case.changes)
        old = forecasts(frozen, telemetry=telemetry, start=start, stop=stop)
        new = forecasts(anew, telemetry=telemetry, start=start, stop=stop) if first else old
        for week in range(first, min(first + every, count)):
            begins = learned_at + week * WEEK
            of_old, of_new = (rows.filter(pl.col(AT) >= begins, pl.col(AT) < begins + WEEK) for rows in (old, new))
            row = Week(
                week=week + 1,
                age_days=(begins - start).total_seconds() / 86_400,
                frozen=judged(of_old, telemetry=telemetry),
                frozen_too=judged(by_tolerance(of_old, scales=anew.scales), telemetry=telemetry).accuracy,
                anew=judged(of_new, telemetry=telemetry),
            )
            told.append(row)
            say(line(row, bar=telemetry.contract.gate.accuracy))
    return told


def judged(rows: pl.DataFrame, *, telemetry: Telemetry) -> Metrics:
    """What the gate looks at."""
    return measure(rows, block_minutes=telemetry.contract.gate.block_minutes, oracle=telemetries.within(telemetry.oracle, rows)).metrics


HEAD: Final = (
    f"{'week':>4}  {'frozen':>10}{'bound':>10}{'skill':>9}{'last value':>12}{'oracle':>10}{'worst tenth':>13}   "
    f"{'frozen':>10}{'anew':>10}{'points':>8}{'skill':>9}{'worst tenth':>13}"
)


def line(row: Week, *, bar: float) -> str:
    """A row of a table; `<` marks a lower bound below the gate's bar."""
    old, new = row.frozen, row.anew
    below = "<" if old.accuracy_lower < bar else " "
    return (
        f"{row.week:>4}  {percent(old.accuracy):>10}{percent(old.accuracy_lower):>9}{below}{old.skill:>9.4f}"
        f"{percent(old.accuracy_persistence):>12}{percent(old.accuracy_oracle):>10}{percent(old.worst_decile_accuracy):>13}   "
        f"{percent(row.frozen_too):>10}{percent(new.accuracy):>10}{100 * (new.accuracy - row.frozen_too):>+8.2f}{new.skill:>9.4f}"
        f"{percent(new.worst_decile_accuracy):>13}"
    )


def summary(rows: list[Week], *, every: int, bar: float) -> str:
    """What a table says of the schedule."""
    first, later = rows[0].frozen, [row for row in rows if row.week > every]
    lost = 100 * (rows[-1].frozen.accuracy - first.accuracy)
    below = next((row.week for row in rows if row.frozen.accuracy_lower < bar), None)
    gained = [100 * (row.anew.accuracy - row.frozen_too) for row in later]
    told = f"From week 1 to {rows[-1].week} the frozen model's accuracy changes by {lost:+.2f} points"
    told += f", its skill by {rows[-1].frozen.skill - first.skill:+.4f}; "
    told += f"its lower bound is below the bar from week {below} on" if below else "its lower bound is never below the bar"
    if gained:
        told += f". Learned anew every {every} week(s): {sum(gained) / len(gained):+.2f} points on the mean of the later weeks, "
        told += f"{max(gained):+.2f} at best"
    return told + "."


def of_world(name: str, *, asked: argparse.Namespace, folder: Path) -> Case:
    """A simulated fleet."""
    clocks = asked.days + int(7 * CLOCKS_WEEK)
    fleet = world(name, customers=asked.customers, learned_days=asked.days, judged_days=7 * asked.weeks, clocks_day=clocks)
    telemetry = telemetries.of_simulated(fleet, folder=folder)
    at = fleet.config.start + timedelta(days=asked.days)
    return Case(telemetry=telemetry, learned_at=at, every=asked.every, changes={"epochs": asked.epochs})


def of_public(name: str, *, asked: argparse.Namespace, folder: Path) -> Case:
    """A public set."""
    told = PUBLIC[name]
    contract = contracts.load(telemetries.CONTRACTS / f"{told.contract}.toml")
    if told.split_of_fleet:
        contract = contract.model_copy(update={"split": contracts.load(telemetries.CONTRACTS / "fleet.toml").split})
    telemetry = telemetries.of_source(asked.data / told.folder, contract=contract, folder=folder)
    at = telemetry.grid.select(pl.col(AT).min()).item() + timedelta(days=told.days or asked.days)
    changes = told.changes | ({"epochs": asked.epochs} if asked.epochs else {})
    return Case(telemetry=telemetry, learned_at=at, every=told.every or asked.every, changes=changes)


def main() -> int:
    """Print a table for each world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", action="append", choices=(*WORLDS, *PUBLIC))
    parser.add_argument("--weeks", type=int, default=8)
    parser.add_argument("--every", type=int, default=2, help="weeks between two learnings")
    parser.add_argument("--customers", type=int, default=6)
    parser.add_argument("--days", type=int, default=60, help="before T")
    parser.add_argument("--epochs", type=int, help="instead of the contract's")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TIDEWATCH_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr if asked.json else sys.stdout, flush=True)

    began, record = time.perf_counter(), {}
    for name in asked.world or (*WORLDS, *PUBLIC):
        if name in PUBLIC and not (asked.data / PUBLIC[name].folder).is_dir():
            say(f"{name}: there are no public sets at {asked.data}; TIDEWATCH_DATA names their folder.")
            continue
        with tempfile.TemporaryDirectory(prefix="tidewatch-stale-") as folder:
            case = (of_public if name in PUBLIC else of_world)(name, asked=asked, folder=Path(folder))
            say(f"{name}, learned at {case.learned_at:%Y-%m-%d %H:%M} UTC, anew every {case.every} week(s):")
            rows = weeks(case, count=asked.weeks, folder=Path(folder), say=say)
        told = summary(rows, every=case.every, bar=case.telemetry.contract.gate.accuracy)
        say(told)
        record[name] = {"weeks": [asdict(row) for row in rows], "summary": told}
    say(f"{time.perf_counter() - began:.0f} s in all")
    if asked.json:
        print(json.dumps(record | {"seconds": round(time.perf_counter() - began, 1)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
