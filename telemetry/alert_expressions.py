"""What an alert's expression means: a tree of the part of PromQL that threshold rules are written in. Nothing here knows any telemetry."""

import re
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["scalar", "vector", "range"]

COMPARISONS: Final = ("==", "!=", ">", "<", ">=", "<=")
SETS: Final = ("and", "or", "unless")
AGGREGATIONS: Final = ("sum", "avg", "min", "max", "count", "group", "stddev", "quantile")
OVER_TIME: Final = ("avg", "min", "max", "sum", "count", "stddev", "last", "present", "absent", "quantile")
FUNCTIONS: Final[dict[str, tuple[tuple[Kind, ...], Kind]]] = {
    **{f"{name}_over_time": (("range",), "vector") for name in OVER_TIME},
    "quantile_over_time": (("scalar", "range"), "vector"),
    **dict.fromkeys(("rate", "increase", "delta", "changes"), (("range",), "vector")),
    **dict.fromkeys(("abs", "ceil", "floor", "round", "sqrt", "exp", "ln", "log2", "log10", "absent"), (("vector",), "vector")),
    **dict.fromkeys(("clamp_min", "clamp_max"), (("vector", "scalar"), "vector")),
    "clamp": (("vector", "scalar", "scalar"), "vector"),
    "vector": (("scalar",), "vector"),
    "scalar": (("vector",), "scalar"),
    "time": ((), "scalar"),
    **dict.fromkeys(("minute", "hour", "day_of_week", "day_of_month", "month"), ((), "vector")),
}
"""What each takes and gives."""
SUPPORTED: Final = (
    f"supported are comparisons, arithmetic, and/or/unless with on/ignoring/group_left/group_right, {'/'.join(AGGREGATIONS)} by/without, "
    f"offset, and {', '.join(FUNCTIONS)}"
)


class ExpressionError(ValueError):
    """An expression that is no PromQL, or not of the part that is supported.

    Attributes:
        place: character of the expression, the first being 1; None where it is the whole.
    """

    def __init__(self, sentence: str, *, place: int | None = None) -> None:
        self.place = place
        super().__init__(sentence if place is None else f"at character {place}: {sentence}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A scalar."""

    value: float
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """`label op value`, op being = != =~ or !~."""

    label: str
    op: str
    value: str
    place: int

    def holds(self, found: str) -> bool:
        """Whether a label's value is meant; regular expressions are anchored at both ends, as Prometheus' are."""
        equal = found == self.value if self.op in ("=", "!=") else re.fullmatch(self.value, found) is not None
        return equal is not self.op.startswith("!")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """`metric{matchers}[range] offset ...`, in seconds."""

    metric: str
    matchers: tuple[Matcher, ...]
    range_seconds: float | None
    offset_seconds: float
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`name(arguments)`."""

    name: str
    arguments: "tuple[Expression, ...]"
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """`op by (labels) (operand)`; `parameter` is that of quantile."""

    op: str
    operand: "Expression"
    labels: tuple[str, ...]
    without: bool
    parameter: "Expression | None"
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Which elements of two vectors belong together: those with equal `labels` (`on`), or with all others equal (`ignoring`)."""

    on: bool = False
    labels: tuple[str, ...] = ()
    many: Literal["left", "right"] | None = None
    included: tuple[str, ...] = ()
    """Labels that the one side lends to the many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """`left op right`. `as_number`: a comparison that says 0 or 1 (`bool`) and filters nothing."""

    op: str
    left: "Expression"
    right: "Expression"
    as_number: bool
    matching: Matching
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative:
    """`-operand`."""

    operand: "Expression"
    place: int


Expression = Number | Selector | Call | Aggregate | Binary | Negative


def kind_of(expression: Expression) -> Kind:
    """What it gives: one number, one a label set, or a range of them."""
    match expression:
        case Number():
            return "scalar"
        case Selector():
            return "vector" if expression.range_seconds is None else "range"
        case Call():
            return FUNCTIONS[expression.name][1]
        case Aggregate():
            return "vector"
        case Negative():
            return kind_of(expression.operand)
        case Binary():
            return "scalar" if kind_of(expression.left) == kind_of(expression.right) == "scalar" else "vector"
