"""How fast raw telemetry becomes the grid, beside pandas and DuckDB, and how little of it a small read touches.

The fleet of the story: 100 entities over six months, 18 parameters; a fifth of the entities report every ten seconds, the others every
minute: 288,000 rows a day. One file a day, as exports come; CSV by default, for that is what most systems export (`--format parquet` for
the other). Some parameters come in another unit than the contract's. A few rows of each file are repeated, unreadable, or a day late.

The peers read the same files, one after the other: they convert the units, put rows that cannot be read aside, drop repeated rows, make
sums (null for nothing) or means per entity and minute, and write both the grid and the readings below a minute as Parquet (ZSTD 1), a
folder a day, sorted by entity and minute. They do less than we: no fingerprint, no check of every line, no merge of late rows into
another day, no transaction. Each run is a process of its own; imports are not timed; runs alternate, and medians are told.

    python tests/benchmarks/ingest.py [--days 182] [--sample-days 8] [--repeats 5] [--format csv|parquet] [--json]

The last line of `--json` has: rows, seconds, rows_per_second, peak_gib (of the ingesting process), ratio_pandas, ratio_duckdb (their
seconds by ours on the sample), day_read_ms (median of 9 reads of a day of one entity in a process that has imported what it needs; the
files are in the page cache) and day_read_bytes_share (compressed bytes of the row groups that its statistics cannot rule out, and of the
footers that were read, by the bytes of the whole grid).
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks import ingest_peers as peers  # noqa: E402

FIRST = date(2026, 1, 1)
ENTITIES, QUICK = 100, 20
SECONDS_A_DAY = 86_400


def contract_of() -> Any:  # Any: telemetry.contract.Contract, imported where it is used
    """The fleet's contract, with three parameters that come in another unit."""
    import tomllib

    from telemetry.contract import parse

    raw = tomllib.loads((ROOT / "infra" / "contracts" / "fleet.toml").read_text())
    for name, unit in peers.SOURCE_UNITS.items():
        raw["parameters"][name] |= {"source_unit": unit}
    return parse(raw)


def write_day(day: int, *, folder: Path, kind: str, late: pl.DataFrame | None, names: tuple[str, ...]) -> tuple[int, pl.DataFrame]:
    """One day's file; gives back its rows, and those that will come a day late."""
    random = np.random.default_rng([7, day])
    start = datetime.combine(FIRST + timedelta(days=day), datetime.min.time())
    entity = np.concatenate([np.repeat(np.arange(QUICK), 8640), np.repeat(np.arange(QUICK, ENTITIES), 1440)])
    second = np.concatenate([np.tile(np.arange(0, SECONDS_A_DAY, 10), QUICK), np.tile(np.arange(0, SECONDS_A_DAY, 60), ENTITIES - QUICK)])
    rhythm = 1 + 0.4 * np.sin(2 * np.pi * (second / SECONDS_A_DAY + entity / 37)) - 0.2 * ((day + 3) % 7 >= 5)
    levels = {name: 10.0 ** (number % 4) * (1 + entity % 11) for number, name in enumerate(names)}
    values = {name: np.round(level * rhythm * (1 + 0.05 * random.standard_normal(entity.size)), 3) for name, level in levels.items()}
    frame = pl.DataFrame({"second": second, "entity": entity, **values}).sort("second", "entity")
    at = pl.lit(start) + pl.duration(seconds=pl.col("second"))
    customer, region = (
        pl.format("customer{}", pl.col("entity") // 2),
        pl.when(pl.col("entity") % 2 == 0).then(pl.lit("eu")).otherwise(pl.lit("us")),
    )
    told = frame.select(at.dt.to_string("%Y-%m-%dT%H:%M:%SZ").alias("time"), customer.alias("customer"), region.alias("region"), *names)
    held_back = (frame["entity"] < QUICK) & pl.Series(random.random(told.height) < 0.0002)
    next_day, rows = told.filter(held_back), told.filter(~held_back)
    rows = pl.concat([*([late] if late is not None else []), rows, rows.sample(5, seed=day)])
    faulty = rows.sample(3, seed=day + 1).with_columns(time=pl.Series(["soon", "2026-13-01T00:00:00Z", "yesterday"]))
    rows = pl.concat([rows, faulty])
    path = folder / f"day-{FIRST + timedelta(days=day)}.{kind}"
    if kind == "csv":
        rows.write_csv(path)
    else:
        rows.write_parquet(path, compression="zstd", compression_level=1)
    return rows.height, next_day


def generate(folder: Path, *, days: int, kind: str) -> int:
    """Write every day's file; gives back how many rows they hold."""
    names, rows, late = contract_of().names, 0, None
    for day in range(days):
        written, late = write_day(day, folder=folder, kind=kind, late=late, names=names)
        rows += written
    return rows


def worker(args: argparse.Namespace) -> dict[str, Any]:
    """One timed run in this process."""
    files = sorted(args.data.iterdir())[: args.sample_days or None]
    contract = contract_of()
    if args.worker == "ours":
        from telemetry.files import FileSource
        from telemetry.ingestion import ingest
        from telemetry.lake import Lake

        source = FileSource(str(args.data) if not args.sample_days else str(args.data / peers.glob_of(files)), contract=contract)
        began = time.perf_counter()
        done = ingest(source, contract=contract, lake=Lake(str(args.out)), now=datetime(2027, 1, 1, tzinfo=UTC))
        told = {"rows": done.rows_in, "quarantined": done.rows_quarantined, "repeated": done.rows_repeated, "steps": done.rows_new}
    elif args.worker == "read":
        return read_a_day(args.out, contract=contract, days=args.days)
    else:
        run = {"pandas": peers.with_pandas, "duckdb": peers.with_duckdb}[args.worker]
        prepared = peers.prepared(args.worker)
        began = time.perf_counter()
        told = run(prepared, files=files, out=args.out, contract=contract)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, **told}


def read_a_day(root: Path, *, contract: Any, days: int) -> dict[str, Any]:  # Any: as in contract_of
    """A day of one entity in the middle of all."""
    from telemetry.lake import Lake

    since = datetime.combine(FIRST + timedelta(days=days // 2), datetime.min.time(), UTC)
    lake, entity, times = Lake(str(root)), "customer21/us", []
    for _ in range(10):
        began = time.perf_counter()
        frame = lake.grid(contract=contract, since=since, until=since + timedelta(days=1), entities=(entity,)).collect()
        times.append(time.perf_counter() - began)
    assert frame.height == 1440, frame.height
    return {"day_read_ms": 1000 * statistics.median(times[1:]), "first_ms": 1000 * times[0], "share": peers.touched(lake, since, entity)}


def run_of(which: str, *, data: Path, out: Path, sample_days: int = 0, days: int = 0) -> dict[str, Any]:
    """A worker's figures, from a process of its own."""
    shutil.rmtree(out, ignore_errors=which == "read") if which != "read" and out.exists() else None
    sized = ["--sample-days", str(sample_days), "--days", str(days)]
    command = [sys.executable, __file__, "--worker", which, "--data", str(data), "--out", str(out), *sized]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{which} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every figure."""
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder, "raw"), Path(folder, "out")
        data.mkdir()
        began = time.perf_counter()
        rows = generate(data, days=args.days, kind=args.format)
        size = sum(path.stat().st_size for path in data.iterdir()) / 2**30
        say(args, f"{rows:,} rows in {args.days} files of {size:.1f} GiB written in {time.perf_counter() - began:.0f} s")
        ratios: dict[str, list[float]] = {"pandas": [], "duckdb": []}
        for _ in range(args.repeats):
            ours = run_of("ours", data=data, out=out, sample_days=args.sample_days)
            for peer, found in ratios.items():
                theirs = run_of(peer, data=data, out=out, sample_days=args.sample_days)
                found.append(theirs["seconds"] / ours["seconds"])
                say(args, f"{args.sample_days} days: ours {ours['seconds']:.2f} s, {peer} {theirs['seconds']:.2f} s, {theirs}")
        whole = run_of("ours", data=data, out=out)
        say(args, f"everything: {whole}")
        read = run_of("read", data=data, out=out, days=args.days)
        say(args, f"a day of one entity: {read}")
    return {
        "rows": whole["rows"],
        "seconds": round(whole["seconds"], 1),
        "rows_per_second": round(whole["rows"] / whole["seconds"]),
        "peak_gib": round(whole["peak_gib"], 2),
        "ratio_pandas": round(statistics.median(ratios["pandas"]), 2) if args.repeats else None,
        "ratio_duckdb": round(statistics.median(ratios["duckdb"]), 2) if args.repeats else None,
        "day_read_ms": round(read["day_read_ms"], 1),
        "day_read_bytes_share": round(read["share"], 5),
        "format": args.format,
    }


def say(args: argparse.Namespace, text: str) -> None:
    """To a person; the record is the last line of stdout."""
    print(text, file=sys.stderr if args.json else sys.stdout, flush=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=182)
    parser.add_argument("--sample-days", type=int, default=8, help="days that the peers are measured on")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", choices=("ours", "pandas", "duckdb", "read"), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(worker(args)))
        return
    found = measure(args)
    print(json.dumps(found) if args.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
