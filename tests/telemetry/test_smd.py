"""Real telemetry, end to end: every row of twelve server machines is in the grid, every labelled minute in an incident."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from telemetry.contract import load
from telemetry.lake import Lake, Merged
from telemetry.resample import entities_from, labels_from, to_grid
from telemetry.schema import END, ENTITY, OBSERVED, START
from telemetry.sources import read, scan

ROOT = Path(__file__).parents[2]
SMD = ROOT.parent / "shared" / "data" / "smd"


@pytest.mark.data
@pytest.mark.slow
def test_every_row_and_every_label_of_the_server_machines_arrives(tmp_path: Path) -> None:
    if not SMD.is_dir():
        pytest.skip(f"the public data set is not at {SMD}")
    contract = load(ROOT / "infra" / "contracts" / "smd.toml")
    source = scan(SMD, contract=contract)
    files = [path for half in ("train", "test") for path in sorted((SMD / half).glob("*.parquet"))]
    assert (len(source.files), source.passed_over) == (len(files), len(list((SMD / "interpretation").glob("*.parquet"))))
    readings = read(source.files, contract=contract)
    grid = to_grid(readings.frame, contract=contract).collect()
    assert (
        readings.rows_in
        == grid.height
        == grid[OBSERVED].sum()
        == sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in files)
    )
    assert (readings.quarantine.height, readings.repeated, entities_from(readings.frame).height) == (0, 0, len(files) // 2)
    labels = labels_from(readings.frame, contract=contract)
    marked = {path.stem: pl.read_parquet(path)["label"].sum() for path in files if path.parent.name == "test"}
    lengths = labels.group_by(ENTITY).agg((pl.col(END) - pl.col(START)).sum()).rows()
    assert {entity: length // timedelta(minutes=1) for entity, length in lengths} == marked
    lake = Lake(str(tmp_path))
    assert lake.merge_grid(grid, contract=contract) == Merged(rows_new=grid.height, rows_changed=0)
    assert lake.merge_grid(grid, contract=contract) == Merged(rows_new=0, rows_changed=0)
    assert lake.grid(contract=contract).select(pl.len()).collect().item() == grid.height
