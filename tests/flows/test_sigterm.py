"""A command that is told to end leaves no server behind: without a handler Python would die at once, and its embedded API live on."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.processes import Tidewatch, command_line, eventually, tidewatch


def serves(command: Tidewatch) -> bool:
    """True once the command's embedded API is a process."""
    return any("uvicorn" in word for child in command.look() for word in command_line(child))


def works(command: Tidewatch) -> bool:
    """True once the flow itself is at work: its run has a folder."""
    return serves(command) and any((command.home / "runs").glob("*/*"))


@pytest.mark.service
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", [serves, works])
def test_a_signal_leaves_no_server_behind(moment: Callable[[Tidewatch], bool], number: signal.Signals, tmp_path: Path) -> None:
    with tidewatch("demo", home=tmp_path / "home") as command:
        command.wait_until(lambda: moment(command))
        assert command.look() != []
        assert command.end(number) not in (0, -signal.SIGKILL), command.told
        assert eventually(lambda: not command.left(), seconds=10), command.left()
