"""A Delta table as a source: each live data file of its newest version is a part, for such a file never changes."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from telemetry.contract import Contract
from telemetry.errors import SourceError, SourceMissingError
from telemetry.feeds import DAMAGED, ROW_INDEX, Opened, Part, Parts, local, public
from telemetry.files import columns_of_path
from telemetry.fingerprints import fingerprint

_PARTITION = "partition."


def is_delta(location: str) -> bool:
    """Whether a Delta table lies at a location; false where nothing does."""
    path = local(location)
    if path is not None:
        return (path / "_delta_log").is_dir()
    if any(sign in location for sign in "*?["):
        return False
    try:
        return bool(DeltaTable.is_deltatable(location))
    except (DeltaError, OSError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class DeltaSource:
    """The data files of a table; see `telemetry.feeds.Source`.

    Attributes:
        location: a folder, or the URL of one in an object store.
        contract: its `path_pattern` is searched in the files' paths within the table.
    """

    location: str
    contract: Contract = field(kw_only=True)

    @property
    def name(self) -> str:
        """The location, without credentials."""
        return public(self.location)

    def parts(self, *, since: datetime | None, until: datetime | None) -> Parts:  # noqa: ARG002  (files are always read whole)
        """The live data files of the newest version.

        Raises:
            SourceMissingError: there is no table, or it holds no file.
            SourceError: it cannot be read.
        """
        try:
            table = DeltaTable(self.location)
            files = pl.DataFrame(table.get_add_actions(flatten=True))
        except TableNotFoundError as error:
            raise SourceMissingError(f"There is no Delta table at {self.name}.", hint="name the folder that holds _delta_log.") from error
        except (DeltaError, OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise SourceError(
                f"The Delta table {self.name} cannot be read: {reason}.", hint="a table with deletion vectors must be rewritten first."
            ) from error
        if not files.height:
            raise SourceMissingError(f"The Delta table {self.name} holds no file.", hint="see whether anything was written to it.")
        told = str(table.metadata().id)
        parts = [self._part(file, table=told, schema=table) for file in files.sort("path").iter_rows(named=True)]
        return Parts(parts=tuple(parts))

    def _part(self, file: dict[str, Any], *, table: str, schema: DeltaTable) -> Part:  # Any: a row of the table's log
        name = unquote(str(file["path"]))
        content = f"{table} {name} {file['size_bytes']}"
        of_path = columns_of_path(name, pattern=self.contract.entity.path_pattern)
        partitions = {key.removeprefix(_PARTITION): value for key, value in file.items() if key.startswith(_PARTITION)}
        written = file["modification_time"]
        revision = int(written.timestamp() * 1_000_000) if isinstance(written, datetime) else int(written) * 1000
        return Part(
            name=name,
            kind="Delta",
            fingerprint=fingerprint(content, contract=self.contract, of_path=of_path),
            revision=revision,
            open=partial(_opened, f"{schema.table_uri.rstrip('/')}/{file['path']}", partitions=partitions),
        )


def _opened(address: str, *, partitions: dict[str, object]) -> Opened:
    address = unquote(address.removeprefix("file://")) if local(address) is not None else address
    frame = pl.scan_parquet(address, row_index_name=ROW_INDEX, row_index_offset=1, glob=False, hive_partitioning=False)
    names = {name: name.strip() for name in frame.collect_schema().names() if name != name.strip()}
    told = frame.rename(names).with_columns(pl.lit(value).alias(name) for name, value in partitions.items())
    return Opened(frame=told, damaged=pl.DataFrame(schema=DAMAGED))
