"""What a person at a terminal is told while a flow runs: one line a stage, a progress bar while training. It goes to stderr;
stdout is for results."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

WIDE: Final = 160
_console = Console(stderr=True, highlight=False, soft_wrap=True)


def stage(*, name: str, seconds: float, note: str) -> None:
    """A finished stage."""
    _console.print(f"  [bold]{name:<12}[/bold] {seconds:7.1f} s   {note}")


def line(text: str, *, style: str | None = None) -> None:
    """One line of text."""
    _console.print(text, style=style)


@contextmanager
def progress(total: int, *, of: str) -> Iterator[Callable[[int, str], None]]:
    """A bar over what is `of` one kind; the callable takes the number of the one just finished and what to say of it."""
    with Progress(*_columns(), console=_console, transient=True, disable=not _console.is_terminal) as shown:
        bar = shown.add_task(f"{of}s", total=total, told="")

        def advance(number: int, told: str) -> None:
            shown.update(bar, completed=number, told=told)
            if not _console.is_terminal:
                _console.print(f"    {of} {number}/{total}  {told}")

        yield advance


def epochs(total: int) -> AbstractContextManager[Callable[[int, str], None]]:
    """A bar over epochs."""
    return progress(total, of="epoch")


def table(heads: Sequence[str], *, rows: Iterable[Sequence[str]], numbers: Collection[str]) -> None:
    """Rows below their heads, the columns named in `numbers` set to the right; where it is no terminal, as wide as it takes."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        drawn.add_column(head, justify="right" if head in numbers else "left", no_wrap=head in numbers)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    (_console if _console.is_terminal else Console(stderr=True, width=WIDE)).print(drawn)


def lines(text: str) -> None:
    """Lines as they are, to be copied."""
    _console.print(Text(text))


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
