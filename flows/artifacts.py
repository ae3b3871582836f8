"""What a run leaves in the Prefect UI. Outside of a flow run nothing is written."""

from typing import Any

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext


def _in_run() -> bool:
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def tell_table(key: str, *, rows: list[dict[str, Any]], description: str) -> None:  # Any: plain JSON values
    """A table under `/artifacts/key/<key>`."""
    if _in_run():
        create_table_artifact(table=rows, key=key, description=description)


def tell_text(key: str, *, markdown: str, description: str) -> None:
    """A text under `/artifacts/key/<key>`."""
    if _in_run():
        create_markdown_artifact(markdown=markdown, key=key, description=description)


class Bar:
    """A progress bar in the UI."""

    def __init__(self, key: str, *, description: str) -> None:
        self._id = create_progress_artifact(0.0, key=key, description=description) if _in_run() else None

    def advance(self, share: float) -> None:
        """`share` of the work is done, 0..1."""
        if self._id is not None:
            update_progress_artifact(self._id, progress=round(100 * min(share, 1.0), 1))  # type: ignore[arg-type]
