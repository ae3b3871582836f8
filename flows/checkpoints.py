"""What trainings that are not done yet keep, so that one that was killed goes on after its last whole epoch: `<home>/checkpoints`.

One training at a time keeps something there: a second one at the same moment trains without, and says so. What nobody came back for is
removed after some days.
"""

import fcntl
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from flows.settings import Settings

logger = logging.getLogger(__name__)
KEPT_DAYS: Final = 7
"""A training that was killed is asked for again at the next schedule: within a week."""
LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Where a training keeps its epochs; `folder` is None where another one does so now."""

    folder: Path | None
    before: dict[Path, int]
    """The last epoch of each training that was not done."""

    def resumed(self) -> int:
        """After which epoch the training went on that is done now; 0 where it began anew. What it had kept is gone since."""
        return max((epoch for place, epoch in self.before.items() if not place.exists()), default=0)


@contextmanager
def kept(settings: Settings, *, now: datetime) -> Iterator[Kept]:
    """The place of a training's checkpoints, for it alone; it is free again when the process ends, however it ends."""
    folder = settings.home / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("another training is at work: this one could not go on if it were killed")
            yield Kept(folder=None, before={})
            return
        _forget(folder, now=now)
        yield Kept(folder=folder, before={place: _last(place) for place in _places(folder)})


def forget(settings: Settings, *, now: datetime) -> int:
    """Remove what no training came back for in KEPT_DAYS, unless one is at work; how many trainings' that was."""
    folder = settings.home / "checkpoints"
    if not folder.is_dir():
        return 0
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        return _forget(folder, now=now)


def _forget(folder: Path, *, now: datetime) -> int:
    least = (now - timedelta(days=KEPT_DAYS)).timestamp()
    old = [place for place in _places(folder) if place.stat().st_mtime < least]
    for place in old:
        shutil.rmtree(place, ignore_errors=True)
    return len(old)


def _places(folder: Path) -> list[Path]:
    return [place for place in sorted(folder.iterdir()) if place.is_dir()]


def _last(place: Path) -> int:
    """The last epoch that is there as a whole; one that was being written has a name of another kind."""
    return max((int(each.name) for each in place.iterdir() if each.name.isdigit()), default=0)
