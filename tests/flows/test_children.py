"""Child processes are started, followed and ended, and none is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.children import ChildEndedError, Children, Stop, StopRequested
from tests.flows.processes import eventually, lives

pytestmark = pytest.mark.slow

MODULES = {
    "patient": "import time\nprint('begun', flush=True)\ntime.sleep(600)\n",
    "stubborn": "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('begun', flush=True)\ntime.sleep(600)\n",
    "failing": "import sys\nprint('\\n'.join(f'line {n}' for n in range(100)), flush=True)\nsys.exit(5)\n",
    "quick": "import sys\nprint(sys.argv[1:], __name__)\n",
    "parent": "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-m', 'patient'])\ntime.sleep(600)\n",
}


@pytest.fixture
def children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Children]:
    for name, code in MODULES.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    family = Children(logs=tmp_path / "logs", stop=Stop())
    yield family
    for name in MODULES:
        family.end(name, grace_seconds=0)


def begun(children: Children, name: str, *, logs: Path) -> int:
    """Start it, wait until it has begun, and give its process id."""
    child = children.start(name, name)
    assert eventually(lambda: "begun" in (logs / f"{name}.log").read_text(), seconds=20)
    return child.pid


def test_a_module_runs_as_main_with_its_arguments(children: Children, tmp_path: Path) -> None:
    children.run("quick", "quick", "--one", "two")
    assert (tmp_path / "logs" / "quick.log").read_text() == "['--one', 'two'] __main__\n"


def test_a_failure_tells_the_last_lines_and_where_the_rest_is(children: Children, tmp_path: Path) -> None:
    with pytest.raises(ChildEndedError) as caught:
        children.run("failing", "failing")
    assert str(caught.value).splitlines()[:2] == ["The failing ended with exit code 5. Its last lines:", "    line 85"]
    assert str(caught.value).endswith(f"    line 99\nHint: the whole log is {tmp_path / 'logs' / 'failing.log'}.")


def test_one_that_ends_while_others_are_awaited_is_noticed(children: Children) -> None:
    children.start("failing", "failing")
    with pytest.raises(ChildEndedError, match="The failing ended with exit code 5"):
        children.wait()


def test_the_log_of_the_life_before_is_kept(children: Children, tmp_path: Path) -> None:
    children.run("quick", "quick", "first")
    children.run("quick", "quick", "second")
    assert "first" in (tmp_path / "logs" / "quick.log.1").read_text()
    assert "second" in (tmp_path / "logs" / "quick.log").read_text()


def test_a_signal_interrupts_the_waiting(tmp_path: Path) -> None:
    stop = Stop()
    waiting = Children(logs=tmp_path / "logs", stop=stop)
    before = signal.getsignal(signal.SIGTERM)
    with stop.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopRequested):
            waiting.wait()
    assert signal.getsignal(signal.SIGTERM) is before


def test_one_that_will_not_end_is_killed(children: Children, tmp_path: Path) -> None:
    pid = begun(children, "stubborn", logs=tmp_path / "logs")
    children.end("stubborn", grace_seconds=0.5)
    assert not psutil.pid_exists(pid)
    assert children.running("stubborn") is None


def test_what_a_child_started_ends_with_it(children: Children) -> None:
    child = children.start("parent", "parent")
    assert eventually(lambda: bool(psutil.Process(child.pid).children()), seconds=20)
    grandchild = psutil.Process(child.pid).children()[0]
    children.end("parent", grace_seconds=10)
    assert eventually(lambda: not lives(grandchild), seconds=10)


def test_offspring_ends_before_its_parent_learns_of_it(children: Children) -> None:
    child = children.start("parent", "parent")
    assert eventually(lambda: bool(psutil.Process(child.pid).children()), seconds=20)
    grandchild = psutil.Process(child.pid).children()[0]
    with child.ending_offspring():
        assert eventually(lambda: not lives(grandchild), seconds=10)
        assert child.code() is None
    assert eventually(lambda: child.code() == -signal.SIGTERM, seconds=10)
    children.end("parent", grace_seconds=0)


def test_a_killed_parent_takes_its_children_along(children: Children, tmp_path: Path) -> None:
    code = (
        "import pathlib, time\nfrom flows.children import Children, Stop\n"
        f"child = Children(logs=pathlib.Path({str(tmp_path / 'logs')!r}), stop=Stop()).start('patient', 'patient')\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert eventually(lambda: "begun" in (tmp_path / "logs" / "patient.log").read_text(), seconds=20)
        parent.kill()
    assert eventually(lambda: not lives(child), seconds=10)
