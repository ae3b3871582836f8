"""The public sets as plain Polars reads them: what must be in the lake after each of them was ingested by its contract.

Nothing of the project reads them here. A table has `entity, at` (UTC), `label` (null where none is told) and every parameter in the
contract's unit, one line a raw row, in the order of the files.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

ROOT: Final = Path(__file__).resolve().parents[2]
SHIPPED, OF_TESTS = ROOT / "infra" / "contracts", ROOT / "tests" / "contracts"
ORIGIN = pl.datetime(2026, 1, 1, time_unit="us", time_zone="UTC")
KEYS: Final = ("entity", "at")
_G: Final = 9.80665  # m/s^2


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSet:
    """A set, or a publisher's own file, and what it says.

    Attributes:
        name: as it is shown.
        source: where it lies within the data.
        contract: that it is ingested by.
        rows: reads it.
        cadence: in steps such as `5m`.
        summed: parameters of which a step is the sum, not the mean.
        wrong_clocks: rows whose second clock is off by more than a minute.
    """

    name: str
    source: str
    contract: Path
    rows: Callable[[Path], pl.DataFrame]
    cadence: str = "1m"
    summed: tuple[str, ...] = ()
    wrong_clocks: Callable[[Path], int] = field(default=lambda _: 0)

    def told(self, data: Path) -> "Told":
        """What the lake must hold of it."""
        return told(self.rows(data / self.source), cadence=self.cadence, summed=self.summed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What rows say.

    Attributes:
        rows: how many they are.
        repeated: of them, those that say word for word what another one says.
        contradicted: of them, those that a later one contradicts.
        entities: how many there are.
        grid: `entity, at` of each step and its parameters.
    """

    rows: int
    repeated: int
    contradicted: int
    entities: int
    grid: pl.DataFrame


def told(rows: pl.DataFrame, *, cadence: str, summed: tuple[str, ...]) -> Told:
    """What raw rows must become: the last of those that contradict each other counts, a step is the mean or sum of its instants."""
    values = [name for name in rows.columns if name not in (*KEYS, "label")]
    different = rows.unique(maintain_order=True, keep="last")
    alone = different.unique(subset=KEYS, keep="last", maintain_order=True)
    steps = alone.sort("at").with_columns(pl.col("at").dt.truncate(cadence))
    one = [
        (pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()) if name in summed else pl.col(name).mean()).alias(name)
        for name in values
    ]
    return Told(
        rows=rows.height,
        repeated=rows.height - different.height,
        contradicted=different.height - alone.height,
        entities=rows["entity"].n_unique(),
        grid=steps.group_by(KEYS).agg(one).sort(KEYS),
    )


def utc(column: str) -> pl.Expr:
    """Naive times as UTC."""
    return pl.col(column).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("at")


def since_origin(seconds: pl.Expr) -> pl.Expr:
    """Seconds after the invented beginning."""
    return (ORIGIN + pl.duration(microseconds=(seconds * 1_000_000).round().cast(pl.Int64))).alias("at")


def csv(path: Path, *, header: bool = True) -> pl.DataFrame:
    """A publisher's own file as text, without blanks around anything."""
    frame = pl.read_csv(path, infer_schema=False, has_header=header)
    return frame.rename(str.strip).select(pl.all().str.strip_chars())


def number(column: str, *, factor: float = 1.0, name: str | None = None) -> pl.Expr:
    """A column as canonical numbers; NaN is nothing."""
    return (pl.col(column).cast(pl.Float64).fill_nan(None) * factor).alias(name or column)


def parquet(folder: Path, pattern: str) -> list[tuple[Path, pl.DataFrame]]:
    """Files of a folder and their rows."""
    return [(path, pl.read_parquet(path)) for path in sorted(folder.glob(pattern))]


def accel(place: Path) -> pl.DataFrame:
    files = [(place, csv(place))] if place.is_file() else [(p, f.rename(str.strip)) for p, f in parquet(place, "*.parquet")]
    axes = [
        ("AccX", "acc_x"),
        ("AccY", "acc_y"),
        ("AccZ", "acc_z"),
        ("LinAccX", "lin_acc_x"),
        ("LinAccY", "lin_acc_y"),
        ("LinAccZ", "lin_acc_z"),
    ]
    spins = [(f"Gyro{axis} (deg/s)", f"gyro_{axis.lower()}") for axis in "XYZ"] + [
        (f"Mag{axis} (uT)", f"mag_{axis.lower()}") for axis in "XYZ"
    ]
    return pl.concat(
        frame.select(
            pl.format("{}/{}", pl.lit("verify" if "verify" in path.name else "normal"), pl.col("SensorId").cast(pl.String)).alias("entity"),
            since_origin(pl.col("TimeStamp (s)").cast(pl.Float64)),
            *(number(f"{column} (g)", factor=_G, name=name) for column, name in axes),
            *(number(column, name=name) for column, name in spins),
        )
        for path, frame in files
    )


def lorenz(place: Path) -> pl.DataFrame:
    files = [(place, pl.read_ndjson(place))] if place.is_file() else parquet(place, "*.parquet")
    return pl.concat(
        frame.select(
            pl.lit("broken" if "broken" in path.name else "healthy").alias("entity"),
            since_origin(pl.int_range(pl.len())),
            pl.col("x", "y", "z").cast(pl.Float64),
        )
        for path, frame in files
    )


def jumpstarter(folder: Path) -> pl.DataFrame:
    return pl.concat(
        frame.select(
            pl.lit(path.stem).alias("entity"),
            since_origin(pl.col("step").cast(pl.Int64) * 300),
            pl.col("label").cast(pl.Int64),
            *(number(f"m{metric:02}") for metric in range(19)),
        )
        for path, frame in parquet(folder, "*.parquet")
    )


def jumpstarter_raw(path: Path) -> pl.DataFrame:
    frame = csv(path, header=False)
    return frame.select(
        pl.lit("service1").alias("entity"),
        since_origin(pl.int_range(pl.len()) * 300 + 20 * 86400),
        *(number(column, name=f"m{metric:02}") for metric, column in enumerate(frame.columns)),
    )


def one_value(folder: Path, pattern: str, *, marked: str) -> pl.DataFrame:
    """Series of one value each."""
    return pl.concat(
        frame.select(pl.col("series").alias("entity"), utc("timestamp"), pl.col(marked).cast(pl.Int64).alias("label"), number("value"))
        for _, frame in parquet(folder, pattern)
    )


def nab(folder: Path) -> pl.DataFrame:
    return one_value(folder, "*/data.parquet", marked="in_window")


def nab_raw(path: Path) -> pl.DataFrame:
    return csv(path).select(
        pl.lit("ec2_cpu_utilization_5f5533").alias("entity"), utc_text("timestamp", "%Y-%m-%d %H:%M:%S"), number("value")
    )


def utc_text(column: str, pattern: str) -> pl.Expr:
    """Texts as instants in UTC."""
    return pl.col(column).str.to_datetime(pattern, time_unit="us").dt.replace_time_zone("UTC").alias("at")


def ms_cloud_minute(folder: Path) -> pl.DataFrame:
    return one_value(folder, "mongodb-*.parquet", marked="label")


def ms_cloud_hourly(folder: Path) -> pl.DataFrame:
    return one_value(folder, "[!m]*.parquet", marked="label").vstack(one_value(folder, "middle-*.parquet", marked="label"))


def ms_mongo_raw(path: Path) -> pl.DataFrame:
    label = pl.col("Label").cast(pl.Int64).alias("label")
    return csv(path).select(
        pl.lit("mongo-01").alias("entity"), utc_text("TimeStamp", "%Y-%m-%dT%H:%M:%SZ"), label, number("Value", name="value")
    )


def _nezha_values() -> list[pl.Expr]:
    latencies = [(f"Pod{side}LatencyP{p}(s)", f"{side.lower()}_latency_p{p}") for p in (90, 95, 99) for side in ("Client", "Server")]
    plain = {
        "CpuUsageRate(%)": "cpu_rate", "MemoryUsage(Mi)": "memory", "MemoryUsageRate(%)": "memory_rate", "SyscallRead": "syscalls_read",
        "SyscallWrite": "syscalls_write", "PodWorkload(Ops)": "workload", "PodSuccessRate(%)": "success_rate",
        "NodeCpuUsageRate(%)": "node_cpu", "NodeMemoryUsageRate(%)": "node_memory",
    }  # fmt: skip
    traffic = {"NetworkReceiveBytes": "received", "NetworkTransmitBytes": "transmitted", "NodeNetworkReceiveBytes": "node_received"}
    return [
        number("CpuUsage(m)", factor=0.001, name="cpu"),
        *(number(column, factor=1000, name=name) for column, name in latencies),
        *(number(column, name=name) for column, name in plain.items()),
        *(number(column, factor=0.001, name=name) for column, name in traffic.items()),
    ]


def nezha(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "pods.parquet").select(
        pl.format("{}/{}", "system", "pod").alias("entity"), utc("time"), *_nezha_values()
    )


def nezha_wrong_clocks(folder: Path) -> int:
    off = pl.col("raw_epoch") - pl.col("time").dt.epoch("s")
    return pl.read_parquet(folder / "pods.parquet").filter(off.abs() > 60).height


def nezha_raw(path: Path) -> pl.DataFrame:
    """Go prints nanoseconds; the grid is kept to the microsecond."""
    at = pl.col("Time").str.extract(r"^(\S+ \S{15})").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us")
    return csv(path).with_columns(at.alias("at")).select(pl.col("PodName").alias("entity"), utc("at"), *_nezha_values())


def uci(place: Path) -> pl.DataFrame:
    frame = csv(place) if place.is_file() else pl.read_parquet(place / "energydata.parquet")
    if place.is_file():
        frame = frame.with_columns(pl.col("date").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us"))
    same = ["Appliances", "lights", *(f"{kind}{room}" for room in range(1, 10) for kind in ("T", "RH_"))]
    renamed = {"Visibility": "visibility", "Tdewpoint": "dew_point", "T_out": "outside", "RH_out": "outside_humidity"}
    winter_time = (pl.col("date") - pl.duration(hours=1)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("at")
    return frame.select(
        pl.lit("energydata").alias("entity"),
        winter_time,
        *map(number, same),
        *(number(column, name=name) for column, name in renamed.items()),
        number("Press_mm_hg", factor=1.33322387415, name="pressure"),
        number("Windspeed", factor=3.6, name="wind"),
    )


def smd(folder: Path) -> pl.DataFrame:
    halves = [*parquet(folder, "train/*.parquet"), *parquet(folder, "test/*.parquet")]
    metrics = [name for name in halves[0][1].columns if name != "minute"]
    return pl.concat(
        frame.select(
            pl.lit(path.stem).alias("entity"),
            since_origin(pl.col("minute").cast(pl.Int64) * 60),
            (pl.col("label").cast(pl.Int64) if "label" in frame.columns else pl.lit(None, dtype=pl.Int64)).alias("label"),
            *map(number, metrics),
        )
        for path, frame in halves
    )


PUBLIC_SETS: Final = (
    PublicSet(name="accel, raw", source="raw_samples/accel_normal_head500.csv", contract=SHIPPED / "accel.toml", rows=accel, cadence="1s"),
    PublicSet(name="accel", source="accel", contract=SHIPPED / "accel.toml", rows=accel, cadence="1s"),
    PublicSet(
        name="lorenz, raw",
        source="raw_samples/ibm_lorenz_broken_head300.jsonl",
        contract=SHIPPED / "lorenz.toml",
        rows=lorenz,
        cadence="1s",
    ),
    PublicSet(name="lorenz", source="ibm_lorenz", contract=SHIPPED / "lorenz.toml", rows=lorenz, cadence="1s"),
    PublicSet(
        name="jumpstarter, raw",
        source="raw_samples/jumpstarter_d2_service1_test_head288.csv",
        contract=OF_TESTS / "jumpstarter_raw.toml",
        rows=jumpstarter_raw,
        cadence="5m",
    ),
    PublicSet(name="jumpstarter", source="jumpstarter", contract=SHIPPED / "jumpstarter.toml", rows=jumpstarter, cadence="5m"),
    PublicSet(
        name="ms_mongo, raw", source="raw_samples/ms_mongo-01_head1440.csv", contract=OF_TESTS / "ms_mongo_raw.toml", rows=ms_mongo_raw
    ),
    PublicSet(name="ms_cloud, minutes", source="ms_cloud", contract=SHIPPED / "ms_cloud_minute.toml", rows=ms_cloud_minute),
    PublicSet(name="ms_cloud, hours", source="ms_cloud", contract=SHIPPED / "ms_cloud_hourly.toml", rows=ms_cloud_hourly, cadence="1h"),
    PublicSet(
        name="nab, raw",
        source="raw_samples/nab_ec2_cpu_utilization_5f5533.csv",
        contract=OF_TESTS / "nab_raw.toml",
        rows=nab_raw,
        cadence="5m",
    ),
    PublicSet(name="nab", source="nab", contract=SHIPPED / "nab.toml", rows=nab, cadence="5m"),
    PublicSet(name="nezha, raw", source="raw_samples/nezha_frontend_2022-08-22.csv", contract=OF_TESTS / "nezha_raw.toml", rows=nezha_raw),
    PublicSet(name="nezha", source="nezha", contract=SHIPPED / "nezha.toml", rows=nezha, wrong_clocks=nezha_wrong_clocks),
    PublicSet(
        name="uci, raw",
        source="raw_samples/uci_energydata_head500.csv",
        contract=SHIPPED / "uci_appliances.toml",
        rows=uci,
        cadence="10m",
        summed=("Appliances", "lights"),
    ),
    PublicSet(
        name="uci",
        source="uci_appliances",
        contract=SHIPPED / "uci_appliances.toml",
        rows=uci,
        cadence="10m",
        summed=("Appliances", "lights"),
    ),
    PublicSet(name="smd", source="smd", contract=SHIPPED / "smd.toml", rows=smd),
)
