"""What an alert's expression says in every step of the grid, as a Prometheus server would say it of the same samples.

An instant vector is a dictionary from labels to a series f64[step], null where the element is not there. A sample of a step counts as long
as Prometheus looks back (five minutes), or until the next. A range reaches back from the step, its own included; a range or an offset is
counted in steps, rounded up. Three things are as the grid has them and not as a server would:

    labels      are the entity's keys and no others
    values      are told in the source's units, as the samples of the server were
    rates       a parameter that is summed, or a counter, is in the grid by how much it rose in each step: increase is the sum of these,
                rate that sum a second, without extrapolation; a metric may be named with the ending _total

Sources: https://prometheus.io/docs/prometheus/latest/querying/basics/ (staleness), operators and functions beside it.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.alert_expressions import (
    COMPARISONS,
    SETS,
    Aggregate,
    Binary,
    Call,
    Expression,
    ExpressionError,
    Matching,
    Negative,
    Number,
    Selector,
)
from telemetry.alert_functions import calendar, over_time, together
from telemetry.contract import Contract
from telemetry.schema import AT, ENTITY

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, pl.Series]
Scalar = float | pl.Series
Array = NDArray[np.float64]

LOOKBACK_SECONDS: Final = 300
NO_LABELS: Final[Labels] = frozenset()
_ARITHMETIC: Final[Mapping[str, Callable[[Array, Array], Array]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
}
_COMPARED: Final[Mapping[str, Callable[[Array, Array], NDArray[np.bool_]]]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
_MAPPED: Final[Mapping[str, Callable[[Array], Array]]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "round": lambda values: np.floor(values + 0.5),
    "sqrt": np.sqrt,
    "exp": np.exp,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
}


def metric_names(contract: Contract) -> dict[str, str]:
    """The parameter that each name of a metric means: its own, its column's, its bare query's, and of what is counted these with _total."""
    named: dict[str, str] = {}
    for name, parameter in contract.parameters.items():
        known = [text for text in (name, parameter.column, parameter.query) if text and re.fullmatch(r"[A-Za-z_:][A-Za-z0-9_:]*", text)]
        counted = [f"{text.removesuffix('_total')}_total" for text in known] if parameter.aggregation != "mean" else []
        for text in (*known, *counted):
            named.setdefault(text, name)
    return named | {name: name for name in contract.names}


class Telemetry:
    """The grid as the series of a Prometheus server, over one time line of equal steps."""

    def __init__(self, grid: pl.DataFrame, *, contract: Contract, recorded: Mapping[str, Expression]) -> None:
        """See the series of `grid`: `entity, at` and parameters; `recorded` holds the expressions of recording rules by name."""
        cadence = contract.time.cadence
        first, last = grid.select(first=pl.col(AT).min(), last=pl.col(AT).max()).row(0)
        steps = [] if first is None else pl.datetime_range(first, last, cadence, eager=True, time_unit="us").to_list()
        self.at = pl.Series(AT, steps, dtype=grid.schema[AT])
        self.step_seconds = contract.time.cadence_seconds
        self.labels = {
            str(entity): frozenset(zip(contract.entity.keys, str(entity).split("/"), strict=True))
            for entity in grid[ENTITY].unique().sort()
        }
        self._grid, self._contract, self._recorded = grid, contract, recorded
        self._names = metric_names(contract)
        self._known: dict[str, Vector] = {}

    def steps(self, seconds: float) -> int:
        """So many seconds in steps, rounded up."""
        return math.ceil(seconds / self.step_seconds)

    def samples(self, metric: str) -> Vector:
        """Every series of a metric, null where there is no sample."""
        if metric not in self._known:
            self._known[metric] = self._recorded_samples(metric) if metric in self._recorded else self._measured(self._names[metric])
        return self._known[metric]

    def _recorded_samples(self, metric: str) -> Vector:
        found = evaluate(self._recorded[metric], telemetry=self)
        return found if isinstance(found, dict) else {NO_LABELS: self.series(found)}

    def _measured(self, parameter: str) -> Vector:
        declared = self._contract.parameters[parameter]
        told = self._contract.conversion(parameter, source=declared.source_unit or declared.unit)
        rows = self._grid.select(ENTITY, AT, ((pl.col(parameter) - told.offset) / told.factor).alias(parameter))
        wide = self.at.to_frame().join(rows.pivot(on=ENTITY, index=AT, values=parameter), on=AT, how="left", maintain_order="left")
        return {labels: wide[entity] for entity, labels in self.labels.items()}

    def series(self, value: Scalar) -> pl.Series:
        """A scalar in every step."""
        return value if isinstance(value, pl.Series) else pl.repeat(value, self.at.len(), dtype=pl.Float64, eager=True)


def evaluate(expression: Expression, *, telemetry: Telemetry) -> Vector | Scalar:
    """What an expression says in every step.

    Raises:
        ExpressionError: two elements of one side belong to one of the other.
    """
    match expression:
        case Number():
            return expression.value
        case Selector():
            reach = telemetry.steps(LOOKBACK_SECONDS) - 1
            return {labels: told.forward_fill(reach) for labels, told in _selected(expression, telemetry=telemetry).items()}
        case Negative():
            return _each(evaluate(expression.operand, telemetry=telemetry), np.negative)
        case Call():
            return _called(expression, telemetry=telemetry)
        case Aggregate():
            return _aggregated(expression, telemetry=telemetry)
        case Binary():
            return _binary(expression, telemetry=telemetry)


def _vector(expression: Expression, *, telemetry: Telemetry) -> Vector:
    found = evaluate(expression, telemetry=telemetry)
    assert isinstance(found, dict)  # noqa: S101  (the parser has seen to it)
    return found


def _scalar(expression: Expression, *, telemetry: Telemetry) -> Scalar:
    found = evaluate(expression, telemetry=telemetry)
    assert not isinstance(found, dict)  # noqa: S101  (the parser has seen to it)
    return found


def _selected(selector: Selector, *, telemetry: Telemetry) -> Vector:
    """The samples of the series that are meant, moved by the offset."""
    back = telemetry.steps(selector.offset_seconds)
    return {
        labels: told.shift(back) if back else told
        for labels, told in telemetry.samples(selector.metric).items()
        if all(matcher.holds(dict(labels).get(matcher.label, "")) for matcher in selector.matchers)
    }


def _array(value: Scalar, *, like: pl.Series) -> Array:
    return np.full(like.len(), value) if not isinstance(value, pl.Series) else value.fill_null(0.0).to_numpy()


def _made(values: NDArray[np.float64], *, of: tuple[Scalar, ...], keep: NDArray[np.bool_] | None = None) -> pl.Series:
    """The values where all that they were made of is there."""
    there = [told.is_not_null().to_numpy() for told in of if isinstance(told, pl.Series)]
    wanted = reduce(np.logical_and, there if keep is None else [*there, keep])
    return pl.select(pl.when(pl.Series(wanted)).then(pl.Series(values))).to_series()


def _each(value: Vector | Scalar, function: Callable[[Array], Array]) -> Vector | Scalar:
    with np.errstate(all="ignore"):
        if isinstance(value, dict):
            return {labels: _made(function(_array(told, like=told)), of=(told,)) for labels, told in value.items()}
        if isinstance(value, pl.Series):
            return _made(function(_array(value, like=value)), of=(value,))
        return float(function(np.float64(value)))  # type: ignore[arg-type]  # a ufunc takes both


def _binary(node: Binary, *, telemetry: Telemetry) -> Vector | Scalar:
    left, right = (evaluate(side, telemetry=telemetry) for side in (node.left, node.right))
    if isinstance(left, dict) and isinstance(right, dict):
        if node.op in SETS:
            return _joined(node, left=left, right=right)
        return {labels: _operated(node, one, two) for labels, one, two in _pairs(node, left=left, right=right)}
    if isinstance(left, dict):
        return {labels: _operated(node, told, right) for labels, told in left.items()}  # type: ignore[arg-type]  # right is a scalar
    if isinstance(right, dict):
        return {labels: _operated(node, left, told, keep=told) for labels, told in right.items()}
    return _operated(node, telemetry.series(left), right)


def _operated(node: Binary, left: Scalar, right: Scalar, *, keep: pl.Series | None = None) -> pl.Series:
    """One element of an operation; a comparison keeps the left side's value, or that of `keep`."""
    like = left if isinstance(left, pl.Series) else right
    assert isinstance(like, pl.Series)  # noqa: S101  (two numbers are made series before)
    one, two = _array(left, like=like), _array(right, like=like)
    with np.errstate(all="ignore"):
        if node.op in COMPARISONS:
            true = _COMPARED[node.op](one, two)
            if node.as_number:
                return _made(true.astype(np.float64), of=(left, right))
            return _made(_array(like if keep is None else keep, like=like), of=(left, right), keep=true)
        return _made(_ARITHMETIC[node.op](one, two), of=(left, right))


def _key(labels: Labels, *, matching: Matching) -> Labels:
    return frozenset(each for each in labels if (each[0] in matching.labels) == matching.on)


def _pairs(node: Binary, *, left: Vector, right: Vector) -> Iterator[tuple[Labels, pl.Series, pl.Series]]:
    """Elements that belong together, under the labels of what comes of them."""
    matching = node.matching
    one, many = (left, right) if matching.many == "right" else (right, left)
    lone: dict[Labels, Labels] = {}
    for labels in one:
        _put(lone, _key(labels, matching=matching), labels=labels, node=node, side="left" if one is left else "right")
    met: dict[Labels, Labels] = {}
    for labels, told in many.items():
        key = _key(labels, matching=matching)
        if key not in lone:
            continue
        found = key
        if matching.many is None:
            _put(met, key, labels=labels, node=node, side="left")
        else:
            lent = {name: value for name, value in lone[key] if name in matching.included}
            found = frozenset(({name: value for name, value in labels if name not in matching.included} | lent).items())
        other = one[lone[key]]
        yield (found, told, other) if many is left else (found, other, told)


def _put(known: dict[Labels, Labels], key: Labels, *, labels: Labels, node: Binary, side: str) -> None:
    if key in known:
        told = ", ".join(f"{name}={value}" for name, value in sorted(key)) or "no label"
        raise ExpressionError(
            f"several elements of the {side} side of '{node.op}' have {told}; say group_left or group_right, or aggregate first",
            place=node.place,
        )
    known[key] = labels


def _joined(node: Binary, *, left: Vector, right: Vector) -> Vector:
    """and, unless, or."""
    own, others = (left, right) if node.op != "or" else (right, left)
    there: dict[Labels, list[pl.Series]] = {}
    for labels, told in others.items():
        there.setdefault(_key(labels, matching=node.matching), []).append(told.is_not_null())
    kept: Vector = {}
    for labels, told in own.items():
        mates = there.get(_key(labels, matching=node.matching), [])
        met = reduce(lambda a, b: a | b, mates) if mates else pl.repeat(False, told.len(), eager=True)
        kept[labels] = pl.select(pl.when(met if node.op == "and" else ~met).then(told)).to_series()
    if node.op != "or":
        return kept
    every = {labels: left.get(labels, kept.get(labels)) for labels in (*left, *kept)}
    return {
        labels: told if labels not in kept or labels not in left else left[labels].fill_null(kept[labels])
        for labels, told in every.items()
        if told is not None
    }


def _called(node: Call, *, telemetry: Telemetry) -> Vector | Scalar:  # noqa: PLR0911 - one a kind of function
    name, arguments = node.name, node.arguments
    if name in _MAPPED:
        return _each(_vector(arguments[0], telemetry=telemetry), _MAPPED[name])
    if name == "absent":
        return _absent(arguments[0], present=_vector(arguments[0], telemetry=telemetry), telemetry=telemetry)
    if name.startswith("clamp"):
        return _clamped(node, telemetry=telemetry)
    if name == "vector":
        return {NO_LABELS: telemetry.series(_scalar(arguments[0], telemetry=telemetry))}
    if name == "scalar":
        found = list(_vector(arguments[0], telemetry=telemetry).values())
        return found[0].fill_null(math.nan) if len(found) == 1 else telemetry.series(math.nan)
    if name == "time":
        return telemetry.at.dt.epoch("s").cast(pl.Float64)
    if not arguments:
        return {NO_LABELS: calendar(name, at=telemetry.at)}
    *parameters, last = arguments
    assert isinstance(last, Selector)  # noqa: S101  (nothing else gives a range)
    window = telemetry.steps(last.range_seconds or 0.0)
    ranges = _selected(last, telemetry=telemetry)
    if name == "absent_over_time":
        there = {labels: told.forward_fill(window - 1) for labels, told in ranges.items()}
        return _absent(last, present=there, telemetry=telemetry)
    share = _scalar(parameters[0], telemetry=telemetry) if parameters else math.nan
    if isinstance(share, pl.Series):
        raise ExpressionError("the quantile must be a number", place=node.place)
    seconds = last.range_seconds or math.nan
    return {labels: over_time(name, told, window=window, seconds=seconds, share=share) for labels, told in ranges.items()}


def _absent(node: Expression, *, present: Vector, telemetry: Telemetry) -> Vector:
    """1 where nothing is there, with the labels that the selector asks for by =."""
    there = reduce(lambda a, b: a | b, (told.is_not_null() for told in present.values()), pl.repeat(False, telemetry.at.len(), eager=True))
    equal = frozenset((m.label, m.value) for m in node.matchers if m.op == "=" and m.value) if isinstance(node, Selector) else NO_LABELS
    return {equal: pl.select(pl.when(~there).then(1.0)).to_series()}


def _clamped(node: Call, *, telemetry: Telemetry) -> Vector:
    bounds = [_scalar(each, telemetry=telemetry) for each in node.arguments[1:]]
    low: Scalar = -math.inf if node.name == "clamp_max" else bounds[0]
    high: Scalar = math.inf if node.name == "clamp_min" else bounds[-1]
    found = _vector(node.arguments[0], telemetry=telemetry)
    return {
        labels: _made(np.minimum(np.maximum(_array(told, like=told), _array(low, like=told)), _array(high, like=told)), of=(told,))
        for labels, told in found.items()
    }


def _aggregated(node: Aggregate, *, telemetry: Telemetry) -> Vector:
    share = _scalar(node.parameter, telemetry=telemetry) if node.parameter is not None else math.nan
    if isinstance(share, pl.Series):
        raise ExpressionError("the quantile must be a number", place=node.place)
    groups: dict[Labels, list[pl.Series]] = {}
    for labels, told in _vector(node.operand, telemetry=telemetry).items():
        groups.setdefault(frozenset(each for each in labels if (each[0] in node.labels) != node.without), []).append(told)
    return {labels: together(node.op, series, share=share) for labels, series in groups.items()}
