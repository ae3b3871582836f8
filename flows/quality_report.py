"""Quality report: the raw suite over what the lake holds, told and never stopping anything.

Where a release is in force, it is the release's own suite: what is scored is held against what guarded what was learned from.
"""

from typing import Any

from prefect import flow

from flows.check import check_grid, quality_facts, tell_findings, told
from flows.reporting import closing
from flows.runs import begin
from flows.score import champion_of
from flows.settings import Settings


@flow(name="quality-report", log_prints=True)
def quality_report(contract: str = "fleet") -> dict[str, Any]:  # Any: plain JSON
    """Write the data-quality report of what the lake holds, by the suites of the release in force.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
    """
    settings = Settings()
    run = begin("quality-report", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        with run.stage("check") as stage:
            release = champion_of(contract, settings=settings)
            report = check_grid(contract=contract, folder=str(run.folder), release=release)
            stage.note = told(report) + (f", by the suites of {release}" if release else "")
            tell_findings(report)
        verdict = "passed" if report.passed else "failed"
        summary.update(quality_facts(report), verdict=verdict, sentence=f"Data quality {verdict}: {told(report)}.")
    return summary
