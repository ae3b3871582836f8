"""The text of an expression is read as Prometheus reads it; what is no expression, or none that is supported, is refused with its place."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.alert_expressions import Aggregate, Binary, Expression, ExpressionError, Matching, Negative, Number, Selector
from telemetry.alert_parser import duration_seconds, parse


def shape(node: Expression) -> str:
    """An expression with every parenthesis."""
    match node:
        case Number():
            return f"{node.value:g}"
        case Selector():
            return node.metric
        case Negative():
            return f"(-{shape(node.operand)})"
        case Binary():
            return f"({shape(node.left)} {node.op} {shape(node.right)})"
        case Aggregate():
            return f"{node.op}({shape(node.operand)})"
        case _:
            return f"{node.name}({', '.join(shape(each) for each in node.arguments)})"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a / b > 0.05", "((a / b) > 0.05)"),
        ("a + b * c - d", "((a + (b * c)) - d)"),
        ("a > 1 and b > 1 or c > 1", "(((a > 1) and (b > 1)) or (c > 1))"),
        ("a > 1 or b > 1 unless c > 1", "((a > 1) or ((b > 1) unless (c > 1)))"),
        ("-a ^ 2", "(-(a ^ 2))"),
        ("2 ^ a ^ 2", "(2 ^ (a ^ 2))"),
        ("a ^ -1", "(a ^ (-1))"),
        ("a - -b", "(a - (-b))"),
        ("SUM by (x) (a) > +3", "(sum(a) > 3)"),
        ("(a)", "a"),
        ("a # told here\n > 1", "(a > 1)"),
        ("avg_over_time(a[1h30m]) > 1e3", "(avg_over_time(a) > 1000)"),
        ("a > 0x10 and Inf > a", "((a > 16) and (inf > a))"),
        ("sum > 1", "(sum > 1)"),  # a metric may be called like that
        ("job:share:rate5m > .5", "(job:share:rate5m > 0.5)"),
    ],
)
def test_operators_bind_as_in_prometheus(text: str, meant: str) -> None:
    assert shape(parse(text)) == meant


def test_a_selector_has_matchers_a_range_and_an_offset() -> None:
    found = parse('max_over_time(a{x="1\\"", y!~`b\\d`,}[5m] offset 1d)')
    selector = getattr(found, "arguments")[0]  # noqa: B009 - a union of trees
    assert [(m.label, m.op, m.value) for m in selector.matchers] == [("x", "=", '1"'), ("y", "!~", "b\\d")]
    assert (selector.range_seconds, selector.offset_seconds) == (300, 86_400)


def test_vectors_are_matched_by_labels() -> None:
    found = parse("a / on (x, y) group_left (z) b")
    assert isinstance(found, Binary)
    assert found.matching == Matching(on=True, labels=("x", "y"), many="left", included=("z",))


MALFORMED = (
    ("", 1, "a metric, a number, a function or '\\(' is expected, not 'the end'"),
    ("a >", 4, "is expected, not 'the end'"),
    ("a > > 1", 5, "is expected, not '>'"),
    ("a > 1 b", 7, "'b' is not expected here"),
    ("a[5m] > 1", 1, "beside '>' a number or a value an instant is expected, not a range"),
    ("a[5]", 3, "a duration such as 5m is expected, not '5'"),
    ("a[5m", 5, "'\\]' is expected"),
    ("a[5m:1m]", 5, "a subquery"),
    ("max_over_time(sum(a)[5m])", 21, "a subquery"),
    ("(a > 1)[5m]", 8, "a subquery"),
    ("a @ 3", 3, "the modifier @"),
    ("a offset -5m", 10, "looks into the future"),
    ("a{x}", 4, "by =, !=, =~ or !~, not by '}'"),
    ("a{x=1}", 5, "a quoted text is expected"),
    ("a{x=~'('}", 3, "is no regular expression"),
    ("a{x>'1'}", 4, "by =, !=, =~ or !~, not by '>'"),
    ("{x='1'}", 1, "without the name of a metric"),
    ("topk(3, a)", 1, "topk\\(\\) is not supported; supported are"),
    ("predict_linear(a[1h], 3600) < 0", 1, "predict_linear\\(\\) is not supported"),
    ("rate(a)", 6, "a range such as metric\\[5m\\] is expected, not a value an instant"),
    ("sum(a[5m])", 5, "a value an instant is expected"),
    ("sum(a, b)", 1, "takes 1 argument, not 2"),
    ("abs()", 1, "takes 1 arguments, not 0"),
    ("1 > 2", 3, "two numbers are compared"),
    ("a and 1", 3, "joins vectors"),
    ("a + bool 1", 3, "bool belongs to a comparison"),
    ("a > on (x) 1", 3, "between two vectors"),
    ("a and on (x) group_left b", 3, "group_left has no meaning"),
    ('"text"', 1, "a text is no value"),
    ("a > 1 $", 7, "cannot be read"),
    ("a > 'x", 5, "cannot be read"),
    ("a{x='\\q'}", 5, "the escape .q is not known"),
    ("by (x)", 1, "is expected, not 'by'"),
    ("(" * 5000 + "a", 62, "parentheses inside of each other"),
    ("-" * 5000 + "a", 62, "parentheses inside of each other"),
    ("5m > a", 1, "is expected, not '5m'"),
)


@pytest.mark.parametrize(("text", "place", "said"), MALFORMED)
def test_what_is_no_expression_is_refused_with_its_place(text: str, place: int, said: str) -> None:
    with pytest.raises(ExpressionError, match=said) as caught:
        parse(text)
    assert caught.value.place == place


PARTS = ("a", "1", "5m", "(", ")", "[", "]", "{", "}", ">", "-", "^", "sum", "rate", "by", "on", "and", ",", "'x'", "=", "offset", "bool")


@given(st.lists(st.sampled_from(PARTS), max_size=14))
def test_whatever_is_written_is_read_or_refused(parts: list[str]) -> None:
    with contextlib.suppress(ExpressionError):  # any other error is a mistake
        assert shape(parse(" ".join(parts)))


def test_durations() -> None:
    assert duration_seconds("1d12h") == 129_600
    assert duration_seconds("250ms") == 0.25
    for wrong in ("5", "m", "5 m", "-5m", "1h30"):
        with pytest.raises(ExpressionError, match="is no duration"):
            duration_seconds(wrong)
