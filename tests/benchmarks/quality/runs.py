"""Runs that are measured, each in a process of its own: the checks of a grid by Tidewatch or by the plain library. Prints JSON.

python tests/benchmarks/quality/runs.py make GRID ROWS SEED
python tests/benchmarks/quality/runs.py tidewatch GRID FOLDER
python tests/benchmarks/quality/runs.py pandas_arrow|pandas_numpy GRID
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from flows.runtime import ALLOCATOR, quiet  # noqa: E402  (before Polars, as the command line does)

os.environ.update({**ALLOCATOR, **quiet()})
import polars as pl  # noqa: E402  (after the environment)

from tests.benchmarks.quality import fleet  # noqa: E402
from tests.benchmarks.quality.memory import peak_gib, resident_gib, restart_peak  # noqa: E402

Figures = dict[str, Any]  # Any: plain JSON


def tidewatch(path: Path, *, folder: Path) -> Figures:
    """The raw suite with its Data Docs, as `tidewatch check` has it; the grid is in memory, and stays there as the caller's."""
    from tests.benchmarks.quality.stages import Stages
    from validation import checks

    stages = Stages.installed()
    bare = resident_gib()
    grid = pl.read_parquet(path)
    size = grid.estimated_size() / 2**30
    before = min(resident_gib(), bare + size)  # pages that reading has left free would hide as much of the peak
    restart_peak()
    began = time.perf_counter(), time.process_time()
    report = checks.check_raw(grid.lazy(), contract=fleet.contract(), folder=folder)
    seconds, cpu_seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    peak = max(stages.peak_gib, peak_gib())
    return {
        "rows": grid.height,
        "parameters": len(fleet.contract().parameters),
        "expectations": report.asked,
        "passed": report.passed,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "data_gib": size,
        "extra_gib": peak - before,
        "stages": stages.seconds(whole=seconds),
        "stage_cpu_seconds": stages.cpu_seconds(whole=cpu_seconds),
        "stage_peaks": stages.peaks(before=before),
    }


def plain(path: Path, *, dtypes: str) -> Figures:
    """The library's own expectations on a pandas frame that is there already."""
    from tests.benchmarks.quality import with_library

    frame = with_library.as_pandas(pl.read_parquet(path), dtypes=dtypes)
    bare = resident_gib()
    restart_peak()
    began = time.perf_counter(), time.process_time()
    asked, passed = with_library.check(frame, contract=fleet.contract())
    seconds, cpu_seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    return {
        "rows": len(frame),
        "expectations": asked,
        "passed": passed,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "extra_gib": peak_gib() - bare,
    }


def main(kind: str, path: Path, *others: str) -> Figures:
    """What the first word asks for."""
    if kind == "make":
        fleet.write(path, rows=int(others[0]), seed=int(others[1]))
        return {}
    if kind == "tidewatch":
        return tidewatch(path, folder=Path(others[0]))
    return plain(path, dtypes=kind.removeprefix("pandas_"))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])))
