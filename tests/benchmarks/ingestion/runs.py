"""Runs that are measured, each in a process of its own: an ingestion by Tidewatch or a peer, or the read of a day. Prints JSON.

python tests/benchmarks/ingestion/runs.py tidewatch|pandas|pandas_own_reader|duckdb FOLDER OUT
python tests/benchmarks/ingestion/runs.py day OUT
"""

import json
import os
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from flows.runtime import ALLOCATOR  # noqa: E402  (before Polars, as the command line does)

os.environ.update(ALLOCATOR)
from tests.benchmarks.ingestion import exports  # noqa: E402  (the checkout is put on the path first)

CUSTOMER: Final = "customer-13"
FORMATS: Final = (".csv", ".parquet")


def files(folder: Path) -> list[Path]:
    """The export's files, in the order of their days."""
    return sorted(path for path in folder.iterdir() if path.suffix in FORMATS)


def ingestion(which: str, *, folder: Path, out: Path) -> dict[str, Any]:  # Any: JSON
    """Seconds from the first byte to the last commit, and what the process held at most; imports are not timed."""
    contract = exports.contract()
    told: dict[str, Any] = {}
    if which == "tidewatch":
        from telemetry.files import FileSource
        from telemetry.ingestion import ingest
        from telemetry.lake import Lake

        now = exports.START + timedelta(days=len(files(folder)) + 1)
        began = time.perf_counter(), _cpu_seconds()
        done = ingest(FileSource(str(folder), contract=contract), contract=contract, lake=Lake(str(out)), now=now)
        told = {"rows": done.rows_in, "quarantined": done.rows_quarantined, "repeated": done.rows_repeated, "steps": done.rows_new}
    elif which.startswith("pandas"):
        import pyarrow.csv
        import pyarrow.parquet  # noqa: F401  (what pandas would import while it is timed)

        from tests.benchmarks.ingestion import with_pandas

        began = time.perf_counter(), _cpu_seconds()
        with_pandas.Ingestion(out, contract=contract, own_reader=which == "pandas_own_reader").run(files(folder))
    else:
        from tests.benchmarks.ingestion import with_duckdb

        began = time.perf_counter(), _cpu_seconds()
        with_duckdb.Ingestion(out, contract=contract).run(files(folder))
    seconds, cpu_seconds = time.perf_counter() - began[0], _cpu_seconds() - began[1]
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gib": _peak_gib(), **told}


def day(out: Path) -> dict[str, Any]:  # Any: JSON
    """The first read of a day of one customer after the imports, from a lake that this process has not opened before."""
    from telemetry.lake import Lake
    from telemetry.tables import DAY

    contract = exports.contract()
    days = sorted(path.name.removeprefix(f"{DAY}=") for path in (out / "grid").glob(f"{DAY}=*"))
    since = exports.START + timedelta(days=len(days) // 2)
    entities = tuple(name for name in exports.entities() if name.startswith(f"{CUSTOMER}/"))
    read, began = _bytes_read(), time.perf_counter()
    frame = Lake(str(out)).grid(contract=contract, since=since, until=since + timedelta(days=1), entities=entities).collect()
    return {"ms": 1000 * (time.perf_counter() - began), "bytes": _bytes_read() - read, "rows": frame.height}


def _cpu_seconds() -> float:
    told = os.times()
    return told.user + told.system


def _peak_gib() -> float:
    """The most that was resident; not `ru_maxrss`, which a child inherits from the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def _bytes_read() -> int:
    """Bytes that this process has fetched from storage: what was not in the page cache, mapped pages and read-ahead included."""
    told = Path("/proc/self/io")
    if not told.exists():
        return 0
    (line,) = (line for line in told.read_text(encoding="ascii").splitlines() if line.startswith("read_bytes"))
    return int(line.split()[1])


if __name__ == "__main__":
    kind, *places = sys.argv[1:]
    found = day(Path(places[0])) if kind == "day" else ingestion(kind, folder=Path(places[0]), out=Path(places[1]))
    print(json.dumps(found))
