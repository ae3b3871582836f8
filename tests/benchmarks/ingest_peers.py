"""The same work as good engineers would write it with pandas and with DuckDB, for `ingest.py` beside it."""

# ruff: noqa: S608  (statements are made of the contract's names)

from datetime import datetime
from pathlib import Path
from typing import Any, Final

SOURCE_UNITS: Final = {"query_time": "s", "payload": "kB", "ingest_lag": "ms"}
KEYS: Final = ["customer", "region"]


def glob_of(files: list[Path]) -> str:
    """A glob that matches these files, the first so many of `day-YYYY-MM-DD.*`."""
    assert len(files) < 10
    return f"day-2026-01-0[1-{len(files)}].*"


def prepared(which: str) -> Any:  # Any: a module, or DuckDB's connection
    """The imports, which are not timed."""
    if which == "pandas":
        import pandas as pd
        import pyarrow.parquet  # noqa: F401  (what to_parquet would import)

        return pd
    import duckdb

    connection = duckdb.connect(config={"threads": 2, "memory_limit": "6GB"})
    connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
    return connection


def factors(contract: Any) -> dict[str, float]:
    """By what the parameters with a unit of their own are multiplied."""
    return {name: contract.conversion(name, source=unit).factor for name, unit in SOURCE_UNITS.items()}


def with_pandas(pd: Any, *, files: list[Path], out: Path, contract: Any) -> dict[str, Any]:
    """File by file: typed as far as the parser can, vectorised throughout."""
    sums = [name for name, parameter in contract.parameters.items() if parameter.aggregation == "sum"]
    means = [name for name in contract.names if name not in sums]
    counts = {"rows": 0, "quarantined": 0, "repeated": 0, "steps": 0}
    for path in files:
        raw = pd.read_csv(path, engine="pyarrow", dtype_backend="pyarrow") if path.suffix == ".csv" else pd.read_parquet(path)
        at = pd.to_datetime(raw["time"], format="ISO8601", utc=True, errors="coerce")
        values = raw[list(contract.names)].apply(pd.to_numeric, errors="coerce").astype("float64")
        good = at.notna() & raw[KEYS].notna().all(axis=1) & ~values.isin([float("inf"), float("-inf")]).any(axis=1)
        folder = out / "grid" / path.stem
        folder.mkdir(parents=True)
        raw[~good].to_parquet(folder / "rejects.parquet")
        for name, factor in factors(contract).items():
            values[name] = values[name] * factor
        frame = values.assign(entity=(raw["customer"] + "/" + raw["region"]).astype("category"), at=at)[good]
        once = frame.drop_duplicates(["entity", "at"])
        minute = once["at"].dt.floor("min")
        grouped = once.assign(minute=minute).groupby(["entity", "minute"], sort=True, observed=True)
        grid = pd.concat([grouped[sums].sum(min_count=1), grouped[means].mean()], axis=1)[list(contract.names)]
        grid["observed"] = grid.notna().any(axis=1)
        grid.reset_index().to_parquet(folder / "grid.parquet", compression="zstd", compression_level=1, index=False)
        several = once[grouped["at"].transform("size") > 1]
        several.sort_values(["entity", "at"]).to_parquet(folder / "readings.parquet", compression="zstd", compression_level=1, index=False)
        counts = {
            "rows": counts["rows"] + len(raw),
            "quarantined": counts["quarantined"] + int((~good).sum()),
            "repeated": counts["repeated"] + len(frame) - len(once),
            "steps": counts["steps"] + len(grid),
        }
    return counts


def with_duckdb(connection: Any, *, files: list[Path], out: Path, contract: Any) -> dict[str, Any]:
    """File by file, so that hash tables stay small; each statement uses both threads."""
    scale = factors(contract)
    value = {name: f'"{name}" * {scale[name]!r}' if name in scale else f'"{name}"' for name in contract.names}
    how = {name: "sum" if parameter.aggregation == "sum" else "avg" for name, parameter in contract.parameters.items()}
    typed = {"time": "VARCHAR", "customer": "VARCHAR", "region": "VARCHAR", **dict.fromkeys(contract.names, "DOUBLE")}
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in typed.items())
    sound = " AND ".join(
        ["instant IS NOT NULL", "customer IS NOT NULL", "region IS NOT NULL", *(f'coalesce(isfinite("{n}"), true)' for n in contract.names)]
    )
    counts = {"rows": 0, "quarantined": 0, "repeated": 0, "steps": 0}
    for path in files:
        folder = out / "grid" / path.stem
        folder.mkdir(parents=True)
        source = (
            f"read_csv('{path}', header = true, columns = {{{columns}}}, store_rejects = true)" if path.suffix == ".csv" else f"'{path}'"
        )
        written = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 32768"
        run = connection.execute
        run(f"CREATE OR REPLACE TEMP TABLE raw AS SELECT *, TRY_CAST(time AS TIMESTAMPTZ) AS instant FROM {source}")
        run(f"COPY (SELECT * FROM raw WHERE NOT ({sound})) TO '{folder}/rejects.parquet' (FORMAT parquet)")
        converted = ", ".join(f"{expression} AS {name}" for name, expression in value.items())
        run(
            f"CREATE OR REPLACE TEMP TABLE once AS SELECT DISTINCT ON (customer, region, instant) customer || '/' || region AS entity, instant, {converted} "
            f"FROM raw WHERE {sound}"
        )
        told = ", ".join(f"{how[name]}({name}) AS {name}" for name in contract.names)
        seen = " OR ".join(f"count({name}) > 0" for name in contract.names)
        run(
            f"CREATE OR REPLACE TEMP TABLE steps AS SELECT entity, date_trunc('minute', instant) AS minute, {told}, {seen} AS observed, "
            "count(*) AS readings FROM once GROUP BY ALL"
        )
        run(f"COPY (SELECT * EXCLUDE readings FROM steps ORDER BY entity, minute) TO '{folder}/grid.parquet' ({written})")
        run(
            "COPY (SELECT once.* FROM once SEMI JOIN (FROM steps WHERE readings > 1) AS several ON once.entity = several.entity "
            f"AND date_trunc('minute', once.instant) = several.minute ORDER BY entity, instant) TO '{folder}/readings.parquet' ({written})"
        )
        rows, good, kept, steps = (
            run(query).fetchone()[0]
            for query in (
                "SELECT count(*) FROM raw",
                f"SELECT count(*) FROM raw WHERE {sound}",
                "SELECT count(*) FROM once",
                "SELECT count(*) FROM steps",
            )
        )
        counts = {
            "rows": counts["rows"] + rows,
            "quarantined": counts["quarantined"] + rows - good,
            "repeated": counts["repeated"] + good - kept,
            "steps": counts["steps"] + steps,
        }
    return counts


def touched(lake: Any, since: datetime, entity: str) -> float:
    """The share of the grid's bytes that a day of one entity needs: row groups that may hold it, and the footers of the day's files."""
    import pyarrow.parquet as pq
    from deltalake import DeltaTable

    table = DeltaTable(f"{lake.root}/grid")
    every = sum(Path(path.removeprefix("file://")).stat().st_size for path in table.file_uris())
    bytes_read = 0
    for path in table.file_uris(partition_filters=[("day", "=", since.date().isoformat())]):
        file = pq.ParquetFile(path.removeprefix("file://"))
        metadata = file.metadata
        bytes_read += metadata.serialized_size + 8
        column = metadata.schema.names.index("entity")
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            statistics = group.column(column).statistics
            if statistics is None or statistics.min <= entity <= statistics.max:
                bytes_read += sum(group.column(each).total_compressed_size for each in range(group.num_columns))
    return bytes_read / every
