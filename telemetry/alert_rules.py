"""A Prometheus rules file and the grid -> the incidents that the user's own threshold rules would have told of the same telemetry.

The file is one that `promtool check rules` takes: `groups`, each with `rules`, each with `alert` and `expr`, and maybe `for`,
`keep_firing_for` and `labels`; expressions of recording rules (`record`) may be used by name. A rule that cannot be followed is refused by
a sentence, the others are used all the same. What expressions mean is told in `telemetry.alert_values`.

An alert is one incident of every entity whose keys its labels do not contradict: one that fires for a region is one of each entity of the
region, and all of these have one name in `incident`, so that it can be counted once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from telemetry.alert_expressions import Aggregate, Binary, Call, Expression, ExpressionError, Negative, Selector, kind_of
from telemetry.alert_parser import duration_seconds, parse
from telemetry.alert_values import LOOKBACK_SECONDS, Labels, Telemetry, evaluate, metric_names
from telemetry.contract import Contract
from telemetry.errors import RulesError
from telemetry.schema import AT, END, ENTITY, INCIDENT, INCIDENTS, OPENED, PEAK, RELEASE, START, TARGET, conform

RELEASE_OF_RULES: Final = "rules"
DEEPEST_RECORD: Final = 20
"""Recorded expressions inside of each other; one of itself is refused when it is held against a contract."""
_LINE: Final = "__line__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alerting rule.

    Attributes:
        name: of the alert; several rules may have one.
        group: in which it stands.
        line: of the file.
        text: its expression as it is written.
        expression: what that means.
        for_seconds: how long it must hold before it fires.
        keep_seconds: how long it fires on after it held last.
        interval_seconds: how often it is looked at; None: in every step.
        labels: that it adds.
    """

    name: str
    group: str
    line: int
    text: str
    expression: Expression
    for_seconds: float
    keep_seconds: float
    interval_seconds: float | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A rule that is not used, and why."""

    name: str
    group: str
    line: int
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A rules file.

    Attributes:
        path: of the file.
        alerts: that can be used.
        recorded: expressions of recording rules, by name.
        refused: rules that cannot.
    """

    path: str
    alerts: tuple[Alert, ...]
    recorded: Mapping[str, Expression]
    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """What rules told: INCIDENTS, and the rules with those refused that could not be evaluated."""

    incidents: pl.DataFrame
    rules: Rules


def load(path: Path) -> Rules:
    """The rules of a file.

    Raises:
        RulesError: it is missing, no YAML, or has no groups.
    """
    alerts: list[Alert] = []
    refused: list[Refused] = []
    recorded: dict[str, Expression] = {}
    for group, interval, rule in _rules_of(path):
        line = int(rule.get(_LINE, 0))
        name = str(rule.get("alert") or rule.get("record") or "without a name")
        try:
            text = rule.get("expr")
            if not isinstance(text, str | int | float) or isinstance(text, bool):
                raise ExpressionError("it has no expr")
            expression = parse(str(text))
            if "record" in rule:
                if name in recorded:
                    raise ExpressionError("another rule records the same name")
                if kind_of(expression) == "range":
                    raise ExpressionError("a range cannot be recorded")
                recorded[name] = expression
            else:
                alerts.append(_alert(rule, name=name, group=group, line=line, expression=expression, interval=interval))
        except ExpressionError as error:
            refused.append(Refused(name=name, group=group, line=line, sentence=_sentence(error)))
    return Rules(path=str(path), alerts=tuple(alerts), recorded=recorded, refused=tuple(refused))


def _sentence(error: ExpressionError) -> str:
    told = str(error)
    return f"{told[:1].upper()}{told[1:]}{'' if told.endswith('.') else '.'}"


def _rules_of(path: Path) -> Iterator[tuple[str, float | None, dict[str, Any]]]:  # Any: YAML
    """Group, its interval and the rule, in the order of the file."""
    told = _yaml(path)
    groups = told.get("groups") if isinstance(told, dict) else None
    hint = "a rules file is as `promtool check rules` takes it: groups, each with name and rules."
    if not isinstance(groups, list):
        raise RulesError(f"{path} has no list of groups.", hint=hint)
    for number, group in enumerate(groups, start=1):
        rules = group.get("rules") if isinstance(group, dict) else None
        if not isinstance(rules, list):
            raise RulesError(f"Group {number} of {path} has no list of rules.", hint=hint)
        name = str(group.get("name", number))
        for rule in rules:
            if not isinstance(rule, dict):
                raise RulesError(f"A rule of group '{name}' of {path} is no mapping: {str(rule)[:80]!r}.", hint=hint)
            yield name, _interval(group, name=name, path=path), rule


def _interval(group: dict[str, Any], *, name: str, path: Path) -> float | None:  # Any: YAML
    try:
        return duration_seconds(str(group["interval"])) or None if "interval" in group else None
    except ExpressionError as error:
        raise RulesError(f"The interval of group '{name}' of {path}: {error}.") from error


def _yaml(path: Path) -> Any:  # Any: YAML is what it is until it is looked at
    import yaml  # type: ignore[import-untyped]  # only where rules are read

    class Lines(yaml.SafeLoader):  # type: ignore[misc]  # untyped
        """Mappings that know their line."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # Any: untyped
            """The mapping, with the line on which it begins."""
            return {**super().construct_mapping(node, deep=deep), _LINE: node.start_mark.line + 1}

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=Lines)  # noqa: S506  (a SafeLoader)
    except FileNotFoundError as error:
        raise RulesError(f"There is no rules file {path}.", hint="name a file as Prometheus reads it: --rules alerts.yml") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError, ValueError, TypeError) as error:
        raise RulesError(f"{path} is no YAML: {' '.join(str(error).split())[:300]}.") from error


def _alert(
    rule: dict[str, Any],  # Any: YAML
    *,
    name: str,
    group: str,
    line: int,
    expression: Expression,
    interval: float | None,
) -> Alert:
    if not isinstance(rule.get("alert"), str) or not rule["alert"]:
        raise ExpressionError("it has neither an alert's name nor a record's")
    if kind_of(expression) != "vector":
        raise ExpressionError("an alert needs an expression with a value an instant, such as metric > 5")
    labels = rule.get("labels") or {}
    if not isinstance(labels, dict):
        raise ExpressionError("its labels are no mapping")
    return Alert(
        name=name,
        group=group,
        line=line,
        text=str(rule["expr"]).strip(),
        expression=expression,
        for_seconds=duration_seconds(str(rule.get("for") or 0)),
        keep_seconds=duration_seconds(str(rule.get("keep_firing_for") or 0)),
        interval_seconds=interval,
        labels={str(key): str(value) for key, value in labels.items() if key != _LINE},
    )


def fitting(rules: Rules, *, contract: Contract) -> Rules:
    """The rules with those refused that ask for what a contract's telemetry does not have."""
    used: list[Alert] = []
    refused: list[Refused] = []
    for alert in rules.alerts:
        try:
            _fits(alert.expression, contract=contract, recorded=rules.recorded)
            used.append(alert)
        except ExpressionError as error:
            refused.append(_refused(alert, error))
    return replace(rules, alerts=tuple(used), refused=(*rules.refused, *refused))


def _refused(alert: Alert, error: ExpressionError) -> Refused:
    return Refused(name=alert.name, group=alert.group, line=alert.line, sentence=_sentence(error))


def _fits(expression: Expression, *, contract: Contract, recorded: Mapping[str, Expression], inside: tuple[str, ...] = ()) -> None:
    names = metric_names(contract)
    for node, within in _nodes(expression):
        if not isinstance(node, Selector):
            continue
        if node.metric in inside:
            raise ExpressionError(f"{node.metric} is recorded by itself", place=node.place)
        if node.metric in recorded:
            _fits(recorded[node.metric], contract=contract, recorded=recorded, inside=(*inside, node.metric))
        elif node.metric not in names:
            raise ExpressionError(f"{node.metric} is no parameter of the contract; it has {', '.join(contract.names)}", place=node.place)
        elif within in ("rate", "increase") and contract.parameters[names[node.metric]].aggregation == "mean":
            raise ExpressionError(f"{node.metric} is a mean, and {within}() is for counters; delta() is for such", place=node.place)
        for matcher in node.matchers:
            if matcher.label not in contract.entity.keys and not matcher.holds(""):
                keys = ", ".join(contract.entity.keys)
                raise ExpressionError(f"nothing has the label {matcher.label}; the keys are {keys}", place=matcher.place)


def _nodes(expression: Expression, *, within: str = "") -> Iterator[tuple[Expression, str]]:
    """Every part of an expression, with the function that it is the argument of."""
    yield expression, within
    match expression:
        case Call():
            for argument in expression.arguments:
                yield from _nodes(argument, within=expression.name)
        case Aggregate() | Negative():
            yield from _nodes(expression.operand)
        case Binary():
            yield from _nodes(expression.left)
            yield from _nodes(expression.right)
        case _:
            pass


def reach(rules: Rules) -> timedelta:
    """How far back the rules look from an instant at which one of them may fire: ranges, offsets, and for how long it must hold."""
    seconds = [alert.for_seconds + _reach(alert.expression, recorded=rules.recorded, depth=0) for alert in rules.alerts]
    return timedelta(seconds=max(seconds, default=0.0))


def _reach(expression: Expression, *, recorded: Mapping[str, Expression], depth: int) -> float:
    found = 0.0
    for node, _ in _nodes(expression):
        if isinstance(node, Selector):
            inner = recorded.get(node.metric) if depth < DEEPEST_RECORD else None
            own = node.offset_seconds + (LOOKBACK_SECONDS if node.range_seconds is None else node.range_seconds)
            found = max(found, own + (0.0 if inner is None else _reach(inner, recorded=recorded, depth=depth + 1)))
    return found


def alerts(rules: Rules, *, grid: pl.LazyFrame, contract: Contract) -> pl.DataFrame:
    """INCIDENTS that the rules tell of a grid; see `fire`, which tells too which of them could not be followed."""
    return fire(rules, grid=grid, contract=contract).incidents


def fire(rules: Rules, *, grid: pl.LazyFrame, contract: Contract) -> Fired:
    """INCIDENTS that the rules tell of a grid, one for every alert and every entity that its labels mean, by entity and start.

    `start` is the first step in which the expression held, `opened` the end of the step in which the alert fired, `end` that of the last
    in which it held; `target` is the alert's name, `peak` the greatest value, `release` says "rules".

    Args:
        rules: of one file.
        grid: `entity, at` and the parameters, canonical units, as `Lake.grid` gives it; with it what offsets and ranges reach back to.
        contract: names and units of the parameters, keys of the entities.
    """
    known = fitting(rules, contract=contract)
    names = metric_names(contract)
    used = {
        node.metric
        for each in (*(a.expression for a in known.alerts), *known.recorded.values())
        for node, _ in _nodes(each)
        if isinstance(node, Selector)
    }
    wanted = [name for name in contract.names if name in {names.get(metric) for metric in used}]
    telemetry = Telemetry(grid.select(ENTITY, AT, *wanted).collect(), contract=contract, recorded=known.recorded)
    told = [pl.DataFrame(schema=INCIDENTS)]
    done: list[Alert] = []
    refused: list[Refused] = []
    repeated = {alert.name for n, alert in enumerate(known.alerts) if alert.name in [each.name for each in known.alerts[:n]]}
    for alert in known.alerts:
        try:
            found = _fired(alert, telemetry=telemetry, keys=contract.entity.keys)
        except ExpressionError as error:
            refused.append(_refused(alert, error))
            continue
        done.append(alert)
        called = f"{alert.name}:{alert.line}" if alert.name in repeated else alert.name
        told.append(found.with_columns(pl.concat_str(pl.lit(called), INCIDENT).alias(INCIDENT)))
    incidents = pl.concat(told).sort(ENTITY, START, TARGET, INCIDENT)
    return Fired(
        incidents=conform(incidents, INCIDENTS, name="alerts"),
        rules=replace(known, alerts=tuple(done), refused=(*known.refused, *refused)),
    )


def _fired(alert: Alert, *, telemetry: Telemetry, keys: tuple[str, ...]) -> pl.DataFrame:
    """INCIDENTS of one alert; `incident` says labels and start."""
    vector = evaluate(alert.expression, telemetry=telemetry)
    assert isinstance(vector, dict)  # noqa: S101  (the loader has seen to it)
    every = telemetry.steps(alert.interval_seconds or telemetry.step_seconds)
    cadence = timedelta(seconds=telemetry.step_seconds)
    looked_at = telemetry.at.dt.epoch("s") // telemetry.step_seconds % every == 0
    empty = pl.DataFrame(schema=INCIDENTS)
    told = [empty]
    for labels, values in vector.items():
        held = pl.DataFrame({AT: telemetry.at, PEAK: values}).filter(looked_at & values.is_not_null())
        spans = _spans(held, alert=alert, step=every * cadence, cadence=cadence)
        if spans.is_empty():
            continue
        own = dict(labels) | {key: value for key, value in alert.labels.items() if key in keys}
        meant = [entity for entity, its in telemetry.labels.items() if _means(its, own=own)]
        text = ",".join(f"{key}={own[key]}" for key in keys if key in own)
        name = pl.concat_str(pl.lit("{" + text + "}@"), pl.col(START).dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        named = spans.with_columns(name.alias(INCIDENT), pl.lit(alert.name).alias(TARGET), pl.lit(RELEASE_OF_RULES).alias(RELEASE))
        told.append(pl.DataFrame({ENTITY: pl.Series(meant, dtype=pl.String)}).join(named, how="cross").select(list(INCIDENTS)))
    return pl.concat(told)


def _means(labels: Labels, *, own: Mapping[str, str]) -> bool:
    return all(own.get(key, value) == value for key, value in labels)


def _spans(held: pl.DataFrame, *, alert: Alert, step: timedelta, cadence: timedelta) -> pl.DataFrame:
    """`start, opened, end, peak` of the times in which an alert fires, of the steps in which it held (`at`, value as `peak`)."""
    gap = pl.col(AT).diff()
    wait, keep = timedelta(seconds=alert.for_seconds), timedelta(seconds=alert.keep_seconds)
    runs = (
        held.with_columns((gap > step).fill_null(True).cum_sum().alias("run"), (gap > step + keep).fill_null(True).cum_sum().alias("chain"))
        .group_by("chain", "run", maintain_order=True)
        .agg(pl.col(AT).first().alias(START), pl.col(AT).last().alias(END), pl.col(PEAK).max())
        .with_columns((pl.col(END) - pl.col(START) >= wait).alias("fires"))
        .filter(pl.col("fires").cum_max().over("chain"))
    )
    return (
        runs.group_by("chain", maintain_order=True)
        .agg(
            pl.col(START).first(),
            (_held(alert, step=step) + cadence).alias(OPENED),
            (pl.col(END).last() + step).alias(END),
            pl.col(PEAK).max(),
        )
        .drop("chain")
    )


def _held(alert: Alert, *, step: timedelta) -> pl.Expr:
    """The step in which a run has held for long enough."""
    return pl.col(START).first() + -(-timedelta(seconds=alert.for_seconds) // step) * step
