"""Train alone: check -> prepare -> train, without judging or publishing: how long it takes, what it comes to, and where the time goes."""

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.check import check_stage, quality_facts
from flows.ingest import ingest_stage
from flows.prepare import prepare_stage
from flows.profiling import profile_stage
from flows.reporting import closing
from flows.runs import begin
from flows.settings import Settings
from flows.train import Beginning, Changes, train_stage
from validation import verdict
from validation.findings import DataCheckFailed


@flow(name="train", log_prints=True)
def train_alone(
    contract: str = "fleet",
    source: str = "",
    profile: bool = False,
    epochs: Annotated[int | None, Field(ge=1)] = None,
    learning_rate: Annotated[float | None, Field(gt=0)] = None,
    seed: int | None = None,
    start: Beginning | None = None,
) -> dict[str, Any]:  # Any: plain JSON
    """Train, and keep nothing but the figures: nothing is judged or published, and the champion stays.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
        source: Folder, file or glob of readings to ingest first. Empty: only what the lake holds.
        profile: Say first where the time of such a training goes.
        epochs: Instead of the contract's.
        learning_rate: Instead of the contract's.
        seed: Instead of the contract's.
        start: Instead of the contract's; champion begins with the weights in force, where they fit.
    """
    settings = Settings()
    run = begin("train", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        if source:
            ingested = ingest_stage(run, contract=contract, source=source)
            summary.update(rows_new=ingested.rows_new, rows_quarantined=ingested.rows_quarantined)
        try:
            report = check_stage(run, contract=contract)
            summary.update(quality_facts(report))
            prepared = prepare_stage(run, contract=contract)
        except DataCheckFailed as failed:
            facts = quality_facts(failed.report)
            summary.update(facts | {"quarantined": summary.get("quarantined") or facts["quarantined"]})
            raise
        summary.update(prepared.facts())
        changes = Changes(epochs=epochs, learning_rate=learning_rate, seed=seed, start=start)
        if profile:
            summary["profile"] = profile_stage(run, contract=contract, changes=changes)
        trained = train_stage(run, contract=contract, changes=changes)
        left_out = verdict.left_out(report.findings)
        summary.update(trained.facts(), verdict="trained", sentence=f"Trained, not published: {trained.sentence}. {left_out}".strip())
    return summary
