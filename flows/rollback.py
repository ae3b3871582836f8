"""Rollback: the champion is revoked; the release before it that was not revoked takes over."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows.lakes import lake_of
from flows.reporting import closing
from flows.runs import begin
from flows.settings import Settings
from serving import ledger
from telemetry import contract as contracts


@flow(name="rollback", log_prints=True)
def rollback(contract: str = "fleet", reason: str = "") -> dict[str, Any]:  # Any: plain JSON
    """Take the champion out of force.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
        reason: Why; kept in the ledger.
    """
    settings = Settings()
    run = begin("rollback", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary, run.stage("rollback") as stage:
        lake = lake_of(contracts.load(settings.contract_path(contract)), settings=settings)
        before = ledger.champion(lake)
        after = ledger.rollback(lake, at=datetime.now(UTC), reason=reason)
        revoked = before.release if before else None
        stage.note = f"{revoked} revoked; {after.release if after else 'no release'} is in force"
        summary.update(revoked=revoked, champion=after.release if after else None, sentence=f"{stage.note}.")
    return summary
