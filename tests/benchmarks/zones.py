"""Does it help a network to know the local time of each customer? A fleet whose customers live in three zones, over a change of clocks.

    python tests/benchmarks/zones.py [--seeds 3] [--customers 6] [--days 84] [--epochs N] [--json]

The fleet begins eleven weeks before Europe's clocks go forward (29 March 2026): training, which sees every day of the month, ends in winter
time, and the test part has the change in it. In North America they go forward three weeks earlier, at the end of the training; in India
never. The same telemetry is learned from twice for each seed, by the contract of the fleet with leads of 1 and 60 minutes: with every
customer's own zone, and with UTC for all.

Told are the validation loss (mean absolute error in training deviations), and of each lead over the test part the share of values within
one deviation and the mean absolute error: of all, and of those whose clocks change in the test part, from the change on. Differences
are own zones less UTC, seed by seed. The last line of --json is one record.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import polars as pl  # noqa: E402  (the checkout is put on the path first)

from flows.parallel_test import forecasts_of  # noqa: E402
from serving.forecasts import tell_each  # noqa: E402
from telemetry.contract import Contract  # noqa: E402
from telemetry.entity_sections import Calendar  # noqa: E402
from telemetry.fleet import FleetConfig  # noqa: E402
from telemetry.learning_sections import Leads  # noqa: E402
from telemetry.panel import Part  # noqa: E402
from telemetry.schema import ACTUAL, AT, ENTITY, FORECAST, LEAD, SIGMA  # noqa: E402
from tests.benchmarks.learner import telemetries  # noqa: E402

START: Final = datetime(2026, 1, 12, tzinfo=UTC)
CHANGE: Final = datetime(2026, 3, 29, 1, tzinfo=UTC)
CHANGING: Final = "Europe/Berlin"
ZONES: Final = (CHANGING, "America/New_York", "Asia/Kolkata")
LEADS: Final = (1, 60)
OWN, ALL_UTC = "own zones", "UTC for all"
Record = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--customers", type=int, default=6)
    parser.add_argument("--days", type=int, default=84)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if not START + 0.8 * timedelta(days=asked.days) < CHANGE < START + timedelta(days=asked.days):
        parser.error(f"with {asked.days} days the clocks of {CHANGING} do not change in the test part, which is the last fifth")
    config = FleetConfig(customers=asked.customers, days=asked.days, start=START, arriving=0, zones=ZONES)
    with tempfile.TemporaryDirectory(prefix="tidewatch-zones-") as folder:
        telemetry = telemetries.of_fleet(config, folder=Path(folder))
        contracts = {OWN: declared(telemetry.contract, zones=config.customer_zones), ALL_UTC: declared(telemetry.contract, zones={})}
        changing = [name for name, zone in config.customer_zones.items() if zone == CHANGING]
        rows = [
            {"seed": seed, "calendar": name}
            | learned(contract, telemetry, seed=seed, epochs=asked.epochs, changing=changing, folder=Path(folder) / name)
            for seed in range(asked.seeds)
            for name, contract in contracts.items()
        ]  # fmt: skip
    differences = compared(rows)
    print(json.dumps({"rows": rows, **differences}) if asked.json else table(rows, differences=differences))
    return 0


def declared(contract: Contract, *, zones: dict[str, str]) -> Contract:
    """The fleet's contract, with a zone for every customer, or with none."""
    calendar = Calendar(by="customer", zones=zones) if zones else Calendar()
    return contract.model_copy(update={"calendar": calendar, "leads": Leads(steps=LEADS)})


def learned(
    contract: Contract,
    telemetry: telemetries.Telemetry,
    *,
    seed: int,
    epochs: int | None,
    changing: list[str],
    folder: Path,
) -> Record:
    """What a training comes to."""
    made = telemetries.prepared(replace(telemetry, contract=contract), folder=folder)
    training = telemetries.training_of(contract, seed=seed, epochs=epochs)
    candidate, trained = telemetries.learned(made.panel, contract=contract, scales=made.scales, training=training)
    scaled = forecasts_of(candidate, panel=made.panel)
    told = pl.concat(list(tell_each(made.panel, scaled, leads=LEADS, scales=made.scales, start=0, part=Part.TEST)))
    customer = pl.col(ENTITY).str.split("/").list.first()
    changed = told.filter(customer.is_in(changing), pl.col(AT) >= CHANGE)
    figures: Record = {"validation_loss": round(min(epoch.validation_loss for epoch in trained.history), 5)}
    for which, frame in (("", told), ("changed_", changed)):
        for lead in LEADS:
            figures |= {f"{which}{name}_{lead}": value for name, value in measured(frame.filter(pl.col(LEAD) == lead)).items()}
    print(json.dumps({"seed": seed, "calendars": len(made.panel.calendar), **figures}), file=sys.stderr, flush=True)
    return figures


def measured(rows: pl.DataFrame) -> dict[str, float]:
    """Share within one training deviation, and mean absolute error in deviations."""
    error = (pl.col(ACTUAL) - pl.col(FORECAST)).abs() / pl.col(SIGMA)
    accuracy, mae = rows.select((error <= 1).mean().alias("accuracy"), error.cast(pl.Float64).mean().alias("mae")).row(0)
    return {"accuracy": round(accuracy, 5), "mae": round(mae, 5)}


def compared(rows: list[Record]) -> Record:
    """Of each figure: the mean of the seeds' differences, own zones less UTC, and their standard deviation."""
    names = [name for name in rows[0] if name not in ("seed", "calendar")]
    by = {(row["seed"], row["calendar"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    told: Record = {}
    for name in names:
        apart = [by[seed, OWN][name] - by[seed, ALL_UTC][name] for seed in seeds]
        told[name] = {"difference": round(statistics.mean(apart), 5), "sd": round(statistics.stdev(apart), 5) if len(apart) > 1 else None}
    return {"own_less_utc": told}


def table(rows: list[Record], *, differences: Record) -> str:
    """A line for each figure."""
    seeds = sorted({row["seed"] for row in rows})
    lines = [f"{'':24}" + "".join(f"{f'{name}, seed {seed}':>22}" for seed in seeds for name in (OWN, ALL_UTC)) + f"{'difference':>22}"]
    for name, apart in differences["own_less_utc"].items():
        told = "".join(f"{row[name]:22.5f}" for seed in seeds for row in rows if row["seed"] == seed)
        spread = "" if apart["sd"] is None else f" +- {apart['sd']:.5f}"
        difference = f"{apart['difference']:+.5f}{spread}"
        lines.append(f"{name:24}{told}{difference:>22}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
