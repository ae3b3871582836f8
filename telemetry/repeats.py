"""Rows of one part that speak of the same entity and instant -> one reading each, by the rule that the contract declares.

A row that says word for word what another says is counted. Rows that complete each other become one reading. Where two contradict
each other the later one counts, and the earlier one is refused with its reason, so that nothing is lost.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from telemetry.archive import told_again
from telemetry.contract import Contract
from telemetry.feeds import ROW_INDEX
from telemetry.layouts import VALUE
from telemetry.schema import AT, COHORT, ENTITY, LABEL, PARAMETER, REASON, ROW

OVERRULED: Final = "says something else of the same entity and instant"
"""In the reason of a row that could be read, and does not count."""
_LAST: Final = "__last__"
_APART: Final = "__apart__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Rows of which no two speak of the same.

    Attributes:
        frame: as it came in.
        refused: `row, reason` of rows that a later one contradicts.
        repeated: rows that said the same as another one.
    """

    frame: pl.DataFrame
    refused: pl.DataFrame
    repeated: int


def settle(rows: pl.DataFrame, *, by: tuple[str, ...], contract: Contract) -> Settled:
    """One row for each `by`.

    Args:
        rows: `ROW_INDEX, entity, cohort, at`, values, and `label` if the contract names one; in the part's order.
        by: what a row speaks of: entity and instant, in the long layout the parameter as well.
        contract: `time.repeated`, and how values are aggregated.
    """
    none = pl.DataFrame(schema={ROW: pl.Int64, REASON: pl.String})
    several = told_again(rows) if PARAMETER not in by else rows.select(pl.struct(by).is_duplicated()).to_series()
    if not several.any():
        return Settled(frame=rows, refused=none, repeated=0)
    single, repeated = rows.filter(~several), rows.filter(several)
    values = [name for name in rows.columns if name not in (ROW_INDEX, ENTITY, COHORT, AT, LABEL, *by)]
    if contract.time.repeated == "aggregate":
        return Settled(frame=pl.concat([single, _aggregated(repeated, by=by, values=values, contract=contract)]), refused=none, repeated=0)
    different = repeated.unique(subset=[c for c in rows.columns if c != ROW_INDEX], keep="last", maintain_order=True)
    told = [*values, *([LABEL] if LABEL in rows.columns else [])]
    apart = pl.any_horizontal(pl.col(name).drop_nulls().n_unique().over(by) > 1 for name in told)
    judged = different.with_columns(apart.alias(_APART), pl.col(ROW_INDEX).max().over(by).alias(_LAST))
    lost = judged.filter(pl.col(_APART) & (pl.col(ROW_INDEX) != pl.col(_LAST)))
    reason = pl.format(f"row {{}} {OVERRULED}, and the later row counts", _LAST)
    refused = lost.select(pl.col(ROW_INDEX).cast(pl.Int64).alias(ROW), reason.alias(REASON))
    kept = judged.join(lost, on=ROW_INDEX, how="anti")
    others = [name for name in rows.columns if name not in by]
    one = kept.group_by(by, maintain_order=True).agg(pl.col(others).drop_nulls().last()).select(rows.columns)
    return Settled(frame=pl.concat([single, one]), refused=refused, repeated=repeated.height - different.height)


def _aggregated(repeated: pl.DataFrame, *, by: tuple[str, ...], values: list[str], contract: Contract) -> pl.DataFrame:
    """All rows of an instant as one, by the parameters' aggregations; counters and what is undeclared by the last."""
    how = {name: contract.parameters[name].aggregation if name in contract.parameters else "counter" for name in values}
    sums, means = ([name for name in values if how[name] == each] for each in ("sum", "mean"))
    others = [name for name in repeated.columns if name not in (*by, *sums, *means)]
    every = [*(_sum(name) for name in sums), pl.col(means).mean(), pl.col(others).drop_nulls().last()]
    if PARAMETER in by:
        added, averaged = ([n for n, p in contract.parameters.items() if p.aggregation == each] for each in ("sum", "mean"))
        of = pl.col(PARAMETER).first()
        value = pl.when(of.is_in(added)).then(_sum(VALUE)).when(of.is_in(averaged)).then(pl.col(VALUE).mean())
        every = [value.otherwise(pl.col(VALUE).last()).alias(VALUE), pl.col([n for n in others if n != VALUE]).drop_nulls().last()]
    return repeated.group_by(by, maintain_order=True).agg(every).select(repeated.columns)


def _sum(name: str) -> pl.Expr:
    return pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name)
