"""The ingestion as a good engineer would write it with pandas: everything is vectorised, a file at a time.

Arrow reads CSV, as pandas lets it; or, for comparison, pandas' own reader does, which is what it takes where nothing else is said.

A day is written when the next day's file has been read, for readings come up to a day late and no later. Nothing is remembered of what
was read, and a second run writes everything anew.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from telemetry.contract import Contract

KEYS: Final = ["customer", "region"]
ZSTD: Final[dict[str, Any]] = {"compression": "zstd", "compression_level": 1, "index": False, "row_group_size": 32_768}


class Ingestion:
    """What is read of a contract's files, and where it is written."""

    def __init__(self, out: Path, *, contract: Contract, own_reader: bool = False) -> None:
        self.out, self.contract, self.own_reader = out, contract, own_reader
        self.sums = [name for name, parameter in contract.parameters.items() if parameter.aggregation == "sum"]
        self.means = [name for name in contract.names if name not in self.sums]
        self.factors = {
            name: contract.conversion(name, source=parameter.source_unit).factor
            for name, parameter in contract.parameters.items()
            if parameter.source_unit is not None
        }

    def run(self, files: list[Path]) -> None:
        """Files of consecutive days -> `grid`, `readings` and `rejects`."""
        held: pd.DataFrame | None = None
        for path in files:
            rows = self.cleaned(path)
            rows = rows if held is None else pd.concat([held, rows])
            day = rows["at"].dt.floor("D")
            newest = day.max()
            self.write(rows[day < newest])
            held = rows[day == newest]
        if held is not None:
            self.write(held)

    def cleaned(self, path: Path) -> pd.DataFrame:
        """The rows of a file that can be read, in canonical units; the others are written with their reason."""
        if path.suffix != ".csv":
            raw = pd.read_parquet(path)
        elif self.own_reader:
            raw = pd.read_csv(path, low_memory=False)
        else:
            raw = pd.read_csv(path, engine="pyarrow", dtype_backend="pyarrow")
        names = list(self.contract.names)
        at = pd.to_datetime(raw["time"], format="ISO8601", utc=True, errors="coerce").astype("datetime64[us, UTC]")
        typed = [name for name in names if pd.api.types.is_numeric_dtype(raw[name].dtype)]
        values = raw[typed].astype("float64")
        no_number = np.zeros(len(raw), dtype=np.bool_)
        for name in names:
            if name not in typed:  # a word among the numbers has made it text
                values[name] = pd.to_numeric(raw[name], errors="coerce").astype("float64")
                no_number |= (values[name].isna() & raw[name].notna()).to_numpy(dtype=np.bool_)
        infinite = np.isinf(values.to_numpy()).any(axis=1)
        no_key = raw[KEYS].isna().any(axis=1).to_numpy()
        faults = {"no key": no_key, "no time": at.isna().to_numpy(), "no number": no_number, "infinite": infinite}
        faulty = np.logical_or.reduce(list(faults.values()))
        reasons = np.select([fault[faulty] for fault in faults.values()], list(faults), default="")
        rejects = raw[faulty].assign(file=path.name, row=np.flatnonzero(faulty) + 1, reason=reasons)
        (self.out / "rejects").mkdir(parents=True, exist_ok=True)
        rejects.to_csv(self.out / "rejects" / f"{path.stem}.csv", index=False)
        for name, factor in self.factors.items():
            values[name] *= factor
        keys = {"entity": (raw["customer"] + "/" + raw["region"]).astype("category"), "at": at}
        return pd.DataFrame({**keys, **{name: values[name] for name in names}})[~faulty]

    def write(self, rows: pd.DataFrame) -> None:
        """Every day of `rows` that is complete."""
        if rows["entity"].dtype != "category":  # files with other entities lose it
            rows = rows.assign(entity=rows["entity"].astype("category"))
        rows = rows.sort_values(["entity", "at"])
        again = (rows["entity"].cat.codes.diff() == 0) & (rows["at"].diff() == pd.Timedelta(0))
        once = rows[~again]
        minute = once["at"].dt.floor("min")
        grouped = once.groupby([once["entity"], minute], sort=True, observed=True)
        grid = pd.concat([grouped[self.sums].sum(min_count=1), grouped[self.means].mean()], axis=1)[list(self.contract.names)]
        grid.insert(0, "observed", grid.notna().any(axis=1))
        size = grouped["at"].transform("size")
        apart = once[(size > 1) | (once["at"] != minute)]
        self.put(grid.reset_index(), table="grid")
        self.put(apart, table="readings")

    def put(self, rows: pd.DataFrame, *, table: str) -> None:
        """Rows as Parquet, a folder a day."""
        for day, part in rows.groupby(rows["at"].dt.date):
            folder = self.out / table / f"day={day}"
            folder.mkdir(parents=True, exist_ok=True)
            part.assign(entity=part["entity"].astype("str")).to_parquet(folder / "part.parquet", **ZSTD)
