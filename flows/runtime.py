"""What the libraries beneath read from the environment, set once by an entry point before any of them is imported."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

from flows.settings import Settings

ALLOCATOR: Final = {"_RJEM_MALLOC_CONF": "dirty_decay_ms:30000,muzzy_decay_ms:30000"}
"""Polars' allocator keeps for half a minute what it will need again. By default it gives memory back within a second and takes it again
page by page: a quarter of an ingestion's time."""

MOST_CORES: Final = 4
"""Each holds the telemetry that it trains on, and a batch of 64 windows has little to give to more."""


def prepare(settings: Settings, *, console_logs: bool = False) -> None:
    """Point Prefect and JAX into the installation's home, turn analytics off, and make SIGTERM end the process cleanly.

    An embedded Prefect API is started where PREFECT_API_URL names none. A variable that is already set is left alone, but for those that
    would tell an outside service about this run.
    """
    home = settings.home
    defaults = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO" if console_logs else "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "JAX_COMPILATION_CACHE_DIR": str(home / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "JAX_NUM_CPU_DEVICES": str(min(os.cpu_count() or 1, MOST_CORES)),
        **ALLOCATOR,
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)  # Prefect itself makes no parents
    os.environ.update(quiet())
    # Without a handler SIGTERM ends Python at once, and the embedded API, a child process, would live on.
    signal.signal(signal.SIGTERM, _leave)


def quiet() -> dict[str, str]:
    """The variables that keep the libraries beneath from telling anyone outside about a run."""
    return {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _leave(signum: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signum)
