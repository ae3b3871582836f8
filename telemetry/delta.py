"""A Delta table -> parts of a feed: one data file of its newest version each, partition columns and deleted rows taken into account.

An object store's credentials come from the environment, by the names that its own tools use.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from telemetry.contract import Contract
from telemetry.errors import SourceError, SourceMissingError
from telemetry.feeds import DAMAGED, ROW_INDEX, Opened, Part, Parts, local, public, scheme_of
from telemetry.files import columns_of_path
from telemetry.fingerprints import fingerprint
from telemetry.formats import columns_wanted
from telemetry.pieces import distinct
from telemetry.stores import SCHEMES, reaching

_LOG: Final = "_delta_log"
_WILD: Final = re.compile(r"[*?\[]")
_READ_HERE: Final = frozenset(
    {"deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "variantType", "variantType-preview"}
)
"""Reader features beside which a data file's columns are called as the table calls them."""
_MAPPED: Final = 2  # the reader version that says no more than: columns may be called otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class _DataFile:
    """A live data file.

    Attributes:
        uri: where it is.
        path: within the table.
        partition: the values of the partition columns, which the file does not hold.
        deleted: numbers of its rows, from 1, that the table has no more.
    """

    uri: str
    path: str
    size: int
    written_us: int
    partition: dict[str, Any]  # Any: a value of the column's own type
    deleted: pl.Series


@dataclass(frozen=True, slots=True)
class DeltaSource:
    """A Delta table; see `telemetry.feeds.Source`.

    Attributes:
        location: its folder, or its URL in an object store.
        contract: its `path_pattern` is searched in the path of a data file within the table.
    """

    location: str = field(repr=False)
    contract: Contract = field(kw_only=True)

    @property
    def name(self) -> str:
        """The location, without credentials."""
        return public(self.location)

    def parts(self, *, since: datetime | None, until: datetime | None) -> Parts:  # noqa: ARG002  (files are always read whole)
        """The data files of the newest version that hold rows and that the contract wants.

        Raises:
            SourceMissingError: there is none.
            SourceError: the table cannot be reached, or is written in a way that is not read here.
        """
        with _telling(self.name):
            table = DeltaTable(self.location)
            _refuse_mapping(table, name=self.name)
            schema = pl.Schema(table.schema())
            files = _live(table, location=self.location)
        identity = str(table.metadata().id)
        pattern = self.contract.entity.path_pattern
        wanted = [each for each in files if pattern is None or re.search(pattern, each.path)]
        if not wanted:
            told = f"None of its {len(files)} data files matches path_pattern {pattern}" if files else "it holds no row"
            raise SourceMissingError(f"The Delta table {self.name} has nothing to be read: {told}.", hint="name another table.")
        parts = [self._part(each, table=identity, schema=schema) for each in sorted(wanted, key=lambda each: each.path)]
        return Parts(parts=tuple(parts), passed_over=len(files) - len(wanted))

    def _part(self, file: _DataFile, *, table: str, schema: pl.Schema) -> Part:
        deleted = hashlib.sha256(file.deleted.to_numpy().tobytes()).hexdigest() if len(file.deleted) else ""
        told = hashlib.sha256(json.dumps([table, file.path, file.size, deleted]).encode()).hexdigest()
        of_path = columns_of_path(file.path, pattern=self.contract.entity.path_pattern)
        return Part(
            name=file.path,
            kind="Delta",
            fingerprint=fingerprint(told, contract=self.contract, of_path=of_path),
            revision=file.written_us,
            open=partial(_open, file, schema=schema, contract=self.contract),
        )


def is_delta(location: str) -> bool:
    """Whether there is a Delta table at a location; a folder that holds several is none itself.

    Raises:
        SourceError: it is in a store that cannot be reached (nobody may take dead files of a table for exports).
    """
    if _WILD.search(location):
        return False
    path = local(location)
    if path is not None:
        try:
            return any(path.joinpath(_LOG).iterdir())
        except (OSError, ValueError):
            return False
    scheme, _, rest = location.partition("://")
    if scheme.lower() not in SCHEMES:
        return False
    import obstore

    bucket, _, key = rest.partition("/")
    with reaching(location):
        store = obstore.store.from_url(f"{scheme}://{bucket}")
        prefix = f"{key.rstrip('/')}/{_LOG}/".lstrip("/")
        return any(page for page in obstore.list(store, prefix=prefix, chunk_size=1))


def _live(table: DeltaTable, *, location: str) -> list[_DataFile]:
    """The data files of a table's version that hold rows."""
    gone = _deleted(table)
    files = []
    for action in pl.DataFrame(table.get_add_actions()).rows(named=True):
        path = unquote(action["path"])
        deleted = gone.pop(_comparable(_address(table.table_uri, path=path)), pl.Series(dtype=pl.UInt32))
        rows = action["num_records"]
        if rows is None or rows > len(deleted):
            file = _DataFile(
                uri=_address(location, path=path),
                path=path,
                size=action["size_bytes"],
                written_us=action["modification_time"] * 1000,
                partition=action.get("partition") or {},
                deleted=deleted,
            )
            files.append(file)
    if gone:
        raise DeltaError(f"it strikes out rows of {next(iter(gone))}, which is none of its data files")
    return files


def _deleted(table: DeltaTable) -> dict[str, pl.Series]:
    """The rows, counted from 1, that deletion vectors strike out, by the file's address as it can be compared."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    vectors = pl.DataFrame(table.deletion_vectors())
    return {_comparable(uri): (~kept).arg_true() + 1 for uri, kept in zip(vectors["filepath"], vectors["selection_vector"], strict=True)}


def _address(root: str, *, path: str) -> str:
    """Where a data file is; those of a shallow copy are elsewhere."""
    return path if scheme_of(path) else f"{root.removeprefix('file://').rstrip('/')}/{path}"


def _open(file: _DataFile, *, schema: pl.Schema, contract: Contract) -> Opened:
    """The rows of a data file with every column of the table, those that are older than a column with nothing in it."""
    frame = pl.scan_parquet(file.uri, glob=False, hive_partitioning=False, row_index_name=ROW_INDEX, row_index_offset=1)
    there = frame.collect_schema()
    names = distinct(tuple(schema), wanted=columns_wanted(contract), name=file.path)
    columns = [
        (pl.col(column) if column in there and column not in file.partition else pl.lit(file.partition.get(column), dtype=dtype)).alias(
            name
        )
        for (column, dtype), name in zip(schema.items(), names, strict=True)
    ]
    if len(file.deleted):
        frame = frame.filter(~pl.col(ROW_INDEX).is_in(file.deleted.implode()))
    return Opened(frame=frame.select(ROW_INDEX, *columns), damaged=pl.DataFrame(schema=DAMAGED))


def _refuse_mapping(table: DeltaTable, *, name: str) -> None:
    protocol = table.protocol()
    strange = {*(protocol.reader_features or ())} - _READ_HERE
    if protocol.min_reader_version == _MAPPED:
        strange = {"columnMapping"}
    if strange:
        hint = "write it again without them (delta.columnMapping.mode = 'none'), or name a Parquet export of it."
        raise SourceError(f"The Delta table {name} asks its readers for {', '.join(sorted(strange))}, which is not read here.", hint=hint)


def _comparable(uri: str) -> str:
    """An address without what some escape in it, and some do not."""
    return unquote(unquote(uri.removeprefix("file://")))


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """What a table has to say against being read, told with its name and what to do."""
    try:
        yield
    except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        hint = "see that it is there, and that the environment holds the store's credentials (such as AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID)."
        raise SourceError(f"The Delta table {name} cannot be read: {reason}.", hint=hint) from error
