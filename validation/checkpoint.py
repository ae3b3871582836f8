"""A suite -> results, through a checkpoint of Great Expectations and its actions: the verdict over all findings, then the pages.

The suite comes in as objects, from code. The library keeps a copy of it in its stores and compares the two; nothing is ever run from there.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast

import pandas as pd
from great_expectations.checkpoint.actions import ActionContext, ValidationAction
from great_expectations.checkpoint.checkpoint import Checkpoint, CheckpointResult
from great_expectations.compatibility.pydantic import PrivateAttr
from great_expectations.core import ExpectationSuite, RunIdentifier
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.core.validation_definition import ValidationDefinition
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.expectations.expectation import Expectation

from validation import docs
from validation.expectations import findings_of, outcome
from validation.findings import Finding

Told = dict[str, Any]  # Any: what an action tells the next one
Verdict = Callable[[Sequence[Finding]], Sequence[Finding]]
"""From all findings to those that follow from them together."""
VERDICT: Final = "expect_few_quarantined"


def run(
    batch: pd.DataFrame, *, asked: Sequence[Expectation], context: EphemeralDataContext, folder: Path, name: str, verdict: Verdict | None
) -> ExpectationSuiteValidationResult:
    """The results of a suite, stored, and on the pages.

    Args:
        batch: the frame.
        asked: the suite.
        context: of `folder`.
        folder: of the check.
        name: of the suite.
        verdict: what follows from all findings together; for the expectation `ExpectFewQuarantined`.

    Raises:
        RuntimeError: a page could not be drawn.
    """
    called = slug(name)
    suite = context.suites.add_or_update(ExpectationSuite(name=called, expectations=list(asked)))
    asset = context.data_sources.add_pandas("tidewatch").add_dataframe_asset(called)
    data = asset.add_batch_definition_whole_dataframe("whole")
    definition = ValidationDefinition(name=called, data=data, suite=suite)
    context.validation_definitions.add(definition)  # what this gives back was read from a store
    actions = [TellVerdict(name="verdict").by(verdict), WritePages(name="pages", folder=str(folder))]
    checkpoint = Checkpoint(name=called, validation_definitions=[definition], actions=actions)  # it adds itself
    run_id = RunIdentifier(run_name=called, run_time=datetime.now(UTC))
    told = checkpoint.run(batch_parameters={"dataframe": batch}, run_id=run_id)
    (results,) = told.run_results.values()
    return results


def slug(name: str) -> str:
    """`name` as a part of a path."""
    return re.sub(r"[^\w-]+", "-", name).strip("-") or "check"


class TellVerdict(ValidationAction):
    """What follows from all findings together becomes the result of `ExpectFewQuarantined`, and is stored with the others."""

    type: Literal["tidewatch_verdict"] = "tidewatch_verdict"
    _verdict: Verdict | None = PrivateAttr(default=None)

    def by(self, verdict: Verdict | None) -> "TellVerdict":
        """Itself, with what judges."""
        self._verdict = verdict
        return self

    def run(self, checkpoint_result: CheckpointResult, action_context: ActionContext | None = None) -> Told:  # noqa: ARG002  # the library's
        """The findings that were added."""
        context = cast("EphemeralDataContext", self._data_context)
        added: list[Finding] = []
        for key, results in checkpoint_result.run_results.items():
            found = [finding for result in results.results for finding in findings_of(result)]
            added += self._verdict(found) if self._verdict is not None else ()
            if added:
                _tell(added, results=results)
                context.validation_results_store.set(key, results)
        return {"findings": [finding.as_json() for finding in added]}


def _tell(added: Sequence[Finding], *, results: ExpectationSuiteValidationResult) -> None:
    """Make it the result of the expectation that asks for it."""
    for result in results.results:
        if result.expectation_config is not None and result.expectation_config.type == VERDICT:
            result.success, result.result = False, outcome(added)["result"]
    failed = sum(not result.success for result in results.results)
    asked = len(results.results)
    results.success = not failed
    results.statistics |= {
        "successful_expectations": asked - failed,
        "unsuccessful_expectations": failed,
        "success_percent": 100 * (asked - failed) / asked,
    }


class WritePages(ValidationAction):
    """The Data Docs of the folder, this run's page among them."""

    type: Literal["tidewatch_pages"] = "tidewatch_pages"
    folder: str

    def run(self, checkpoint_result: CheckpointResult, action_context: ActionContext | None = None) -> Told:  # noqa: ARG002  # the library's
        """Where they begin."""
        return {"index": str(docs.build(cast("EphemeralDataContext", self._data_context), folder=Path(self.folder)))}
