"""`python -m flows.watched MODULE [ARGUMENT ...]` runs a module as `python -m MODULE` does, and ends when whoever started it is gone.

A process that is killed cannot stop its children. So a child is given a pipe for stdin whose other end only its parent holds, and nothing
is ever written to it: with the parent, however that ended, the kernel closes the pipe, and the child stops as on SIGTERM.
"""

import os
import runpy
import signal
import stat
import sys
import threading
import time

GRACE_SECONDS = 20.0
"""What a process has for its own clean end before it is killed."""


def main() -> None:
    """Run the module named by the first argument, with the other arguments as its own."""
    module, *arguments = sys.argv[1:]
    if _is_pipe(sys.stdin.fileno()):
        threading.Thread(target=_end_with_parent, daemon=True, name="end with parent").start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _is_pipe(descriptor: int) -> bool:
    """False for a terminal or /dev/null, which say nothing of the parent. asyncio makes its pipes of sockets."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
