"""First rows of a source -> what its columns probably mean: whom they are of, what they measure, what people have marked.

Nothing here is certain, and every guess comes with its reason, for a person to confirm.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from telemetry.columns import number
from telemetry.feeds import ROW_INDEX
from telemetry.paths import groups
from telemetry.sample import Head, Sample
from telemetry.time_guesses import TimeGuess, guess_times, instants_of, second_clock
from telemetry.unit_guesses import snake

FILE: Final = "__file__"
WHEN: Final = "__at__"
_WHO: Final = re.compile(
    r"(^|_)(id|uid|uuid|host|hostname|node|machine|server|instance|pod|container|service|system|device|sensor|vehicle|customer|client|tenant"
    r"|account|region|zone|site|location|country|city|cluster|namespace|job|app|application|name|entity|series|channel|kpi|plant|house)($|_)"
    r"|(id|name)$"
)
_NUMBERED: Final = re.compile(r"(^|_)(id|uid|nr|no|number)$")
_WHAT: Final = re.compile(
    r"(^|_)(metric|metrics|parameter|param|measure|measurement|variable|field|signal|quantity|counter|attribute)($|_|s$)|_name$|_key$|^tag$"
)
_UNITS: Final = re.compile(r"^(unit|units|uom)$")
_MARKED: Final = re.compile(
    r"^(is_)?(label|labels|anomaly|anomalous|outlier|attack|fault|incident|ground_truth|in_window)$|^(label|anomaly)_|_(label|anomaly)$"
)
_NUMERIC: Final = 0.9
"""Share of a column's values that must be numbers for it to be measured."""
_FEW: Final = 0.02
"""Share of rows that may repeat an entity and instant."""
_MANY_KEYS: Final = 0.34
"""A text with more different values than this share of the rows tells apart rows, not entities."""
_LONG_REPEATS: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Long:
    """The columns of the long layout."""

    parameter: str
    value: str
    unit: str | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a sample probably tells.

    Attributes:
        frame: its rows with FILE, key columns of the path, and WHEN.
        time: how its time is read.
        clock: a second column that tells it, null if there is none.
        keys: columns that tell one entity from another.
        of_path: those that the path of a file tells.
        cohort: the key that others share, null if there is none.
        repeats: share of rows that repeat an entity and instant.
        long: columns of the long layout, null in the wide one.
        label: column of marks, null if there is none.
        measured: columns of numbers that are left: parameters.
        left_out: the other columns, each with the reason why.
    """

    frame: pl.DataFrame
    time: TimeGuess
    clock: TimeGuess | None
    keys: tuple[str, ...]
    of_path: tuple[str, ...]
    cohort: str | None
    repeats: float
    long: Long | None
    label: str | None
    measured: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)


def understand(sample: Sample) -> Meaning:
    """What the columns of a sample probably mean."""
    frame, of_path = _joined(sample.heads)
    comma = sample.writing.decimal_comma
    times = guess_times(frame.drop(FILE, *of_path))
    time, clock = times[0], second_clock(times)
    frame = frame.with_columns(instants_of(frame, guess=time).alias(WHEN))
    numeric = tuple(name for name in frame.columns if name not in (ROW_INDEX, WHEN, *of_path) and _is_number(frame, name, comma=comma))
    days = {each.column for each in times if each.dates}
    spent = {ROW_INDEX, FILE, WHEN, time.column, *days} | ({clock.column} if clock else set())
    label = next((name for name in frame.columns if name not in spent and _is_label(frame, name)), None)
    spent |= {label} if label else set()
    texts = [name for name in frame.columns if name not in spent and (name not in numeric or _is_id(frame, name))]
    texts = [name for name in texts if frame.schema[name] == pl.String or name in numeric]
    values = tuple(name for name in numeric if name not in {*spent, *texts})
    long = _long(frame, texts=texts, values=values)
    told = (long.parameter, long.unit) if long else ()
    keys, cohort = _keys(frame, candidates=[name for name in texts if name not in told], of_path=of_path, also=told[:1])
    measured = () if long else values
    used = {*keys, cohort, *measured, *(filter(None, told)), *((long.value,) if long else ())}
    return Meaning(
        frame=frame,
        time=time,
        clock=clock,
        keys=keys,
        of_path=tuple(key for key in dict.fromkeys((*keys, cohort)) if key in of_path),
        cohort=cohort,
        repeats=_repeats(frame, (*keys, *told[:1])),
        long=long,
        label=label,
        measured=measured,
        left_out={name: _why(frame, name, days=days) for name in frame.columns if name not in {*spent - days, *used, *of_path}},
    )


def _joined(heads: tuple[Head, ...]) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """All rows with FILE, and key columns of the path; columns of several types as text."""
    types: dict[str, set[pl.DataType]] = {}
    for head in heads:
        for column, dtype in head.frame.schema.items():
            types.setdefault(column, set()).add(dtype)
    as_text = [column for column, found in types.items() if len(found) > 1 or any(each in (pl.Categorical, pl.Enum) for each in found)]
    named = groups(tuple(head.name for head in heads), taken=frozenset(types))
    frames = [
        head.frame.with_columns(
            pl.col([column for column in as_text if column in head.frame.columns]).cast(pl.String),
            pl.lit(place).alias(FILE),
            *(pl.lit(values[place]).alias(group) for group, values in named.items()),
        )
        for place, head in enumerate(heads)
    ]
    return pl.concat(frames, how="diagonal"), tuple(named)


def _is_number(frame: pl.DataFrame, name: str, *, comma: bool) -> bool:
    """Whether nearly every value is a number."""
    dtype = frame.schema[name]
    if dtype != pl.String:
        return (dtype.is_numeric() or dtype == pl.Boolean) and frame[name].null_count() < frame.height
    told = frame.select(pl.col(name).str.strip_chars().replace("", None).is_not_null().sum()).item()
    read = frame.select(number(name, dtype=dtype, decimal_comma=comma).is_not_null().sum()).item()
    return bool(told) and read >= _NUMERIC * told


def _is_label(frame: pl.DataFrame, name: str) -> bool:
    if not _MARKED.search(snake(name)) or frame.schema[name].is_nested():
        return False
    found = frame[name].drop_nulls().cast(pl.String).str.strip_chars().str.to_lowercase().unique()
    return set(found) <= {"0", "1", "0.0", "1.0", "true", "false"}


def _is_id(frame: pl.DataFrame, name: str) -> bool:
    """Whether a number is the name of something: a few whole ones in a column that is called so."""
    if not _NUMBERED.search(snake(name)) or frame.schema[name].is_float():
        return False
    return frame[name].n_unique() <= max(2, int(_MANY_KEYS * frame.height / 10))


def _repeats(frame: pl.DataFrame, keys: tuple[str | None, ...]) -> float:
    """The share of rows that repeat an entity and instant."""
    told = frame.select(*dict.fromkeys(filter(None, keys)), WHEN)
    return 1 - told.n_unique() / told.height


def _long(frame: pl.DataFrame, *, texts: list[str], values: tuple[str, ...]) -> Long | None:
    """The long layout: one number a row, and a text that says of what, without which rows repeat."""
    if len(values) != 1:
        return None
    unit = next((name for name in texts if _UNITS.search(snake(name))), None)
    for name in texts:
        others = tuple(each for each in texts if each not in (name, unit))
        if _WHAT.search(snake(name)) and frame[name].n_unique() > 1 and _repeats(frame, others) >= _LONG_REPEATS:
            told = frame[name].drop_nulls().str.strip_chars().unique(maintain_order=True)
            return Long(parameter=name, value=values[0], unit=unit, names=tuple(told))
    return None


def _keys(
    frame: pl.DataFrame, *, candidates: list[str], of_path: tuple[str, ...], also: tuple[str | None, ...]
) -> tuple[tuple[str, ...], str | None]:
    """The fewest columns that tell entities apart, those that are named like one before others; and what several entities share."""
    distinct = {name: frame[name].n_unique() for name in candidates}
    named = {name: bool(_WHO.search(snake(name))) or name in of_path for name in candidates}
    fit = [name for name in candidates if distinct[name] <= max(20, _MANY_KEYS * frame.height)]
    fit = [name for name in fit if distinct[name] > 1 and (name in of_path or frame[name].null_count() == 0)]
    keys: list[str] = []
    repeats = _repeats(frame, also)
    while repeats > _FEW:
        left = {name: _repeats(frame, (*keys, name, *also)) for name in fit if name not in keys}
        if not left or min(left.values()) > repeats - _FEW / 2:
            break
        best = min(left, key=lambda name: (round(left[name], 2), not named[name], name in of_path))
        keys.append(best)
        repeats = left[best]
    if not keys:  # as where everybody tells another instant: the names of the columns are all there is to go by
        keys = [name for name in fit if named[name] and name not in of_path]
    if not keys:
        keys = _only_entity(frame, distinct=distinct, named=named, of_path=of_path)
    shared = list(_shared(frame, keys=keys, candidates=[name for name in fit if named[name] and name not in keys]))
    cohort = min(shared, key=lambda name: distinct[name]) if shared else None
    front = [cohort] if cohort and cohort not in of_path else []
    ordered = sorted(keys, key=candidates.index)
    if cohort is None and len(ordered) > 1:
        coarse = min(ordered, key=lambda name: distinct[name])
        cohort = coarse if distinct[coarse] > 1 else None
    return (*front, *ordered), cohort


def _only_entity(frame: pl.DataFrame, *, distinct: dict[str, int], named: dict[str, bool], of_path: tuple[str, ...]) -> list[str]:
    """The keys where no row repeats an instant: a column that is named like one and never changes, or else the file."""
    constant = [name for name in distinct if distinct[name] == 1 and named[name] and name not in of_path and frame[name].null_count() == 0]
    return constant or [of_path[-1]]


def _shared(frame: pl.DataFrame, *, keys: list[str], candidates: list[str]) -> Iterator[str]:
    """Columns that are the same in all rows of an entity, and have several entities of one value."""
    entities = frame.select(keys).n_unique()
    for name in candidates:
        if frame[name].n_unique() < entities == frame.select(*keys, name).n_unique():
            yield name


def _why(frame: pl.DataFrame, name: str, *, days: set[str]) -> str:
    """Why a column is not taken."""
    if name in days:
        return "tells days only"
    if frame.schema[name].is_nested() or frame.schema[name] == pl.Binary:
        return "is no single value"
    if frame[name].null_count() == frame.height:
        return "is empty in the sample"
    if frame[name].n_unique() == 1:
        return "is the same in every row"
    return "is a text that does not tell entities apart" if frame.schema[name] == pl.String else "is no number"
