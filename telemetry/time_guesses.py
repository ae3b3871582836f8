"""First rows of a source -> the column that tells their time, and how.

Every guess is tried with the reader itself (`telemetry.times`), so that what is guessed is what will be read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import polars as pl

from telemetry.columns import number
from telemetry.feeds import ROW_INDEX
from telemetry.schema import TIME
from telemetry.sections import CLOCKS, Time, TimeFormat
from telemetry.times import implausible, instants
from telemetry.unit_guesses import snake

ORIGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The invented instant of index 0."""
_NAMED: Final = re.compile(
    r"(^|_)(time|times|timestamp|date|datetime|ts|at|ds|epoch|when|clock|created|recorded|observed|zeit|datum)($|_)|time$"
)
_COUNTED: Final = re.compile(
    r"(^|_)(step|steps|index|idx|seq|sequence|tick|frame|frames|sample|t|i|n|seconds?|secs?|minutes?|elapsed)($|_)"
)
_SECONDS: Final = re.compile(r"[(\[]\s*(s|sec|seconds)\s*[)\]]|(^|_)(seconds?|secs?)($|_)", re.IGNORECASE)
_MINUTES: Final = re.compile(r"[(\[]\s*(min|minutes)\s*[)\]]|(^|_)minutes?($|_)", re.IGNORECASE)
_PATTERNS: Final = (
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M", "%Y.%m.%d %H:%M:%S", "%d %b %Y %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%b %d, %Y %I:%M:%S %p", "%b %d %Y %H:%M:%S",
    "%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z", "%Y%m%dT%H%M%SZ", "%Y%m%d%H%M%S", "%Y%m%d%H%M",
    "%Y%m%d %H:%M:%S", "%Y%m%d %H%M%S", "%y%m%d %H:%M:%S", "%d.%m.%y %H:%M", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d",
)  # fmt: skip
_EPOCHS: Final[tuple[TimeFormat, ...]] = ("epoch_s", "epoch_ms", "epoch_us", "epoch_ns")
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
_READ: Final = 0.9
"""Of a column's values, how many must be a time for it to tell the time."""
_RISING: Final = 0.95
_TRIED_ROWS: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeGuess:
    """A column that may tell the time.

    Attributes:
        column: empty where rows must be counted.
        format: as in a contract.
        pattern: with format `pattern`.
        other_pattern: one that reads the column just as well; empty if none does.
        naive: whether its times carry no zone.
        dates: whether it tells days only, and many rows have the same.
        reason: why.
        score: the greater, the likelier.
    """

    column: str
    format: TimeFormat
    reason: str
    score: float
    pattern: str | None = None
    other_pattern: str = ""
    naive: bool = False
    dates: bool = False

    def time(self, *, cadence_seconds: int = 60) -> Time:
        """As a contract would declare it, naive times in UTC."""
        origin = ORIGIN if self.format.endswith("_index") or self.format == "row" else None
        zone = "UTC" if self.naive else None
        return Time(column=self.column, format=self.format, pattern=self.pattern, zone=zone, origin=origin, cadence_seconds=cadence_seconds)


def guess_times(frame: pl.DataFrame) -> tuple[TimeGuess, ...]:
    """Columns that may tell the time, the likeliest first; the last one counts rows.

    Args:
        frame: the first rows with ROW_INDEX, text as text.
    """
    found = [guess for name in frame.columns if name != ROW_INDEX for guess in _guesses(frame.select(ROW_INDEX, name), column=name)]
    by_rows = TimeGuess(column="", format="row", reason="no column tells a time: the rows are counted", score=0.0)
    return (*sorted(found, key=lambda guess: -guess.score), by_rows)


def second_clock(guesses: tuple[TimeGuess, ...]) -> TimeGuess | None:
    """Another column that tells the same time as the first guess, if there is one."""
    first = guesses[0]
    if first.format not in (*CLOCKS, "pattern"):
        return None
    return next((each for each in guesses[1:] if each.format in CLOCKS and not each.dates and each.column != first.column), None)


def instants_of(frame: pl.DataFrame, *, guess: TimeGuess, cadence_seconds: int = 60) -> pl.Series:
    """The instants of the rows, null where there is none."""
    time = guess.time(cadence_seconds=cadence_seconds)
    column = guess.column or ROW_INDEX
    at = instants(column, dtype=frame.schema[column], time=time).at
    return frame.select(pl.when(~implausible(at, now=_LATEST)).then(at).cast(TIME).alias("at"))["at"]


def _guesses(frame: pl.DataFrame, *, column: str) -> Iterator[TimeGuess]:
    dtype, told = frame.schema[column], frame.filter(pl.col(column).is_not_null())
    named = 0.3 if _NAMED.search(snake(column)) else 0.0
    if not told.height:
        return
    if isinstance(dtype, pl.Datetime | pl.Date):
        naive = not (isinstance(dtype, pl.Datetime) and dtype.time_zone)
        yield _real(told, TimeGuess(column=column, format="iso", naive=naive, reason=f"typed as {dtype}", score=3 + named))
        return
    if dtype != pl.String and not dtype.is_numeric():
        return
    values = told.select(number(column, dtype=dtype, decimal_comma=False).alias(column))[column]
    numeric = values.null_count() <= (1 - _READ) * values.len()
    if dtype == pl.String and (named or not numeric):
        yield from _texts(told, column=column, named=named)
    if numeric:
        yield from _numbers(told, values=values, column=column, named=named)


def _real(told: pl.DataFrame, guess: TimeGuess) -> TimeGuess:
    """The guess, less likely where it tells days that many rows share."""
    at = instants_of(told, guess=guess).drop_nulls()
    midnight = bool((at.dt.time() == at.dt.time().min()).all()) and at.dt.hour().max() == 0
    if not (midnight and at.n_unique() < at.len() / 2):
        return guess
    return TimeGuess(
        column=guess.column, format=guess.format, pattern=guess.pattern, other_pattern=guess.other_pattern, naive=guess.naive, dates=True,
        reason=f"{guess.reason}; days only", score=guess.score - 2,
    )  # fmt: skip


def _reads(told: pl.DataFrame, guess: TimeGuess) -> bool:
    tried = told.head(_TRIED_ROWS)
    return instants_of(tried, guess=guess).is_not_null().sum() >= _READ * tried.height


def _texts(told: pl.DataFrame, *, column: str, named: float) -> Iterator[TimeGuess]:
    """A text as ISO time, or by one of the patterns that people write."""
    iso = TimeGuess(column=column, format="iso", naive=True, reason=f"reads as ISO 8601, such as {told[column][0]!r}", score=3 + named)
    if _reads(told, iso):
        zoned = TimeGuess(column=column, format="iso", reason=iso.reason, score=iso.score)
        yield _real(told, zoned if _reads(told, zoned) else iso)
        return
    reason = f"such as {told[column][0]!r}"
    fit = []
    for pattern in _PATTERNS:
        naive = "%z" not in pattern
        guess = TimeGuess(column=column, format="pattern", pattern=pattern, naive=naive, reason=reason, score=2.9 + named)
        if _reads(told, guess):
            fit.append(guess)
    if fit:
        first = fit[0]
        other = next((each.pattern for each in fit[1:] if each.pattern and _swapped(each.pattern) == first.pattern), "")
        yield _real(
            told,
            TimeGuess(
                column=column, format="pattern", pattern=first.pattern, other_pattern=other or "", naive=first.naive, reason=reason,
                score=first.score,
            ),
        )  # fmt: skip


def _swapped(pattern: str) -> str:
    """The pattern with day and month in the other order."""
    return pattern.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")


def _numbers(told: pl.DataFrame, *, values: pl.Series, column: str, named: float) -> Iterator[TimeGuess]:
    """A number as time since 1970, or as one that counts from a start."""
    steps = values.diff().drop_nulls()
    rising = values.n_unique() > 1 and int((steps >= 0).sum()) >= _RISING * steps.len()
    for form in _EPOCHS:
        guess = TimeGuess(column=column, format=form, reason=f"numbers such as {values[0]:.0f}", score=2.5 if named else 1.2)
        if (named or rising) and values[0] is not None and _reads(told, guess):
            yield guess
            return
    words = snake(column)
    if rising and (named or _COUNTED.search(words)):
        whole = bool((values == values.round()).all())
        form, score = _counts(column, words=words, whole=whole)
        reason = f"rises from {values.drop_nulls()[0]:.6g} to {values.drop_nulls()[-1]:.6g}, and its name"
        yield TimeGuess(column=column, format=form, reason=reason, score=score + named)


def _counts(column: str, *, words: str, whole: bool) -> tuple[TimeFormat, float]:
    """What a number that rises from a start counts, and how likely it does."""
    if whole and (_MINUTES.search(column) or _MINUTES.search(words)):
        return "minute_index", 1.5
    if not whole or _SECONDS.search(column) or _SECONDS.search(words):
        return "second_index", 1.5
    return "step_index", 1.0
