"""A healthy grid of the fleet, made quickly: 100 entities, a row a minute, the 18 parameters of the contract in its units, from a seed.

It follows the export of `ingestion/exports.py` in who there is, in usual values and in noise: a rhythm of day and week for what follows the
load, a size of its own for each entity, half a percent of empty cells, and everything within its plausible range.
"""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.contract import Contract, parse
from telemetry.schema import AT, ENTITY, OBSERVED
from telemetry.sections import Parameter
from tests.benchmarks.ingestion.exports import EMPTY_SHARE, QUANTITIES, ROOT, START, Quantity, entities

IN_CANONICAL: Final = {"query_time": 1e-3, "payload": 1e-3, "ingest_lag": 1e-3, "memory": 100.0, "battery": 1e-3}
"""The export tells these in another unit: microseconds, kB, milliseconds, a ratio, millivolts."""
DAY_MINUTES: Final = 1440

Floats = NDArray[np.float32]


def contract() -> Contract:
    """The fleet's."""
    return parse(tomllib.loads((ROOT / "infra" / "contracts" / "fleet.toml").read_text(encoding="utf-8")))


def write(path: Path, *, rows: int, seed: int) -> None:
    """Write a grid of about `rows` rows (as many for each entity), sorted by entity and time, as Parquet."""
    names, random = entities(), np.random.default_rng(seed)
    minutes = max(rows // len(names), 1)
    end = START + timedelta(minutes=minutes - 1)
    clock = pl.datetime_range(START, end, "1m", time_unit="us", eager=True)
    load = np.concatenate([_load(minutes, random=random) for _ in names])
    keys = {
        ENTITY: pl.Series(names).gather(np.repeat(np.arange(len(names)), minutes)),
        AT: pl.concat([clock] * len(names), rechunk=True),
        OBSERVED: pl.repeat(True, len(load), eager=True),
    }
    columns = {
        name: _values(name, parameter=parameter, load=load, count=len(names), random=random)
        for name, parameter in contract().parameters.items()
    }
    pl.DataFrame({**keys, **columns}).write_parquet(path, compression="zstd", compression_level=1)


def _load(minutes: int, *, random: np.random.Generator) -> Floats:
    """f32[minute]: from the least of a night to 1 at noon, less at weekends."""
    of_day = np.arange(minutes) % DAY_MINUTES / DAY_MINUTES
    night, weekend = random.uniform(0.2, 0.5), random.uniform(0.4, 0.9)
    week = np.where((np.arange(minutes) // DAY_MINUTES + START.weekday()) % 7 >= 5, weekend, 1.0)
    return np.asarray((night + (1 - night) * np.sin(np.pi * of_day) ** 2) * week, dtype=np.float32)


def _values(name: str, *, parameter: Parameter, load: Floats, count: int, random: np.random.Generator) -> pl.Series:
    quantity = QUANTITIES[name]
    value = 1 + quantity.noise * random.standard_normal(len(load), dtype=np.float32)
    if quantity.tidal:
        value *= load * np.repeat(random.lognormal(0, 0.5, count).astype(np.float32), len(load) // count)
    told = _rounded(value.astype(np.float64) * quantity.usual, name=name, quantity=quantity)
    np.clip(told, parameter.minimum, parameter.maximum, out=told)
    empty = pl.Series("empty", random.random(len(told), dtype=np.float32) < EMPTY_SHARE)
    return pl.DataFrame({name: told, "empty": empty}).select(pl.when(~pl.col("empty")).then(name)).to_series()


def _rounded(value: NDArray[np.float64], *, name: str, quantity: Quantity) -> NDArray[np.float64]:
    """In the contract's unit, as exactly as the export tells it."""
    return np.round(value, quantity.decimals) * IN_CANONICAL.get(name, 1.0)
