"""What the command line says of maintenance windows; without Prefect."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.check import MAINTENANCE, QUARANTINED, believed, maintained
from flows.cli import app
from flows.exhibits import path_of
from telemetry.maintenance import PERIODS
from telemetry.masks import SPANS
from telemetry.schema import AT, ENTITY, TIME
from tests.flows.lakes import DAY, Edge, make_edge, minute

WINDOW = ("--from", "2024-01-01T01:00:00Z", "--to", "2024-01-01T03:00:00Z")


@pytest.fixture
def edge(tmp_path: Path, home: Path) -> Edge:
    """Two customers."""
    made = make_edge(tmp_path / "edge")
    made.write("a.csv", minute(0), minute(0, customer="brim"))
    made.take()
    return made


def said(edge: Edge, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["maintenance", *arguments, "--contract", edge.contract])
    assert result.exit_code == code, result.stderr
    return result.stderr if code else result.stdout


def told(edge: Edge, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(edge, *arguments, "--json").splitlines()[-1])
    return found


def test_a_window_is_declared_listed_and_taken_back(edge: Edge) -> None:
    done = told(edge, "add", "*", *WINDOW, "--reason", "new disks")
    assert done["named"] == 2
    assert said(edge, "list") == "*  2024-01-01 01:00 to 2024-01-01 03:00  new disks\n0 entities are in maintenance now.\n"
    said(edge, "remove", "*", "--from", "2024-01-01T01:00:00Z")
    assert told(edge, "list")["maintenance"] == []
    assert said(edge, "list", "--all").startswith("*  2024-01-01 01:00 to 2024-01-01 03:00  new disks  (taken back)\n")


def test_who_is_worked_on_now_is_told(edge: Edge) -> None:
    said(edge, "add", "brim", "--from", "1h", "--to", "2100-01-01", "--reason", "moving")
    assert told(edge, "list")["in_maintenance"] == ["brim"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "acne*", *WINDOW, "--reason", "x"), r"'acne\*' names nobody: the lake knows 2 entities, such as acme, brim"),
        (("add", "*", "--from", "2024-01-02", "--to", "2024-01-01", "--reason", "x"), "from 2024-01-02 to 2024-01-01 has no length"),
        (("add", "*", *WINDOW, "--reason", " "), "needs a reason"),
        (("add", "*", "--from", "noon", "--to", "2024-01-01", "--reason", "x"), "'noon' is no time for from"),
        (("remove", "*", "--from", "2024-01-05"), "no maintenance window of '\\*' from 2024-01-05 on"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_do(edge: Edge, arguments: tuple[str, ...], message: str) -> None:
    import re

    text = " ".join(said(edge, *arguments, code=2).split())
    assert re.search(message, text)
    assert "Hint:" in text


def test_a_run_believes_neither_what_was_quarantined_nor_what_was_told_in_maintenance(tmp_path: Path) -> None:
    hours = [DAY + timedelta(hours=hour) for hour in range(5)]
    grid = pl.DataFrame(
        {ENTITY: ["a"] * 5, AT: hours, "observed": [True] * 5, "x": [1.0] * 5, "y": [2.0] * 5},
        schema_overrides={AT: TIME},
    ).lazy()
    assert believed(grid, folder=tmp_path).collect().equals(grid.collect())
    (tmp_path / "data").mkdir()
    pl.DataFrame([("a", hours[1], hours[2])], schema=PERIODS, orient="row").write_parquet(path_of(tmp_path, name=MAINTENANCE))
    left = believed(grid, folder=tmp_path).collect()
    assert left["x"].to_list() == [1.0, None, 1.0, 1.0, 1.0]
    pl.DataFrame([("a", "x", hours[3], hours[4])], schema=SPANS, orient="row").write_parquet(path_of(tmp_path, name=QUARANTINED))
    left = believed(grid, folder=tmp_path).collect()
    assert left["x"].to_list() == [1.0, None, 1.0, None, 1.0]
    assert left["y"].to_list() == [2.0, None, 2.0, 2.0, 2.0]
    assert left["observed"].all()
    assert maintained(tmp_path).height == 1
