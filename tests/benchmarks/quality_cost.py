"""What the raw suite costs at ten million rows, beside the library's own expectations on pandas.

    python tests/benchmarks/quality_cost.py [--rows 10M] [--sample 10M] [--repeats 3] [--json] [--seed 20260101]

The grid is the fleet of the contract (`quality/fleet.py`): 100 entities, 18 parameters, a row a minute, 69 days at 10 million rows, nothing
wrong with it. `validation.checks.check_raw` does what it does in a flow, Data Docs included. Every run is a process of its own; neither
imports nor the reading of the grid is timed.

Memory: the grid is read and held by the caller, as a flow holds it; then the kernel is told to forget the peak (clear_refs, 5), and the
peak at the end (VmHWM) less what was resident before is told. Reading leaves free pages behind that would hide as much of the peak: where
the size of the grid and what was resident without it are less, these are taken off instead. Stages are wrapped in the measured process;
the peak is restarted at the borders of each, and the greatest of all is the run's. It needs Linux.

The comparison (`quality/with_library.py`) asks the plain library what it can answer at all (columns, rows, unique keys, time goes forward,
share of nulls, finite, between), for the grid as a whole; ours answers for each entity, looks for errors of arithmetic, scarce days and
silent entities, and draws its pages. Both have all rows, or the first days of such a fleet where --sample is less. A small sample misleads
in both directions: the library hashes a frame below 1 GB and none above, and ours takes a second whatever the rows. They take turns; with
Arrow's dtypes the plain library takes minutes, so that it has one turn only.

The last line of `--json` is one record:
    rows, parameters, expectations
    seconds, cpu_seconds       medians of our runs over all rows; seconds by the clock, and of all processors
    extra_gib                  the peak above the data, median; data_gib is the grid itself
    stages                     seconds of the run in the middle: metrics by their names, judgements, packing, pages; `library` is the rest
    stage_cpu_seconds          of all processors, of that run: what remains the same while others use the machine
    stage_peaks                GiB above the data in each, of that run
    ratio_pandas               median seconds of the plain library on pandas by ours over the sample, the least of the next two
    ratio_pandas_numpy         with numpy's dtypes and the entity as a category
    ratio_pandas_arrow         with Arrow's
    cpu_ratio_pandas           as ratio_pandas, of processor seconds
    sample_rows, expectations_plain  of the comparison
    targets                    seconds, peak and ratio: whether each is met
Exits with 1 if a check finds something in the healthy grid, never for a target that is missed: that depends on the machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
OURS: Final = "tidewatch"
PLAIN: Final = "pandas_numpy"
SLOW: Final = "pandas_arrow"
TARGET_SECONDS: Final = 5.0
TARGET_PEAK_GIB: Final = 1.5
TARGET_RATIO: Final = 8.0
Figures = dict[str, Any]  # Any: plain JSON


def run(*what: str | Path) -> Figures:
    """A run in a process of its own."""
    command = [sys.executable, str(ROOT / "tests" / "benchmarks" / "quality" / "runs.py"), *map(str, what)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, what))} has failed")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def checked(who: str, grid: Path, *, work: Path, say: Callable[[str], None]) -> Figures:
    """One run of ours or of a peer's, told."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        told = run(who, grid, folder)
    if not told["passed"]:
        raise SystemExit(f"{who} finds something in a healthy grid")
    taken = f"{told['seconds']:.2f} s, {told['cpu_seconds']:.1f} s of processors, {told['extra_gib']:.2f} GiB above the data"
    say(f"{told['rows']:,} rows, {told['expectations']} expectations by {who}: {taken}")
    return told


def median(runs: list[Figures], name: str) -> float:
    """Of one figure over the runs."""
    return float(statistics.median(told[name] for told in runs))


def rounded(told: dict[str, float]) -> dict[str, float]:
    """As far as anybody reads."""
    return {name: round(value, 3) for name, value in told.items()}


def measure(asked: argparse.Namespace, *, work: Path, say: Callable[[str], None]) -> Figures:
    """Everything, in `work`."""
    whole = sample = work / "whole.parquet"
    run("make", whole, str(asked.rows), str(asked.seed))
    if asked.sample < asked.rows:
        sample = work / "sample.parquet"
        run("make", sample, str(asked.sample), str(asked.seed))
    runs: dict[str, list[Figures]] = {who: [] for who in (OURS, PLAIN, SLOW)}
    large = []
    for turn in range(asked.repeats):
        for who, found in runs.items():
            if who != SLOW or not turn:
                found.append(checked(who, sample, work=work, say=say))
        large.append(runs[OURS][-1] if sample == whole else checked(OURS, whole, work=work, say=say))
    return figures(large, compared=runs)


def ratios(compared: dict[str, list[Figures]], name: str) -> dict[str, float]:
    """One figure of the plain library's by ours, medians."""
    ours = median(compared[OURS], name)
    return {f"ratio_{who}": round(median(compared[who], name) / ours, 2) for who in (PLAIN, SLOW)}


def figures(runs: list[Figures], *, compared: dict[str, list[Figures]]) -> Figures:
    """The record of `runs` over all rows and of those over the sample."""
    middle = sorted(runs, key=lambda told: float(told["seconds"]))[(len(runs) - 1) // 2]
    by_clock = ratios(compared, "seconds")
    seconds, peak, ratio = median(runs, "seconds"), median(runs, "extra_gib"), min(by_clock.values())
    return {
        **{name: middle[name] for name in ("rows", "parameters", "expectations")},
        "seconds": round(seconds, 2),
        "cpu_seconds": round(median(runs, "cpu_seconds"), 2),
        "data_gib": round(middle["data_gib"], 2),
        "extra_gib": round(peak, 2),
        "stages": rounded(middle["stages"]),
        "stage_cpu_seconds": rounded(middle["stage_cpu_seconds"]),
        "stage_peaks": rounded(middle["stage_peaks"]),
        "ratio_pandas": ratio,
        "cpu_ratio_pandas": min(ratios(compared, "cpu_seconds").values()),
        **by_clock,
        "sample_rows": compared[OURS][0]["rows"],
        "expectations_plain": compared[PLAIN][0]["expectations"],
        "targets": {"seconds": seconds <= TARGET_SECONDS, "peak": peak <= TARGET_PEAK_GIB, "ratio_pandas": ratio >= TARGET_RATIO},
    }


def number(text: str) -> int:
    """10M and 300k are numbers too."""
    scale = {"k": 1_000, "M": 1_000_000}.get(text[-1:], 1)
    return int(float(text.removesuffix("k").removesuffix("M")) * scale)


def main() -> int:
    """0 where nothing was found in the healthy grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=number, default="10M")
    parser.add_argument(
        "--sample", type=number, default="10M", help="rows for the comparison; as many as --rows compares on the whole grid"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--json", action="store_true", help="the last line is a JSON object, everything else goes to standard error")
    asked = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr if asked.json else sys.stdout, flush=True)

    with tempfile.TemporaryDirectory(prefix="tidewatch-quality-") as work:
        found = measure(asked, work=Path(work), say=say)
    print(json.dumps(found) if asked.json else "\n".join(f"{name}: {value}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
