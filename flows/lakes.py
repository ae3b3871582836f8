"""Where the tables of each kind of telemetry lie."""

import polars as pl

from flows.settings import Settings
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.schema import LABELS


def lake_of(contract: Contract, *, settings: Settings) -> Lake:
    """The Delta tables of one kind of telemetry."""
    return Lake(f"{settings.lake_root}/{contract.name}")


def labels_of(lake: Lake) -> pl.DataFrame:
    """Every labelled incident that the lake knows."""
    return lake.read("labels", schema=LABELS).collect()
