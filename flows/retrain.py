"""Retrain: ingest -> check -> prepare -> train -> judge -> publish. Every name below is a verb you can follow."""

from datetime import datetime
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows import tracking
from flows.judge import judge_stage
from flows.learnable import learnable
from flows.publish import publish_stage
from flows.reporting import closing
from flows.runs import Run, begin
from flows.settings import Settings
from flows.train import Beginning, Changes, train_stage
from validation.findings import DataCheckFailed


@flow(name="retrain", log_prints=True)
def retrain(
    contract: str = "fleet",
    source: str = "",
    labels: str | None = None,
    epochs: Annotated[int | None, Field(ge=1)] = None,
    learning_rate: Annotated[float | None, Field(gt=0)] = None,
    seed: int | None = None,
    start: Beginning | None = None,
) -> dict[str, Any]:  # Any: plain JSON
    """Learn new weights and thresholds, and let them replace the champion only if the gate says so.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
        source: Folder, file or glob of readings to ingest first. Empty: only what the lake holds.
        labels: Parquet file of known incidents (entity, start, end, kind), if there is one.
        epochs: Instead of the contract's.
        learning_rate: Instead of the contract's.
        seed: Instead of the contract's.
        start: Instead of the contract's; champion begins with the weights in force, where they fit.
    """
    settings = Settings()
    run = begin("retrain", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        changes: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed, "start": start}  # Any: as of learn
        learn(run, summary, contract=contract, source=source, labels=labels, **changes)
    return summary


def learn(
    run: Run,
    summary: dict[str, Any],  # Any: plain JSON, filled stage by stage so that a stop keeps what is known
    *,
    contract: str,
    source: str,
    labels: str | None = None,
    oracle: str | None = None,
    until: datetime | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    start: Beginning | None = None,
) -> None:
    """The stages of a retrain, within a run.

    Args:
        run: whose stages these are.
        summary: of that run.
        contract: as for `retrain`, like `source`, `labels`, `epochs`, `learning_rate`, `seed` and `start`.
        source: what to ingest first, if anything.
        labels: known incidents.
        oracle: Parquet file of the conditional mean (entity, at, target, oracle), known for simulated telemetry only.
        until: learn and judge only by what is before this instant.
        epochs: instead of the contract's.
        learning_rate: instead of the contract's.
        seed: instead of the contract's.
        start: instead of the contract's.

    Raises:
        DataCheckFailed: a check stops the run.
        TrackingError: records of trainings are asked for where they cannot be written.
    """
    records = tracking.of_contract(contract)  # where they cannot be written, that is refused before anything is learned
    try:
        ready = learnable(run, summary, contract=contract, source=source, labels=labels, until=until)
    except DataCheckFailed:
        summary.update(gate="stop", release=None)
        raise
    changes = Changes(epochs=epochs, learning_rate=learning_rate, seed=seed, start=start)
    summary.update(train_stage(run, contract=contract, changes=changes).facts())
    judged = judge_stage(run, contract=contract, oracle=oracle)
    summary.update(judged.facts())
    published = publish_stage(run, contract=contract, judged=judged, checks_passed=ready.prepared.checks_passed)
    summary.update(published.facts())
    tracking.retrained(records, summary=summary, folder=run.folder)
    summary["sentence"] = f"{published.sentence} {ready.left_out}".strip()
