"""What a person at a terminal is told while a flow runs: one line a stage, a progress bar while training. It goes to stderr;
stdout is for results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
    columns = (
        TextColumn("  [bold]{task.description}[/bold]"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=_console, transient=True, disable=not _console.is_terminal) as progress:
        bar = progress.add_task("epochs", total=total, told="")

        def advance(epoch: int, told: str) -> None:
            progress.update(bar, completed=epoch, told=told)
            if not _console.is_terminal:
                _console.print(f"    epoch {epoch}/{total}  {told}")

        yield advance
