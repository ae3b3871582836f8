"""What a page is made of: tables, plots, facts and notes, all as finished text; and how figures are put into words.

Formatters never raise: what they cannot read is told as it is.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

Tone = Literal["good", "held", "bad", "plain"]
NONE: Final = "\N{EN DASH}"
"""Stands for what is not known."""
MINUTE: Final = 60
HOUR: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table. `share` (0..1) draws a bar behind it; `mark` is the sign that goes with the tone."""

    text: str
    tone: Tone = "plain"
    share: float | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first cell of a row is its head. Columns named in `numbers` are set to the right; those in `wide` may wrap."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: frozenset[str] = frozenset()
    wide: frozenset[str] = frozenset()
    folded: bool = False
    """Shown only when it is opened."""
    kind: str = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A figure. `told` says in words what it shows; `figure` is Plotly's JSON, safe inside of a script element."""

    caption: str
    told: str
    figure: str
    height: int
    kind: str = "plot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A name and what is known of it."""

    name: str
    text: str
    href: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names with their values."""

    facts: tuple[Fact, ...]
    kind: str = "facts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line of text, with a link after it where `href` is given."""

    text: str
    tone: Tone = "plain"
    link: str = ""
    href: str | None = None
    kind: str = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading inside of a section."""

    text: str
    kind: str = "heading"


Block = Table | Plot | Facts | Note | Heading


def plot(figure: Any, *, caption: str, told: str) -> Plot:  # Any: a Plotly figure
    """A figure as a block."""
    from flows import strokes  # Plotly is for pages with a figure only

    return Plot(caption=caption, told=told, figure=strokes.as_json(figure), height=int(figure.layout.height))


def number(value: Any) -> float | None:  # Any: a summary may hold anything
    """The finite number that `value` is; None for everything else.

    >>> number(0.5), number("0.5"), number(float("nan")), number(True)
    (0.5, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return None
    return float(value) if math.isfinite(value) else None


def percent(value: Any) -> str:  # Any: as number
    """Percent, rounded down, so that what misses its bar by a hair does not read as if it met it.

    >>> percent(0.984999), percent(None)
    ('98.49 %', '–')
    """
    share = number(value)
    return _other(value) if share is None else f"{math.floor(share * 1e4 + 1e-9) / 100:.2f} %"


def count(value: Any) -> str:  # Any: as number
    """A whole number with its thousands set apart.

    >>> count(1234567)
    '1,234,567'
    """
    found = number(value)
    return _other(value) if found is None else f"{found:,.0f}"


def decimal(value: Any, *, digits: int = 3) -> str:  # Any: as number
    """A number with as many digits after the point; a very large or small one in powers of ten.

    >>> decimal(0.27), decimal(1e9), decimal(2e-6)
    ('0.270', '1.00e+09', '2.00e-06')
    """
    found = number(value)
    if found is None:
        return _other(value)
    plain = found == 0 or 10.0**-digits <= abs(found) < 1e6
    return f"{found:,.{digits}f}" if plain else f"{found:.2e}"


def duration(value: Any) -> str:  # Any: as number
    """Seconds in the unit that a person would choose.

    >>> duration(0.041), duration(95.2), duration(7380)
    ('0.04 s', '1 min 35 s', '2 h 03 min')
    """
    seconds = number(value)
    if seconds is None:
        return _other(value)
    if seconds < MINUTE:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE:02} min"


def moment(value: Any, *, seconds: bool = False) -> str:  # Any: a datetime, or text in ISO format
    """A time in UTC, to the minute.

    >>> moment("2026-01-31T23:59:00+02:00")
    '2026-01-31 21:59'
    """
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        return f"{at.astimezone(UTC) if at.tzinfo else at:{'%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M'}}"
    except (ValueError, AttributeError, OverflowError):
        return _other(value)


def text(value: Any) -> str:  # Any: a summary may hold anything
    """Whatever it is, in words.

    >>> text(True), text(None), text(0.25), text(["a", "b"])
    ('yes', '–', '0.25', 'a, b')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list | tuple):
        return ", ".join(text(part) for part in value) or NONE
    if isinstance(value, dict):
        return ", ".join(f"{key} {text(part)}" for key, part in value.items()) or NONE
    return _other(value)


def words(name: Any) -> str:  # Any: a key of a summary
    """A key as words.

    >>> words("rows_new")
    'Rows new'
    """
    told = str(name).replace("_", " ").strip()
    return told[:1].upper() + told[1:]


def _other(value: Any) -> str:
    return NONE if value is None or value == "" else str(value)
