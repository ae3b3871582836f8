"""Where the seconds and the memory of a check go: metrics, judgements and pages, each wrapped in this process; the rest is the library's.

Metrics are found in the library's registry by their prefix, so one that is added later is told of without a change here.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from great_expectations.expectations.registry import _registered_metrics

from tests.benchmarks.quality.memory import peak_gib, restart_peak
from validation import checks, docs, expectations

PREFIX: Final = "table.tidewatch."
LIBRARY: Final = "library"

Function = Callable[..., Any]  # Any: whatever is wrapped


class Stages:
    """Seconds of each stage, by the clock and of all processors, and the most that was resident in it. Stages do not nest."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._cpu_seconds: dict[str, float] = defaultdict(float)
        self._calls: dict[str, int] = defaultdict(int)
        self._peaks: dict[str, float] = defaultdict(float)

    @classmethod
    def installed(cls) -> "Stages":
        """Wrapped around everything that is ours within `checks.check_raw`."""
        stages = cls()
        for name, metric in _registered_metrics.items():
            if name.startswith(PREFIX):
                for engine, (provider, function) in metric["providers"].items():
                    metric["providers"][engine] = provider, stages.timed(function, name=name.removeprefix(PREFIX))
        for owner, attribute, name in (
            (checks, "packed", "packing"),
            (checks, "as_batch", "packing"),
            (expectations._Judged, "_validate", "judgements"),
            (docs, "build", "pages"),
        ):
            setattr(owner, attribute, stages.timed(getattr(owner, attribute), name=name))
        return stages

    def timed(self, function: Function, *, name: str) -> Function:
        """`function`, whose calls are counted under `name`."""

        def call(*args: Any, **kwargs: Any) -> Any:  # Any: as above
            self._notice(LIBRARY)
            began = time.perf_counter(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._seconds[name] += time.perf_counter() - began[0]
                self._cpu_seconds[name] += time.process_time() - began[1]
                self._calls[name] += 1
                self._notice(name)

        return call

    def _notice(self, name: str) -> None:
        self._peaks[name] = max(self._peaks[name], peak_gib())
        restart_peak()

    @property
    def peak_gib(self) -> float:
        """The most of all stages."""
        return max(self._peaks.values(), default=0.0)

    def seconds(self, *, whole: float) -> dict[str, float]:
        """Of each stage, the longest first; `library` is what is left of the whole."""
        return _with_rest(self._seconds, whole=whole)

    def cpu_seconds(self, *, whole: float) -> dict[str, float]:
        """As `seconds`, of all processors: what they have to do, whoever else they work for."""
        return _with_rest(self._cpu_seconds, whole=whole)

    def peaks(self, *, before: float) -> dict[str, float]:
        """GiB above `before` that were resident at most in each stage, the most first."""
        return {name: peak - before for name, peak in sorted(self._peaks.items(), key=lambda item: -item[1])}


def _with_rest(told: dict[str, float], *, whole: float) -> dict[str, float]:
    every = {**told, LIBRARY: whole - sum(told.values())}
    return dict(sorted(every.items(), key=lambda item: -item[1]))
