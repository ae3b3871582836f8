"""Child processes that a command starts, follows and ends. None outlives its parent, not even a killed one (`flows.watched`)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from telemetry.errors import TidewatchError

POLL_SECONDS: Final = 0.2
LAST_LINES: Final = 15
"""How much of its log is shown of a child that ended unasked."""


class ChildEndedError(TidewatchError):
    """A process that should go on has ended, or one that should succeed has failed."""

    def __init__(self, *, name: str, code: int, log: Path) -> None:
        self.name, self.code, self.log = name, code, log
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        told = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"The {name} {how}. Its last lines:\n{told}", hint=f"the whole log is {log}.")


class StopRequested(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP came while something was awaited."""


class Stop:
    """Whether an end was asked for, and whether a second time: then nothing is waited for any more.

    Plain flags, looked at often: an Event set by a signal's handler can meet its own lock.
    """

    def __init__(self) -> None:
        self.asked = False
        self.hurry = False

    def ask(self, _signum: int = 0, _frame: FrameType | None = None) -> None:
        """The handler of a signal."""
        self.hurry = self.asked
        self.asked = True

    @contextmanager
    def on_signals(self) -> Iterator["Stop"]:
        """Ask on Ctrl-C, SIGTERM and a closed terminal, until the block ends."""
        before = {number: signal.signal(number, self.ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Child:
    """One process in a process group of its own, so that Ctrl-C at the terminal reaches only its parent, which knows the order."""

    def __init__(self, name: str, *, arguments: tuple[str, ...], log: Path) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  (our own interpreter and modules)
                [sys.executable, "-P", "-m", "flows.watched", *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def code(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    @contextmanager
    def ending_offspring(self) -> Iterator[None]:
        """Send SIGTERM to every process of its group but let it not see their end, nor its own signal, before the block ends.

        A Prefect worker that is told to end kills its runs at once; this way they end by themselves, and say so to the server.
        """
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # it stops a moment later, and until then the next signal would still reach it
        try:
            os.killpg(self.pid, signal.SIGTERM)
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self, *, grace_seconds: float, stop: Stop) -> None:
        """Ask it to end, wait, and kill what is left of its group."""
        if self.code() is None:
            self._process.terminate()
        wait_until(lambda: self.code() is not None, seconds=grace_seconds, stop=stop)
        with suppress(ProcessLookupError):  # as a rule the whole group has ended
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def wait_until(done: Callable[[], bool], *, seconds: float, stop: Stop) -> None:
    """Return when it is done, when the time is over, or when someone is in a hurry."""
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline and not stop.hurry:
        time.sleep(POLL_SECONDS)


class Children:
    """All processes of one command, by name."""

    def __init__(self, *, logs: Path, stop: Stop) -> None:
        self._logs, self._stop = logs, stop
        self._running: list[Child] = []

    def start(self, name: str, *arguments: str) -> Child:
        """Start `python -m` with these arguments; its output goes to `<logs>/<name>.log`."""
        child = Child(name, arguments=arguments, log=self._logs / f"{name}.log")
        self._running.append(child)
        return child

    def run(self, name: str, *arguments: str) -> None:
        """Start one and wait until it has succeeded.

        Raises:
            ChildEndedError: it failed, or another one ended meanwhile.
        """
        child = self.start(name, *arguments)
        self._running.remove(child)
        try:
            self.wait(until=lambda: child.code() is not None)
            if child.code():
                raise ChildEndedError(name=name, code=child.code() or 0, log=child.log)
        finally:
            child.stop(grace_seconds=0.0, stop=self._stop)

    def wait(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Wait until something holds; forever by default.

        Raises:
            ChildEndedError: one of the running processes has ended.
            StopRequested: someone asked for the end.
        """
        while not until():
            time.sleep(POLL_SECONDS)
            if self._stop.asked:
                raise StopRequested
            for child in self._running:
                if (code := child.code()) is not None:
                    raise ChildEndedError(name=child.name, code=code, log=child.log)

    def running(self, name: str) -> Child | None:
        """The process of that name, unless it has ended."""
        return next((child for child in self._running if child.name == name and child.code() is None), None)

    def end(self, name: str, *, grace_seconds: float) -> None:
        """End the process of that name, if there is one."""
        for child in [child for child in self._running if child.name == name]:
            child.stop(grace_seconds=grace_seconds, stop=self._stop)
            self._running.remove(child)
