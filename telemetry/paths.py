"""The names of files -> what they tell about whom the rows are of, and a `path_pattern` that takes these files and no others."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from telemetry.formats import ENDINGS, PACKED

_MOST_ALTERNATIVES: Final = 12
_HIVE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=([^/]+)")
_ENDING: Final = re.compile(rf"(?:{'|'.join(map(re.escape, ENDINGS))})(?:{'|'.join(map(re.escape, PACKED))})?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the name of a file tells.

    Attributes:
        folder: in which it is, empty for none.
        stem: without its ending.
        ending: `.csv`, `.csv.gz`.
    """

    folder: str
    stem: str
    ending: str


def named(name: str) -> Named:
    """The parts of a file's name.

    >>> named("train/machine-1.csv.gz")
    Named(folder='train', stem='machine-1', ending='.csv.gz')
    """
    path = PurePosixPath(name)
    found = _ENDING.search(path.name)
    ending = found.group() if found else path.suffix
    folder = path.parent.as_posix()
    return Named(folder="" if folder == "." else folder, stem=path.name.removesuffix(ending), ending=ending)


def groups(names: tuple[str, ...], *, taken: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Key columns that names of files could stand for, with the value of each file.

    Args:
        names: of the files, within their folder.
        taken: columns of the files themselves, which a group must not be named after.

    >>> groups(("region=eu/a.csv", "region=us/b.csv"), taken=frozenset())
    {'region': ('eu', 'us'), 'file': ('a', 'b')}
    """
    told = [named(name) for name in names]
    hive = [dict(_HIVE.findall(each.folder)) for each in told]
    found = {key: tuple(each[key] for each in hive) for key in hive[0] if all(key in each for each in hive)}
    last = tuple(each.folder.rpartition("/")[2] for each in told)
    if all(last) and not found:
        found["folder"] = last
    found["file"] = tuple(each.stem for each in told)
    return {_apart(key, taken=taken): values for key, values in found.items()}


def pattern(names: tuple[str, ...], *, others: tuple[str, ...], wanted: tuple[str, ...]) -> str | None:
    r"""A `path_pattern` with the groups `wanted` that takes all of `names` and, if possible, none of `others`.

    Args:
        names: of the files to be read.
        others: of those that are to be passed over.
        wanted: groups, as `groups` calls them.

    >>> pattern(("train/m-1.csv", "test/m-1.csv"), others=("causes/m-1.csv",), wanted=("file",))
    '(?:^|/)(?:test|train)/(?P<file>[^/]+)\\.csv$'
    """
    told = [named(name) for name in names]
    if not wanted and not others:
        return None
    endings = _one_of({each.ending for each in told})
    folders, stems = {each.folder for each in told}, {each.stem for each in told}
    file = _group("file", wanted=wanted) if _told(wanted, "file") else ""
    every = [_captured(file, "[^/]+"), *([_captured(file, _one_of(stems))] if len(stems) <= _MOST_ALTERNATIVES else [])]
    if len(stems) == 1 and not file:
        every.reverse()
    if _tells_folder(wanted):
        before = [f"{_folder(told[0].folder, wanted=wanted)}/"]
    else:
        before = ["" if file else "(?:^|/)", f"(?:^|/){_one_of(folders)}/" if all(folders) else "^"]
    candidates = [f"{start}{stem}{endings}$" for start in before for stem in every]
    exact = [each for each in candidates if _takes(each, names) == len(names) and not _takes(each, others)]
    chosen = next(iter(exact), candidates[0])
    if re.compile(chosen).groupindex:
        return chosen
    return chosen.replace(endings, f"(?P<ending>{endings})") if exact else None


def _takes(expression: str, names: tuple[str, ...]) -> int:
    """How many of the names it is found in."""
    return sum(re.search(expression, name) is not None for name in names)


def _apart(key: str, *, taken: frozenset[str]) -> str:
    return key if key not in taken else f"{key}_name"


def _told(wanted: tuple[str, ...], key: str) -> bool:
    return key in wanted or f"{key}_name" in wanted


def _tells_folder(wanted: tuple[str, ...]) -> bool:
    return any(group not in ("file", "file_name") for group in wanted)


def _group(key: str, *, wanted: tuple[str, ...]) -> str:
    return key if key in wanted else f"{key}_name"


def _folder(folder: str, *, wanted: tuple[str, ...]) -> str:
    """The pattern of a folder: its keys, or its last part."""
    if _told(wanted, "folder"):
        return f"(?P<{_group('folder', wanted=wanted)}>[^/]+)"
    parts = []
    for part in folder.split("/"):
        found = _HIVE.fullmatch(part)
        key = found.group(1) if found else ""
        captured = f"(?P<{_group(key, wanted=wanted)}>[^/]+)" if key and _told(wanted, key) else "[^/]+"
        parts.append(f"{key}={captured}" if key else "[^/]+")
    return "/".join(parts)


def _captured(name: str, inner: str) -> str:
    """The pattern as a named group, without a group around it already; as it is without a name."""
    return f"(?P<{name}>{inner.removeprefix('(?:').removesuffix(')') if inner.startswith('(?:') else inner})" if name else inner


def _one_of(texts: set[str]) -> str:
    """A pattern of one text, or of any of several."""
    escaped = sorted(re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", each) for each in texts)
    return escaped[0] if len(escaped) == 1 else f"(?:{'|'.join(escaped)})"
