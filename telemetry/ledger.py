"""Which parts of a feed are still to be read, by what the lake remembers of those that were."""

from collections.abc import Iterable
from dataclasses import replace

import polars as pl

from telemetry.feeds import Part
from telemetry.schema import FEED, FINGERPRINT, REVISION, SOURCE


def unread(parts: Iterable[Part], *, feed: str, remembered: pl.DataFrame) -> tuple[Part, ...]:
    """The parts whose content counts and is not in the grid, or no longer.

    A content that was read under any name is not read again; but where a name has come to hold another one since, and now holds the
    first again, it is. What a name holds now counts for more than what it held before, whatever the clock of its file says: an export
    restored from a backup, and one that a corrected contract reads otherwise, overrule what was read first.

    Args:
        parts: as the source tells them.
        feed: the source's name.
        remembered: SOURCES.

    Returns:
        the parts in their order; the revision of one whose name is known is later than all that were read under it.
    """
    known = set(remembered[FINGERPRINT])
    own = remembered.filter(pl.col(FEED) == feed).sort(REVISION)
    held = {name: (content, revision) for name, content, revision in own.select(SOURCE, FINGERPRINT, REVISION).iter_rows()}
    names = dict(own.select(FINGERPRINT, SOURCE).iter_rows())
    found = []
    for part in parts:
        content, revision = held.get(part.name, ("", part.revision - 1))
        elsewhere = part.fingerprint in known and names.get(part.fingerprint) != part.name
        if content != part.fingerprint and not elsewhere:
            found.append(part if part.revision > revision else replace(part, revision=revision + 1))
    return tuple(found)
