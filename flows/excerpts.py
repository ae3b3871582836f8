"""Excerpts: stretches of forecast against actual that a person wants to see first, with the band outside of which a minute is anomalous."""

from datetime import timedelta
from pathlib import Path
from typing import Final

import polars as pl

from serving.incidents import FALSE, FOUND, Matched
from telemetry.contract import Contract
from telemetry.schema import (
    ACTUAL,
    AT,
    END,
    ENTITY,
    FORECAST,
    KIND,
    LABEL,
    LEAD,
    PEAK,
    SD,
    SIGMA,
    START,
    SURPRISE,
    TARGET,
    THRESHOLD,
)

EACH: Final = 2
"""How many found, missed, false and quiet stretches are shown."""
MARGIN: Final = timedelta(hours=2)
LONGEST: Final = timedelta(hours=12)


def excerpts(measured: Path, *, matched: Matched, thresholds: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """One row per excerpt and minute: excerpt, title, entity, target, at, actual, forecast, lower, upper, surprise, label.

    Args:
        measured: folder with `lead1` and `scores`, as `flows.judge` leaves it.
        matched: incidents beside labels.
        thresholds: THRESHOLDS.
        contract: names the targets.
    """
    chosen = pl.concat([*_of_labels(matched), _of_incidents(matched), _of_quiet(measured)], how="vertical")
    chosen = chosen.with_row_index("excerpt").with_columns(pl.col("excerpt").cast(pl.Int32))
    spans = chosen.with_columns(pl.min_horizontal(END, pl.col(START) + LONGEST) + MARGIN, pl.col(START) - MARGIN)
    wanted = pl.col(AT).is_between(pl.col(START), pl.col(END), closed="left")
    rows = pl.scan_parquet(measured / "lead1" / "*.parquet").join(spans.lazy(), on=ENTITY).filter(wanted)
    said = pl.scan_parquet(measured / "scores" / "*.parquet").select(ENTITY, AT, TARGET, SURPRISE)
    told = rows.join(said, on=[ENTITY, AT, TARGET], how="left").collect()
    shown = _most_surprising(told, chosen=chosen, contract=contract)
    bands = thresholds.filter(pl.col(LEAD) == 1).select(ENTITY, TARGET, (pl.col(SD) * pl.col(THRESHOLD)).alias("widths"))
    half = pl.col("widths") * pl.col(SIGMA)
    return (
        told.join(shown, on=["excerpt", TARGET])
        .join(bands, on=[ENTITY, TARGET], how="left")
        .with_columns((pl.col(FORECAST) - half).alias("lower"), (pl.col(FORECAST) + half).alias("upper"))
        .with_columns(pl.format("{} — {}, {}", "what", ENTITY, TARGET).alias("title"))
        .select("excerpt", "title", ENTITY, TARGET, AT, ACTUAL, FORECAST, "lower", "upper", SURPRISE, LABEL)
        .sort("excerpt", AT)
    )


def _of_labels(matched: Matched) -> list[pl.DataFrame]:
    """The first found and missed labels of different kinds."""
    told = {True: "found", False: "missed"}
    first = matched.labels.unique([KIND, FOUND], keep="first", maintain_order=True)
    return [
        first.filter(pl.col(FOUND) == found).head(EACH).select(ENTITY, START, END, pl.format(f"{word}: {{}}", KIND).alias("what"))
        for found, word in told.items()
    ]


def _of_incidents(matched: Matched) -> pl.DataFrame:
    """Incidents that no label explains, the most surprising first; without labels all are of that kind."""
    word = "false incident" if matched.labels.height else "incident"
    strongest = matched.incidents.filter(FALSE).sort(PEAK, descending=True).head(EACH)
    return strongest.select(ENTITY, START, END, pl.lit(word).alias("what"))


def _of_quiet(measured: Path) -> pl.DataFrame:
    """A day of the first entity, whatever it holds: how a normal forecast looks."""
    rows = pl.scan_parquet(measured / "lead1" / "*.parquet")
    first = rows.select(pl.col(ENTITY).first(), pl.col(AT).min().alias(START)).collect()
    return first.filter(pl.col(ENTITY).is_not_null()).select(
        ENTITY, START, (pl.col(START) + timedelta(hours=10)).alias(END), pl.lit("an ordinary stretch").alias("what")
    )


def _most_surprising(told: pl.DataFrame, *, chosen: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """The target of each excerpt with the greatest surprise within the incident itself."""
    inside = told.join(chosen.select("excerpt", START, END), on="excerpt", suffix="_of").filter(
        pl.col(AT) >= pl.col(f"{START}_of"), pl.col(AT) < pl.col(f"{END}_of")
    )
    best = inside.group_by("excerpt", TARGET).agg(pl.col(SURPRISE).mean()).sort(SURPRISE, descending=True, nulls_last=True)
    fallback = told.select("excerpt", pl.lit(contract.targets[0]).alias(TARGET)).unique()
    return pl.concat([best.select("excerpt", TARGET), fallback.sort("excerpt")]).unique("excerpt", keep="first", maintain_order=True)
