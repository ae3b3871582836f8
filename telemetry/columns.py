"""How each column of a part is read, and what may be wrong with a row of it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from telemetry.contract import RESERVED, Contract
from telemetry.feeds import ROW_INDEX
from telemetry.schema import AT, COHORT, ENTITY, LABEL
from telemetry.sections import Time
from telemetry.times import Instants, implausible, instants

EVERYONE: Final = "all"
"""The cohort of all entities where the contract declares none."""
NO_NUMBER: Final = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "Null", "null", "None", "none")
"""Texts that mean 'not observed' where a number is expected."""
NUMBER: Final = "a finite number or nothing"
_TRUE: Final = ("1", "1.0", "true", "True", "TRUE")
_FALSE: Final = ("0", "0.0", "false", "False", "FALSE")
_NEVER: Final = pl.lit(value=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A reason to quarantine a row, completed by what was found: `column 'v' has 'x', expected a number`."""

    column: str
    fails: pl.Expr
    expected: str
    clear: pl.Expr
    """One boolean for all rows, found at less cost: true where surely none of them fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the rows of one part are read.

    Attributes:
        outputs: the columns of a reading but its time, each under its name as `output` gives it.
        usual: for some of them the column that they are read from, and a way that serves most texts and takes less time; it gives null
            where `outputs` must be asked.
        time: its instant.
        checks: what may be wrong, told by the part's own columns and the outputs; the first that fails is the row's reason.
        clock: true where the second clock disagrees with the first, or cannot be read; null without one.
        undeclared: columns that the contract does not name.
        evolved: those of them that are kept, under the name by which they are.
    """

    outputs: dict[str, pl.Expr]
    usual: dict[str, tuple[str, pl.Expr]]
    time: Instants
    checks: tuple[Check, ...]
    clock: pl.Expr | None
    undeclared: tuple[str, ...]
    evolved: dict[str, str]


def output(name: str) -> str:
    """A reading's column beside those of the part, which may have the same name."""
    return f"__read__{name}"


def time_column(contract: Contract) -> str:
    """The column that tells the time; the rows' own numbers where none does."""
    return contract.time.column or ROW_INDEX


def required(contract: Contract, *, of_path: dict[str, str]) -> tuple[str, ...]:
    """The columns without which a part cannot be read; labels may be told for some parts only."""
    keys = (*contract.entity.keys, *filter(None, (contract.entity.cohort,)))
    layout = contract.layout
    if layout.kind == "long":
        names = [name for name in (layout.parameter_column, layout.value_column, layout.unit_column) if name]
    else:
        names = [parameter.column or name for name, parameter in contract.parameters.items()]
    clock = () if contract.time.clock is None else (contract.time.clock.column,)
    return tuple(dict.fromkeys([*(key for key in keys if key not in of_path), *filter(None, (contract.time.column,)), *clock, *names]))


def plan(columns: pl.Schema, *, contract: Contract, of_path: dict[str, str], now: datetime | None) -> Plan:
    """How rows with these columns are read.

    Args:
        columns: the part's own; all that are `required` are there.
        contract: what they mean.
        of_path: key columns that the part's name tells.
        now: for what is a plausible time.
    """
    outputs, checks = _keys(columns, contract=contract, of_path=of_path)
    usual: dict[str, tuple[str, pl.Expr]] = {}
    column = time_column(contract)
    time = instants(column, dtype=columns[column], time=contract.time)
    at = pl.col(output(AT))
    checks.append(Check(column=column, fails=at.is_null(), expected=time.expected, clear=at.null_count() == 0))
    plausible = f"{time.expected}, after 1990 and not in the future"
    wrong = implausible(at, now=now)
    checks.append(
        Check(column=column, fails=wrong, expected=plausible, clear=~implausible(at.min(), now=now) & ~implausible(at.max(), now=now))
    )
    known = {*required(contract, of_path=of_path), *of_path, contract.label_column, ROW_INDEX}
    undeclared = tuple(name for name in columns if name not in known)
    evolved = fit_names(undeclared, contract=contract) if contract.new_columns == "evolve" and contract.layout.kind == "wide" else {}
    if contract.layout.kind == "wide":
        for name, parameter in contract.parameters.items():
            source = parameter.column or name
            value = number(source, dtype=columns[source], decimal_comma=contract.files.decimal_comma)
            outputs[name] = _converted(value, contract=contract, name=name)
            if columns[source] == pl.String and not contract.files.decimal_comma:
                usual[name] = source, _converted(pl.col(source).cast(pl.Float64, strict=False), contract=contract, name=name)
            checks.append(_number_check(source, dtype=columns[source], name=name))
        for source, name in evolved.items():
            value = number(source, dtype=columns[source], decimal_comma=contract.files.decimal_comma)
            outputs[name] = pl.when(value.is_finite()).then(value)
    if contract.label_column:
        outputs[LABEL], check = _label(contract.label_column, dtype=columns.get(contract.label_column))
        checks.append(check)
    clock = _apart(columns, contract=contract) if contract.time.clock else None
    return Plan(outputs=outputs, usual=usual, time=time, checks=tuple(checks), clock=clock, undeclared=undeclared, evolved=evolved)


def fit_names(told: Iterable[str], *, contract: Contract) -> dict[str, str]:
    """The names under which undeclared columns are kept: letters, digits and _, none that means something else."""
    fit: dict[str, str] = {}
    for name in told:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "column"
        plain = plain if plain[0].isalpha() else f"column_{plain}"
        while plain in contract.parameters or plain.lower() in RESERVED or plain in fit.values():
            plain += "_"
        fit[name] = plain
    return fit


def shown(column: str, *, dtype: pl.DataType) -> pl.Expr:
    """A cell as a message shows it."""
    if dtype == pl.Binary:
        return pl.lit("bytes")
    if dtype.is_nested() or dtype == pl.Duration:
        return pl.struct(column).struct.json_encode()
    return pl.format("'{}'", pl.col(column).cast(pl.String))


def number(column: str, *, dtype: pl.DataType, decimal_comma: bool) -> pl.Expr:
    """The number that a cell tells, null where there is none; NaN may be among them."""
    if dtype == pl.String:
        text = pl.col(column).str.strip_chars()
        text = text.str.replace(",", ".", literal=True) if decimal_comma else text
        return text.cast(pl.Float64, strict=False)
    if dtype.is_numeric() or dtype in (pl.Boolean, pl.Null):
        return pl.col(column).cast(pl.Float64)
    return pl.lit(None, dtype=pl.Float64)


def number_fails(column: str, *, dtype: pl.DataType, value: pl.Expr) -> pl.Expr:
    """True where a cell tells neither a finite number nor nothing."""
    source = pl.col(column)
    if dtype == pl.String:
        no_number = value.is_null() & source.is_not_null() & ~source.str.strip_chars().is_in(NO_NUMBER)
    elif dtype.is_float():
        no_number = _NEVER  # a NaN is nothing
    elif dtype.is_integer():
        return _NEVER
    else:
        no_number = value.is_null() & source.is_not_null()
    return no_number | value.is_infinite()


def _apart(columns: pl.Schema, *, contract: Contract) -> pl.Expr:
    clock = contract.time.clock
    assert clock is not None  # noqa: S101  (asked by the caller)
    other = Time(column=clock.column, format=clock.format, zone=contract.time.zone)
    second = instants(clock.column, dtype=columns[clock.column], time=other).at
    near = (second - pl.col(output(AT))).abs() <= timedelta(seconds=clock.tolerance_seconds)
    return ~near.fill_null(value=False)


def _keys(columns: pl.Schema, *, contract: Contract, of_path: dict[str, str]) -> tuple[dict[str, pl.Expr], list[Check]]:
    """Entity and cohort; a `/` within one of several keys would make two entities look like one."""
    entity = contract.entity
    names = dict.fromkeys((*entity.keys, *filter(None, (entity.cohort,))))
    text = {name: pl.lit(of_path[name]) if name in of_path else text_of(name, dtype=columns[name]) for name in names}
    told = [name for name in names if name not in of_path]
    texts = [name for name in told if columns[name] == pl.String]
    each = {name: pl.col(name).unique().str.strip_chars() for name in texts}  # few, and told over and over
    all_told = {name: (each[name].fill_null("") != "").all() if name in each else text[name].null_count() == 0 for name in told}
    checks = [Check(column=name, fails=text[name].is_null(), expected="a key", clear=all_told[name]) for name in told]
    if len(entity.keys) > 1:
        slash = {key: text[key].str.contains("/", literal=True) for key in entity.keys}
        none = {key: ~each.get(key, text[key]).str.contains("/", literal=True).any() for key in entity.keys}
        checks += [Check(column=k, fails=fails, expected="a key without '/'", clear=none[k]) for k, fails in slash.items()]
    cohort = text[entity.cohort] if entity.cohort else pl.lit(EVERYONE)
    return {ENTITY: pl.concat_str([text[key] for key in entity.keys], separator="/"), COHORT: cohort}, checks


def text_of(column: str, *, dtype: pl.DataType) -> pl.Expr:
    """A cell's text without blanks around it, null if nothing is left."""
    if dtype.is_nested() or dtype == pl.Binary:
        return pl.lit(None, dtype=pl.String)
    text = pl.col(column).cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)


def _converted(value: pl.Expr, *, contract: Contract, name: str) -> pl.Expr:
    """A value of the source in the parameter's canonical unit."""
    parameter = contract.parameters[name]
    unit = contract.conversion(name, source=parameter.source_unit or parameter.unit)
    return value if unit.factor == 1.0 and unit.offset == 0.0 else value * unit.factor + unit.offset


def _number_check(column: str, *, dtype: pl.DataType, name: str) -> Check:
    """That there was a finite number, or nothing."""
    value = pl.col(output(name))
    clear = (value.null_count() == pl.col(column).null_count()) & ~value.is_infinite().any()
    if dtype.is_float():
        clear = ~value.is_infinite().any()
    return Check(column=column, fails=number_fails(column, dtype=dtype, value=value), expected=NUMBER, clear=clear)


def _label(column: str, *, dtype: pl.DataType | None) -> tuple[pl.Expr, Check]:
    """The label of a row, null where the file tells none."""
    unlabelled = pl.lit(None, dtype=pl.Boolean)
    if dtype is None:
        return unlabelled, Check(column=column, fails=_NEVER, expected="0 or 1", clear=pl.lit(value=True))
    text = text_of(column, dtype=dtype)
    label = pl.when(text.is_in(_TRUE)).then(pl.lit(value=True)).when(text.is_in(_FALSE)).then(pl.lit(value=False)).otherwise(unlabelled)
    fails = label.is_null() & ~text.is_in(NO_NUMBER)
    return label, Check(column=column, fails=fails, expected="0 or 1", clear=~fails.any())
