"""The columns of numbers of a sample -> parameters: unit, aggregation, range, and which of them could be targets."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import polars as pl

from telemetry.columns import number
from telemetry.contract import RESERVED
from telemetry.guesses import FILE, WHEN, Meaning
from telemetry.sections import Aggregation
from telemetry.unit_guesses import Range, UnitGuess, guess_unit, snake

MOST_TARGETS: Final = 5
_VALUE: Final = "__value__"
_PART: Final = "__part__"
_ROUND: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
"""Cadences that people choose, in seconds."""
_NEAR: Final = 0.1
_RISES: Final = 0.98
"""Share of steps in which a counter does not fall; the others are restarts."""
_MOVES: Final = 0.5
_LEAST_STEPS: Final = 20
_LEVEL: Final = re.compile(
    r"active|current|open|used|free|size|depth|queue|device|session|connection|online|reporting|available|capacity|limit"
)
_ADDS_UP: Final = {"Wh", "kWh", "J"}
_WATCHED: Final = re.compile(
    r"latency|duration|time|error|fail|request|quer|cpu|mem|util|usage|value|rate|temp|energy|throughput|workload|rps"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGuess:
    """A parameter, as far as a sample tells it.

    Attributes:
        column: the source's name for it.
        unit: its name and unit.
        aggregation: of the readings of a step.
        why: of the aggregation; empty where nothing speaks for it.
        values: their range.
        target: whether it could be forecast and judged.
    """

    column: str
    unit: UnitGuess
    aggregation: Aggregation
    why: str
    values: Range
    target: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CadenceGuess:
    """How far readings are apart.

    Attributes:
        seconds: as a contract may have it.
        measured: the median, as it was found; null where nothing tells it.
    """

    seconds: int
    measured: float | None


def guess_cadence(meaning: Meaning) -> CadenceGuess:
    """The median step between the readings of an entity, rounded to one that people choose."""
    if meaning.time.format in ("row", "step_index"):
        return CadenceGuess(seconds=60, measured=None)
    at = meaning.frame.select(*_entity(meaning), WHEN).drop_nulls(WHEN).unique().sort(WHEN)
    steps = at.select(pl.col(WHEN).diff().over(_entity(meaning)).alias(WHEN))[WHEN].drop_nulls()
    median = steps.median()
    if not isinstance(median, timedelta) or not median:
        return CadenceGuess(seconds=60, measured=None)
    seconds = median.total_seconds()
    nearest = min(_ROUND, key=lambda each: abs(each - seconds))
    fits = abs(nearest - seconds) <= _NEAR * seconds
    return CadenceGuess(seconds=nearest if fits else max(1, round(seconds)), measured=seconds)


def guess_parameters(meaning: Meaning, *, decimal_comma: bool) -> tuple[ParameterGuess, ...]:
    """What the columns of numbers (in the long layout: the names of parameters) probably measure, some of them as targets."""
    told: list[tuple[str, str | None, pl.DataFrame, str]]
    if meaning.long is None:
        told = [(name, None, meaning.frame, name) for name in meaning.measured]
    else:
        long = meaning.long
        named = pl.col(long.parameter).str.strip_chars()
        told = [(name, long.unit, meaning.frame.filter(named == name), long.value) for name in long.names]
    found = [
        _parameter(name, rows=rows, value=value, unit_column=unit, meaning=meaning, comma=decimal_comma) for name, unit, rows, value in told
    ]
    return _targeted(_apart([each for each in found if each is not None]))


def _entity(meaning: Meaning) -> list[str]:
    return list(dict.fromkeys((*meaning.keys, *meaning.of_path))) or [FILE]


def _parameter(
    name: str, *, rows: pl.DataFrame, value: str, unit_column: str | None, meaning: Meaning, comma: bool
) -> ParameterGuess | None:
    read = number(value, dtype=rows.schema[value], decimal_comma=comma).alias(_VALUE)
    entity = pl.concat_str([pl.col(each).cast(pl.String) for each in _entity(meaning)], separator="/").alias(_PART)
    told = rows.select(entity, WHEN, read).drop_nulls(_VALUE).filter(pl.col(_VALUE).is_finite())
    if not told.height:
        return None
    numbers = told[_VALUE]
    low, high = numbers.to_frame().select(low=pl.min(_VALUE), high=pl.max(_VALUE)).row(0)
    values = Range(low=low, high=high, varied=numbers.n_unique() > 2)
    unit = guess_unit(name if unit_column is None else _with_unit(name, rows=rows, unit_column=unit_column), values=values)
    aggregation, why = _aggregation(told, words=snake(name), unit=unit.unit)
    return ParameterGuess(column=name, unit=unit, aggregation=aggregation, why=why, values=values)


def _with_unit(name: str, *, rows: pl.DataFrame, unit_column: str) -> str:
    """The name with the unit that most of its rows tell, as a header would spell it."""
    most = rows[unit_column].drop_nulls().mode().sort()
    return f"{name} ({most[0]})" if most.len() else name


def _aggregation(told: pl.DataFrame, *, words: str, unit: str) -> tuple[Aggregation, str]:
    steps = told.sort(WHEN).select(pl.col(_VALUE).diff().over(_PART).alias(_VALUE))[_VALUE].drop_nulls()
    whole = bool((told[_VALUE] == told[_VALUE].round()).all())
    if steps.len() >= _LEAST_STEPS and (whole or words.endswith("_total")):
        holds, rises = int((steps >= 0).sum()) / steps.len(), int((steps > 0).sum()) / steps.len()
        if holds >= _RISES and rises >= _MOVES:
            return "counter", f"it rises in {rises:.0%} of the steps and falls in {1 - holds:.0%}"
    if unit in _ADDS_UP:
        return "sum", "energy adds up"
    if unit == "count" and whole and not _LEVEL.search(words):
        return "sum", "whole numbers of events add up, if each row counts its own"
    return "mean", ""


def _apart(found: list[ParameterGuess]) -> list[ParameterGuess]:
    """No two of one name."""
    taken: set[str] = set()
    apart = []
    for each in found:
        name, count = each.unit.name, 1
        while name in taken or name in RESERVED:
            count += 1
            name = f"{each.unit.name}_{count}"
        taken.add(name)
        unit = UnitGuess(name=name, unit=each.unit.unit, reason=each.unit.reason, told=each.unit.told)
        apart.append(ParameterGuess(column=each.column, unit=unit, aggregation=each.aggregation, why=each.why, values=each.values))
    return apart


def _targeted(found: list[ParameterGuess]) -> tuple[ParameterGuess, ...]:
    """A few of them as targets: those that are mostly watched, and vary."""
    varied = [each for each in found if each.values.varied] or found
    gauges = [each for each in varied if each.aggregation != "counter"] or varied
    ranked = sorted(gauges, key=lambda each: not _WATCHED.search(snake(each.column)))
    chosen = {each.unit.name for each in ranked[:MOST_TARGETS]}
    return tuple(
        ParameterGuess(
            column=each.column, unit=each.unit, aggregation=each.aggregation, why=each.why, values=each.values,
            target=each.unit.name in chosen,
        )
        for each in found
    )  # fmt: skip
