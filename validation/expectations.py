"""The expectations of Tidewatch, as Great Expectations runs, stores and shows them.

Each is a subclass of the library's own, so that suites stay plain JSON and pages know how to show them. What it asks is measured by Polars
in metrics that all expectations of a suite share: the library computes each once. What a measurement means is said in `judgements`,
`rules`, `presence`, `copies` and `counters`; nothing is decided here. Those of the tensors are in `tensor_expectations`.
"""
# ruff: noqa: ARG002, ARG003  # the signatures are the library's

import html
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, Final

from great_expectations.execution_engine.execution_engine import ExecutionEngine
from great_expectations.expectations.core.expect_column_pair_values_a_to_be_greater_than_b import ExpectColumnPairValuesAToBeGreaterThanB
from great_expectations.expectations.core.expect_column_proportion_of_non_null_values_to_be_between import (
    ExpectColumnProportionOfNonNullValuesToBeBetween,
)
from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
from great_expectations.expectations.core.expect_column_values_to_be_increasing import ExpectColumnValuesToBeIncreasing
from great_expectations.expectations.core.expect_compound_columns_to_be_unique import ExpectCompoundColumnsToBeUnique
from great_expectations.expectations.core.expect_table_columns_to_match_set import ExpectTableColumnsToMatchSet
from great_expectations.expectations.core.expect_table_row_count_to_be_between import ExpectTableRowCountToBeBetween
from great_expectations.expectations.expectation import BatchExpectation, ColumnAggregateExpectation
from great_expectations.expectations.metadata_types import FailureSeverity
from great_expectations.render.components import (
    CollapseContent,
    LegacyDiagnosticRendererType,
    RenderedStringTemplateContent,
    RenderedTableContent,
)
from great_expectations.render.renderer.renderer import renderer
from great_expectations.validator.validator import ValidationDependencies

from telemetry.schema import ENTITY
from validation import copies, counters, judgements, keys, presence, rules
from validation.findings import Finding, Severity
from validation.further_measures import COPIES, FALLS
from validation.measures import BREACHES, DIAGNOSES, FRAME, INFINITE, OUTSIDE, PRESENCE, PROFILE, Metrics

SHOWN: Final = 50
"""Findings of one expectation that a page shows; the stored result holds them all."""
SEVERITIES: Final[dict[Severity, FailureSeverity]] = {
    "stop": FailureSeverity.CRITICAL,
    "quarantine": FailureSeverity.WARNING,
    "warn": FailureSeverity.INFO,
}
"""Our words in the library's."""
LEFT_OUT: Final = "Quarantined: it is neither learned from nor judged by."
"""How a finding's sentence ends that is left out of a run."""


class _Judged:
    """What all expectations share: they succeed without a finding, and show their findings as a table."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ()

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """What is not as expected; every expectation says its own."""
        raise NotImplementedError  # abstract: the library's metaclass leaves no room for abc's

    @property
    def stops(self) -> Severity:
        """The library's severity in our words."""
        library: FailureSeverity = self.severity  # type: ignore[attr-defined]  # of the class it is mixed into
        return next(ours for ours, theirs in SEVERITIES.items() if theirs == library)

    def get_validation_dependencies(
        self, execution_engine: ExecutionEngine[Any] | None = None, runtime_configuration: dict[str, Any] | None = None, **_: Any
    ) -> ValidationDependencies:
        """Only our own metrics; the classes we derive from would compute theirs with pandas."""
        return BatchExpectation.get_validation_dependencies(self, execution_engine, runtime_configuration)  # type: ignore[arg-type]

    def _validate(self, metrics: Metrics, runtime_configuration: Any = None, execution_engine: Any = None) -> dict[str, Any]:
        return outcome([_left_out(finding) for finding in self.findings(metrics)])

    @classmethod
    @renderer(renderer_type=LegacyDiagnosticRendererType.OBSERVED_VALUE)
    def _diagnostic_observed_value_renderer(cls, configuration: Any = None, result: Any = None, runtime_configuration: Any = None) -> str:
        return html.escape(str(result.result.get("observed_value", "not judged")))

    @classmethod
    @renderer(renderer_type=LegacyDiagnosticRendererType.UNEXPECTED_TABLE)
    def _diagnostic_unexpected_table_renderer(
        cls, configuration: Any = None, result: Any = None, runtime_configuration: Any = None
    ) -> list[RenderedTableContent | CollapseContent] | None:
        found = findings_of(result)
        if not found:
            return None
        rows = [[text(part) for part in (f.entity or "", f.period, f.found, f.expected)] for f in found[:SHOWN]]
        if len(found) > SHOWN:
            rows.append([text(f"and {len(found) - SHOWN} more"), text(""), text(""), text("")])
        return [
            RenderedTableContent(
                table=rows, header_row=["Entity", "Period", "Found", "Expected"], styling={"body": {"classes": ["table-sm"]}}
            )
        ]


def kinds() -> frozenset[str]:
    """The types of all expectations that are ours, as suites name them."""

    def below(kind: type[Any]) -> Iterator[type[Any]]:  # Any: the library adds the name of the type
        for each in kind.__subclasses__():
            yield from (each, *below(each))

    return frozenset(each.expectation_type for each in below(_Judged) if not each.__name__.startswith("_"))


def outcome(found: Sequence[Finding]) -> dict[str, Any]:  # Any: plain JSON
    """What an expectation that found this gives back to the library."""
    observed = "as expected" if not found else found[0].found + (f", and {len(found) - 1} more" if len(found) > 1 else "")
    return {"success": not found, "result": {"observed_value": observed, "details": {"findings": [f.as_json() for f in found]}}}


def _left_out(finding: Finding) -> Finding:
    """A finding of the severity 'quarantine' says so; one that does not name what is to be left out stops."""
    if finding.severity != "quarantine":
        return finding
    if not (finding.entity and finding.parameter):
        return replace(finding, severity="stop")
    return replace(finding, sentence=f"{finding.sentence} {LEFT_OUT}")


def findings_of(result: Any) -> tuple[Finding, ...]:  # Any: the library's ExpectationValidationResult
    """The findings that a result of one of our expectations holds."""
    return tuple(Finding.from_json(told) for told in result.result.get("details", {}).get("findings", ()))


def _number(asked: Any) -> float | None:  # Any: the library's fields may hold a parameter's name as well; ours never do
    return None if asked is None else float(asked)


def text(told: str) -> RenderedStringTemplateContent:
    """`told` as it is: parameters of a template are escaped, the template itself is not."""
    return RenderedStringTemplateContent(string_template={"template": "$told", "params": {"told": told}, "tag": "span"})


# Over the raw grid


class ExpectDeclaredColumns(_Judged, ExpectTableColumnsToMatchSet):
    """The columns and types of the contract, no more and no less."""

    declared: dict[str, str]
    metric_dependencies: ClassVar[tuple[str]] = (FRAME,)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `judgements.columns`."""
        return judgements.columns(judgements.as_text(metrics[FRAME].schema), expected=self.declared, severity=self.stops)


class ExpectRows(_Judged, ExpectTableRowCountToBeBetween):
    """At least one row."""

    metric_dependencies: ClassVar[tuple[str]] = (FRAME,)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `judgements.rows`."""
        return judgements.rows(len(metrics[FRAME]), severity=self.stops)


class ExpectOneRowAStep(_Judged, ExpectCompoundColumnsToBeUnique):
    """One row per entity and time."""

    metric_dependencies: ClassVar[tuple[str, ...]] = (PROFILE,)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `judgements.repeated`."""
        return judgements.repeated(metrics[PROFILE], severity=self.stops)


class ExpectTimeGoesForward(_Judged, ExpectColumnValuesToBeIncreasing):
    """The rows of an entity in the order of time."""

    metric_dependencies: ClassVar[tuple[str, ...]] = (PROFILE,)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `judgements.backward`."""
        return judgements.backward(metrics[PROFILE], severity=self.stops)


class ExpectPlausibleRange(_Judged, ExpectColumnValuesToBeBetween):
    """Values within the declared range, but for a share of 1 - mostly."""

    unit: str
    metric_dependencies: ClassVar[tuple[str, ...]] = (PROFILE, OUTSIDE)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `judgements.implausible`."""
        return judgements.implausible(
            metrics[OUTSIDE],
            profile=metrics[PROFILE],
            parameter=self.column,
            bounds=judgements.bounds(_number(self.min_value), _number(self.max_value), unit=self.unit),
            at_most=1 - (_number(self.mostly) or 0.0),
            severity=self.stops,
        )


class ExpectFiniteValues(_Judged, ColumnAggregateExpectation):
    """No infinite value."""

    metric_dependencies: ClassVar[tuple[str, ...]] = (PROFILE, INFINITE)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `judgements.infinite`."""
        return judgements.infinite(metrics[INFINITE], profile=metrics[PROFILE], parameter=self.column, severity=self.stops)


class ExpectNotMissing(_Judged, ExpectColumnProportionOfNonNullValuesToBeBetween):
    """At least the share `min_value` of an entity's steps told."""

    metric_dependencies: ClassVar[tuple[str]] = (PROFILE,)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `judgements.missing`."""
        return judgements.missing(
            metrics[PROFILE], parameter=self.column, at_most=1 - (_number(self.min_value) or 0.0), severity=self.stops
        )


class ExpectSameUnit(_Judged, ColumnAggregateExpectation):
    """No sustained jump of an entity's level by `factor` or more, and no error of arithmetic."""

    factor: float
    temperatures: str = ""
    keys: tuple[str, ...] = ()
    success_keys: ClassVar[tuple[str, ...]] = ("factor", "temperatures")
    metric_dependencies: ClassVar[tuple[str, ...]] = (PROFILE, DIAGNOSES)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `judgements.miscalculated`."""
        return judgements.miscalculated(
            metrics[DIAGNOSES],
            profile=metrics[PROFILE],
            parameter=self.column,
            factor=self.factor,
            keys=self.keys,
            severity=self.stops,
        )


class ExpectUnitOfOthers(_Judged, ColumnAggregateExpectation):
    """No entity whose level is by `factor` or more away from all others'."""

    factor: float
    metric_dependencies: ClassVar[tuple[str, ...]] = (PROFILE,)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `judgements.unlike_others`."""
        return judgements.unlike_others(metrics[PROFILE], parameter=self.column, factor=self.factor)


class ExpectRule(_Judged, ExpectColumnPairValuesAToBeGreaterThanB):
    """One parameter (A) never below another (B), but for a share of 1 - mostly."""

    rule: str
    tolerance: float
    success_keys: ClassVar[tuple[str, str, str, str, str]] = ("column_A", "column_B", "or_equal", "tolerance", "mostly")
    metric_dependencies: ClassVar[tuple[str, ...]] = (PROFILE, BREACHES)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `rules.broken`."""
        broken = rules.broken(
            metrics[BREACHES],
            profile=metrics[PROFILE],
            rule=rules.in_words(self.rule, tolerance=self.tolerance),
            parameter=self.column_B,
            at_most=1 - (_number(self.mostly) or 0.0),
            severity=self.stops,
        )
        return [replace(finding, beside=(str(self.column_A),)) for finding in broken]


class ExpectVolume(_Judged, BatchExpectation):
    """As many steps of an entity in the last full day as on those before, or a share of them."""

    least_share: float
    metric_dependencies: ClassVar[tuple[str, ...]] = (PROFILE, PRESENCE)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `presence.scarce`."""
        return presence.scarce(metrics[PRESENCE], cadence=metrics[PROFILE].cadence, least_share=self.least_share)


class ExpectFreshness(_Judged, BatchExpectation):
    """No entity whose newest step is old, those that departed apart."""

    stale_hours: float
    departed_days: int
    metric_dependencies: ClassVar[tuple[str, ...]] = (PROFILE, PRESENCE)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `presence.stale`."""
        return presence.stale(
            metrics[PRESENCE], cadence=metrics[PROFILE].cadence, stale_hours=self.stale_hours, departed_days=self.departed_days
        )


class ExpectCalendarKeys(_Judged, BatchExpectation):
    """A contract's calendar that names whom there is."""

    keys: tuple[str, ...]
    by: str
    tables: dict[str, tuple[str, ...]]
    metric_dependencies: ClassVar[tuple[str, ...]] = (PROFILE,)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `keys.calendar_keys`."""
        entities = metrics[PROFILE].entities.get_column(ENTITY).to_list()
        return keys.calendar_keys(entities, keys=self.keys, by=self.by, tables=self.tables)


class ExpectNoCopies(_Judged, BatchExpectation):
    """No day that is told twice."""

    parameters: tuple[str, ...]
    metric_dependencies: ClassVar[tuple[str, ...]] = (COPIES,)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `copies.copied`."""
        return copies.copied(metrics[COPIES], severity=self.stops, parameters=self.parameters)


class ExpectFewQuarantined(_Judged, BatchExpectation):
    """At most a share of the cells (entity x parameter) quarantined, and something left of every parameter.

    What the others found is known only when all were judged: `checkpoint.TellVerdict` tells what this one found, see `verdict.too_much`.
    """

    at_most: float

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """Nothing yet."""
        return ()


# Over the readings of counters, as they were told


class ExpectCounterForward(_Judged, ColumnAggregateExpectation):
    """A counter that rises, or begins anew at zero."""

    since_seconds: float
    cadence_seconds: float
    success_keys: ClassVar[tuple[str, ...]] = ("since_seconds",)
    metric_dependencies: ClassVar[tuple[str, ...]] = (FALLS,)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `counters.backwards`."""
        cadence = timedelta(seconds=self.cadence_seconds)
        return counters.backwards(metrics[FALLS], parameter=self.column, cadence=cadence, severity=self.stops)


class ExpectFewRestarts(_Judged, ColumnAggregateExpectation):
    """A counter that seldom begins anew."""

    since_seconds: float
    at_most: int
    success_keys: ClassVar[tuple[str, ...]] = ("since_seconds",)
    metric_dependencies: ClassVar[tuple[str, ...]] = (FALLS,)

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `counters.restarts`."""
        return counters.restarts(metrics[FALLS], parameter=self.column, at_most=self.at_most)
