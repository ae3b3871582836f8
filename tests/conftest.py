"""What every test stands on: UTC, JAX on the CPU, nobody's settings, nothing that reports to anyone, and the public data where it lies.

The environment is set while this file is imported, before any test module can import Prefect or JAX, which read it once.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(tempfile.mkdtemp(prefix="tidewatch-tests-"))

DATA = Path(os.environ.get("TIDEWATCH_DATA", ROOT.parent / "shared" / "data"))

for name in [name for name in os.environ if name.startswith(("TIDEWATCH_", "PREFECT_", "MLFLOW_")) and name != "TIDEWATCH_DATA"]:
    del os.environ[name]  # a developer's own settings must not decide a test; where the data lie, every worker of a run must know
os.environ |= {
    "TZ": "UTC",
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_HOME": str(HOME / "prefect"),
    "TIDEWATCH_HOME": str(HOME / "tidewatch"),
}
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # JAX_PLATFORMS=cuda runs the gpu tests where there is one
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")  # so that sharing a batch is tested wherever something is trained
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # workers share a GPU: none may take most of its memory at once
# What one process has compiled no other one compiles again: workers inherit the first one's folder, as commands that tests start do.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(HOME / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
time.tzset()

settings.register_profile("tidewatch", deadline=None, print_blob=True)
settings.register_profile("ci", parent=settings.get_profile("tidewatch"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "tidewatch")


def pytest_unconfigure() -> None:
    """Nothing of a test run stays behind."""
    shutil.rmtree(HOME, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests say why they do not run where JAX is kept on the CPU."""
    if os.environ["JAX_PLATFORMS"] == "cpu":
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="JAX is kept on the CPU; JAX_PLATFORMS=cuda runs this where there is a GPU"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the public data sets: $TIDEWATCH_DATA, or `shared/data` beside the checkout."""
    if not DATA.is_dir():  # gigabytes of other publishers' telemetry, which no clone brings along
        pytest.skip(f"no public data sets at {DATA}; TIDEWATCH_DATA names their folder")
    return DATA
