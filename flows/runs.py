"""One run's folder: its stages with their seconds, its summary for machines, its page for people.

<home>/runs/<flow>/<UTC time>-<6 hex>/   summary.json  index.html  data_docs/
"""

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows import console
from flows.settings import Settings

DAY_SECONDS = 86_400


@dataclass(slots=True, kw_only=True)
class Stage:
    """One step of a run, with what a person is told of it."""

    name: str
    seconds: float = 0.0
    note: str = ""


@dataclass(slots=True, kw_only=True)
class Run:
    """A run in progress, or one that ended."""

    flow: str
    folder: Path
    started_at: datetime
    stages: list[Stage] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Time a stage and tell it when it ends, well or not."""
        stage = Stage(name=name)
        self.stages.append(stage)
        began = time.perf_counter()
        try:
            yield stage
        except BaseException:
            stage.note = stage.note or "stopped here"
            raise
        finally:
            stage.seconds = round(time.perf_counter() - began, 3)
            console.stage(name=name, seconds=stage.seconds, note=stage.note)

    @property
    def page(self) -> Path:
        return self.folder / "index.html"

    def told_stages(self) -> list[dict[str, Any]]:  # Any: plain JSON
        return [asdict(stage) for stage in self.stages]

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Put `summary.json` in place in one step."""
        partial = self.folder / "summary.json.partial"
        partial.write_text(json.dumps(summary, indent=2, default=str) + "\n", encoding="utf-8")
        partial.replace(self.folder / "summary.json")


def begin(flow: str, *, settings: Settings) -> Run:
    """A new run with a folder of its own; the oldest folders of the flow beyond `keep_runs` are removed."""
    now = datetime.now(UTC)
    home = settings.runs_folder / flow
    folder = home / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    folder.mkdir(parents=True)
    for old in sorted(home.iterdir())[: -settings.keep_runs]:
        shutil.rmtree(old, ignore_errors=True)
    for left in home.glob("*/work"):  # of a run that was killed
        if now.timestamp() - left.stat().st_mtime > DAY_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    return Run(flow=flow, folder=folder, started_at=now)


def address(path: Path, *, settings: Settings) -> str:
    """Where a browser finds a file of a run: below `pages_url` where one is served, a file's URL otherwise."""
    if settings.pages_url and path.is_relative_to(settings.runs_folder):
        return f"{settings.pages_url.rstrip('/')}/{path.relative_to(settings.runs_folder).as_posix()}"
    return path.resolve().as_uri()
