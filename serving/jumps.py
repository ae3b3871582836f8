"""Where an error of arithmetic may begin: values so far from those before them that `validation.onset` is worth its time.

A block of steps in which nothing jumps is passed over in a fraction of the time that a close look takes.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from telemetry.schema import AT, ENTITY, OBSERVED, START, TIME

BLOCK: Final = 60
"""Steps that are looked at together."""
USUAL: Final = 60
"""Steps whose median a value is held against, before the error and within it ..."""
LEAST: Final = 15
"""... and how many of them must be known for an error to be looked for."""
AT_ONCE: Final = 3
"""Values in a row that must be far away; and so many end a suspension."""
LATE: Final = 30
"""An error may need so many values to be told: one that began before that was judged by the block before."""
AWAY: Final = 1.5
"""The least factor between a value and the median before it at which an error is looked for, if nothing in that hour is so far away ..."""
FAR: Final = 4.5
"""... and wherever it lies. Less than any known factor; two columns nearer to each other than `AWAY` may be exchanged unseen."""
MIXED: Final = 0.5
"""Of signs: a value's sign is another one where that of those before it is mostly one."""
_BLOCK: Final = "__block__"


def candidates(
    grid: pl.DataFrame, *, begins: Mapping[str, datetime], origin: datetime, cadence: timedelta
) -> dict[tuple[str, datetime], frozenset[str]]:
    """The parameters, by entity and block, in which `AT_ONCE` values in a row are so far from those before that an error may begin.

    Args:
        grid: rows of `grid_schema`, complete and sorted.
        begins: the entities that are asked about, and from which block on.
        origin: the block for which all that was before it counts.
        cadence: of the steps.
    """
    names = [name for name in grid.columns if name not in (ENTITY, AT, OBSERVED)]
    begin = pl.DataFrame({ENTITY: list(begins), START: list(begins.values())}, schema={ENTITY: pl.String, START: TIME})
    firsts = grid.lazy().group_by(ENTITY).agg(pl.col(AT).first()).collect().join(begin, on=ENTITY)
    needs = (USUAL + LATE + AT_ONCE) * cadence
    young = firsts.filter(pl.col(AT) > pl.col(START) - needs)[ENTITY]
    others = firsts.filter(~pl.col(ENTITY).is_in(young.implode()))
    parts = [(grid.lazy().filter(pl.col(ENTITY).is_in(young.implode())), True)] if len(young) else []
    if others.height:
        since = others.select(pl.when(pl.col(START) == pl.lit(origin)).then(pl.col(AT)).otherwise(pl.col(START) - needs).min()).item()
        parts.append((grid.lazy().filter(pl.col(ENTITY).is_in(others[ENTITY].implode()), pl.col(AT) >= since), False))
    found: dict[tuple[str, datetime], frozenset[str]] = {}
    for rows, alone in parts:
        for row in _jumped(rows, names=names, alone=alone, begin=begin, origin=origin, cadence=cadence).iter_rows(named=True):
            key = (str(row[ENTITY]), row[START])
            found[key] = found.get(key, frozenset()) | frozenset(name for name in names if row[name])
    return found


def _jumped(
    rows: pl.LazyFrame, *, names: list[str], alone: bool, begin: pl.DataFrame, origin: datetime, cadence: timedelta
) -> pl.DataFrame:
    """`entity, start` of blocks, and by parameter whether an error may begin in one.

    Args:
        rows: of whole entities, each in the order of time.
        names: of the parameters.
        alone: whether an entity's first rows count too, so that each must be looked at alone, which takes much longer.
        begin: `entity, start`, the first block that is asked about.
        origin: the block for which all that was before it counts.
        cadence: of the steps.
    """
    rolled = [told.over(ENTITY) if alone else told for name in names for told in _rolled(name)]  # once each: Polars would do it thrice
    of_one = pl.col(ENTITY) == pl.col(ENTITY).shift(1 - AT_ONCE)
    jumps = rows.with_columns(rolled).select(ENTITY, AT, *((_jumps(name) & of_one).alias(name) for name in names))
    seen = jumps.filter(pl.any_horizontal(names)).join(begin.lazy(), on=ENTITY).collect(engine="in-memory")
    third = pl.col(AT) + (AT_ONCE - 1) * cadence
    length = BLOCK * cadence // timedelta(microseconds=1)
    blocks = [((when.dt.epoch("us") // length) * length).cast(TIME) for when in (third, third + LATE * cadence)]  # it may take more values
    every = pl.concat([seen.with_columns(pl.max_horizontal(block, pl.lit(origin)).alias(_BLOCK)) for block in blocks])
    asked = every.filter(pl.col(_BLOCK) >= pl.col(START)).drop(START).rename({_BLOCK: START})
    return asked.group_by(ENTITY, START).agg(pl.col(names).any())


def _rolled(name: str) -> Iterator[pl.Expr]:
    """Of a parameter: median, least and greatest size before a value, the last ones, the mean sign; and of it and those that follow."""
    value = pl.when(pl.col(name) != 0).then(pl.col(name)).forward_fill().backward_fill()  # a gap would take thrice the time
    size, sign, ahead = value.abs(), value.sign(), 1 - AT_ONCE
    yield size.rolling_median(USUAL, min_samples=LEAST).shift(1).alias(f"{name}/usual")
    yield size.rolling_min(USUAL, min_samples=LEAST).shift(1).alias(f"{name}/least")
    yield size.rolling_max(USUAL, min_samples=LEAST).shift(1).alias(f"{name}/greatest")
    yield size.rolling_median(AT_ONCE).shift(1).alias(f"{name}/recent")
    yield sign.rolling_mean(USUAL, min_samples=LEAST).shift(1).alias(f"{name}/sign")
    yield size.rolling_min(AT_ONCE).shift(ahead).alias(f"{name}/lowest")
    yield size.rolling_max(AT_ONCE).shift(ahead).alias(f"{name}/highest")
    yield sign.rolling_mean(AT_ONCE).shift(ahead).alias(f"{name}/signs")


def _jumps(name: str) -> pl.Expr:
    """Whether a value and those that follow it are far from those before."""
    usual, least, greatest, recent, sign, lowest, highest, signs = (
        pl.col(f"{name}/{told}") for told in ("usual", "least", "greatest", "recent", "sign", "lowest", "highest", "signs")
    )
    up = (lowest > usual * FAR) | ((lowest > usual * AWAY) & (lowest > greatest))
    down = (highest < usual / FAR) | ((highest < usual / AWAY) & (highest < least))
    at_one_blow = (up & (lowest > recent * AWAY)) | (down & (highest < recent / AWAY))
    return (at_one_blow | (signs * sign <= -MIXED)).fill_null(value=False)
