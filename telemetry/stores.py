"""Objects in a store (S3, Google Cloud, Azure) as the files of a source: what there is by a URL, and its bytes.

Credentials, region and address come from the environment, by the names that the stores' own tools use: AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, and so on.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from telemetry.errors import SourceError
from telemetry.feeds import public, scheme_of

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore

SCHEMES: Final = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")
_CHUNK_BYTES: Final = 1 << 22
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WILD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One object.

    Attributes:
        url: its address, which Polars can read as well.
        key: its path in the store.
        size: bytes.
        tag: changes whenever its content does.
        revision: when it was written, microseconds since 1970.
    """

    url: str
    key: str
    size: int
    tag: str
    revision: int
    store: "ObjectStore" = field(repr=False, compare=False)

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, as it was when it was listed.

        Raises:
            SourceError: it cannot be reached, or is another one by now.
        """
        import obstore

        with reaching(self.url):
            options: GetOptions = {"if_match": self.tag} if self.tag.startswith('"') else {}
            for chunk in obstore.get(self.store, self.key, options=options).stream(min_chunk_size=_CHUNK_BYTES):
                yield bytes(chunk)


def objects(location: str, *, keep: Callable[[str], bool]) -> dict[str, Stored]:
    """What there is by a URL: an object, all below a prefix, or all that match a glob.

    Args:
        location: such as `s3://bucket/exports`, `gs://bucket/day=*/*.parquet` (`*` and `?` stop at a `/`, `**` does not).
        keep: whether a path below the prefix, or below what is literal of a glob, counts.

    Returns:
        the objects by name: below a prefix relative to it, otherwise the whole URL.

    Raises:
        SourceError: the scheme is unknown, or the store cannot be reached.
    """
    import obstore

    if scheme_of(location) not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise SourceError(f"No store is known by the scheme of {public(location)}.", hint=f"known are paths, file://, {known}.")
    root, path = _root(location)
    wild = _WILD.search(path)
    prefix = path[: wild.start()].rpartition("/")[0] if wild else path.rstrip("/")
    with reaching(location):
        store = obstore.store.from_url(root)
        listed = [meta for page in obstore.list(store, prefix=prefix or None) for meta in page]
        if not wild and prefix and not path.endswith("/"):
            listed += _itself(store, prefix)
    found = {meta["path"]: _stored(meta, root=root, store=store) for meta in listed}
    if not wild and prefix in found:
        return {found[prefix].url: found[prefix]}
    below = {key.removeprefix(f"{prefix}/" if prefix else ""): each for key, each in found.items()}
    kept = {name: each for name, each in below.items() if keep(name)}
    if not wild:
        return kept
    pattern = glob_pattern(path)
    return {each.url: each for each in kept.values() if pattern.fullmatch(each.key)}


@contextmanager
def reaching(location: str) -> Iterator[None]:
    """What a store has to say against a location, told with its name and what to do."""
    from obstore.exceptions import BaseError, PreconditionError

    try:
        yield
    except PreconditionError as error:
        hint = "it is still being written; ingest again when it is complete."
        raise SourceError(f"{public(location)} has changed since it was listed.", hint=hint) from error
    except FileNotFoundError as error:
        raise SourceError(f"{public(location)} is not there (any more).", hint="see that the bucket and the path exist.") from error
    except (BaseError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        hint = "see that the address and the credentials in the environment (such as AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID) are right."
        raise SourceError(f"{public(location)} cannot be reached: {reason}.", hint=hint) from error


def glob_pattern(glob: str) -> re.Pattern[str]:
    """The regular expression for a glob over keys.

    >>> bool(glob_pattern("a/*.csv").fullmatch("a/b.csv")), bool(glob_pattern("a/*.csv").fullmatch("a/b/c.csv"))
    (True, False)
    >>> bool(glob_pattern("a/**/*.csv").fullmatch("a/c.csv")), bool(glob_pattern("a/**/m[12].csv").fullmatch("a/b/c/m2.csv"))
    (True, True)
    """
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", glob)
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    told = (part.replace("[!", "[^", 1) if part.startswith("[") and part.endswith("]") else re.escape(part) for part in parts)
    return re.compile("".join(wild.get(part, text) for part, text in zip(parts, told, strict=True)))


def _root(location: str) -> tuple[str, str]:
    """The store's own URL, and the path in it."""
    scheme, _, rest = location.partition("://")
    bucket, _, path = rest.partition("/")
    return f"{scheme}://{bucket}", path


def _itself(store: "ObjectStore", key: str) -> "list[ObjectMeta]":
    """The object of this very key, which a listing by prefix leaves out."""
    import obstore

    try:
        return [obstore.head(store, key)]
    except FileNotFoundError:
        return []


def _stored(meta: "ObjectMeta", *, root: str, store: "ObjectStore") -> Stored:
    """An object as the store lists it."""
    key, modified = meta["path"], meta["last_modified"]
    revision = (modified - _EPOCH) // timedelta(microseconds=1)
    tag = meta.get("e_tag") or modified.isoformat()
    return Stored(url=f"{root}/{key}", key=key, size=meta["size"], tag=tag, revision=revision, store=store)
