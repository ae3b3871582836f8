"""How each column of a source file is read, and what may be wrong with a row of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from telemetry.contract import Contract
from telemetry.schema import AT, COHORT, ENTITY, LABEL, TIME, Schema
from telemetry.sections import Parameter
from telemetry.times import implausible, instants
from telemetry.units import conversion

EVERYONE: Final = "all"
"""The cohort of all entities where the contract declares none."""
NO_NUMBER: Final = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "Null", "null", "None", "none")
"""Texts that mean 'not observed' where a number is expected."""
_TRUE: Final = ("1", "1.0", "true", "True", "TRUE")
_FALSE: Final = ("0", "0.0", "false", "False", "FALSE")
_NEVER: Final = pl.lit(value=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A reason to quarantine a row, completed by what was found: `column 'v' has 'x', expected a number`."""

    column: str
    fails: pl.Expr
    expected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the rows of one file are read.

    Attributes:
        outputs: the columns of `readings_schema`, each under its name as `output` gives it.
        checks: what may be wrong, told by the file's own columns and the outputs; the first that fails is the row's reason.
        naive: true where a time carries no zone and none is declared.
    """

    outputs: tuple[pl.Expr, ...]
    checks: tuple[Check, ...]
    naive: pl.Expr


def readings_schema(contract: Contract) -> Schema:
    """`entity, cohort, at`, every parameter, and `label` if the contract names a label column."""
    label = {LABEL: pl.Boolean} if contract.label_column else {}
    return {ENTITY: pl.String, COHORT: pl.String, AT: TIME, **dict.fromkeys(contract.names, pl.Float64), **label}


def output(name: str) -> str:
    """A reading's column beside those of the file, which may have the same name."""
    return f"__read__{name}"


def required(contract: Contract, *, of_path: dict[str, str]) -> tuple[str, ...]:
    """The columns without which a file cannot be read; labels may be told for a part of the files only."""
    keys = (*contract.entity.keys, *filter(None, (contract.entity.cohort,)))
    names = [parameter.column or name for name, parameter in contract.parameters.items()]
    return tuple(dict.fromkeys([*(key for key in keys if key not in of_path), contract.time.column, *names]))


def plan(columns: pl.Schema, *, contract: Contract, of_path: dict[str, str], now: datetime | None) -> Plan:
    """How rows with these columns are read.

    Args:
        columns: the file's own; all that are `required` are there.
        contract: what they mean.
        of_path: key columns that the file's path tells.
        now: for what is a plausible time.
    """
    keys, checks = _keys(columns, contract=contract, of_path=of_path)
    time = instants(contract.time.column, dtype=columns[contract.time.column], time=contract.time)
    at = pl.col(output(AT))
    checks.append(Check(column=contract.time.column, fails=at.is_null(), expected=time.expected))
    plausible = f"{time.expected}, after 1990 and not in the future"
    checks.append(Check(column=contract.time.column, fails=implausible(at, now=now), expected=plausible))
    outputs = {**keys, AT: time.at}
    for name, parameter in contract.parameters.items():
        column = parameter.column or name
        outputs[name] = _number(column, dtype=columns[column], parameter=parameter)
        checks.append(_number_check(column, dtype=columns[column], name=name))
    if contract.label_column:
        outputs[LABEL], check = _label(contract.label_column, dtype=columns.get(contract.label_column))
        checks.append(check)
    told = tuple(value.alias(output(name)) for name, value in outputs.items())
    return Plan(outputs=told, checks=tuple(checks), naive=time.naive)


def _keys(columns: pl.Schema, *, contract: Contract, of_path: dict[str, str]) -> tuple[dict[str, pl.Expr], list[Check]]:
    """Entity and cohort; a `/` within one of several keys would make two entities look like one."""
    entity = contract.entity
    names = dict.fromkeys((*entity.keys, *filter(None, (entity.cohort,))))
    text = {name: pl.lit(of_path[name]) if name in of_path else _text(name, dtype=columns[name]) for name in names}
    checks = [Check(column=name, fails=text[name].is_null(), expected="a key") for name in names if name not in of_path]
    if len(entity.keys) > 1:
        checks += [Check(column=key, fails=text[key].str.contains("/", literal=True), expected="a key without '/'") for key in entity.keys]
    cohort = text[entity.cohort] if entity.cohort else pl.lit(EVERYONE)
    return {ENTITY: pl.concat_str([text[key] for key in entity.keys], separator="/"), COHORT: cohort}, checks


def _text(column: str, *, dtype: pl.DataType) -> pl.Expr:
    """A key's text without blanks around it, null if nothing is left."""
    if dtype.is_nested() or dtype == pl.Binary:
        return pl.lit(None, dtype=pl.String)
    text = pl.col(column).cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)


def _number(column: str, *, dtype: pl.DataType, parameter: Parameter) -> pl.Expr:
    """The value in the parameter's canonical unit, null where there is no number."""
    unit = conversion(source=parameter.source_unit or parameter.unit, canonical=parameter.unit)
    if dtype == pl.String:
        number = pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
    elif dtype.is_numeric() or dtype in (pl.Boolean, pl.Null):
        number = pl.col(column).cast(pl.Float64)
    else:
        number = pl.lit(None, dtype=pl.Float64)
    value = number.fill_nan(None)
    return value if unit.factor == 1.0 and unit.offset == 0.0 else value * unit.factor + unit.offset


def _number_check(column: str, *, dtype: pl.DataType, name: str) -> Check:
    """That there was a finite number, or nothing."""
    source, value = pl.col(column), pl.col(output(name))
    if dtype == pl.String:
        no_number = value.is_null() & source.is_not_null() & ~source.str.strip_chars().is_in(NO_NUMBER)
    elif dtype.is_float():
        no_number = _NEVER  # a NaN is nothing
    else:
        no_number = value.is_null() & source.is_not_null()
    return Check(column=column, fails=no_number | value.is_infinite(), expected="a finite number or nothing")


def _label(column: str, *, dtype: pl.DataType | None) -> tuple[pl.Expr, Check]:
    """The label of a row, null where the file tells none."""
    unlabelled = pl.lit(None, dtype=pl.Boolean)
    if dtype is None:
        return unlabelled, Check(column=column, fails=_NEVER, expected="0 or 1")
    text = _text(column, dtype=dtype)
    label = pl.when(text.is_in(_TRUE)).then(pl.lit(value=True)).when(text.is_in(_FALSE)).then(pl.lit(value=False)).otherwise(unlabelled)
    return label, Check(column=column, fails=label.is_null() & ~text.is_in(NO_NUMBER), expected="0 or 1")
