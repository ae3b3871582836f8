"""How many injected faults are found, how soon, from which strength on, and whether one model finds fewer of them than another.

recall      share of the faults for which an incident was opened while they lasted: one that stood open before, or that only the jump back
            at a fault's end has opened, finds nothing
interval    Wilson's (JASA 22, 1927), two-sided, 95 %
comparison  exact McNemar test (Psychometrika 12, 1947) over the faults that two models met: of those that only one of them found, as
            few by the candidate as that or fewer, if either were as likely. One-sided; each class and all together are asked, and the
            least p is multiplied by the number of questions (Bonferroni)
"""

import math
from dataclasses import dataclass
from typing import Final

import polars as pl

from telemetry.injection import DEGRADATION, DRAW, DROP, FLAT, INJECTED, NOISE, NOTHING, RAMP, SHIFT, SILENCE, SPIKE, STRENGTH
from telemetry.schema import ENTITY, KIND, Schema
from validation.metrics import wilson_lower

WHO: Final = "who"
MATURE: Final = "mature"
NEWCOMERS: Final = "newcomers"
FOUND: Final = "found"
FAULTS: Final = "faults"
RECALL: Final = "recall"
LEAST: Final = "lower"
MOST: Final = "upper"
MINUTES_TO_DETECT: Final = "minutes_to_detect"
MET: Final[Schema] = {**INJECTED, WHO: pl.String, FOUND: pl.Boolean, MINUTES_TO_DETECT: pl.Float64}
"""What became of every fault; the minutes are those from its beginning until its incident was opened, null where it was not found."""
GRADED: Final[Schema] = {
    WHO: pl.String,
    KIND: pl.String,
    STRENGTH: pl.Float64,
    FAULTS: pl.Int64,
    FOUND: pl.Int64,
    RECALL: pl.Float64,
    LEAST: pl.Float64,
    MOST: pl.Float64,
    MINUTES_TO_DETECT: pl.Float64,
}
MATTERS_FROM: Final = {**dict.fromkeys((SPIKE, DROP, RAMP, SHIFT, NOISE, DEGRADATION), 4.0), SILENCE: 10.0, FLAT: 30.0}
"""From this strength on a fault of the class is one that nobody may miss, and the gate counts it: four deviations, ten silent steps, thirty
steps of a value that otherwise seldom comes again (no other flat line is planned: where a target hardly moves, it is what it always is)."""
ENOUGH: Final = 0.8
"""The recall from which on a strength counts as found."""
ALPHA: Final = 0.05
_Z: Final = 1.959964
_ALL: Final = "all classes together"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The class in which the candidate is worst beside the champion: how many both met, what each found, and p as told above."""

    kind: str
    faults: int
    found: int
    found_by_champion: int
    p: float

    @property
    def significant(self) -> bool:
        """Whether this is no luck."""
        return self.p < ALPHA


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultsFound:
    """Of the faults that nobody may miss, put on mature entities: how many there were, how many were found, and who lost some.

    Attributes:
        faults: how many.
        found: of them.
        lost: beside the champion; None where there is none.
    """

    faults: int
    found: int
    lost: Lost | None = None

    @property
    def recall(self) -> float:
        """The share that was found; NaN of none."""
        return self.found / self.faults if self.faults else math.nan

    @property
    def lower(self) -> float:
        """Its one-sided 95 % lower bound; NaN of none."""
        return wilson_lower(self.recall, size=self.faults) if self.faults else math.nan


def matters() -> pl.Expr:
    """True for faults that nobody may miss."""
    return pl.col(STRENGTH) >= pl.col(KIND).replace_strict(MATTERS_FROM, default=None, return_dtype=pl.Float64)


def grade(met: pl.DataFrame, *, by: tuple[str, ...] = (WHO, KIND, STRENGTH)) -> pl.DataFrame:
    """Faults, found ones, recall with its interval and the median minutes to detect, by class and strength: GRADED for the usual `by`."""
    counted = met.group_by(by).agg(
        pl.len().cast(pl.Int64).alias(FAULTS), pl.col(FOUND).sum().cast(pl.Int64), pl.col(MINUTES_TO_DETECT).median()
    )
    n, share = pl.col(FAULTS).cast(pl.Float64), pl.col(FOUND) / pl.col(FAULTS)
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * (share * (1 - share) / n + _Z**2 / (4 * n**2)).sqrt()
    told = counted.with_columns(
        share.alias(RECALL), (middle - half).clip(lower_bound=0.0).alias(LEAST), (middle + half).clip(upper_bound=1.0).alias(MOST)
    )
    return told.select(*by, FAULTS, FOUND, RECALL, LEAST, MOST, MINUTES_TO_DETECT).sort(by)


def reached(graded: pl.DataFrame) -> pl.DataFrame:
    """By `who` and class the least strength from which on every strength is found often enough; null where the greatest is not."""
    told = graded.filter(pl.col(KIND) != NOTHING).sort(STRENGTH, descending=True)
    unbroken = (pl.col(RECALL) >= ENOUGH).cum_min().over(WHO, KIND)
    return told.group_by(WHO, KIND).agg(pl.col(STRENGTH).filter(unbroken).min()).sort(WHO, KIND)


def found_of(met: pl.DataFrame, *, champion: pl.DataFrame | None = None) -> FaultsFound:
    """What the gate is told.

    Args:
        met: MET of the candidate.
        champion: MET of the release in force, of the same faults.
    """
    counted = met.filter(matters(), pl.col(WHO) == MATURE)
    lost = None if champion is None else compare(counted, champion=champion)
    return FaultsFound(faults=counted.height, found=int(counted[FOUND].sum()), lost=lost)


def compare(met: pl.DataFrame, *, champion: pl.DataFrame) -> Lost | None:
    """The class, or all together, in which the candidate is worst beside the champion; None where they met no fault both."""
    theirs = champion.select(ENTITY, KIND, DRAW, pl.col(FOUND).alias("theirs"))
    both = met.join(theirs, on=[ENTITY, KIND, DRAW])
    asked = [*((str(name), rows) for (name,), rows in sorted(both.partition_by(KIND, as_dict=True).items())), (_ALL, both)]
    told = [
        Lost(
            kind=name,
            faults=rows.height,
            found=int(rows[FOUND].sum()),
            found_by_champion=int(rows["theirs"].sum()),
            p=min(
                1.0,
                len(asked) * mcnemar(lost=rows.filter(~pl.col(FOUND), "theirs").height, won=rows.filter(FOUND, ~pl.col("theirs")).height),
            ),
        )
        for name, rows in asked
    ]
    return min(told, key=lambda each: each.p) if both.height else None


def mcnemar(*, lost: int, won: int) -> float:
    """How likely at least `lost` of the `lost + won` would be, if either were as likely as the other.

    >>> mcnemar(lost=5, won=0), mcnemar(lost=0, won=0)
    (0.03125, 1.0)
    """
    asked = lost + won
    ways = sum(math.comb(asked, more) for more in range(lost, asked + 1))
    return float(ways / 2**asked)
