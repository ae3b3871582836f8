"""The files at a location, each a part of a feed: CSV, TSV, JSON lines (plain or packed) and Parquet, in folders or in object stores."""

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from telemetry.contract import Contract
from telemetry.errors import SourceError, SourceMissingError
from telemetry.feeds import Opened, Part, Parts, local, public
from telemetry.fingerprints import fingerprint
from telemetry.formats import ENDINGS, Format, format_of, opened, separator_of
from telemetry.stores import Stored, objects
from telemetry.survey import Survey, digest_of, survey

NEVER_READ: Final = "truth"
"""A folder of this name holds what a simulator knows and a source does not tell."""
_CHUNK_BYTES: Final = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileSource:
    """Files at a location, each of them a part of the feed; see `telemetry.feeds.Source`.

    Attributes:
        location: a file, a folder (read to any depth, without folders named `truth`) or a glob such as `exports/*.csv`; or the URL of
            one in an object store.
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
            SourceError: the store cannot be reached.
        """
        path = local(self.location)
        found: dict[str, Path] | dict[str, Stored] = _local(path) if path is not None else objects(self.location, keep=_seen)
        candidates = {name: place for name, place in found.items() if format_of(name)}
        pattern = self.contract.entity.path_pattern
        wanted = {name: place for name, place in sorted(candidates.items()) if pattern is None or re.search(pattern, name)}
        if not wanted:
            raise _nothing(self.name, candidates=tuple(candidates), pattern=pattern)
        every = [_part(name, place, contract=self.contract) for name, place in wanted.items()]
        firsts = {part.fingerprint: part for part in reversed(every)}
        copies = tuple(part.name for part in every if firsts[part.fingerprint] is not part)
        if copies:
            logger.warning("%d files are copies of others and not read, such as %s", len(copies), copies[0])
        parts = tuple(part for part in every if firsts[part.fingerprint] is part)
        return Parts(parts=parts, passed_over=len(candidates) - len(every), copies=copies)


def columns_of_path(name: str, *, pattern: str | None) -> dict[str, str]:
    """The named groups of the contract's path pattern in a file's name; none without a pattern."""
    found = re.search(pattern, name) if pattern else None
    return {group: text for group, text in found.groupdict().items() if text is not None} if found else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A local file as it was when it was listed."""

    path: Path
    size: int
    written_ns: int

    @property
    def address(self) -> str:
        return str(self.path)

    def chunks(self) -> Iterator[bytes]:
        with self.path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class _Object:
    """An object of a store."""

    stored: Stored

    @property
    def path(self) -> Path | None:
        return None

    @property
    def address(self) -> str:
        return self.stored.url

    def chunks(self) -> Iterator[bytes]:
        yield from self.stored.chunks()


def _part(name: str, place: Path | Stored, *, contract: Contract) -> Part:
    form = format_of(name)
    assert form is not None  # noqa: S101  (others are no candidates)
    of_path = columns_of_path(name, pattern=contract.entity.path_pattern)
    if isinstance(place, Stored):
        told = f"{place.key} {place.size} {place.tag}"
        read = partial(opened, _Object(stored=place), name=name, form=form, contract=contract, survey=None)
        revision = place.revision
    else:
        told, revision, read = _local_part(name, place, form=form, contract=contract)
    return Part(name=name, kind=form.told, fingerprint=fingerprint(told, contract=contract, of_path=of_path), revision=revision, open=read)


def _local_part(name: str, path: Path, *, form: Format, contract: Contract) -> tuple[str, int, "partial[Opened]"]:
    """The digest, the revision and the opening of a local file; one that cannot be read says so when it is opened."""
    separator = separator_of(form.kind, contract=contract)
    surveyed: Survey | None = None
    try:
        stat = path.stat()
        if form.packed or form.kind not in ("CSV", "TSV"):
            digest = digest_of(path)
        else:
            surveyed = survey(path, separator=separator, header=contract.files.header)
            digest = surveyed.digest
    except OSError as error:
        return f"unreadable {name} {error}", 0, partial(_unreadable, name, error)
    file = _File(path=path, size=stat.st_size, written_ns=stat.st_mtime_ns)
    return digest, stat.st_mtime_ns // 1000, partial(_open, file, name=name, form=form, contract=contract, survey=surveyed)


def _open(file: _File, *, name: str, form: Format, contract: Contract, survey: Survey | None) -> Opened:
    try:
        stat = file.path.stat()
    except OSError as error:
        return _unreadable(name, error)
    if (stat.st_size, stat.st_mtime_ns) != (file.size, file.written_ns):
        raise SourceError(f"{name} has changed since it was listed.", hint="it is still being written; ingest again when it is complete.")
    return opened(file, name=name, form=form, contract=contract, survey=survey)


def _unreadable(name: str, error: OSError) -> Opened:
    raise SourceError(f"{name} cannot be read: {error.strerror}.", hint="see that it exists and may be read.") from error


def _local(location: Path) -> dict[str, Path]:
    """Every file at a local location, by the name that the pattern is searched in."""
    if NEVER_READ in (location.name, location.parent.name):
        return {}
    if location.is_file():
        return {_text(location): location}
    if location.is_dir():
        return {_text(path.relative_to(location)): path for path in _files(location, glob="**/*")}
    root = Path(*location.parts[: _literal_parts(location)])
    pattern = location.relative_to(root).as_posix()
    return {_text(path): path for path in _files(root, glob=pattern)} if pattern != "." else {}


def _files(root: Path, *, glob: str) -> list[Path]:
    return [path for path in root.glob(glob) if path.is_file() and _seen(path.relative_to(root).as_posix())]


def _seen(name: str) -> bool:
    """Whether a path below the location is part of it: nothing hidden, nothing temporary, nothing that only a simulator knows."""
    parts = name.split("/")
    return NEVER_READ not in parts[:-1] and not any(part.startswith((".", "_")) for part in parts)


def _text(path: Path) -> str:
    """A path as text, whatever bytes its name is made of."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def _literal_parts(location: Path) -> int:
    """How many leading parts of a glob are plain names."""
    return next((index for index, part in enumerate(location.parts) if re.search(r"[*?\[]", part)), len(location.parts))


def _nothing(location: str, *, candidates: tuple[str, ...], pattern: str | None) -> SourceMissingError:
    if candidates:
        message = f"None of the {len(candidates)} files of {location}, such as {candidates[0]}, matches path_pattern {pattern}."
        return SourceMissingError(message, hint="path_pattern is searched in the path as shown here; widen it, or name another source.")
    hint = f"name a file, folder or glob with {', '.join(ENDINGS)} files (folders named '{NEVER_READ}' are not read)."
    return SourceMissingError(f"There is no telemetry at {location}.", hint=hint)
