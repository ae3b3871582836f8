"""What is asked of a contract's data: the expectations of its raw grid and of its tensors, made from the contract alone."""

from collections.abc import Iterator
from typing import Literal

from great_expectations.expectations.expectation import Expectation

from telemetry.contract import Contract
from telemetry.schema import AT, ENTITY, grid_schema
from telemetry.sections import Parameter, Rule
from validation import expectations, judgements, rules, tensor_expectations, tensor_judgements
from validation.expectations import SEVERITIES
from validation.findings import Severity


def door(contract: Contract) -> Iterator[Expectation]:
    """What must hold before anything else can be asked."""
    declared = judgements.as_text(grid_schema(contract.names))
    yield expectations.ExpectDeclaredColumns(
        column_set=list(declared), declared=declared, description="The columns and their types are those that the contract declares."
    )
    yield expectations.ExpectRows(min_value=1, description="There is at least one row.")


def of_grid(contract: Contract) -> Iterator[Expectation]:
    """Of the raw grid, in canonical units, before anything is scaled."""
    yield expectations.ExpectOneRowAStep(column_list=[ENTITY, AT], description="An entity has one row per time.")
    yield expectations.ExpectTimeGoesForward(column=AT, description="The rows of an entity are in the order of time.")
    for name, parameter in contract.parameters.items():
        yield from _of_parameter(name, parameter=parameter, contract=contract)
    for rule in contract.rules:
        yield _of_rule(rule)
    yield from _of_presence(contract)
    yield from _of_calendar(contract)
    if contract.checks.copies != "off":
        yield expectations.ExpectNoCopies(
            parameters=contract.names,
            severity=SEVERITIES[contract.checks.copies],
            description="No day of an entity is told twice, value by value: as another of its days, or as another entity's.",
        )
    share = contract.checks.max_quarantined_share
    yield expectations.ExpectFewQuarantined(
        at_most=share, description=f"At most {share:.1%} of the cells (entity x parameter) are quarantined, and never all of a parameter."
    )


def _of_parameter(name: str, *, parameter: Parameter, contract: Contract) -> Iterator[Expectation]:
    checks = contract.checks
    if checks.infinite != "off":
        yield expectations.ExpectFiniteValues(column=name, severity=SEVERITIES[checks.infinite], description="All values are finite.")
    if checks.missing != "off" and parameter.missing != "ignore":
        yield expectations.ExpectNotMissing(
            column=name,
            min_value=1 - checks.max_missing_share,
            severity=SEVERITIES[checks.missing],
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


def _of_presence(contract: Contract) -> Iterator[Expectation]:
    checks = contract.checks
    yield expectations.ExpectVolume(
        least_share=checks.min_volume_share,
        severity=SEVERITIES["warn"],
        description=f"An entity's last full day has at least {checks.min_volume_share:.0%} of the steps of those before.",
    )
    yield expectations.ExpectFreshness(
        stale_hours=checks.stale_hours,
        departed_days=contract.newcomer.departed_days,
        severity=SEVERITIES["warn"],
        description=f"No entity's newest step is more than {checks.stale_hours:g} hours older than the newest of all, unless it departed.",
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


def _of_calendar(contract: Contract) -> Iterator[Expectation]:
    """Only where it goes by a key: which cohort an entity is of, a grid does not say."""
    told, keys = contract.calendar, contract.entity.keys
    tables = {name: tuple(table) for name, table in (("zones", told.zones), ("countries", told.countries)) if table}
    if tables and told.by in keys:
        yield expectations.ExpectCalendarKeys(
            keys=keys,
            by=told.by,
            tables=tables,
            severity=SEVERITIES["warn"],
            description=f"The contract's calendar names the values of {told.by} that there are.",
        )


def of_counters(contract: Contract) -> Iterator[Expectation]:
    """Of the readings of the contract's counters, as they were told; nothing where it has none."""
    checks, cadence = contract.checks, contract.time.cadence_seconds
    for name, parameter in contract.parameters.items():
        if parameter.aggregation != "counter" or checks.counter == "off":
            continue
        since = float(cadence * parameter.previous_steps)
        yield expectations.ExpectCounterForward(
            column=name,
            since_seconds=since,
            cadence_seconds=float(cadence),
            severity=SEVERITIES[checks.counter],
            description="The counter rises, or begins anew at zero.",
        )
        yield expectations.ExpectFewRestarts(
            column=name,
            since_seconds=since,
            at_most=checks.max_restarts_a_day,
            severity=SEVERITIES["warn"],
            description=f"The counter begins anew at most {checks.max_restarts_a_day} times a day.",
        )


def of_tensors(contract: Contract, *, newcomers: bool, unfitting: Literal["stop", "warn"]) -> Iterator[Expectation]:
    """Of the tensors that the grid became."""
    full = tensor_judgements.full_weight_steps(contract)
    mean, sd = tensor_judgements.MEAN_TOLERANCE, tensor_judgements.SD_TOLERANCE
    yield tensor_expectations.ExpectCalendar(description="The calendar is what the clock says, within -1 and 1.")
    if contract.attributes.one_hot or contract.attributes.facts:
        yield tensor_expectations.ExpectAttributes(description="Every entity has the attributes that the contract tells of its keys.")
    if newcomers:
        days = contract.newcomer.days
        yield tensor_expectations.ExpectNewcomerFlag(days=days, description=f"Newcomers are flagged for {days} days, and nobody else.")
    for name in contract.names:
        yield tensor_expectations.ExpectScaledMean(
            column=name,
            full_weight=full,
            tolerance=mean,
            severity=SEVERITIES[unfitting],
            description=f"The mean over training is 0 within {mean:g}.",
        )
        yield tensor_expectations.ExpectScaledDeviation(
            column=name,
            full_weight=full,
            tolerance=sd,
            severity=SEVERITIES[unfitting],
            description=f"The standard deviation over training is 1 within {sd:g}.",
        )
        yield tensor_expectations.ExpectFiniteTensor(column=name, description="All values are finite.")
        yield tensor_expectations.ExpectZeroWhereUnobserved(column=name, description="The value is 0 where nothing was observed.")
        yield tensor_expectations.ExpectRoundTrip(column=name, description="Value x deviation + mean is what came in.")
        yield tensor_expectations.ExpectOwnScale(
            column=name, unfitting=unfitting, description="Every entity was scaled with its own mean and deviation, once."
        )
