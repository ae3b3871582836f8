"""Real telemetry, end to end: every row of twelve server machines is in the grid, every labelled minute in an incident."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from telemetry.contract import load
from telemetry.files import FileSource
from telemetry.ingestion import ingest
from telemetry.lake import Lake
from telemetry.schema import END, ENTITIES, ENTITY, LABELS, OBSERVED, START

ROOT = Path(__file__).parents[2]


@pytest.mark.data
@pytest.mark.slow
def test_every_row_and_every_label_of_the_server_machines_arrives(data: Path, tmp_path: Path) -> None:
    smd = data / "smd"
    contract = load(ROOT / "infra" / "contracts" / "smd.toml")
    files = [path for half in ("train", "test") for path in sorted((smd / half).glob("*.parquet"))]
    lake, source = Lake(str(tmp_path)), FileSource(str(smd), contract=contract)
    done = ingest(source, contract=contract, lake=lake)
    assert (done.parts, done.passed_over) == (len(files), len(list((smd / "interpretation").glob("*.parquet"))))
    rows = sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in files)
    grid = lake.grid(contract=contract).collect()
    assert done.rows_in == done.rows_accepted == done.rows_new == grid.height == grid[OBSERVED].sum() == rows
    assert lake.read("entities", schema=ENTITIES).collect().height == len(files) // 2
    labels = lake.read("labels", schema=LABELS).collect()
    marked = {path.stem: pl.read_parquet(path)["label"].sum() for path in files if path.parent.name == "test"}
    lengths = labels.group_by(ENTITY).agg((pl.col(END) - pl.col(START)).sum()).rows()
    assert {entity: length // timedelta(minutes=1) for entity, length in lengths} == marked
    again = ingest(source, contract=contract, lake=lake)
    assert (again.parts_known, again.rows_in, lake.version("grid")) == (len(files), 0, 0)
