"""How fast raw telemetry becomes the grid, beside pandas and DuckDB, and how little a small read touches of it.

    python tests/benchmarks/ingest.py [--rows 52M] [--format csv|parquet] [--repeats 3] [--sample 10M] [--json] [--data FOLDER] [--keep]

The export is the fleet of the story (`ingestion/exports.py`): 100 entities, half a year, 18 parameters, a fifth of the entities every 10
seconds and the others every minute, one file a day: 52 million rows, with late, repeated and unreadable ones, and five parameters in
another unit than the contract's. CSV is the default: it is what a platform's export job writes, every system can, and only in it is there
something to be judged in every cell. In Parquet the types are settled already; infinite values and missing keys and times remain.

Tidewatch does what `tidewatch ingest` does: fingerprints, a look at every line, checks, quarantine, the merge by revision, Delta commits.
The peers (`ingestion/with_pandas.py`, `ingestion/with_duckdb.py`) do what the outcome needs: read, convert units, judge every row and put
the unreadable ones aside, drop exact repeats, sum or average by entity and minute, and write grid and readings as Parquet (ZSTD 1), a
folder a day, sorted by entity and time. No fingerprint, no commit, no merge with what is there; they may rely on readings being at most a
day late. They are given the first files of the export, as many as `--sample` asks for; on these all take turns `--repeats` times,
each run a process of its own, imports not timed. pandas has Arrow read CSV. What they wrote is compared with the lake, value by value.

The last line of `--json` is one record:
    rows, seconds, rows_per_second, peak_gib   the whole export by Tidewatch; the most that its process had resident, mapped files included
    ratio_pandas, ratio_duckdb                 the peer's median seconds by Tidewatch's, on the sample
    ratio_pandas_own_reader                    the same with pandas' own reader of CSV, which it takes by default; null in Parquet
    day_read_ms                                median over processes of the first read (`Lake.grid`) of one day of one customer's four
                                               entities, after the imports; the lake's files are in the page cache
    day_read_bytes_share                       bytes that this read fetched from storage (read_bytes of /proc/self/io, so mapped pages and
                                               read-ahead count) once the grid's Parquet files had been dropped from the page cache, by
                                               the bytes of all of them; null where they lie in memory or the system does not count
    greatest_difference                        between a value of Tidewatch and of a peer, as a share of the value
Exits with 1 if they tell different things: a row, a null, or a value by more than 1e-12.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.ingestion import exports, grids  # noqa: E402  (the checkout is put on the path first)

ROWS_A_DAY: Final = 288_000
TOLERANCE: Final = 1e-12
PEERS: Final = ("pandas", "pandas_own_reader", "duckdb")
OURS: Final = "tidewatch"
DAY_READS: Final = 5
Figures = dict[str, Any]  # Any: plain JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What all did with the sample.

    Attributes:
        rows: of the sample.
        seconds: of each run, by who ran.
        greatest_difference: between the lake and a peer's tables.
    """

    rows: int
    seconds: dict[str, list[float]]
    greatest_difference: float

    def ratio(self, peer: str) -> float | None:
        """The peer's median by ours."""
        if not self.seconds.get(peer):
            return None
        return round(statistics.median(self.seconds[peer]) / statistics.median(self.seconds[OURS]), 2)


def run(*what: str | Path) -> Figures:
    """A measured run in a process of its own."""
    command = [sys.executable, str(ROOT / "tests" / "benchmarks" / "ingestion" / "runs.py"), *map(str, what)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, what))} has failed")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(folder: Path, *, export: exports.Export, sample: int, repeats: int, work: Path, say: Callable[[str], None]) -> Compared:
    """The three in turns over the first files of the export."""
    chosen, rows = work / "sample", 0
    chosen.mkdir()
    for name, count in export.rows.items():
        if rows < sample:
            (chosen / name).symlink_to((folder / name).resolve())
            rows += count
    peers = PEERS if export.format == "csv" else tuple(peer for peer in PEERS if peer != "pandas_own_reader")
    seconds: dict[str, list[float]] = {who: [] for who in (OURS, *peers)}
    greatest = 0.0
    for turn in range(repeats):
        for who, runs in seconds.items():
            out = work / who
            rmtree(out, ignore_errors=True)
            told = run(who, chosen, out)
            runs.append(told["seconds"])
            taken = f"{told['seconds']:.2f} s, {told['cpu_seconds']:.1f} s of processors"
            say(f"{rows:,} rows by {who}: {taken}, at most {told['peak_gib']:.2f} GiB")
        if not turn:
            for peer in peers:
                greatest = max(greatest, differs(work / OURS, work / peer, days=len(list(chosen.iterdir())), say=say))
    for who in seconds:
        rmtree(work / who, ignore_errors=True)
    return Compared(rows=rows, seconds=seconds, greatest_difference=greatest)


def differs(lake: Path, peer: Path, *, days: int, say: Callable[[str], None]) -> float:
    """The greatest difference from a peer; infinite if it has put other rows aside than those that were planted."""
    found, planted = grids.rejected(peer), days * exports.BURSTS_A_DAY * exports.BURST_ROWS
    difference = grids.greatest_difference(lake, peer, names=exports.contract().names)
    say(f"{peer.name} tells the same but for {difference:.1e} of a value; {found} rows put aside, {planted} are faulty")
    return difference if found == planted else float("inf")


def day_reads(lake: Path, *, say: Callable[[str], None]) -> Figures:
    """How long the read of one customer's day takes, and how much of the grid it fetches."""
    times = [run("day", lake) for _ in range(DAY_READS)]
    forget(grids.parquet(lake, table="grid"))
    cold = run("day", lake)
    size = grids.bytes_of(lake, table="grid")
    told = ", ".join(format(each["ms"], ".0f") for each in times)
    say(f"a day of one customer, {cold['rows']} rows: {told} ms; {cold['ms']:.0f} ms from storage")
    say(f"it fetches {cold['bytes'] / 2**20:.2f} MiB of the grid's {size / 2**20:,.0f} MiB")
    return {
        "day_read_ms": round(statistics.median(told["ms"] for told in times), 1),
        "day_read_bytes_share": round(cold["bytes"] / size, 6) if cold["bytes"] else None,
    }


def forget(paths: list[Path]) -> None:
    """Drop files from the page cache."""
    os.sync()  # what is not on storage yet cannot be dropped
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def measure(asked: argparse.Namespace, *, work: Path, say: Callable[[str], None]) -> Figures:
    """Everything, in `work`; the export is in there too, or in a folder of its own."""
    folder, days = asked.data or work / "export", -(-asked.rows // ROWS_A_DAY)
    began = time.perf_counter()
    export = exports.write(folder, days=days, format=asked.format, seed=asked.seed)
    rows, size = sum(export.rows.values()), sum((folder / name).stat().st_size for name in export.rows)
    say(f"{rows:,} rows in {days} files of {size / 2**30:.2f} GiB, written in {time.perf_counter() - began:.0f} s")
    compared = compare(folder, export=export, sample=asked.sample, repeats=asked.repeats, work=work, say=say)
    whole = run(OURS, folder, work / "lake")
    say(f"all of them by {OURS}: {whole}")
    if (whole["rows"], whole["quarantined"]) != (rows, export.faulty):
        raise SystemExit(f"{rows} rows, {export.faulty} of them faulty, are told as {whole}")
    return {
        "rows": rows,
        "seconds": round(whole["seconds"], 2),
        "rows_per_second": round(rows / whole["seconds"]),
        "peak_gib": round(whole["peak_gib"], 2),
        **{f"ratio_{peer}": compared.ratio(peer) for peer in PEERS},
        **day_reads(work / "lake", say=say),
        "greatest_difference": compared.greatest_difference,
        "sample_rows": compared.rows,
        "format": asked.format,
    }


def number(text: str) -> int:
    """52M and 300k are numbers too."""
    scale = {"k": 1_000, "M": 1_000_000}.get(text[-1:], 1)
    return int(float(text.removesuffix("k").removesuffix("M")) * scale)


def main() -> int:
    """0 if all three told the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=number, default="52M", help="raw rows, as whole days of 288,000")
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv")
    parser.add_argument("--repeats", type=int, default=3, help="of the comparison with the peers; 0 leaves them out")
    parser.add_argument("--sample", type=number, default="10M", help="rows for that comparison")
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--data", type=Path, help="a folder for the export; one that is there already is used again")
    parser.add_argument("--keep", action="store_true", help="leave everything that was written")
    parser.add_argument("--json", action="store_true", help="the last line is a JSON object, everything else goes to standard error")
    asked = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr if asked.json else sys.stdout, flush=True)

    with ExitStack() as stack:
        work = Path(tempfile.mkdtemp(prefix="tidewatch-ingest-"))
        if asked.keep:
            say(f"everything stays in {work}")
        else:
            stack.callback(rmtree, work, ignore_errors=True)
        figures = measure(asked, work=work, say=say)
    print(json.dumps(figures) if asked.json else "\n".join(f"{name}: {value}" for name, value in figures.items()))
    return 0 if figures["greatest_difference"] <= TOLERANCE else 1


if __name__ == "__main__":
    raise SystemExit(main())
