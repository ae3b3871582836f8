"""The public sets that detection is measured on: their contracts, and which part of each entity is learned from and which is judged.

What a publisher cut is cut there. A set that nobody cut is cut as its own scorer says (nab: the first 0.15 are probation), or in halves. Of
what is learned from, the last part calibrates: as large a share of it as in the fleet's contract, a tenth of nine, where the contract does
not say more. No label of the judged part is looked at by anything but the measure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import polars as pl

from telemetry.contract import Contract
from telemetry.schema import AT, END, ENTITY, START

ROOT: Final = Path(__file__).resolve().parents[3]
SHIPPED: Final = ROOT / "infra" / "contracts"
OF_TESTS: Final = ROOT / "tests" / "contracts"
LEARNED: Final = "learned_until"
LEAST_CALIBRATED: Final = 0.2
"""Of what is learned from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSet:
    """A set.

    Attributes:
        name: of it in the record.
        contract: path of its contract.
        folder: within the folder of all sets.
        learned_share: of each entity's steps, or how to tell of its rows at which step (the number of it) the publisher cut.
        rewrite: makes files that the contract can read, where the publisher's have steps that begin anew; given the source and a folder.
    """

    name: str
    contract: Path
    folder: str
    learned_share: float | Callable[[Path], pl.DataFrame]
    rewrite: Callable[[Path, Path], None] | None = None


def cut_by_publisher(pattern: str) -> Callable[[Path], pl.DataFrame]:
    """Entity and number of rows of the part that files `<entity>.parquet` call `train`."""

    def told(folder: Path) -> pl.DataFrame:
        counts = [
            {
                ENTITY: path.stem,
                LEARNED: pl.scan_parquet(path).filter(pl.col("split").cast(pl.String) == "train").select(pl.len()).collect().item(),
            }
            for path in sorted(folder.glob(pattern))
        ]
        return pl.DataFrame(counts, schema={ENTITY: pl.String, LEARNED: pl.Int64})

    return told


def smap_cut(folder: Path) -> pl.DataFrame:
    """The same of the channels, which are all in one file."""
    rows = pl.scan_parquet(folder / "smap.parquet").filter(pl.col("split") == "train")
    return rows.group_by(pl.col("channel").alias(ENTITY)).agg(pl.len().cast(pl.Int64).alias(LEARNED)).collect()


def smap_rewrite(source: Path, into: Path) -> None:
    """Steps that run on over both parts."""
    train = (pl.col("split") == "train").sum().over("channel")
    running = pl.when(pl.col("split") == "test").then(pl.col("step") + train).otherwise("step").alias("step")
    pl.scan_parquet(source / "smap.parquet").with_columns(running).drop("split").sink_parquet(into / "smap.parquet")


SETS: Final = (
    PublicSet(name="smd", contract=SHIPPED / "smd.toml", folder="smd", learned_share=0.5),
    PublicSet(
        name="jumpstarter",
        contract=SHIPPED / "jumpstarter.toml",
        folder="jumpstarter",
        learned_share=cut_by_publisher("service-*.parquet"),
    ),
    PublicSet(name="asd", contract=OF_TESTS / "asd.toml", folder="asd", learned_share=cut_by_publisher("omi-*.parquet")),
    PublicSet(name="smap", contract=OF_TESTS / "smap.toml", folder="smap_msl", learned_share=smap_cut, rewrite=smap_rewrite),
    PublicSet(name="ms_cloud_minute", contract=SHIPPED / "ms_cloud_minute.toml", folder="ms_cloud", learned_share=0.5),
    PublicSet(name="ms_cloud_hourly", contract=SHIPPED / "ms_cloud_hourly.toml", folder="ms_cloud", learned_share=0.5),
    PublicSet(name="nab", contract=SHIPPED / "nab.toml", folder="nab", learned_share=0.15),
)


def parts(grid: pl.DataFrame, *, public: PublicSet, source: Path, contract: Contract) -> pl.DataFrame:
    """The parts of each entity's own span, in the columns of `telemetry.windows.cuts`."""
    cadence = contract.time.cadence
    length = ((pl.col(END) - pl.col(START)) / cadence).round().cast(pl.Int64)
    spans = grid.group_by(ENTITY).agg(pl.col(AT).min().alias(START), (pl.col(AT).max() + cadence).alias(END)).sort(ENTITY)
    if isinstance(public.learned_share, float):
        told = spans.with_columns((length * public.learned_share).floor().cast(pl.Int64).alias(LEARNED))
    else:
        told = spans.join(public.learned_share(source), on=ENTITY)
    share = max(contract.split.calibrate_share / (1 - contract.split.test_share), LEAST_CALIBRATED)
    gap = pl.min_horizontal(pl.lit(contract.windows.time_steps), pl.col(LEARNED) // 10)
    calibrate_end = pl.col(LEARNED) - gap
    calibrate_start = calibrate_end - (pl.col(LEARNED) * share).floor().cast(pl.Int64)
    bounds = {
        "train_end": calibrate_start - gap,
        "calibrate_start": calibrate_start,
        "calibrate_end": calibrate_end,
        "test_start": pl.col(LEARNED),
    }
    return told.select(
        ENTITY, START, *((pl.col(START) + _steps(bound, cadence=cadence)).alias(name) for name, bound in bounds.items()), END
    )


def _steps(count: pl.Expr, *, cadence: timedelta) -> pl.Expr:
    return pl.duration(microseconds=count * int(cadence.total_seconds() * 1e6))
