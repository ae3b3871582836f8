"""A sample of telemetry -> the first contract for it, as TOML with the reason of every guess.

A draft is for a person to finish: what must be confirmed is marked `# REVIEW:`, and `reviewed = false` keeps it from being used.
"""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from telemetry.contract import parse
from telemetry.errors import BadValueError
from telemetry.guesses import FILE, Meaning, understand
from telemetry.parameter_guesses import CadenceGuess, ParameterGuess, guess_cadence, guess_parameters
from telemetry.paths import pattern
from telemetry.sample import Sample, look
from telemetry.time_guesses import ORIGIN, TimeGuess
from telemetry.unit_guesses import DECLARED, UNKNOWN

REVIEW: Final = "# REVIEW:"
_ALIGNED: Final = 34
_SHOWN: Final = 6
_DISTINCT_SHOWN: Final = 3
_MANY_REPEATS: Final = 0.001
_CLOCK_TOLERANCE: Final = 60
_COUNTED_FROM: Final = ("second_index", "minute_index", "step_index", "row")


def draft(sample: Path, *, name: str) -> str:
    """A first contract for what a file or folder holds, as TOML with comments.

    Args:
        sample: some hours of readings or more: CSV, TSV, JSON lines or Parquet; of a folder the files with the same columns.
        name: of the contract: small letters, digits and `_`.

    Raises:
        SourceMissingError: there is no file of a known format.
        EmptySourceError: no file holds a row.
        BadValueError: a file is damaged, or no column holds numbers.
        SourceError: a file cannot be read.
        ContractError: the name cannot be a contract's.
    """
    found = look(sample)
    meaning = understand(found)
    parameters = guess_parameters(meaning, decimal_comma=found.writing.decimal_comma)
    if not parameters:
        hint = f"name a file with measurements; there are the columns {', '.join(sorted(found.heads[0].columns))}."
        raise BadValueError(f"{sample} has no column of numbers that could be a parameter.", hint=hint)
    lines = [
        *_preamble(found, meaning=meaning, name=name),
        *_entity(found, meaning=meaning),
        *_time(meaning, cadence=guess_cadence(meaning)),
        *_files(found),
        *_layout(meaning),
        *_units(parameters),
        *(line for each in parameters for line in _parameter(each)),
    ]
    text = "\n".join(lines) + "\n"
    parse(tomllib.loads(text), path=f"drafted for {sample.name}")
    return text


def _preamble(sample: Sample, *, meaning: Meaning, name: str) -> Iterator[str]:
    rows = meaning.frame.height
    files = sample.heads[0].name if len(sample.heads) == 1 else f"{len(sample.heads)} files such as {sample.heads[0].name}"
    yield f"# A draft, from the first {rows} rows of {_plain(files)}. Nothing in it is certain; what somebody who knows this"
    yield "# telemetry must confirm or correct is marked REVIEW. infra/contracts/fleet.toml shows every key that a contract may have."
    yield f"name = {_quoted(name)}"
    yield _line(f"description = {_quoted('')}", review="say in one sentence what this is")
    yield _line("reviewed = false", review="delete this line when all the others are settled; until then nothing is ingested by it")
    if meaning.label:
        told = "by its name and its values; a label is measured against, never learned from"
        yield _line(f"label_column = {_quoted(meaning.label)}", review=told)
    for column, why in meaning.left_out.items():
        if column != FILE:
            yield f"# Not taken: {_plain(column)} ({why})."
    if sample.others:
        shown = ", ".join(_plain(other) for other in sample.others[:_SHOWN])
        more = f" and {len(sample.others) - _SHOWN} more" if len(sample.others) > _SHOWN else ""
        yield f"# Not taken: {shown}{more}, which have other columns or no rows."


def _entity(sample: Sample, *, meaning: Meaning) -> Iterator[str]:
    yield from ("", "[entity]")
    frame = meaning.frame
    told = []
    for key in meaning.keys:
        values = frame[key].unique(maintain_order=True).drop_nulls()
        shown = ", ".join(_plain(value) for value in values.head(_DISTINCT_SHOWN))
        told.append(f"{_plain(key)} has {values.len()} value{'s' if values.len() != 1 else ''} such as {shown}")
    reason = "; ".join(told)
    if meaning.repeats > _MANY_REPEATS:
        reason += f"; {meaning.repeats:.1%} of the rows repeat an entity and instant"
    yield _line(f"keys = [{', '.join(_quoted(key) for key in meaning.keys)}]", review=f"who is watched? {reason}")
    if meaning.cohort:
        yield _line(f"cohort = {_quoted(meaning.cohort)}", review="are entities that share it alike? Otherwise delete this line")
    else:
        yield _line('# cohort = ""', note="a key whose equal values make entities alike; there seems to be none")
    names = tuple(head.name for head in sample.heads)
    path = pattern(names, others=sample.others, wanted=meaning.of_path)
    if path:
        key = "the name of a file stands for a key that no column tells; give the group, and the key, a name that says what it is"
        yield _line(f"path_pattern = {_quoted(path)}", review=key if meaning.of_path else "other files are passed over")


def _time(meaning: Meaning, *, cadence: CadenceGuess) -> Iterator[str]:
    guess = meaning.time
    yield from ("", "[time]")
    if guess.column:
        yield _line(f"column = {_quoted(guess.column)}", note=guess.reason)
    certain = guess.format == "iso"
    told = guess.reason if guess.format == "row" else "by its values and its name"
    yield _line(f"format = {_quoted(guess.format)}", review="" if certain else told)
    if guess.pattern:
        other = f"; '{guess.other_pattern}' reads it as well: which comes first, the day or the month?" if guess.other_pattern else ""
        yield _line(f"pattern = {_quoted(guess.pattern)}", review=f"it reads the whole sample{other}")
    if guess.naive:
        yield _line('zone = "UTC"', review="the times carry no zone; name the one that they are in, such as Europe/Helsinki")
    if guess.format in _COUNTED_FROM:
        yield _line(f"origin = {ORIGIN:%Y-%m-%dT%H:%M:%SZ}", review="the instant of 0 (of the first row): nothing tells it")
    yield _cadence(cadence, guess=guess)
    if meaning.repeats > _MANY_REPEATS:
        yield _line('repeated = "last"', review="of rows of one entity and instant the later one counts; or do they add up (aggregate)?")
    if meaning.clock:
        yield from ("", "[time.clock]")
        yield _line(
            f"column = {_quoted(meaning.clock.column)}", review="does it tell the same time? Rows where it does not are counted and told"
        )
        yield f"format = {_quoted(meaning.clock.format)}"
        yield f"tolerance_seconds = {_CLOCK_TOLERANCE}"


def _cadence(cadence: CadenceGuess, *, guess: TimeGuess) -> str:
    line = f"cadence_seconds = {cadence.seconds}"
    if cadence.measured is None:
        why = "how long a step is: nothing tells it" if guess.format in ("row", "step_index") else "too few rows to tell it"
        return _line(line, review=why)
    if abs(cadence.measured - cadence.seconds) < 0.01 * cadence.seconds:
        return _line(line, note="the median step of an entity")
    many = f", so that a step has some {cadence.seconds / cadence.measured:.0f}" if cadence.measured < cadence.seconds else ""
    return _line(line, review=f"readings are {cadence.measured:.3g} s apart by the median{many}")


def _files(sample: Sample) -> Iterator[str]:
    writing = sample.writing
    told = [
        _line("header = false", review="the first line holds values; columns are column_1, column_2, ...") if not writing.header else "",
        _line(f"separator = {_quoted(writing.separator)}", note="cuts the lines into equally many fields")
        if writing.separator != ","
        else "",
        _line("decimal_comma = true", review="numbers such as 3,14") if writing.decimal_comma else "",
    ]
    if any(told):
        yield from ("", "[files]", *filter(None, told))


def _layout(meaning: Meaning) -> Iterator[str]:
    long = meaning.long
    if long is None:
        return
    yield from ("", "[layout]")
    yield _line('kind = "long"', review=f"one number a row, and {_plain(long.parameter)} says of what")
    yield f"parameter_column = {_quoted(long.parameter)}"
    yield f"value_column = {_quoted(long.value)}"
    if long.unit:
        yield _line(f"unit_column = {_quoted(long.unit)}", note="a row in a unit that is not known is quarantined")


def _units(parameters: tuple[ParameterGuess, ...]) -> Iterator[str]:
    used = {name: meaning for name, meaning in DECLARED.items() if any(each.unit.unit == name for each in parameters)}
    if used:
        yield from ("", "[units]", *(f"{name} = {_quoted(meaning)}" for name, meaning in used.items()))


def _parameter(guess: ParameterGuess) -> Iterator[str]:
    unit, values = guess.unit, guess.values
    yield from ("", f"[parameters.{unit.name}]")
    if guess.column != unit.name:
        yield f"column = {_quoted(guess.column)}"
    unknown = f"{unit.reason}; what is it measured in?" if unit.unit == UNKNOWN else unit.reason
    yield _line(f"unit = {_quoted(unit.unit)}", **({"note": unit.reason} if unit.told else {"review": unknown}))
    yield _line(f"aggregation = {_quoted(guess.aggregation)}", review=guess.why)
    yield f"# minimum = {values.low:.6g}".ljust(_ALIGNED) + "# of the sample; what is the least that is plausible?"
    yield f"# maximum = {values.high:.6g}".ljust(_ALIGNED) + "# of the sample"
    if guess.target:
        yield _line("target = true", review="is it to be forecast and judged?")


def _line(line: str, *, review: str = "", note: str = "") -> str:
    """A line with its comment behind it."""
    comment = f"{REVIEW} {review}" if review else f"# {note}" if note else ""
    return f"{line.ljust(_ALIGNED - 1)} {_plain(comment)}".rstrip()


def _quoted(text: str) -> str:
    """A text as TOML has it."""
    if "\\" in text and not set("'\n\r") & set(text) and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _plain(value: object) -> str:
    """What a comment may show of a value of the source: one line, not long."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return text if len(text) <= 200 else f"{text[:200]} ..."
