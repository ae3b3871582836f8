"""What this process has resident, and the most that it had since a moment of one's choice. Linux alone tells it."""

from pathlib import Path
from typing import Final

STATUS: Final = Path("/proc/self/status")
FORGET_PEAK: Final = "5"
"""Written to clear_refs it sets the peak back to what is resident now (proc_pid_clear_refs(5))."""


def resident_gib() -> float:
    """What is resident, mapped files included."""
    return _of("VmRSS")


def peak_gib() -> float:
    """The most that was resident since `restart_peak`."""
    return _of("VmHWM")


def restart_peak() -> None:
    """Forget the peak so far."""
    (STATUS.parent / "clear_refs").write_text(FORGET_PEAK, encoding="ascii")


def _of(name: str) -> float:
    (line,) = (line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 2**20
