"""The ingestion as a good engineer would write it with DuckDB: a few statements over all files at once, on two threads, out of core.

The CSV reader types the columns and puts lines that it cannot read aside, with their numbers. Only rows that share their entity and
instant with another are looked at for repeats: far quicker than DISTINCT ON over all of them. Nothing is remembered of what was read,
and a second run writes everything anew.
"""
# ruff: noqa: S608  (statements are made of the contract's names and of paths of the benchmark's own)

from pathlib import Path
from typing import Final

import duckdb

from telemetry.contract import Contract

THREADS: Final = 2
PARQUET: Final = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 32768, PARTITION_BY (day)"


class Ingestion:
    """What is read of a contract's files, and where it is written."""

    def __init__(self, out: Path, *, contract: Contract) -> None:
        self.out, self.contract = out, contract
        out.mkdir(parents=True)
        settings = {"threads": THREADS, "memory_limit": "6GB", "temp_directory": str(out / "spilled"), "preserve_insertion_order": False}
        self.connection = duckdb.connect(config=settings)

    def run(self, files: list[Path]) -> None:
        """All files -> `grid`, `readings` and `rejects`."""
        names, typed = self.contract.names, {"time": "TIMESTAMP", "customer": "VARCHAR", "region": "VARCHAR"}
        columns = ", ".join(f"'{name}': '{kind}'" for name, kind in (typed | dict.fromkeys(names, "DOUBLE")).items())
        listed = ", ".join(f"'{path}'" for path in files)
        csv = f"read_csv([{listed}], header = true, columns = {{{columns}}}, store_rejects = true)"
        source = csv if files[0].suffix == ".csv" else f"read_parquet([{listed}])"
        finite = [f"coalesce(isfinite({name}), true)" for name in names]
        sound = " AND ".join([*(f"{name} IS NOT NULL" for name in typed), *finite])
        values = ", ".join(self._value(name) for name in names)
        self.run_one(f"CREATE TEMP TABLE raw AS FROM {source}")
        keys = "customer || '/' || region AS entity, time::TIMESTAMP AS moment"
        self.run_one(f"CREATE TEMP TABLE sound AS SELECT {keys}, {values} FROM raw WHERE {sound}")
        self._reject(f"FROM raw WHERE NOT ({sound})", csv=files[0].suffix == ".csv")
        self.run_one("DROP TABLE raw")
        self._once()
        self._steps()
        self._put(
            'SELECT * EXCLUDE (minute, readings, first), minute AS "at", minute::DATE AS day FROM steps ORDER BY day, entity, minute',
            table="grid",
        )
        apart = "FROM steps WHERE readings > 1 OR first <> minute"
        self._put(
            f'SELECT once.* EXCLUDE (moment), moment AS "at", moment::DATE AS day FROM once SEMI JOIN ({apart}) AS apart '
            "ON once.entity = apart.entity AND date_trunc('minute', once.moment) = apart.minute ORDER BY day, once.entity, moment",
            table="readings",
        )

    def run_one(self, statement: str) -> None:
        self.connection.execute(statement)

    def _value(self, name: str) -> str:
        unit = self.contract.parameters[name].source_unit
        return name if unit is None else f"{name} * {self.contract.conversion(name, source=unit).factor!r} AS {name}"

    def _reject(self, rows: str, *, csv: bool) -> None:
        self.run_one(f"COPY ({rows}) TO '{self.out}/rejects.parquet' (FORMAT parquet)")
        if csv:
            self.run_one(
                f"COPY (FROM reject_errors JOIN reject_scans USING (scan_id, file_id)) TO '{self.out}/lines.parquet' (FORMAT parquet)"
            )

    def _once(self) -> None:
        """The rows, each entity and instant once."""
        self.run_one("CREATE TEMP TABLE twice AS SELECT entity, moment FROM sound GROUP BY ALL HAVING count(*) > 1")
        self.run_one(
            "CREATE TEMP TABLE once AS (SELECT sound.* FROM sound ANTI JOIN twice USING (entity, moment)) UNION ALL "
            "(SELECT DISTINCT ON (entity, moment) sound.* FROM sound SEMI JOIN twice USING (entity, moment))"
        )
        self.run_one("DROP TABLE sound")

    def _steps(self) -> None:
        how = {name: "sum" if parameter.aggregation == "sum" else "avg" for name, parameter in self.contract.parameters.items()}
        told = ", ".join(f"{how[name]}({name}) AS {name}" for name in how)
        seen = " OR ".join(f"count({name}) > 0" for name in how)
        self.run_one(
            f"CREATE TEMP TABLE steps AS SELECT entity, date_trunc('minute', moment) AS minute, {seen} AS observed, {told}, "
            "count(*) AS readings, min(moment) AS first FROM once GROUP BY ALL"
        )

    def _put(self, rows: str, *, table: str) -> None:
        self.run_one(f"COPY ({rows}) TO '{self.out}/{table}' ({PARQUET})")
