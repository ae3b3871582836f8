"""What a person at a terminal is told while a flow runs: one line a stage, a progress bar while training. It goes to stderr;
stdout is for results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_console = Console(stderr=True, highlight=False, soft_wrap=True)


def stage(*, name: str, seconds: float, note: str) -> None:
    """A finished stage."""
    _console.print(f"  [bold]{name:<12}[/bold] {seconds:7.1f} s   {note}")


def line(text: str, *, style: str | None = None) -> None:
    """One line of text."""
    _console.print(text, style=style)


@contextmanager
def epochs(total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar over epochs; the callable takes the epoch just finished and what to say of it."""
    with Progress(*_columns(), console=_console, transient=True, disable=not _console.is_terminal) as progress:
        bar = progress.add_task("epochs", total=total, told="")

        def advance(epoch: int, told: str) -> None:
            progress.update(bar, completed=epoch, told=told)
            if not _console.is_terminal:
                _console.print(f"    epoch {epoch}/{total}  {told}")

        yield advance


@dataclass(slots=True)
class Parts:
    """A bar over the parts of a source, drawn at a terminal only."""

    _progress: Progress = field(default_factory=lambda: Progress(*_columns(), console=_console, transient=True))
    _bar: TaskID | None = None

    def move(self, *, done: int, total: int, told: str) -> None:
        """So many are done of so many."""
        if not _console.is_terminal:
            return
        if self._bar is None:
            self._bar = self._progress.add_task("parts", total=total, told=told)
            self._progress.start()
        self._progress.update(self._bar, completed=done, total=total, told=told)

    def close(self) -> None:
        """Take it away."""
        self._progress.stop()


def _columns() -> tuple[TextColumn | BarColumn | MofNCompleteColumn | TimeRemainingColumn, ...]:
    described = TextColumn("  [bold]{task.description}[/bold]")
    return (described, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[told]}"))
