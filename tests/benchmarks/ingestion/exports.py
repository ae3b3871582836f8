"""The raw telemetry of the fleet of the story, one file a day, as an export job leaves it: deterministic from a seed.

25 customers in 4 regions are 100 entities; those of the first 5 customers report every 10 seconds, the others every minute: 288,000
readings a day, half a year of them 52 million. Each entity has a daily and a weekly rhythm. Values are rounded as an exporter rounds
them, some in another unit than the contract's. A file holds what arrived on its day, in the order of arrival: some readings come up to
six hours late, and then perhaps in the next day's file; some are sent twice; some entities are silent for hours; some cells are empty;
a few runs of rows cannot be read.
"""

import json
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.contract import Contract, parse

ROOT: Final = Path(__file__).resolve().parents[3]
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMERS: Final = 25
QUICK_CUSTOMERS: Final = 5
"""Those whose entities report every 10 seconds."""
REGIONS: Final = {"eu": 1, "us": -6, "apac": 8, "latam": -3}
"""Hours ahead of UTC."""
DAY_SECONDS: Final = 86_400
SOURCE_UNITS: Final = {"query_time": "us", "payload": "kB", "ingest_lag": "ms", "memory": "ratio", "battery": "mV"}
"""What the export tells in another unit than the contract's."""
EMPTY_SHARE: Final = 0.005
LATE_SHARE: Final = 0.003
TWICE_SHARE: Final = 0.002
SILENT_SHARE: Final = 0.01
"""Of an entity's days."""
BURSTS_A_DAY: Final = 8
BURST_ROWS: Final = 18
"""Runs of rows that cannot be read, and how many rows each has."""
MANIFEST: Final = "_manifest.json"

Format = Literal["csv", "parquet"]
Floats = NDArray[np.float32]
Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What was written.

    Attributes:
        seed: of all that is random.
        format: of the files.
        rows: of each file, by its name.
        faulty: rows that cannot be read.
    """

    seed: int
    format: Format
    rows: dict[str, int]
    faulty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """How a parameter is told: its usual value in the source's unit (of a sum: by the minute), its noise, the decimals it is rounded to."""

    usual: float
    noise: float
    decimals: int
    tidal: bool = True
    """Whether it follows the load."""


QUANTITIES: Final = {
    "reporting_devices": Quantity(usual=850, noise=0.02, decimals=0),
    "queries": Quantity(usual=2400, noise=0.08, decimals=0),
    "failed_queries": Quantity(usual=12, noise=0.4, decimals=0),
    "query_time": Quantity(usual=41_000, noise=0.15, decimals=0),
    "positions": Quantity(usual=5200, noise=0.05, decimals=0),
    "active_sessions": Quantity(usual=310, noise=0.04, decimals=0),
    "api_calls": Quantity(usual=1900, noise=0.1, decimals=0),
    "ignition_events": Quantity(usual=75, noise=0.3, decimals=0),
    "geofence_events": Quantity(usual=48, noise=0.3, decimals=0),
    "alarms_sent": Quantity(usual=6, noise=0.6, decimals=0),
    "payload": Quantity(usual=7800, noise=0.06, decimals=1),
    "ingest_lag": Quantity(usual=640, noise=0.25, decimals=1),
    "queue_depth": Quantity(usual=35, noise=0.5, decimals=0),
    "cpu": Quantity(usual=46, noise=0.1, decimals=1),
    "memory": Quantity(usual=0.55, noise=0.02, decimals=4, tidal=False),
    "signal": Quantity(usual=-87, noise=0.05, decimals=1, tidal=False),
    "battery": Quantity(usual=12_600, noise=0.02, decimals=0, tidal=False),
    "gps_accuracy": Quantity(usual=4.8, noise=0.3, decimals=2, tidal=False),
}


def contract() -> Contract:
    """The fleet's, with the units of this export."""
    raw = tomllib.loads((ROOT / "infra" / "contracts" / "fleet.toml").read_text(encoding="utf-8"))
    for name, unit in SOURCE_UNITS.items():
        raw["parameters"][name]["source_unit"] = unit
    return parse(raw)


def entities() -> tuple[str, ...]:
    """Every `customer/region`, customer by customer."""
    return tuple(f"customer-{number:02}/{region}" for number in range(1, CUSTOMERS + 1) for region in REGIONS)


def write(folder: Path, *, days: int, format: Format, seed: int) -> Export:  # noqa: A002  (it is the format)
    """Write every day's file, and what was written beside them; those that are there already are taken as they are."""
    noted = folder / MANIFEST
    if noted.exists():
        found = Export(**json.loads(noted.read_text(encoding="utf-8")))
        if (found.seed, found.format, len(found.rows)) == (seed, format, days):
            return found
        raise SystemExit(f"{folder} holds another export: {found.format}, {len(found.rows)} days, seed {found.seed}")
    folder.mkdir(parents=True, exist_ok=True)
    made = _Fleet(seed=seed, format=format)
    rows, written = dict[str, int](), list[Future[None]]()
    with ThreadPoolExecutor(max_workers=1) as aside:  # a day is written while the next one is made
        for day in range(days):
            pieces = made.day(day)
            path = folder / f"telemetry-{(START + timedelta(days=day)).date()}.{format}"
            rows[path.name] = sum(piece.height for piece in pieces)
            written.append(aside.submit(_put, pieces, path=path))
            if day:
                written[day - 1].result()  # no more than two days are held
    for each in written:
        each.result()
    export = Export(seed=seed, format=format, rows=rows, faulty=days * BURSTS_A_DAY * BURST_ROWS)
    noted.write_text(json.dumps(asdict(export)), encoding="utf-8")
    return export


def _put(pieces: list[pl.DataFrame], *, path: Path) -> None:
    if path.suffix == ".parquet":
        pl.concat(pieces).write_parquet(path, compression="zstd", compression_level=1)
        return
    with path.open("wb") as file:
        for number, piece in enumerate(pieces):
            piece.write_csv(file, include_header=number == 0)


class _Fleet:
    """Who reports when, and what each day brings; days are to be asked for in their order."""

    def __init__(self, *, seed: int, format: Format) -> None:  # noqa: A002
        self.seed, self.format = seed, format
        self.aggregations = {name: parameter.aggregation for name, parameter in contract().parameters.items()}
        count, quick = CUSTOMERS * len(REGIONS), QUICK_CUSTOMERS * len(REGIONS)
        second = np.concatenate([np.tile(np.arange(0, DAY_SECONDS, 10), quick), np.tile(np.arange(0, DAY_SECONDS, 60), count - quick)])
        entity = np.concatenate([np.repeat(np.arange(quick), DAY_SECONDS // 10), np.repeat(np.arange(quick, count), DAY_SECONDS // 60)])
        order = np.lexsort((entity, second))
        self.second, self.entity = second[order], entity[order]
        names = [told.split("/") for told in entities()]
        self.customer, self.region = (pl.Series([name[place] for name in names])[self.entity] for place in (0, 1))
        clock = pl.datetime_range(START, START + timedelta(seconds=DAY_SECONDS - 10), "10s", eager=True, time_unit="us")
        self.clock = clock.dt.to_string("T%H:%M:%SZ")[self.second // 10] if format == "csv" else clock[self.second // 10]
        random = np.random.default_rng([seed, 0])
        self.level = {name: random.lognormal(0, 0.5, count).astype(np.float32) for name in QUANTITIES}
        self.phase, self.night = random.uniform(-2, 2, count), random.uniform(0.1, 0.4, count)
        self.weekend = random.uniform(0.3, 0.9, count)
        self.late: tuple[pl.DataFrame, Whole] | None = None

    def day(self, day: int) -> list[pl.DataFrame]:
        """A day's file, in pieces that belong one behind the other."""
        random = np.random.default_rng([self.seed, 1, day])
        told = self._told(random, day=day)
        rows, arrival = self._arrivals(random, rows=self._heard(random))
        frame = told[rows]
        if self.late is not None:
            frame, arrival = pl.concat([self.late[0], frame]), np.concatenate([self.late[1], arrival])
            order = np.argsort(arrival, kind="stable")
            frame, arrival = frame[order], arrival[order]
        today = int(np.searchsorted(arrival, DAY_SECONDS))
        self.late = frame[today:], arrival[today:] - DAY_SECONDS
        return self._with_faults(random, frame=frame[:today])

    def _told(self, random: np.random.Generator, *, day: int) -> pl.DataFrame:
        """What every entity would say, in the order of time."""
        minute = self.second // 60
        load = self._load(day)[minute, self.entity]
        part = np.where(self.entity < QUICK_CUSTOMERS * len(REGIONS), 1 / 6, 1).astype(np.float32)  # of a minute
        date = START + timedelta(days=day)
        columns: dict[str, pl.Series | pl.Expr] = {
            "time": pl.lit(f"{date:%Y-%m-%d}") + self.clock if self.format == "csv" else pl.lit(self.clock) + timedelta(days=day),
            "customer": self.customer,
            "region": self.region,
        }
        for name, quantity in QUANTITIES.items():
            value = self.level[name][self.entity] ** (0.1 if name in ("cpu", "memory", "signal") else 1) * np.float32(quantity.usual)
            value *= 1 + np.float32(quantity.noise) * random.standard_normal(value.size, dtype=np.float32)
            value *= load if quantity.tidal else 1
            value *= part if self.aggregations[name] == "sum" else 1
            value = np.minimum(value, 0) if quantity.usual < 0 else np.maximum(value, 0)
            exact = np.round(value.astype(np.float64), quantity.decimals)
            told = pl.Series(name, exact if quantity.decimals else exact.astype(np.int64))
            columns[name] = pl.when(pl.Series(random.random(value.size, dtype=np.float32) >= EMPTY_SHARE)).then(told)
        return pl.select(**columns)

    def _load(self, day: int) -> Floats:
        """f32[minute, entity]: the tide of the day, from low at night to 1 at the top."""
        hours = np.repeat(list(REGIONS.values()), CUSTOMERS).reshape(len(REGIONS), CUSTOMERS).T.ravel()
        local = np.arange(1440)[:, None] / 60 + hours + self.phase
        tide = self.night + (1 - self.night) * (0.5 - 0.5 * np.cos(2 * np.pi * local / 24)) ** 1.5
        weekday = (START + timedelta(days=day)).weekday() + np.floor(local / 24)
        return np.where(weekday % 7 >= 5, tide * self.weekend, tide).astype(np.float32)

    def _heard(self, random: np.random.Generator) -> Whole:
        """The rows of those that are not silent."""
        silent = np.zeros(self.second.size, dtype=np.bool_)
        for each in np.flatnonzero(random.random(CUSTOMERS * len(REGIONS)) < SILENT_SHARE):
            since = random.integers(0, DAY_SECONDS)
            silent |= (self.entity == each) & (self.second >= since) & (self.second < since + random.integers(600, 6 * 3600))
        return np.flatnonzero(~silent)

    def _arrivals(self, random: np.random.Generator, *, rows: Whole) -> tuple[Whole, Whole]:
        """The rows in the order of their arrival, and when each arrives: some late, some a second time."""
        arrival = self.second[rows].copy()
        late = np.flatnonzero(random.random(rows.size) < LATE_SHARE)
        arrival[late] += np.minimum(random.exponential(3600, late.size), 6 * 3600).astype(np.int64)
        twice = np.flatnonzero(random.random(rows.size) < TWICE_SHARE)
        again = arrival[twice] + random.integers(1, 600, twice.size)
        rows, arrival = np.concatenate([rows, rows[twice]]), np.concatenate([arrival, again])
        order = np.argsort(arrival, kind="stable")
        return rows[order], arrival[order]

    def _with_faults(self, random: np.random.Generator, *, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """The rows, with runs between them that cannot be read: no customer, no such time, an infinite value, a word for a number."""
        cuts = np.sort(random.integers(1, frame.height - BURST_ROWS, BURSTS_A_DAY)).tolist()
        pieces = []
        for number, (since, until) in enumerate(zip([0, *cuts], [*cuts, frame.height], strict=True)):
            if number:
                pieces.append(self._broken(frame[since : since + BURST_ROWS], how=number % 4))
            pieces.append(frame[since:until])
        return pieces

    def _broken(self, rows: pl.DataFrame, *, how: int) -> pl.DataFrame:
        text = self.format == "csv"
        rows = rows.with_columns(pl.exclude("time", "customer", "region").cast(pl.String)) if text else rows
        if how == 0:
            return rows.with_columns(customer=pl.lit(None, dtype=pl.String))
        if how == 1:
            return rows.with_columns(time=pl.lit("2026-02-30T25:61:00Z") if text else pl.lit(None, dtype=pl.Datetime("us", "UTC")))
        if how == 2 and text:
            return rows.with_columns(queue_depth=pl.lit("ERR"))
        return rows.with_columns(cpu=pl.lit("inf") if text else pl.lit(float("inf")))
