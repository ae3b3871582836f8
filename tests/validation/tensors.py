"""A healthy panel of a small grid, with its scales and entities, and the same with one array replaced."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.contract import Contract
from telemetry.panel import Panel, Part
from telemetry.scaling import fit
from telemetry.schema import AT, COHORT, ENTITIES, ENTITY, FIRST_SEEN, LABELS, LAST_SEEN, MEAN, PARAMETER, SD
from telemetry.windows import cuts, panel
from tests.validation.grids import contract, day, grid
from validation import tensor_judgements as judgements
from validation.findings import Finding, Severity
from validation.tensor_profile import measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """Everything that the checks of a panel take."""

    panel: Panel
    scales: pl.DataFrame
    grid: pl.DataFrame
    entities: pl.DataFrame
    stale: pl.DataFrame | None = None
    declared: Contract = field(default_factory=contract)

    def statistics(self) -> pl.DataFrame:
        return measure(
            self.panel, scales=self.scales, grid=self.grid.lazy(), contract=self.declared, entities=self.entities, stale=self.stale
        )

    def findings(self, *, unfitting: Severity = "stop") -> list[Finding]:
        """Of all judgements, as the suite asks them."""
        told, found = self.statistics(), list[Finding]()
        asked = {"full_weight": judgements.full_weight_steps(contract()), "tolerance": 0.01, "severity": unfitting}
        for name in contract().names:
            found += judgements.off_mean(told, parameter=name, **asked)
            found += judgements.off_deviation(told, parameter=name, **asked)
            found += judgements.not_finite(told, parameter=name)
            found += judgements.stray(told, parameter=name)
            found += judgements.unlike_grid(told, parameter=name)
            found += judgements.wrong_scale(told, parameter=name, unfitting=unfitting)
        return [
            *found,
            *judgements.odd_calendar(told),
            *judgements.odd_attributes(told),
            *judgements.odd_newcomers(told, days=contract().newcomer.days),
        ]

    def spoiled(self, **arrays: NDArray[Any]) -> "Scaled":
        return replace(self, panel=replace(self.panel, **arrays))

    def values(self) -> NDArray[np.float32]:
        """A copy to spoil."""
        return self.panel.values.copy()

    def constants(self, entity: str, parameter: str) -> tuple[float, float]:
        """Mean and deviation."""
        found = self.scales.filter(pl.col(ENTITY) == entity, pl.col(PARAMETER) == parameter)
        return float(found[MEAN][0]), float(found[SD][0])


def scaled() -> Scaled:
    """Three entities over 28 days; bolt/eu arrives on day 20, has some gaps, and its cpu never moves."""
    late = (pl.col(ENTITY) != "bolt/eu") | (pl.col(AT) >= day(20))
    gap = (pl.col(ENTITY) == "acme/us") & pl.col(AT).is_between(day(3), day(4))
    frame = grid().filter(late).with_columns(
        pl.when(~gap).then("latency").alias("latency"), pl.when(pl.col(ENTITY) == "acme/us").then(50.0).otherwise("cpu").alias("cpu")
    )  # fmt: skip
    entities = (
        frame.group_by(ENTITY)
        .agg(pl.lit("eu").alias(COHORT), pl.col(AT).min().alias(FIRST_SEEN), pl.col(AT).max().alias(LAST_SEEN))
        .sort(ENTITY)
        .select(*ENTITIES)
    )
    return made_of(frame, entities=entities)


def made_of(frame: pl.DataFrame, *, entities: pl.DataFrame, scales: pl.DataFrame | None = None, declared: Contract | None = None) -> Scaled:
    """The panel of a grid, scaled as it should be, or with these scales; of another contract than usual, if one is given."""
    told = declared or contract()
    parts = cuts(frame.lazy(), contract=contract())
    if scales is None:
        scales = fit(frame.lazy(), contract=contract(), entities=entities, cuts=parts)
    labels = pl.DataFrame(schema=LABELS)
    made = panel(frame.lazy(), contract=told, scales=scales, entities=entities, labels=labels, parts=parts)
    assert (made.part == Part.TRAIN).any()
    return Scaled(panel=made, scales=scales, grid=frame, entities=entities, declared=told)
