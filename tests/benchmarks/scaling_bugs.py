"""Every kind of scaling bug, planted into clean telemetry: what the raw suite stops, and whether it names the right one.

    python tests/benchmarks/scaling_bugs.py [--seeds 20] [--kind KIND ...] [--set fleet|jumpstarter|uci|...] [--data FOLDER] [--json]
    python tests/benchmarks/scaling_bugs.py --clean [--data FOLDER] [--json]

For each seed the fleet of 4 customers in 2 regions is simulated over 28 days, with growth, a customer that arrives, and incidents; or the
public set is taken as published. Each kind of `tests/validation/bugs.py` is planted at an entity, parameter, time and extent that the seed
chooses, and the grid is given to `validation.checks.check_raw`, as in a retrain. Confusions of temperature are planted where the contract
has parameters in degrees; kinds that a set cannot bear are left out, and said. A bug is
    stopped   where a finding of the severity 'stop' lies on one of the series that it struck
    named     where every stopping finding says its kind or factor, and the findings stand on the struck series and on no other
    within    where it changes none of them by more than its noise (`bugs.within_noise`): counted apart, and in no share
    start     median of the minutes between the bug's beginning and the one that is told
The clean grids of the same seeds must stop nothing, and no incident may be told as a change of unit.

`--clean` checks every public set as published: how many findings stop and warn, and each error of arithmetic that is named: a fault
of the real data, or of the check.

The last line of `--json` is one record: kinds, seeds, planted, stopped, named, within_noise, clean_runs, clean_stops, incidents,
incidents_mistaken (counts), the shares, `by_kind`, and what was `left_out`. Exits with 1 unless all are stopped, 99 % named and no clean
grid is.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from telemetry import contract as contracts  # noqa: E402  (the checkout is put on the path first)
from telemetry import fleet  # noqa: E402
from telemetry.contract import Contract  # noqa: E402
from telemetry.files import FileSource  # noqa: E402
from telemetry.fleet import FleetConfig  # noqa: E402
from telemetry.ingestion import ingest  # noqa: E402
from telemetry.lake import Lake  # noqa: E402
from telemetry.schema import AT, END, ENTITY, OBSERVED, START, grid_schema  # noqa: E402
from tests.validation.bugs import (  # noqa: E402
    EVERY_KIND,
    OF_DEGREES,
    NothingToStrikeError,
    Planted,
    matches,
    plant,
    within_noise,
)
from validation.checks import check_raw  # noqa: E402
from validation.findings import Finding  # noqa: E402

CONTRACTS: Final = ROOT / "infra" / "contracts"
NAMED: Final = 0.99
UNIT: Final = "same unit"
SETS: Final = {
    "uci": ("uci_appliances", "uci_appliances"),
    "lorenz": ("lorenz", "ibm_lorenz"),
    "ms_cloud_minute": ("ms_cloud_minute", "ms_cloud"),
    "ms_cloud_hourly": ("ms_cloud_hourly", "ms_cloud"),
}
"""Contract and folder of the sets that are not called as these are."""
PUBLIC: Final = ("accel", "lorenz", "jumpstarter", "ms_cloud_minute", "ms_cloud_hourly", "nab", "nezha", "uci", "smd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one bug."""

    kind: str
    seed: int
    stopped: bool
    named: bool
    minutes: float | None
    told: tuple[str, ...]
    within_noise: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clean:
    """Telemetry as it was published or simulated, the incidents in it, and what may be planted where."""

    grid: pl.DataFrame
    labels: pl.DataFrame
    contract: Contract


def simulated(seed: int) -> Clean:
    """A fleet with growth, a newcomer and incidents."""
    config = FleetConfig(customers=4, regions=("eu", "us"), days=28, seed=seed, arriving=1, incidents=6, early_incidents=3)
    made = fleet.simulate(config)
    contract = contracts.load(CONTRACTS / "fleet.toml")
    values = [
        (pl.col(name) * contract.conversion(name, source=parameter.source_unit or parameter.unit).factor).alias(name)
        for name, parameter in contract.parameters.items()
    ]
    keyed = made.readings.select(pl.concat_str("customer", "region", separator="/").alias(ENTITY), pl.col("time").alias(AT), *values)
    grid = keyed.with_columns(pl.lit(value=True).alias(OBSERVED)).select(list(grid_schema(contract.names))).sort(ENTITY, AT)
    return Clean(grid=grid, labels=made.labels, contract=contract)


def published(folder: Path, *, name: str, lake: Path) -> Clean:
    """A public set, ingested by its contract."""
    contract_name, source = SETS.get(name, (name, name))
    contract = contracts.load(CONTRACTS / f"{contract_name}.toml")
    store = Lake(str(lake / name))
    ingest(FileSource(str(folder / source), contract=contract), contract=contract, lake=store)
    grid = store.grid(contract=contract).collect()
    return Clean(
        grid=grid,
        labels=pl.DataFrame(schema={ENTITY: pl.String, START: pl.Datetime("us", "UTC"), END: pl.Datetime("us", "UTC")}),
        contract=contract,
    )


def findings(grid: pl.DataFrame, *, contract: Contract) -> tuple[Finding, ...]:
    """All that the raw suite finds."""
    with tempfile.TemporaryDirectory(prefix="tidewatch-bugs-") as folder:
        return check_raw(grid.lazy(), contract=contract, folder=Path(folder)).findings


def stops(grid: pl.DataFrame, *, contract: Contract) -> tuple[Finding, ...]:
    """The findings of the raw suite that stop a run."""
    return tuple(each for each in findings(grid, contract=contract) if each.severity == "stop")


def outcome(planted: Planted, *, found: tuple[Finding, ...], seed: int, before: frozenset[tuple[str | None, str | None]]) -> Outcome:
    """What the findings, but for those of the clean grid `before`, say of a bug."""
    fresh = [each for each in found if (each.entity, each.parameter) not in before]
    of_unit = [each for each in fresh if each.expectation == UNIT]
    series = {(each.entity, each.parameter) for each in of_unit}
    away = [
        abs((each.period_start - planted.start).total_seconds()) / 60
        for each in of_unit
        if each.period_start and (each.entity, each.parameter) in planted.series
    ]
    return Outcome(
        kind=planted.kind,
        seed=seed,
        stopped=any((each.entity, each.parameter) in planted.series for each in fresh),
        named=series == planted.series and all(matches(each.cause, planted) for each in of_unit),
        minutes=statistics.median(away) if away else None,
        told=tuple(sorted({each.cause or each.expectation for each in fresh})),
    )


def mistaken(clean: Clean, *, found: tuple[Finding, ...]) -> int:
    """Labelled incidents that overlap a finding of a changed unit."""
    units = [(each.entity, each.period_start, each.period_end) for each in found if each.expectation == UNIT]

    def explains(entity: str, start: datetime, end: datetime) -> bool:
        return any(who == entity and since and until and since < end and until > start for who, since, until in units)

    return sum(explains(*row) for row in clean.labels.select(ENTITY, START, END).iter_rows())


def measured(cleans: Iterator[tuple[int, Clean]], *, kinds: list[str], say: Callable[[str], None]) -> tuple[list[Outcome], dict[str, int]]:
    """Every kind on every clean grid that can bear it."""
    told: list[Outcome] = []
    counts = {"clean_runs": 0, "clean_stops": 0, "incidents": 0, "incidents_mistaken": 0, "left_out": 0}
    for seed, clean in cleans:
        began, known = time.perf_counter(), stops(clean.grid, contract=clean.contract)
        counts["clean_runs"] += 1
        counts["clean_stops"] += len(known)
        counts["incidents"] += clean.labels.height
        counts["incidents_mistaken"] += mistaken(clean, found=known)
        for kind in kinds:
            one = of_kind(clean, kind=kind, seed=seed, known=known)
            if one is None:
                counts["left_out"] += 1
                say(f"  {kind}, seed {seed}: nothing in this set can bear it")
                continue
            told.append(one)
            if not (one.stopped and one.named):
                why = "within the noise, " if one.within_noise else ""
                say(
                    f"  {kind}, seed {seed}: {why}{'stopped' if one.stopped else 'NOT stopped'}, told as {', '.join(one.told) or 'nothing'}"
                )
        say(f"seed {seed}: {len(known)} stops while clean; {len(kinds)} kinds in {time.perf_counter() - began:.0f} s")
    return told, counts


def of_kind(clean: Clean, *, kind: str, seed: int, known: tuple[Finding, ...]) -> Outcome | None:
    """What becomes of a bug of that kind; null where the set cannot bear one. `known` are the stops of the clean grid."""
    degrees = clean.contract.temperatures
    if kind in OF_DEGREES and not degrees:
        return None
    try:
        frame, planted = plant(clean.grid, kind=kind, seed=seed, parameters=degrees if kind in OF_DEGREES else None)
    except NothingToStrikeError:
        return None
    before = frozenset((each.entity, each.parameter) for each in known)
    one = outcome(planted, found=stops(frame, contract=clean.contract), seed=seed, before=before)
    return replace(one, within_noise=within_noise(clean.grid, frame, planted=planted))


def clean_sets(folder: Path, *, lake: Path, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Per public set, as published: how many findings stop, how many warn, and which errors of arithmetic are named."""
    rows: dict[str, dict[str, Any]] = {}
    for name in PUBLIC:
        one = published(folder, name=name, lake=lake)
        found = findings(one.grid, contract=one.contract)
        faults = [f"{each.entity} {each.parameter}: {each.cause} from {each.period_start:%Y-%m-%d %H:%M}" for each in found if each.cause]
        kinds = Counter(each.expectation for each in found if each.severity == "stop")
        warned = sum(each.severity == "warn" for each in found)
        rows[name] = {"stops": sum(kinds.values()), "warnings": warned, "stopped_by": dict(kinds), "faults": faults}
        say(f"{name:18}{rows[name]['stops']:>4} stops {dict(kinds) or ''}, {warned} warnings")
        for fault in faults:
            say(f"    {fault}")
    return rows


def table(outcomes: list[Outcome]) -> dict[str, dict[str, Any]]:
    """By kind."""
    rows = {}
    for kind in dict.fromkeys(each.kind for each in outcomes):
        of_kind = [each for each in outcomes if each.kind == kind and not each.within_noise]
        minutes = [each.minutes for each in of_kind if each.minutes is not None]
        rows[kind] = {
            "planted": len(of_kind),
            "within_noise": sum(each.within_noise for each in outcomes if each.kind == kind),
            "stopped": sum(each.stopped for each in of_kind),
            "named": sum(each.named for each in of_kind),
            "start_minutes": round(statistics.median(minutes), 1) if minutes else None,
        }
    return rows


def main() -> int:
    """0 if all are stopped, 99 % named, and nothing clean is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--kind", action="append", choices=sorted(EVERY_KIND))
    parser.add_argument("--set", default="fleet", help="fleet, or the name of a public set with a contract")
    parser.add_argument("--clean", action="store_true", help="check the public sets as published, and plant nothing")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="where the public sets lie")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr if asked.json else sys.stdout, flush=True)

    with tempfile.TemporaryDirectory(prefix="tidewatch-lake-") as lake:
        if asked.clean:
            rows = clean_sets(asked.data, lake=Path(lake), say=say)
            stopped = sum(row["stops"] for row in rows.values())
            print(json.dumps({"clean_runs": len(rows), "clean_stops": stopped, "by_set": rows}) if asked.json else f"{stopped} stops")
            return 1 if stopped else 0
        one = None if asked.set == "fleet" else published(asked.data, name=asked.set, lake=Path(lake))
        cleans = ((seed, one or simulated(seed)) for seed in range(asked.seeds))
        outcomes, counts = measured(cleans, kinds=asked.kind or list(EVERY_KIND), say=say)
    figures = record(outcomes, counts=counts, of=asked.set, seeds=asked.seeds)
    say(f"{'kind':28}{'planted':>9}{'within':>8}{'stopped':>9}{'named':>7}{'start, minutes off':>20}")
    for kind, row in figures["by_kind"].items():
        start = "" if row["start_minutes"] is None else row["start_minutes"]
        say(f"{kind:28}{row['planted']:>9}{row['within_noise']:>8}{row['stopped']:>9}{row['named']:>7}{start:>20}")
    print(json.dumps(figures) if asked.json else {name: told for name, told in figures.items() if name != "by_kind"})
    return 0 if figures["stopped_share"] == 1 and figures["named_share"] >= NAMED and not counts["clean_stops"] else 1


def record(outcomes: list[Outcome], *, counts: dict[str, int], of: str, seeds: int) -> dict[str, Any]:
    """All figures; what is within the noise counts apart."""
    counted = [each for each in outcomes if not each.within_noise]
    stopped, named = sum(each.stopped for each in counted), sum(each.stopped and each.named for each in counted)
    rows = table(outcomes)
    return {
        "set": of,
        "kinds": len(rows),
        "seeds": seeds,
        "planted": len(counted),
        "stopped": stopped,
        "named": named,
        "within_noise": len(outcomes) - len(counted),
        **counts,
        "stopped_share": round(stopped / len(counted), 4) if counted else 0.0,
        "named_share": round(named / len(counted), 4) if counted else 0.0,
        "by_kind": rows,
        "missed": [asdict(each) for each in counted if not each.stopped],
        "misnamed": [asdict(each) for each in counted if each.stopped and not each.named],
    }


if __name__ == "__main__":
    raise SystemExit(main())
