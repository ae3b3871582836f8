"""A small contract and small sources, for everything between a file and the lake."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from telemetry import contract as contracts
from telemetry.contract import Contract

HEADER = "time,customer,region,queries,query_time,cpu"


@pytest.fixture
def declare() -> Callable[..., Contract]:
    """A contract of three parameters; sections given by name replace or complete the usual ones."""

    def build(*, parameters: dict[str, dict[str, Any]] | None = None, **sections: Any) -> Contract:
        raw: dict[str, Any] = {
            "name": "small",
            "entity": {"keys": ["customer", "region"], "cohort": "region"},
            "time": {"column": "time"},
            "parameters": {
                "queries": {"unit": "count", "aggregation": "sum", "target": True},
                "query_time": {"unit": "ms", "source_unit": "s"},
                "cpu": {"unit": "percent"},
            },
        }
        for name, changes in (parameters or {}).items():
            raw["parameters"][name] |= changes
        return contracts.parse(raw | sections)

    return build


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Lines under the usual header (or one's own) as a CSV file in a folder of its own."""

    def lines(*rows: str, name: str = "readings.csv", header: str = HEADER) -> Path:
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
        return path

    return lines
