"""Which failures of a task are worth another try: those of the machine or the network, never those of the data."""

from typing import Any, Final

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from telemetry.errors import TidewatchError


def transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:  # Any: Prefect's own generics
    """True unless Tidewatch itself refused, in which case a second try would refuse again."""
    try:
        state.result()
    except (TidewatchError, MemoryError, KeyboardInterrupt, SystemExit):
        return False
    except OSError:
        return True
    except Exception as error:  # noqa: BLE001  (the store's own errors have no common root; only their kind decides)
        return "Commit" in type(error).__name__ or "Delta" in type(error).__name__
    return False


RETRY: Final[dict[str, Any]] = {  # Any: keyword arguments of `task`
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": transient,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
"""For steps that only read, or write in a way that may be repeated. The default cache policy never hits across runs, so none is used."""

ONCE: Final[dict[str, Any]] = {"retries": 0, "cache_policy": NO_CACHE, "persist_result": False}  # Any: as above
"""For steps that decide: a retry would emit its events a second time."""
