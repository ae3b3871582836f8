"""The end of every run, whether it came there well or not: its summary, its page, its verdict in one line."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from flows import console, page
from flows.artifacts import tell_text
from flows.runs import Run, address
from flows.settings import Settings
from telemetry.errors import DataCheckError, TidewatchError

_CREDENTIALS: Final = re.compile(r"(?<=://)[^\s'\"]*@")
"""In the address that a library's own message may show."""


@contextmanager
def closing(run: Run, *, settings: Settings, contract: str) -> Iterator[dict[str, Any]]:  # Any: the summary is plain JSON
    """A summary to fill. On leaving, `summary.json` and the page are written; a refusal is told there too and then goes on its way."""
    summary: dict[str, Any] = {"flow": run.flow, "contract": contract, "verdict": "done", "sentence": ""}
    try:
        yield summary
    except TidewatchError as error:
        kind = "stopped at the check" if isinstance(error, DataCheckError) else "stopped"
        summary.update(verdict="stopped", sentence=f"{run.flow} {kind}: {error.message}", hint=error.hint)
        _close(run, settings=settings, summary=summary)
        error.summary = summary
        raise
    except BaseException as error:
        told = _CREDENTIALS.sub("", f"{run.flow} crashed: {type(error).__name__}: {error}")
        summary.update(verdict="crashed", sentence=told[:2000])
        _close(run, settings=settings, summary=summary)
        raise
    _close(run, settings=settings, summary=summary)


def _close(run: Run, *, settings: Settings, summary: dict[str, Any]) -> None:  # Any: plain JSON
    where = address(run.page, settings=settings)
    summary.update(stages=run.told_stages(), page=str(run.page), started_at=run.started_at.isoformat())
    run.write_summary(summary)
    page.write(run, summary=summary)
    shutil.rmtree(run.folder / "work", ignore_errors=True)
    told = f"**{summary['sentence'] or summary['verdict']}**\n\n[Open the page of this run]({where})"
    if summary["verdict"] != "crashed":
        tell_text(f"verdict-{run.flow}", markdown=told, description=f"{run.flow}: {summary['verdict']}")
    if summary["verdict"] != "stopped":  # what stopped is told by its exception
        console.line(f"  {summary['sentence']}", style="bold")
    console.line(f"  page         {run.page}")
