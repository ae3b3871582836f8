"""A small kind of telemetry with some rows that cannot be read, for what is told of a lake; no Prefect."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from flows.lakes import lake_of
from flows.settings import Settings
from telemetry import contract as contracts
from telemetry.files import FileSource
from telemetry.ingestion import Ingested, ingest
from telemetry.lake import Lake

DAY: Final = datetime(2024, 1, 1, tzinfo=UTC)
CONTRACT: Final = """\
name = "edge"
[entity]
keys = ["customer"]
[time]
column = "time"
[parameters.queries]
unit = "count"
target = true
[retention]
grid_days = 1
history_hours = 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Where it lies."""

    contract: str
    source: Path

    @property
    def lake(self) -> Lake:
        """Of the home that the environment names now."""
        return lake_of(contracts.load(Path(self.contract)), settings=Settings())

    def write(self, name: str, *rows: str) -> None:
        """A file of readings."""
        (self.source / name).write_text("\n".join(("time,customer,queries", *rows)) + "\n", encoding="utf-8")

    def take(self, *, now: datetime = DAY + timedelta(days=2)) -> Ingested:
        """Ingest what is new."""
        declared = contracts.load(Path(self.contract))
        return ingest(FileSource(str(self.source), contract=declared), contract=declared, lake=self.lake, now=now)


def minute(number: int, *, queries: str = "1", customer: str = "acme") -> str:
    """A row."""
    return f"{DAY + timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ},{customer},{queries}"


def make_edge(folder: Path) -> Edge:
    """A contract and an empty source."""
    (folder / "source").mkdir(parents=True)
    contract = folder / "edge.toml"
    contract.write_text(CONTRACT, encoding="utf-8")
    return Edge(contract=str(contract), source=folder / "source")
