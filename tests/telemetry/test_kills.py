"""An ingestion that is killed again and again, at instants that nobody chooses, ends with the same tables as one that was left in peace."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from telemetry.archive import canonical
from telemetry.lake import Lake
from telemetry.schema import ENTITY
from telemetry.tables import DAY

CONTRACT = """
name = "small"
label_column = "label"
[entity]
keys = ["customer"]
[time]
column = "time"
[parameters.queries]
unit = "count"
aggregation = "sum"
target = true
[parameters.{name}]
unit = "B"
aggregation = "{kind}"
"""
# Forked from one process that has imported everything and used nothing: so many deaths would take minutes otherwise.
NURSERY = """
import os, signal, sys, time
from datetime import UTC, datetime
from pathlib import Path
from telemetry.contract import load
from telemetry.files import FileSource
from telemetry.ingestion import ingest
from telemetry.lake import Lake
contract = load(Path(sys.argv[1]))
for line in sys.stdin:
    root, seconds = line.split()
    child = os.fork()
    if not child:
        source = FileSource(sys.argv[2], contract=contract)
        ingest(source, contract=contract, lake=Lake(root), now=datetime(2026, 6, 1, tzinfo=UTC), buffer_rows=25)
        os._exit(0)
    if seconds != "never":
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""
TABLES = ("grid", "readings", "quarantine", "sources", "entities", "labels", "watermarks")
KILLS = 110


def write_files(folder: Path, *, seed: int) -> None:
    """Five files that overlap, repeat, contradict and complete each other, with rows that cannot be read."""
    chance = random.Random(seed)  # noqa: S311  (telemetry, not a secret)
    folder.mkdir()
    for number in range(5):
        lines = ["time,customer,queries,sent,label"]
        for _ in range(30):
            second = chance.choice((0, 0, 10, 30)) + 60 * chance.randrange(number, number + 4)
            at = datetime.fromtimestamp(1_767_225_600 + 86_400 * chance.randrange(2) + second, UTC)
            lines.append(f"{at:%Y-%m-%dT%H:%M:%SZ},{chance.choice('ab')},{chance.randrange(4)},{chance.randrange(3)},{chance.randrange(2)}")
        lines += [chance.choice(lines[1:]), "soon,a,1,1,0", "2026-01-01T00:00:00Z,b,many,1,0"]
        path = folder / f"{number}.csv"
        path.write_text("\n".join(lines) + "\n")
        os.utime(path, (1_767_400_000 + number, 1_767_400_000 + number))


@pytest.fixture(params=["mean", "counter"])
def nursery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "small.toml").write_text(CONTRACT.format(name="sent", kind=request.param))
    write_files(tmp_path / "source", seed=len(request.param))
    command = [sys.executable, "-c", NURSERY, str(tmp_path / "small.toml"), str(tmp_path / "source")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()}
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=10) == 0


def lived(nursery: subprocess.Popen[str], *, root: str, seconds: float | None) -> bool:
    """Start an ingestion and kill it after some time, or never; whether it came to its end."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(f"{root} {'never' if seconds is None else seconds}\n")
    nursery.stdin.flush()
    status = int(nursery.stdout.readline())
    assert status in (0, signal.SIGKILL), status
    return status == 0


def contents(root: str) -> dict[str, pl.DataFrame]:
    """Every table as a set of rows."""
    lake, found = Lake(root), {}
    for name in TABLES:
        table = lake.open(name)
        if table is not None:
            rows = lake.scan(table).collect()
            if name == "readings":  # what no longer counts may be there or not
                rows = canonical(rows.drop(DAY), names=("queries", "sent"))
            found[name] = rows.select(sorted(rows.columns)).unique().sort(pl.all())
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_ingestion_that_is_killed_at_random_instants_ends_with_the_same_tables(nursery: subprocess.Popen[str], tmp_path: Path) -> None:
    peaceful = str(tmp_path / "peaceful")
    began = time.monotonic()
    assert lived(nursery, root=peaceful, seconds=None)
    usual, expected = min(time.monotonic() - began, 0.5), contents(peaceful)
    assert expected["grid"].height > 10
    chance, kills, rounds = random.Random(1), 0, 0  # noqa: S311  (instants, not secrets)
    while kills < KILLS // 2:
        root, rounds = str(tmp_path / f"killed-{rounds}"), rounds + 1
        for _ in range(12):
            kills += not lived(nursery, root=root, seconds=chance.uniform(0, usual))
        lived(nursery, root=root, seconds=None)
        found: dict[str, Any] = contents(root)
        assert list(found) == list(expected)
        for name, rows in expected.items():
            assert_frame_equal(found[name], rows, check_exact=True)
        assert found["grid"].select(ENTITY, "at").is_duplicated().sum() == 0
