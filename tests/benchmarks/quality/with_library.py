"""The questions of the raw suite that plain Great Expectations on pandas can answer, asked with its own expectations.

It answers for the grid as a whole, not for each entity, and tells of no change of unit, of no silent entity and of no scarce day. It is
spared the pages and the making of the pandas frame, and asked for finite values in the way that costs it least: by a column's least and
greatest value. Time goes forward but for one step back at the end of each entity.
"""

import sys
from collections.abc import Iterator
from typing import Final

import great_expectations as gx
import pandas as pd
import polars as pl
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.core.expect_column_max_to_be_between import ExpectColumnMaxToBeBetween
from great_expectations.expectations.core.expect_column_min_to_be_between import ExpectColumnMinToBeBetween
from great_expectations.expectations.core.expect_column_proportion_of_non_null_values_to_be_between import (
    ExpectColumnProportionOfNonNullValuesToBeBetween,
)
from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
from great_expectations.expectations.core.expect_column_values_to_be_increasing import ExpectColumnValuesToBeIncreasing
from great_expectations.expectations.core.expect_compound_columns_to_be_unique import ExpectCompoundColumnsToBeUnique
from great_expectations.expectations.core.expect_table_columns_to_match_set import ExpectTableColumnsToMatchSet
from great_expectations.expectations.core.expect_table_row_count_to_be_between import ExpectTableRowCountToBeBetween
from great_expectations.expectations.expectation import Expectation

from telemetry.contract import Contract
from telemetry.schema import AT, ENTITY, grid_schema

GREATEST: Final = sys.float_info.max


def as_pandas(grid: pl.DataFrame, *, dtypes: str) -> pd.DataFrame:
    """The same data; with `numpy` dtypes entity is a category, which costs the library least, and a missing value NaN."""
    if dtypes == "arrow":
        return grid.to_pandas(use_pyarrow_extension_array=True)
    return grid.with_columns(pl.col(ENTITY).cast(pl.Categorical)).to_pandas()


def check(frame: pd.DataFrame, *, contract: Contract) -> tuple[int, bool]:
    """How many expectations were asked, and whether all are met.

    Raises:
        RuntimeError: one could not be judged.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    suite = context.suites.add(gx.ExpectationSuite(name="plain", expectations=list(_expectations(frame, contract=contract))))
    batches = context.data_sources.add_pandas("plain").add_dataframe_asset("plain").add_batch_definition_whole_dataframe("whole")
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="plain", data=batches, suite=suite))
    results = definition.run(batch_parameters={"dataframe": frame}).results
    for result in results:
        if result.exception_info.get("raised_exception", True):
            raise RuntimeError(f"{result.expectation_config}: {result.exception_info}")
    return len(results), all(result.success for result in results)


def _expectations(frame: pd.DataFrame, *, contract: Contract) -> Iterator[Expectation]:
    yield ExpectTableColumnsToMatchSet(column_set=list(grid_schema(contract.names)))
    yield ExpectTableRowCountToBeBetween(min_value=1)
    yield ExpectCompoundColumnsToBeUnique(column_list=[ENTITY, AT])
    yield ExpectColumnValuesToBeIncreasing(column=AT, mostly=1 - frame[ENTITY].nunique() / len(frame))
    for name, parameter in contract.parameters.items():
        yield ExpectColumnProportionOfNonNullValuesToBeBetween(column=name, min_value=1 - contract.checks.max_missing_share)
        yield ExpectColumnMinToBeBetween(column=name, min_value=-GREATEST)
        yield ExpectColumnMaxToBeBetween(column=name, max_value=GREATEST)
        if parameter.minimum is not None or parameter.maximum is not None:
            mostly = 1 - contract.checks.max_out_of_range_share
            yield ExpectColumnValuesToBeBetween(column=name, min_value=parameter.minimum, max_value=parameter.maximum, mostly=mostly)
