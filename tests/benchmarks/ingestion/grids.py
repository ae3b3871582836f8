"""Whether two ingestions of the same files tell the same."""

from pathlib import Path
from typing import Final

import polars as pl
from deltalake import DeltaTable

from telemetry.schema import AT, ENTITY, OBSERVED, TIME

_OTHER: Final = "__other"


def greatest_difference(lake: Path, peer: Path, *, names: tuple[str, ...]) -> float:
    """The greatest difference of a value in `grid` and `readings`, as a share of the value (of 1 where that is smaller).

    Infinite where one has a row or a value that the other has not.
    """
    keys = [ENTITY, AT]
    steps = [pl.scan_delta(str(lake / "grid")).select(*keys, OBSERVED, *names), _peer(peer / "grid").select(*keys, OBSERVED, *names)]
    kept = [pl.scan_delta(str(lake / "readings")).select(*keys, *names), _peer(peer / "readings").select(*keys, *names)]
    kept[0] = kept[0].unique(keys)  # a reading may be kept twice
    return max(_difference(steps[0], steps[1], names=names), _difference(kept[0], kept[1], names=names))


def rejected(peer: Path) -> int:
    """How many rows a peer has put aside."""
    rows = sum(pl.read_csv(path, infer_schema=False).height for path in (peer / "rejects").glob("*.csv"))
    return rows + sum(pl.read_parquet(path).height for path in peer.glob("*.parquet"))


def bytes_of(lake: Path, *, table: str) -> int:
    """Of the Parquet files that make up the newest version of a table."""
    return sum(path.stat().st_size for path in parquet(lake, table=table))


def parquet(lake: Path, *, table: str) -> list[Path]:
    """The files of the newest version of a table."""
    return [Path(uri.removeprefix("file://")) for uri in DeltaTable(str(lake / table)).file_uris()]


def _peer(table: Path) -> pl.LazyFrame:
    frame = pl.scan_parquet(str(table / "**" / "*.parquet"), hive_partitioning=False)
    at = pl.col(AT).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") if frame.collect_schema()[AT] != TIME else pl.col(AT)
    return frame.with_columns(at, pl.col(ENTITY).cast(pl.String))


def _difference(one: pl.LazyFrame, other: pl.LazyFrame, *, names: tuple[str, ...]) -> float:
    both = one.join(other, on=[ENTITY, AT], how="full", suffix=_OTHER, coalesce=True).collect()
    rows = one.select(pl.len()).collect().item(), other.select(pl.len()).collect().item()
    observed = both.select((pl.col(OBSERVED).eq_missing(pl.col(f"{OBSERVED}{_OTHER}"))).all()).item() if OBSERVED in both.columns else True
    gaps = both.select(
        pl.any_horizontal(pl.col(name).is_null() != pl.col(f"{name}{_OTHER}").is_null() for name in names).any().alias("gaps")
    ).item()
    if rows != (both.height, both.height) or not observed or gaps:
        return float("inf")
    share = [(pl.col(name) - pl.col(f"{name}{_OTHER}")).abs() / pl.col(name).abs().clip(1) for name in names]
    return float(both.select(pl.max_horizontal(share).max()).item() or 0.0)
