"""What is learned from: ingest -> check -> prepare, the stages that retrain, train and sweep begin with."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows.check import check_stage, quality_facts
from flows.ingest import ingest_stage
from flows.prepare import Prepared, prepare_stage
from flows.runs import Run
from validation import verdict
from validation.findings import DataCheckFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnable:
    """A panel that passed its checks.

    Attributes:
        prepared: what it is.
        left_out: a sentence on what the checks left out of it; empty where they took all.
    """

    prepared: Prepared
    left_out: str


def learnable(
    run: Run,
    summary: dict[str, Any],  # Any: plain JSON, filled stage by stage so that a stop keeps what is known
    *,
    contract: str,
    source: str,
    labels: str | None = None,
    until: datetime | None = None,
) -> Learnable:
    """Ingest what is new at the source, if one is named; check what the lake holds before an instant, and prepare it.

    Raises:
        DataCheckFailed: a check stops the run.
    """
    if source:
        ingested = ingest_stage(run, contract=contract, source=source, labels=labels)
        summary.update(rows_new=ingested.rows_new, rows_quarantined=ingested.rows_quarantined)
    try:
        report = check_stage(run, contract=contract, until=until)
        summary.update(quality_facts(report))
        prepared = prepare_stage(run, contract=contract, until=until)
    except DataCheckFailed as failed:
        facts = quality_facts(failed.report)
        left_out = summary.get("quarantined") or facts["quarantined"]  # where the tensors fail, the raw check has told it
        summary.update(facts | {"quarantined": left_out})
        raise
    summary.update(prepared.facts())
    return Learnable(prepared=prepared, left_out=verdict.left_out(report.findings))
