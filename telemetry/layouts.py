"""The long layout -> the wide one: rows that each tell one value of one parameter become readings with a column a parameter."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from telemetry.columns import NUMBER, fit_names, number, number_fails, output, shown, text_of
from telemetry.contract import Contract
from telemetry.errors import NewColumnsError, UnitError
from telemetry.feeds import ROW_INDEX
from telemetry.schema import AT, COHORT, ENTITY, LABEL, PARAMETER, REASON, ROW

VALUE: Final = "__value__"
_UNIT: Final = "__unit__"
_FACTOR, _OFFSET, _AGAINST = "__factor__", "__offset__", "__against__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Melted:
    """Rows of the long layout, each with its value in the parameter's canonical unit.

    Attributes:
        frame: `ROW_INDEX, entity, cohort, at, parameter, <value>`, and `label` if the contract names one.
        refused: `row, reason` of rows with another parameter, an unknown unit or no number.
        names: the columns that the readings will have.
        undeclared: parameters that the contract does not name.
        name: the column of the parameter's name.
    """

    frame: pl.DataFrame
    refused: pl.DataFrame
    names: tuple[str, ...]
    undeclared: tuple[str, ...]
    name: str = PARAMETER


def melted(rows: pl.DataFrame, *, contract: Contract, part: str) -> Melted:
    """What each row tells.

    Args:
        rows: the part's own columns beside the outputs of `telemetry.columns.plan`.
        contract: its layout, parameters and units.
        part: for messages.

    Raises:
        NewColumnsError: there is an undeclared parameter, and new ones are frozen.
    """
    layout = contract.layout
    assert layout.parameter_column is not None  # noqa: S101  (the contract asks for both in the long layout)
    assert layout.value_column is not None  # noqa: S101
    named = text_of(layout.parameter_column, dtype=rows.schema[layout.parameter_column])
    unit = text_of(layout.unit_column, dtype=rows.schema[layout.unit_column]) if layout.unit_column else pl.lit(None, dtype=pl.String)
    value = number(layout.value_column, dtype=rows.schema[layout.value_column], decimal_comma=contract.files.decimal_comma).fill_nan(None)
    told = rows.with_columns(named.alias(PARAMETER), unit.alias(_UNIT), value.alias(VALUE))
    declared = {parameter.column or name: name for name, parameter in contract.parameters.items()}
    pairs = told.select(PARAMETER, _UNIT).unique()
    undeclared = tuple(sorted(name for name in pairs[PARAMETER].drop_nulls().unique() if name not in declared))
    if undeclared and contract.new_columns == "freeze":
        raise NewColumnsError(source=part, columns=undeclared)
    evolved = fit_names(undeclared, contract=contract) if contract.new_columns == "evolve" else {}
    known = _conversions(pairs, declared=declared, evolved=evolved, contract=contract)
    joined = told.join(known, on=[PARAMETER, _UNIT], how="left", nulls_equal=True, maintain_order="left")
    no_number = number_fails(layout.value_column, dtype=rows.schema[layout.value_column], value=pl.col(VALUE))
    found = shown(layout.value_column, dtype=rows.schema[layout.value_column])
    against = pl.coalesce(
        pl.col(_AGAINST), pl.when(no_number).then(pl.format(f"column '{layout.value_column}' has {{}}, expected {NUMBER}", found))
    )
    judged = joined.with_columns(against.alias(_AGAINST))
    label = [pl.col(output(LABEL)).alias(LABEL)] if contract.label_column else []
    canonical = (pl.col(VALUE) * pl.col(_FACTOR) + pl.col(_OFFSET)).alias(VALUE)
    keys = [pl.col(output(name)).alias(name) for name in (ENTITY, COHORT, AT)]
    frame = judged.filter(pl.col(_AGAINST).is_null()).select(
        ROW_INDEX, *keys, pl.col(f"{PARAMETER}_as").alias(PARAMETER), canonical, *label
    )
    refused = judged.filter(pl.col(_AGAINST).is_not_null())
    return Melted(
        frame=frame,
        refused=refused.select(pl.col(ROW_INDEX).cast(pl.Int64).alias(ROW), pl.col(_AGAINST).alias(REASON)),
        names=(*contract.names, *evolved.values()),
        undeclared=undeclared,
    )


def pivoted(rows: pl.DataFrame, *, names: tuple[str, ...], name: str) -> pl.DataFrame:
    """One row for each entity and instant, with a column for each of `names`.

    Args:
        rows: as `melted` gives them, no two of one parameter at one instant.
        names: the columns.
        name: the column of the parameter's name.
    """
    values = [pl.col(VALUE).filter(pl.col(name) == each).last().alias(each) for each in names]
    label = [pl.col(LABEL).max()] if LABEL in rows.columns else []
    return (
        rows.group_by(ENTITY, AT, maintain_order=True)
        .agg(pl.col(COHORT).last(), *values, *label)
        .select(ENTITY, COHORT, AT, *names, *([LABEL] if label else []))
    )


def _conversions(pairs: pl.DataFrame, *, declared: dict[str, str], evolved: dict[str, str], contract: Contract) -> pl.DataFrame:
    """For each pair of parameter and unit: the column it goes to and the straight line to the canonical unit, or what is wrong."""
    told = [_conversion(name, unit, declared=declared, evolved=evolved, contract=contract) for name, unit in pairs.iter_rows()]
    schema = {
        PARAMETER: pl.String,
        _UNIT: pl.String,
        f"{PARAMETER}_as": pl.String,
        _FACTOR: pl.Float64,
        _OFFSET: pl.Float64,
        _AGAINST: pl.String,
    }
    return pl.DataFrame(told, schema=schema, orient="row")


def _conversion(
    name: str | None, unit: str | None, *, declared: dict[str, str], evolved: dict[str, str], contract: Contract
) -> tuple[str | None, str | None, str | None, float | None, float | None, str | None]:
    if name in evolved:
        return name, unit, evolved[name], 1.0, 0.0, None
    if name is None or name not in declared:
        known = ", ".join(list(declared)[:12])
        return name, unit, None, None, None, f"parameter '{name or ''}' is not declared; declared are {known}"
    parameter = contract.parameters[declared[name]]
    try:
        line = contract.conversion(declared[name], source=unit or parameter.source_unit or parameter.unit)
    except UnitError as error:
        return name, unit, None, None, None, f"{error.message}; {error.hint}"
    return name, unit, declared[name], line.factor, line.offset, None
