"""From the findings of a check to what becomes of the run: it stops; it goes on without what is quarantined; or it goes on.

What is quarantined is told as SPANS of `telemetry.masks`: the values of an entity's parameter in a period. Of infinite and implausible
values only stretches of them are left out, of everything else the finding's whole period. Where too much would be left out, or all of a
parameter, that is no matter of single entities, and the run stops.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

import polars as pl

from telemetry.contract import Contract
from telemetry.masks import SPANS, masked
from telemetry.schema import AT, END, ENTITY, PARAMETER, START
from validation.findings import RANK, Finding

SHARE: Final = "quarantined share"
"""The expectation that stops a run of which too much would be left out."""
INFINITE: Final = "finite"
IMPLAUSIBLE: Final = "plausible range"
JOINED: Final = {INFINITE: timedelta(hours=1), IMPLAUSIBLE: timedelta(days=1)}
"""Odd values nearer to each other than this make one stretch, with what lies between them. Infinity comes and goes with a divisor; who told
what cannot be may be wrong in what can."""
NAMED: Final = 3
"""Left out by name in a sentence; the findings name them all."""


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that stop, then those that quarantine, then those that warn; else in their order."""
    return tuple(sorted(findings, key=lambda finding: RANK[finding.severity]))


def spans(findings: Iterable[Finding], *, grid: pl.LazyFrame, contract: Contract) -> pl.DataFrame:
    """What a run leaves out: SPANS, sorted, of the findings of the severity 'quarantine'.

    Args:
        findings: of the check of `grid`.
        grid: rows of `grid_schema`.
        contract: what is plausible, and the cadence.
    """
    quarantined = [finding for finding in findings if finding.severity == "quarantine"]
    told = [_whole([finding for finding in quarantined if finding.expectation not in JOINED])]
    for kind in JOINED:
        of_kind = [finding for finding in quarantined if finding.expectation == kind]
        for name in dict.fromkeys(str(finding.parameter) for finding in of_kind):
            entities = [finding.entity for finding in of_kind if finding.parameter == name]
            told.append(_stretches(grid, name=name, entities=entities, kind=kind, contract=contract))
    return pl.concat(told).unique().sort(ENTITY, PARAMETER, START)


def _whole(findings: Sequence[Finding]) -> pl.DataFrame:
    rows = [
        {ENTITY: finding.entity, PARAMETER: name, START: finding.period_start, END: finding.period_end}
        for finding in findings
        for name in (finding.parameter, *finding.beside)
    ]
    return pl.DataFrame(rows, schema=dict(SPANS))


def _stretches(grid: pl.LazyFrame, *, name: str, entities: Sequence[str | None], kind: str, contract: Contract) -> pl.DataFrame:
    """Of one parameter: from the first to behind the last of odd values that are near to each other."""
    value, parameter = pl.col(name), contract.parameters[name]
    odd = value.is_infinite()
    if kind == IMPLAUSIBLE:
        below = value < parameter.minimum if parameter.minimum is not None else pl.lit(value=False)
        above = value > parameter.maximum if parameter.maximum is not None else pl.lit(value=False)
        odd = value.is_finite() & (below | above)
    rows = grid.filter(pl.col(ENTITY).is_in(entities), odd).select(ENTITY, AT).sort(ENTITY, AT)
    apart = (pl.col(AT).diff().over(ENTITY) > max(JOINED[kind], contract.time.cadence)).fill_null(value=False)
    stretch = rows.with_columns(apart.cum_sum().over(ENTITY).alias("stretch")).group_by(ENTITY, "stretch")
    ends = stretch.agg(pl.col(AT).min().alias(START), (pl.col(AT).max() + contract.time.cadence).alias(END))
    return ends.select(ENTITY, pl.lit(name).alias(PARAMETER), START, END).collect(engine="in-memory")


def too_much(spans: pl.DataFrame, *, grid: pl.LazyFrame, contract: Contract) -> tuple[Finding, ...]:
    """Why a run stops although each of its findings would only quarantine; nothing where it may go on.

    Args:
        spans: SPANS that would be left out of `grid`.
        grid: rows of `grid_schema`.
        contract: its parameters and `checks.max_quarantined_share`.
    """
    if spans.is_empty():
        return ()
    struck = spans.select(ENTITY, PARAMETER).unique()
    entities = int(grid.select(pl.col(ENTITY).n_unique()).collect(engine="in-memory").item())
    cells, at_most = entities * len(contract.names), contract.checks.max_quarantined_share
    found: list[Finding] = []
    if struck.height > at_most * cells:
        told = f"{struck.height:,} of {cells:,} cells (entity x parameter), {struck.height / cells:.1%}"
        sentence = (
            f"{told}, would be quarantined, and at most {at_most:.1%} may be: what strikes so many is no matter of single entities, "
            f"so the run stops. Struck are {_listed(struck)}."
        )
        found.append(_stop(found=told, expected=f"at most {at_most:.1%} of the cells", sentence=sentence))
    return (*found, *_nothing_left(spans, struck=struck, grid=grid, entities=entities))


def _nothing_left(spans: pl.DataFrame, *, struck: pl.DataFrame, grid: pl.LazyFrame, entities: int) -> list[Finding]:
    """Parameters of which no value would be left; one that none of the entities tells anyway is such a one as well."""
    everywhere = struck.group_by(PARAMETER).len().filter(pl.col("len") == entities).get_column(PARAMETER).sort().to_list()
    if not everywhere:
        return []
    left = masked(grid.select(ENTITY, AT, *everywhere), spans=spans).select(pl.col(everywhere).count()).collect(engine="in-memory")
    return [
        _stop(
            parameter=name,
            found=f"nothing left of {name}",
            expected="values that can be learned from",
            sentence=f"{name} would be quarantined in all {entities} entities, and nothing would be left of it: the run stops.",
        )
        for name in everywhere
        if left.get_column(name).item() == 0
    ]


def left_out(findings: Iterable[Finding]) -> str:
    """A sentence about what a run leaves out; empty where it takes all."""
    named = cells(findings)
    if not named:
        return ""
    return f"Quarantined, and left out of this run: {_listed(pl.DataFrame(named).select(ENTITY, PARAMETER).unique())}."


def cells(findings: Iterable[Finding]) -> list[dict[str, Any]]:  # Any: plain JSON
    """What a run leaves out, for a machine: `entity, parameter, period_start, period_end, expectation`."""
    return [
        {
            ENTITY: finding.entity,
            PARAMETER: name,
            "period_start": None if finding.period_start is None else finding.period_start.isoformat(),
            "period_end": None if finding.period_end is None else finding.period_end.isoformat(),
            "expectation": finding.expectation,
        }
        for finding in findings
        if finding.severity == "quarantine"
        for name in (finding.parameter, *finding.beside)
    ]


def _listed(cells: pl.DataFrame) -> str:
    names = [f"{parameter} of {entity}" for entity, parameter in cells.select(ENTITY, PARAMETER).sort(ENTITY, PARAMETER).iter_rows()]
    more = len(names) - NAMED
    listed = ", ".join(names[:NAMED])
    return f"{listed} and {more:,} more" if more > 0 else listed


def _stop(*, found: str, expected: str, sentence: str, parameter: str | None = None) -> Finding:
    return Finding(
        expectation=SHARE,
        severity="stop",
        entity=None,
        parameter=parameter,
        period_start=None,
        period_end=None,
        found=found,
        expected=expected,
        sentence=sentence,
    )
