"""Tend: many small files become few, and what is older than the contract keeps goes. What the lake says of the rest stays the same.

What trainings have left that were killed and that nobody came back for goes too.
"""

from datetime import UTC, datetime
from typing import Any

from prefect import flow, task

from flows import checkpoints
from flows.artifacts import tell_table
from flows.reporting import closing
from flows.retries import RETRY
from flows.runs import begin
from flows.settings import Settings
from flows.upkeep import Told, compacted, retained, status


@task(name="compact lake", **RETRY)
def compact_lake(*, contract: str) -> Told:
    """Turn many small files into few."""
    return compacted(contract, settings=Settings())


@task(name="retain lake", **RETRY)
def retain_lake(*, contract: str) -> Told:
    """Remove what is older than the contract keeps."""
    return retained(contract, settings=Settings(), now=datetime.now(UTC))


@flow(name="tend", log_prints=True)
def tend(contract: str = "fleet") -> dict[str, Any]:  # Any: plain JSON
    """Keep the lake small and quick.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
    """
    settings = Settings()
    run = begin("tend", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        with run.stage("retain") as stage:  # first: what goes need not be written anew
            gone = retain_lake(contract=contract)
            left = checkpoints.forget(settings, now=datetime.now(UTC))
            stage.note = gone["sentence"] + (f" Removed the checkpoints of {left:,} trainings that never came back." if left else "")
        with run.stage("compact") as stage:
            fewer = compact_lake(contract=contract)
            stage.note = fewer["sentence"]
        tables = status(contract, settings=settings)["tables"]
        tell_table("lake", rows=tables, description="The tables of the lake")
        summary.update(
            verdict="tended",
            sentence=f"{gone['sentence']} {fewer['sentence']}",
            rows_removed=gone["rows_removed"],
            files_fewer=fewer["files_fewer"],
            tables=tables,
        )
    return summary
