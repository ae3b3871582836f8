"""A real `tidewatch` in a process of its own, and everything that it started, for tests that end it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import psutil

START_SECONDS = 150
"""A first start takes some 30 s on two idle cores."""


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """True if something answers on that port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(holds: Callable[[], bool], *, seconds: float) -> bool:
    """True as soon as it holds, False if it does not within the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.2)
    return holds()


def lives(process: psutil.Process) -> bool:
    """False for what has ended, be it reaped or not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_line(process: psutil.Process) -> list[str]:
    """Its words; none of one that has just ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


class Tidewatch:
    """One running command, with the processes that it was ever seen to have started; `told` is of its environment."""

    def __init__(self, *arguments: str, home: Path, told: Mapping[str, str] = MappingProxyType({})) -> None:
        self.home, self.out = home, home / "terminal.txt"
        home.mkdir(parents=True, exist_ok=True)
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", *arguments],
                cwd=home,
                env={name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
                | {"TIDEWATCH_HOME": str(home), **told},
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.seen: dict[int, psutil.Process] = {}

    @property
    def told(self) -> str:
        return self.out.read_text(encoding="utf-8", errors="replace")

    def look(self) -> list[psutil.Process]:
        """Every descendant that lives; each is remembered."""
        if self.process.poll() is None:
            self.seen |= {child.pid: child for child in psutil.Process(self.process.pid).children(recursive=True)}
        return self.left()

    def left(self) -> list[psutil.Process]:
        """Of everything that was ever seen, what still lives."""
        return [child for child in self.seen.values() if lives(child)]

    def child(self, *words: str) -> psutil.Process | None:
        """The living descendant whose command line has these words."""
        return next((child for child in self.look() if set(words) <= set(command_line(child))), None)

    def wait_until(self, holds: Callable[[], bool], *, seconds: float = START_SECONDS) -> None:
        """Until it holds; an end of the command before that, or the time, fails the test with what the terminal shows."""
        if not eventually(lambda: self.process.poll() is not None or holds(), seconds=seconds) or self.process.poll() is not None:
            raise AssertionError(f"exit code {self.process.poll()}; the terminal shows:\n{self.told}")
        self.look()

    def end(self, number: signal.Signals, *, seconds: float = 60) -> int:
        """Send the signal and give the exit code."""
        self.look()
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)


@contextmanager
def tidewatch(*arguments: str, home: Path, told: Mapping[str, str] = MappingProxyType({})) -> Iterator[Tidewatch]:
    """A running `tidewatch`; whatever is left of it after the block is killed."""
    command = Tidewatch(*arguments, home=home, told=told)
    try:
        yield command
    finally:
        left = command.look()
        if command.process.poll() is None:
            command.process.kill()
        command.process.wait()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
