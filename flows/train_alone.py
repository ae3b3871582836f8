"""Train alone: check -> prepare -> train, without judging or publishing: how long it takes, what it comes to, and where the time goes."""

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.learnable import learnable
from flows.profiling import profile_stage
from flows.reporting import closing
from flows.runs import begin
from flows.settings import Settings
from flows.train import Beginning, Changes, train_stage


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
        ready = learnable(run, summary, contract=contract, source=source)
        changes = Changes(epochs=epochs, learning_rate=learning_rate, seed=seed, start=start)
        if profile:
            summary["profile"] = profile_stage(run, contract=contract, changes=changes)
        trained = train_stage(run, contract=contract, changes=changes)
        summary.update(trained.facts(), verdict="trained", sentence=f"Trained, not published: {trained.sentence}. {ready.left_out}".strip())
    return summary
