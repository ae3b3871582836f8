"""The text of an alert's expression -> its tree.

Grammar and precedence are Prometheus' own (https://prometheus.io/docs/prometheus/latest/querying/operators/), weakest first:

    or  <  and unless  <  == != > < >= <=  <  + -  <  * / %  <  -x  <  ^ (from the right)

What is not supported is refused by a sentence that names the place.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from telemetry.alert_expressions import (
    AGGREGATIONS,
    COMPARISONS,
    FUNCTIONS,
    SETS,
    SUPPORTED,
    Aggregate,
    Binary,
    Call,
    Expression,
    ExpressionError,
    Kind,
    Matcher,
    Matching,
    Negative,
    Number,
    Selector,
    kind_of,
)

_LEVELS: Final[tuple[tuple[str, ...], ...]] = (("or",), ("and", "unless"), COMPARISONS, ("+", "-"), ("*", "/", "%"))
DEEPEST: Final = 60
"""Parentheses inside of each other; more of them are no rule of a person."""
UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
"""Seconds."""
_DURATION: Final = r"(?:\d+(?:ms|[smhdwy]))+(?![A-Za-z0-9_])"
_TOKEN: Final = re.compile(
    rf"""(?P<space>(?:\s|\#[^\n]*)+)
    |(?P<duration>{_DURATION})
    |(?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![A-Za-z0-9_]))
    |(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){{}}\[\],:@])""",
    re.VERBOSE,
)
_KEYWORDS: Final = frozenset((*SETS, "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "atan2"))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


def parse(text: str) -> Expression:
    """The expression that a text says.

    Raises:
        ExpressionError: it says none, or one that is not supported.

    >>> parse("failed / queries > 0.05").op
    '>'
    """
    reader = _Reader(_tokens(text))
    expression = reader.binary(0)
    rest = reader.now
    if rest.kind != "end":
        raise ExpressionError(f"'{rest.text}' is not expected here; {SUPPORTED}.", place=rest.place)
    return expression


def duration_seconds(text: str) -> float:
    """Seconds of a duration such as 1h30m.

    Raises:
        ExpressionError: it is none.

    >>> duration_seconds("1h30m"), duration_seconds("0")
    (5400.0, 0.0)
    """
    if text.strip() == "0":
        return 0.0
    if not re.fullmatch(_DURATION, text.strip()):
        raise ExpressionError(f"'{text}' is no duration such as 30s, 5m, 1h30m or 1d")
    return float(sum(int(count) * UNITS[unit] for count, unit in re.findall(r"(\d+)(ms|[smhdwy])", text)))


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ExpressionError(f"{text[at : at + 12]!r} cannot be read", place=at + 1)
        if found.lastgroup != "space":
            tokens.append(_Token(str(found.lastgroup), found.group(), at + 1))
        at = found.end()
    return [*tokens, _Token("end", "the end", len(text) + 1)]


class _Reader:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0

    @property
    def now(self) -> _Token:
        """The token that is next."""
        return self._tokens[self._at]

    def binary(self, level: int) -> Expression:
        """An expression of operators that bind at least as strongly as those of a level."""
        if level == len(_LEVELS):
            return self._unary()
        left = self.binary(level + 1)
        while self.now.text.lower() in _LEVELS[level] and self.now.kind in ("name", "sign"):
            op = self._take()
            as_number = self._word("bool")
            matching = self._matching()
            right = self.binary(level + 1)
            made = Binary(op=op.text.lower(), left=left, right=right, as_number=as_number, matching=matching, place=op.place)
            left = _sound(made)
        return left

    def _unary(self) -> Expression:
        sign = self.now
        if sign.text in ("-", "+") and sign.kind == "sign":
            self._take()
            operand = self._deeper(self._unary)
            _want(operand, kinds=("scalar", "vector"), what=f"after '{sign.text}'")
            return Negative(operand=operand, place=sign.place) if sign.text == "-" else operand
        return self._power()

    def _power(self) -> Expression:
        base = self._primary()
        if self.now.text != "^":
            return base
        op = self._take()
        as_number, matching = self._word("bool"), self._matching()
        exponent = self._deeper(self._unary)
        return _sound(Binary(op="^", left=base, right=exponent, as_number=as_number, matching=matching, place=op.place))

    def _primary(self) -> Expression:
        token = self.now
        if token.text == "(" and token.kind == "sign":
            self._take()
            inner = self._deeper(lambda: self.binary(0))
            self._expect(")")
            return self._not_ranged(inner)
        if token.kind == "number":
            self._take()
            return Number(value=float(int(token.text, 16)) if token.text[:2].lower() == "0x" else float(token.text), place=token.place)
        if token.kind == "name" and token.text.lower() not in _KEYWORDS:
            return self._named()
        if token.text == "{":
            raise ExpressionError("a selector without the name of a metric is not supported", place=token.place)
        if token.kind == "text":
            raise ExpressionError("a text is no value of a rule", place=token.place)
        raise ExpressionError(f"a metric, a number, a function or '(' is expected, not '{token.text}'", place=token.place)

    def _not_ranged(self, inner: Expression) -> Expression:
        """What stands in parentheses; a range behind it would be a subquery."""
        if self.now.text in ("[", "@") or self.now.text.lower() == "offset":
            raise ExpressionError(f"'{self.now.text}' after ')' (a subquery) is not supported", place=self.now.place)
        return inner

    def _named(self) -> Expression:
        token = self._take()
        name = token.text
        if name.lower() in ("inf", "nan"):
            return Number(value=float(name), place=token.place)
        if self.now.text == "(" or (name.lower() in AGGREGATIONS and self.now.text.lower() in ("by", "without")):
            made = self._aggregate(token) if name.lower() in AGGREGATIONS else self._call(token)
            return self._not_ranged(made)
        return self._selector(token)

    def _call(self, token: _Token) -> Expression:
        if token.text not in FUNCTIONS:
            raise ExpressionError(f"{token.text}() is not supported; {SUPPORTED}.", place=token.place)
        wanted, _ = FUNCTIONS[token.text]
        arguments = self._arguments()
        if len(arguments) != len(wanted):
            raise ExpressionError(f"{token.text}() takes {len(wanted)} arguments, not {len(arguments)}", place=token.place)
        for argument, kind in zip(arguments, wanted, strict=True):
            _want(argument, kinds=(kind,), what=f"in {token.text}()")
        return Call(name=token.text, arguments=arguments, place=token.place)

    def _aggregate(self, token: _Token) -> Expression:
        op = token.text.lower()
        grouping = self._grouping()
        arguments = self._arguments()
        grouping = self._grouping() if grouping is None else grouping
        without, labels = grouping or (False, ())
        wanted = 2 if op == "quantile" else 1
        if len(arguments) != wanted:
            raise ExpressionError(f"{op}() takes {wanted} argument{'s' if wanted > 1 else ''}, not {len(arguments)}", place=token.place)
        *parameter, operand = arguments
        for each in parameter:
            _want(each, kinds=("scalar",), what=f"in {op}()")
        _want(operand, kinds=("vector",), what=f"in {op}()")
        first = parameter[0] if parameter else None
        return Aggregate(op=op, operand=operand, labels=labels, without=without, parameter=first, place=token.place)

    def _grouping(self) -> tuple[bool, tuple[str, ...]] | None:
        for word in ("by", "without"):
            if self._word(word):
                return word == "without", self._labels()
        return None

    def _arguments(self) -> tuple[Expression, ...]:
        self._expect("(")
        found: list[Expression] = []
        while self.now.text != ")":
            found.append(self._deeper(lambda: self.binary(0)))
            if self.now.text != ")":
                self._expect(",")
        self._expect(")")
        return tuple(found)

    def _selector(self, token: _Token) -> Expression:
        matchers = self._matchers() if self.now.text == "{" else ()
        span, offset = None, 0.0
        if self.now.text == "[":
            self._take()
            span = self._duration()
            if self.now.text.startswith(":"):
                raise ExpressionError("a subquery [range:step] is not supported", place=self.now.place)
            self._expect("]")
        if self._word("offset"):
            back = self.now.text == "-"
            if back:
                raise ExpressionError("a negative offset looks into the future", place=self.now.place)
            offset = self._duration()
        if self.now.text == "@":
            raise ExpressionError("the modifier @ is not supported", place=self.now.place)
        return Selector(metric=token.text, matchers=matchers, range_seconds=span, offset_seconds=offset, place=token.place)

    def _matchers(self) -> tuple[Matcher, ...]:
        self._expect("{")
        found: list[Matcher] = []
        while self.now.text != "}":
            label, op = self._take("name"), self._take()
            if op.text not in ("=", "!=", "=~", "!~"):
                raise ExpressionError(f"a label is compared by =, !=, =~ or !~, not by '{op.text}'", place=op.place)
            value = self._take("text")
            matcher = Matcher(label=label.text, op=op.text, value=_unquoted(value), place=label.place)
            found.append(matcher)
            if op.text.endswith("~"):
                _compiles(matcher)
            if self.now.text != "}":
                self._expect(",")
        self._expect("}")
        return tuple(found)

    def _matching(self) -> Matching:
        for word in ("on", "ignoring"):
            if self._word(word):
                labels = self._labels()
                for many in ("left", "right"):
                    if self._word(f"group_{many}"):
                        included = self._labels() if self.now.text == "(" else ()
                        side: Literal["left", "right"] = "left" if many == "left" else "right"
                        return Matching(on=word == "on", labels=labels, many=side, included=included)
                return Matching(on=word == "on", labels=labels)
        return Matching()

    def _labels(self) -> tuple[str, ...]:
        self._expect("(")
        found: list[str] = []
        while self.now.text != ")":
            found.append(self._take("name").text)
            if self.now.text != ")":
                self._expect(",")
        self._expect(")")
        return tuple(found)

    def _duration(self) -> float:
        token = self._take()
        if token.kind != "duration":
            raise ExpressionError(f"a duration such as 5m is expected, not '{token.text}'", place=token.place)
        return duration_seconds(token.text)

    def _word(self, word: str) -> bool:
        """Whether a keyword is next; it is passed over then."""
        found = self.now.kind == "name" and self.now.text.lower() == word
        self._at += found
        return found

    def _take(self, kind: str | None = None) -> _Token:
        token = self.now
        if token.kind == "end" or (kind is not None and token.kind != kind):
            wanted = {"name": "a name", "text": "a quoted text", None: "more"}[kind]
            raise ExpressionError(f"{wanted} is expected, not '{token.text}'", place=token.place)
        self._at += 1
        return token

    def _expect(self, sign: str) -> None:
        if self.now.text != sign or self.now.kind != "sign":
            raise ExpressionError(f"'{sign}' is expected, not '{self.now.text}'", place=self.now.place)
        self._at += 1

    def _deeper(self, read: Callable[[], Expression]) -> Expression:
        """What stands inside of something, unless that goes on and on."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise ExpressionError(f"more than {DEEPEST} parentheses inside of each other", place=self.now.place)
        found = read()
        self._depth -= 1
        return found


def _sound(made: Binary) -> Binary:
    """An operation whose sides it can be made of."""
    for side in (made.left, made.right):
        _want(side, kinds=("scalar", "vector"), what=f"beside '{made.op}'")
    scalars = [kind_of(side) == "scalar" for side in (made.left, made.right)]
    if made.op in SETS and any(scalars):
        raise ExpressionError(f"'{made.op}' joins vectors, and a number is none", place=made.place)
    if made.as_number and made.op not in COMPARISONS:
        raise ExpressionError(f"bool belongs to a comparison, not to '{made.op}'", place=made.place)
    if all(scalars) and made.op in COMPARISONS and not made.as_number:
        raise ExpressionError("two numbers are compared; a metric is expected on one side", place=made.place)
    if made.matching != Matching() and any(scalars):
        raise ExpressionError("on and ignoring belong between two vectors", place=made.place)
    if made.matching.many and made.op in SETS:
        raise ExpressionError(f"group_{made.matching.many} has no meaning for '{made.op}'", place=made.place)
    return made


def _want(expression: Expression, *, kinds: tuple[Kind, ...], what: str) -> None:
    found = kind_of(expression)
    if found not in kinds:
        told = {"scalar": "a number", "vector": "a value an instant", "range": "a range such as metric[5m]"}
        raise ExpressionError(f"{what} {' or '.join(told[kind] for kind in kinds)} is expected, not {told[found]}", place=expression.place)


def _unquoted(token: _Token) -> str:
    """The text between quotes, its escapes resolved."""
    inner = token.text[1:-1]
    if token.text[0] == "`":
        return inner
    escapes = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}

    def resolved(found: re.Match[str]) -> str:
        if found[1] not in escapes:
            raise ExpressionError(f"the escape {found[0]} is not known", place=token.place)
        return escapes[found[1]]

    return re.sub(r"\\(.)", resolved, inner)


def _compiles(matcher: Matcher) -> None:
    try:
        re.compile(matcher.value)
    except re.error as error:
        raise ExpressionError(f"{matcher.value!r} is no regular expression: {error}", place=matcher.place) from error
