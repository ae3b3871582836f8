"""Which files a source is made of, and each of them as a lazy frame of its own columns (CSV, Parquet, JSON lines)."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from telemetry.contract import Contract
from telemetry.errors import BadValueError, EmptySourceError, SourceError, SourceMissingError
from telemetry.feeds import DAMAGED, ROW_INDEX, Opened, Part, Parts, local, public
from telemetry.fingerprints import fingerprint

NEVER_READ: Final = "truth"
"""A folder of this name holds what a simulator knows and a source does not tell."""
_HEAD_BYTES: Final = 4096

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a source.

    Attributes:
        path: where it is.
        name: how messages and the quarantine call it: its path relative to the source folder.
        fingerprint: SHA-256 of its content and of what the contract reads from it: known again under any name, and yet new where
            the name tells another entity or the contract has come to tell another column, unit or zone.
    """

    path: Path
    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The files that the contract wants.

    Attributes:
        files: in the order of their names.
        passed_over: files of a known format whose path does not match.
        copies: names of files that say what one of `files` says already, and would count it twice.
    """

    files: tuple[SourceFile, ...]
    passed_over: int
    copies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileSource:
    """Files at a location, each of them a part of the feed; see `telemetry.feeds.Source`.

    Attributes:
        location: a file, a folder (read to any depth, without folders named `truth`) or a glob such as `exports/*.csv`.
        contract: its `path_pattern` is searched in the posix path: relative to a folder, whole for a file or a glob.
    """

    location: str
    contract: Contract = field(kw_only=True)

    @property
    def name(self) -> str:
        """The location, without credentials."""
        return public(self.location)

    def parts(self, *, since: datetime | None, until: datetime | None) -> Parts:  # noqa: ARG002  (files are always read whole)
        """The files that the contract wants.

        Raises:
            SourceMissingError: there is nothing of a known format, or nothing matches.
        """
        path = local(self.location)
        if path is None:
            raise SourceError(f"{self.name} is no local location.", hint="name a folder.")
        found = scan(path, contract=self.contract)
        parts = tuple(_part(file, contract=self.contract) for file in found.files)
        return Parts(parts=parts, passed_over=found.passed_over, copies=found.copies)


def _part(file: SourceFile, *, contract: Contract) -> Part:
    told = fingerprint(file.fingerprint, contract=contract, of_path=columns_of_path(file.name, pattern=contract.entity.path_pattern))
    revision = file.path.stat().st_mtime_ns // 1000
    return Part(name=file.name, kind=_format(file.path), fingerprint=told, revision=revision, open=lambda: _open(file))


def _open(file: SourceFile) -> Opened:
    return Opened(frame=open_lazily(file), damaged=pl.DataFrame(schema=DAMAGED))


def scan(source: Path, *, contract: Contract) -> Source:
    """The files of `source` that match the contract's path pattern; no row is read yet.

    Args:
        source: a file, a folder (read to any depth, without folders named `truth`) or a glob such as `exports/*.csv`.
        contract: its `path_pattern` is searched in the posix path: relative to a folder, whole for a file or a glob.

    Raises:
        SourceMissingError: there is nothing of a known format, or nothing matches.
    """
    candidates = _candidates(source)
    pattern = contract.entity.path_pattern
    wanted = {name: path for name, path in candidates.items() if pattern is None or re.search(pattern, name)}
    if not wanted:
        raise _nothing(source, candidates=tuple(candidates), pattern=pattern)
    read_as = _read_as(contract)
    found = [
        SourceFile(path=path, name=name, fingerprint=_fingerprint(path, read_as=(read_as, columns_of_path(name, pattern=pattern))))
        for name, path in sorted(wanted.items())
    ]
    firsts = {file.fingerprint: file for file in reversed(found)}
    files = tuple(file for file in found if firsts[file.fingerprint] is file)
    copies = tuple(file.name for file in found if firsts[file.fingerprint] is not file)
    if copies:
        logger.warning("%d files are copies of others and not read, such as %s", len(copies), copies[0])
    return Source(files=files, passed_over=len(candidates) - len(found), copies=copies)


def columns_of_path(name: str, *, pattern: str | None) -> dict[str, str]:
    """The named groups of the contract's path pattern in a file's name; none without a pattern."""
    found = re.search(pattern, name) if pattern else None
    return {group: text for group, text in found.groupdict().items() if text is not None} if found else {}


def open_lazily(file: SourceFile) -> pl.LazyFrame:
    """The file's columns with blanks stripped from their names, and `ROW_INDEX`; the values of a CSV are text."""
    with reading(file):
        frame = _SCANNERS[_format(file.path)](file.path)
        names = frame.collect_schema().names()
        return frame.rename({name: name.strip() for name in names if name != name.strip()})


@contextmanager
def reading(file: SourceFile) -> Iterator[None]:
    """Whatever the reader of a format has to say against the file, told with the file's name and what to do."""
    try:
        yield
    except pl.exceptions.NoDataError as error:
        raise no_rows(file) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        kind = _format(file.path)
        reason = str(error).strip().splitlines()[0]
        hint = "the file is damaged, still being written, or not what its ending says; export it again."
        raise BadValueError(f"{file.name} cannot be read as {kind}: {reason}.", hint=hint) from error
    except OSError as error:
        raise SourceError(f"{file.name} cannot be read: {error}.", hint=f"see that {file.path} exists and may be read.") from error


def no_rows(file: SourceFile) -> EmptySourceError:
    """The error to raise for a file without a row."""
    return EmptySourceError(f"{file.name} holds no row.", hint="see whether the export ran; leave the file out if it is meant to be empty.")


def _candidates(source: Path) -> dict[str, Path]:
    """Every file of a known format, by the name that the pattern is searched in."""
    if NEVER_READ in (source.name, source.parent.name):
        return {}
    if source.is_file():
        return _known({source.as_posix(): source})
    if source.is_dir():
        found = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
        return _known({name: path for name, path in found.items() if not _hidden(name)})
    root = Path(*source.parts[: _literal_parts(source)])
    pattern = source.relative_to(root).as_posix()
    globbed = root.glob(pattern) if pattern != "." else iter(())
    found = {path.as_posix(): path for path in globbed if path.is_file()}
    return _known({name: path for name, path in found.items() if not _hidden(path.relative_to(root).as_posix())})


def _literal_parts(source: Path) -> int:
    """How many leading parts of a glob are plain names."""
    return next((index for index, part in enumerate(source.parts) if re.search(r"[*?\[]", part)), len(source.parts))


def _hidden(name: str) -> bool:
    parts = name.split("/")
    return NEVER_READ in parts[:-1] or any(part.startswith((".", "_")) for part in parts)


def _known(found: dict[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in found.items() if _format(path)}


def _nothing(source: Path, *, candidates: tuple[str, ...], pattern: str | None) -> SourceMissingError:
    if candidates:
        message = f"None of the {len(candidates)} files of {source}, such as {candidates[0]}, matches path_pattern {pattern}."
        return SourceMissingError(message, hint="path_pattern is searched in the path as shown here; widen it, or name another source.")
    hint = f"name a file, folder or glob with {', '.join(_SUFFIXES)} files (folders named '{NEVER_READ}' are not read)."
    return SourceMissingError(f"There is no telemetry at {source}.", hint=hint)


def _read_as(contract: Contract) -> dict[str, Any]:  # Any: JSON
    """What of the contract decides how a file's values become readings."""
    told = contract.model_dump(mode="json", include={"entity", "time", "label_column"})
    parameters = {name: [each.column, each.source_unit, each.unit] for name, each in contract.parameters.items()}
    return told | {"parameters": parameters}


def _fingerprint(path: Path, *, read_as: object) -> str:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    digest.update(json.dumps(read_as, sort_keys=True).encode())
    return digest.hexdigest()


def _format(path: Path) -> str:
    """The format that the file's ending stands for; empty if it stands for none that is read."""
    name = path.name.lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), "")


def _scan_csv(path: Path) -> pl.LazyFrame:
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise pl.exceptions.NoDataError("empty file")
    if b"\0" in head:
        raise pl.exceptions.ComputeError("it holds zero bytes, so it is binary or not UTF-8 text")
    return pl.scan_csv(path, infer_schema=False, row_index_name=ROW_INDEX, row_index_offset=1)


def _scan_packed_csv(path: Path) -> pl.LazyFrame:
    return pl.scan_csv(path, infer_schema=False, row_index_name=ROW_INDEX, row_index_offset=1)


def _scan_parquet(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, row_index_name=ROW_INDEX, row_index_offset=1, glob=False, hive_partitioning=False)


def _scan_json_lines(path: Path) -> pl.LazyFrame:
    """Typed by all of its rows: one text among numbers turns the column into text, where it is found."""
    if not path.stat().st_size:
        raise pl.exceptions.NoDataError("empty file")
    return pl.scan_ndjson(path, infer_schema_length=None, row_index_name=ROW_INDEX, row_index_offset=1)


_SUFFIXES: Final = {
    ".csv": "CSV",
    ".csv.gz": "packed CSV",
    ".parquet": "Parquet",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
}
_SCANNERS: Final[dict[str, Callable[[Path], pl.LazyFrame]]] = {
    "CSV": _scan_csv,
    "packed CSV": _scan_packed_csv,
    "Parquet": _scan_parquet,
    "JSON lines": _scan_json_lines,
}
