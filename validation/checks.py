"""The suites of a contract, built in code and run: over the raw grid before anything is scaled, and over the tensors after.

Suites are never loaded from a store: the library drops expectations whose class it does not know, and still says success. So many results
as expectations were asked for must come back, or the check refuses.
"""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl
from great_expectations.core import ExpectationSuite, RunIdentifier
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.core.validation_definition import ValidationDefinition
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metadata_types import FailureSeverity

from telemetry.contract import Contract
from telemetry.panel import Panel
from telemetry.schema import AT, ENTITY, grid_schema
from telemetry.sections import Checks, Parameter, Rule, Severity
from validation import docs, expectations, judgements, rules, tensor_judgements, tensor_profile
from validation.findings import CheckReport
from validation.measures import packed

_ONE_AT_A_TIME: Final = threading.Lock()
"""Great Expectations keeps one current context per process."""
SEVERITIES: Final = {"stop": FailureSeverity.CRITICAL, "warn": FailureSeverity.WARNING}


def check_raw(grid: pl.LazyFrame, *, contract: Contract, folder: Path, name: str = "raw-grid") -> CheckReport:
    """What the contract says about the grid, held against it, in canonical units.

    Args:
        grid: rows of `grid_schema`, sorted by entity and time.
        contract: what is plausible, and what each kind of finding does.
        folder: results go to `folder`/great_expectations, pages to `folder`/data_docs.
        name: of the suite.
    """
    frame = grid.collect(engine="in-memory")
    sound = pl.Schema(grid_schema(contract.names)) == frame.schema and not frame.is_empty()
    asked = [*_door(contract), *(_of_grid(contract) if sound else ())]
    return _run(packed(frame) if sound else frame.head(1), asked=asked, folder=folder, name=name)


def check_tensor(
    panel: Panel,
    *,
    scales: pl.DataFrame,
    grid: pl.LazyFrame,
    contract: Contract,
    folder: Path,
    name: str = "tensors",
    entities: pl.DataFrame | None = None,
    unfitting: Literal["stop", "warn"] = "stop",
    stale: pl.DataFrame | None = None,
) -> CheckReport:
    """Whether the panel is what the scales make of the grid.

    Args:
        panel: what the network is to learn from.
        scales: SCALES, with which it was made.
        grid: from which it was made.
        contract: newcomer days and cadence.
        folder: as of `check_raw`.
        name: of the suite.
        entities: ENTITIES; without them the newcomer flag is not checked.
        unfitting: what a mean other than 0 or a deviation other than 1 over training does. Scales that were fitted on this very panel must
            fit; those of an earlier release drift away, which is a reason to retrain and none to stop.
        stale: SCALES of an earlier release, so that their use by mistake can be named.
    """
    statistics = tensor_profile.measure(panel, scales=scales, grid=grid, contract=contract, entities=entities, stale=stale)
    return _run(statistics, asked=[*_of_tensors(contract, newcomers=entities is not None, unfitting=unfitting)], folder=folder, name=name)


def _door(contract: Contract) -> Iterator[Expectation]:
    """What must hold before anything else can be asked."""
    declared = judgements.as_text(grid_schema(contract.names))
    yield expectations.ExpectDeclaredColumns(
        column_set=list(declared), declared=declared, description="The columns and their types are those that the contract declares."
    )
    yield expectations.ExpectRows(min_value=1, description="There is at least one row.")


def _of_grid(contract: Contract) -> Iterator[Expectation]:
    yield expectations.ExpectOneRowAStep(column_list=[ENTITY, AT], description="An entity has one row per time.")
    yield expectations.ExpectTimeGoesForward(column=AT, description="The rows of an entity are in the order of time.")
    for name, parameter in contract.parameters.items():
        yield from _of_parameter(name, parameter=parameter, contract=contract)
    for rule in contract.rules:
        yield _of_rule(rule)
    yield from _of_presence(contract.checks)


def _of_parameter(name: str, *, parameter: Parameter, contract: Contract) -> Iterator[Expectation]:
    checks = contract.checks
    yield expectations.ExpectFiniteValues(column=name, description="All values are finite.")
    yield expectations.ExpectNotMissing(
        column=name,
        min_value=1 - checks.max_missing_share,
        description=f"At most {checks.max_missing_share:.1%} of an entity's steps are missing.",
    )
    if checks.plausible_range != "off" and (parameter.minimum is not None or parameter.maximum is not None):
        bounds = judgements.bounds(parameter.minimum, parameter.maximum, unit=parameter.unit)
        but = f", but for {checks.max_out_of_range_share:.1%} of them" if checks.max_out_of_range_share else ""
        yield expectations.ExpectPlausibleRange(
            column=name,
            min_value=parameter.minimum,
            max_value=parameter.maximum,
            mostly=1 - checks.max_out_of_range_share,
            unit=parameter.unit,
            severity=SEVERITIES[checks.plausible_range],
            description=f"An entity's values are {bounds}{but}.",
        )
    if checks.unit_shift != "off":
        yield from _of_unit(name, parameter=parameter, contract=contract, severity=checks.unit_shift)


def _of_rule(rule: Rule) -> Expectation:
    but = f" in all but {rule.max_share:.3g} of them" if rule.max_share else ""
    return expectations.ExpectRule(
        column_A=rule.right,
        column_B=rule.left,
        or_equal=rule.op == "<=",
        mostly=1 - rule.max_share,
        rule=rule.text,
        tolerance=rule.tolerance,
        severity=SEVERITIES[rule.severity],
        description=f"In an entity's steps {rules.in_words(rule.text, tolerance=rule.tolerance)}{but}.",
    )


def _of_presence(checks: Checks) -> Iterator[Expectation]:
    yield expectations.ExpectVolume(
        least_share=checks.min_volume_share,
        severity=SEVERITIES["warn"],
        description=f"An entity's last full day has at least {checks.min_volume_share:.0%} of the steps of those before.",
    )
    yield expectations.ExpectFreshness(
        stale_hours=checks.stale_hours,
        severity=SEVERITIES["warn"],
        description=f"No entity's newest step is more than {checks.stale_hours:g} hours older than the newest of all.",
    )


def _of_unit(name: str, *, parameter: Parameter, contract: Contract, severity: Severity) -> Iterator[Expectation]:
    factor = contract.checks.unit_shift_factor
    yield expectations.ExpectSameUnit(
        column=name,
        factor=factor,
        temperatures=" ".join(contract.temperatures),
        keys=contract.entity.keys,
        severity=SEVERITIES[severity],
        description=f"No entity's level leaves its own past for good by a factor of {factor:g} or more.",
    )
    if parameter.aggregation == "mean":  # sums tell how large a customer is
        yield expectations.ExpectUnitOfOthers(
            column=name,
            factor=factor,
            severity=SEVERITIES["warn"],
            description=f"No entity's level is a factor of {factor:g} or more away from all others'.",
        )


def _of_tensors(contract: Contract, *, newcomers: bool, unfitting: Literal["stop", "warn"]) -> Iterator[Expectation]:
    full = tensor_judgements.full_weight_steps(contract)
    mean, sd = tensor_judgements.MEAN_TOLERANCE, tensor_judgements.SD_TOLERANCE
    yield expectations.ExpectCalendar(description="The calendar is what the clock says, within -1 and 1.")
    if newcomers:
        days = contract.newcomer.days
        yield expectations.ExpectNewcomerFlag(days=days, description=f"Newcomers are flagged for {days} days, and nobody else.")
    for name in contract.names:
        yield expectations.ExpectScaledMean(
            column=name,
            full_weight=full,
            tolerance=mean,
            severity=SEVERITIES[unfitting],
            description=f"The mean over training is 0 within {mean:g}.",
        )
        yield expectations.ExpectScaledDeviation(
            column=name,
            full_weight=full,
            tolerance=sd,
            severity=SEVERITIES[unfitting],
            description=f"The standard deviation over training is 1 within {sd:g}.",
        )
        yield expectations.ExpectFiniteTensor(column=name, description="All values are finite.")
        yield expectations.ExpectZeroWhereUnobserved(column=name, description="The value is 0 where nothing was observed.")
        yield expectations.ExpectRoundTrip(column=name, description="Value x deviation + mean is what came in.")
        yield expectations.ExpectOwnScale(
            column=name, unfitting=unfitting, description="Every entity was scaled with its own mean and deviation, once."
        )


def _run(frame: pl.DataFrame, *, asked: Sequence[Expectation], folder: Path, name: str) -> CheckReport:
    began = time.perf_counter()
    with _ONE_AT_A_TIME:
        context = docs.context(folder)
        suite = context.suites.add_or_update(ExpectationSuite(name=_slug(name), expectations=list(asked)))
        asset = context.data_sources.add_pandas("tidewatch").add_dataframe_asset(_slug(name))
        definition = ValidationDefinition(name=_slug(name), data=asset.add_batch_definition_whole_dataframe("whole"), suite=suite)
        results = context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frame.to_pandas(use_pyarrow_extension_array=True)},
            run_id=RunIdentifier(run_name=_slug(name), run_time=datetime.now(UTC)),
        )
        index = docs.build(context, folder=folder)
    _all_judged(results, asked=len(asked))
    found = tuple(finding for result in results.results for finding in expectations.findings_of(result))
    return CheckReport(
        passed=all(finding.severity != "stop" for finding in found),
        findings=tuple(sorted(found, key=lambda finding: finding.severity)),
        asked=len(asked),
        results=len(results.results),
        docs=index,
        seconds=time.perf_counter() - began,
    )


def _all_judged(results: ExpectationSuiteValidationResult, *, asked: int) -> None:
    """Refuse where the library left an expectation out or could not judge it, which it may call a success.

    Raises:
        RuntimeError: with the first reason.
    """
    unjudged = [result for result in results.results if "details" not in result.result]
    judged = len(results.results) - len(unjudged)
    if judged == asked:
        return
    why = _reason(unjudged[0]) if unjudged else "some were dropped without a word"
    raise RuntimeError(f"{asked} expectations were asked, {judged} were judged; {why}")


def _reason(result: ExpectationValidationResult) -> str:
    told: dict[str, Any] = result.exception_info  # Any: one exception's facts, or those of several by the metric that raised them
    facts = told if "exception_message" in told else next(iter(told.values()), {})
    name = result.expectation_config.type if result.expectation_config else "an expectation"
    return f"{name}: {facts.get('exception_message', 'no reason was given')}"


def _slug(name: str) -> str:
    """`name` as a part of a path."""
    return re.sub(r"[^\w-]+", "-", name).strip("-") or "check"
