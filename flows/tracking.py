"""Records of trainings for MLflow, where a server or a file of it is named: who compares runs there finds ours beside others.

TIDEWATCH_TRACKING or MLFLOW_TRACKING_URI says where; without them nothing is written, and MLflow need not be installed. The records are
copies: what a run learned and decided is in its own folder, so that a server that goes away in the middle is told of, once, and the run
goes on. One that cannot be reached at the start is refused before anything is trained.
"""

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from flows.blocks import number
from flows.exhibits import HISTORY, LOSS, NUMBER, SECONDS, VALIDATION_LOSS, read
from flows.runtime import quiet
from flows.settings import Settings
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.errors import TidewatchError

if TYPE_CHECKING:
    from models.sweep import Design, Outcome, Ranked

log = logging.getLogger(__name__)

DEFAULTS: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_LOGGING_LEVEL": "WARNING"}
"""By default a server that is not there is waited for by minutes at every call, and a new file's tables are told at the terminal."""
PARENT: Final = "mlflow.parentRunId"
MEASURED: Final = ("accuracy", "accuracy_lower", "accuracy_persistence", "skill", "worst_decile_accuracy", "vus_pr")
"""Of a summary: over the parallel test."""
MOST_METRICS: Final = 800
"""At a time; MLflow takes 1,000, parameters and tags among them."""
_BETWEEN: Final = re.compile(r"(?<=://)[^/\s'\"]*@")
_MOST_LETTERS: Final = 500


class TrackingError(TidewatchError):
    """Records of trainings cannot be written where they are asked for."""


class Records:
    """The experiment of a contract: `tidewatch/<contract>`.

    Args:
        uri: as MLflow takes it: `http(s)://...` of a server, `sqlite:///...` or another database.
        contract: its name.

    Raises:
        TrackingError: MLflow is not installed, or nothing can be written there.
    """

    def __init__(self, uri: str, *, contract: str) -> None:
        os.environ.update(quiet())
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import MlflowClient  # type: ignore[import-not-found, unused-ignore]  # an extra; takes seconds to import
        except ModuleNotFoundError as error:
            raise TrackingError(
                f"Records of trainings are to go to {bare(uri)}, and MLflow is not installed.",
                hint="install the extra mlflow (pip install 'tidewatch[mlflow]'), or unset TIDEWATCH_TRACKING and MLFLOW_TRACKING_URI.",
            ) from error
        self._uri, self._quiet = uri, False
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self._experiment = self._experiment_of(f"tidewatch/{contract}")
        except Exception as error:  # noqa: BLE001  (MLflow's, SQLAlchemy's and the network's errors have no common root)
            raise TrackingError(  # from None: the cause may hold the credentials of the address
                f"Records of trainings cannot be written to {bare(uri)}: {self._scrubbed(error)}",
                hint="see that it is there and may be written to, or unset TIDEWATCH_TRACKING and MLFLOW_TRACKING_URI.",
            ) from None

    def _experiment_of(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id) if found is not None else str(self._client.create_experiment(name))

    def begin(self, name: str, *, tags: Mapping[str, Any], parent: str | None = None) -> str | None:  # Any: told as text
        """A new run's id; None where it could not be told."""
        told = {key: str(value) for key, value in tags.items() if value is not None} | ({PARENT: parent} if parent else {})
        made: list[str] = []
        self._tell(lambda: made.append(self._client.create_run(self._experiment, tags=told, run_name=name).info.run_id))
        return made[0] if made else None

    def write(
        self,
        run: str | None,
        *,
        params: Mapping[str, Any] | None = None,  # Any: told as text
        metrics: Iterable[tuple[str, float | None, int]] = (),
        tags: Mapping[str, Any] | None = None,  # Any: told as text
    ) -> None:
        """What is known of a run: parameters, metrics (name, value, step) and tags; of what is None nothing is told."""
        if run is None:
            return
        from mlflow.entities import Metric, Param, RunTag  # type: ignore[import-not-found, unused-ignore]

        now = int(time() * 1000)
        told = [Metric(name, float(value), now, step) for name, value, step in metrics if value is not None]
        first = {
            "params": [Param(name, str(value)[:_MOST_LETTERS]) for name, value in (params or {}).items() if value is not None],
            "metrics": told[:MOST_METRICS],
            "tags": [RunTag(name, str(value)) for name, value in (tags or {}).items() if value is not None],
        }
        self._tell(lambda: self._client.log_batch(run, **first))
        for start in range(MOST_METRICS, len(told), MOST_METRICS):
            self._tell(partial(self._client.log_batch, run, metrics=told[start : start + MOST_METRICS]))

    def end(self, run: str | None, *, status: str = "FINISHED") -> None:
        """Close a run."""
        if run is not None:
            self._tell(lambda: self._client.set_terminated(run, status=status))

    def _tell(self, what: Callable[[], object]) -> None:
        try:
            what()
        except Exception as error:  # noqa: BLE001  (as above; a copy that cannot be written must not end what it is a copy of)
            if not self._quiet:
                log.warning("records of trainings can no longer be written to %s: %s", bare(self._uri), self._scrubbed(error))
            self._quiet = True

    def _scrubbed(self, error: Exception) -> str:
        """What an error says, in one line, without the credentials of the address."""
        told = " ".join(f"{type(error).__name__}: {error}".split())
        for secret in secrets(self._uri):
            told = told.replace(secret, "***")
        return _BETWEEN.sub("", told)[:_MOST_LETTERS]


def bare(uri: str) -> str:
    """An address without credentials and without its query.

    >>> bare("https://ada:secret@tracking:5000/a?token=x"), bare("sqlite:///runs.db")
    ('https://tracking:5000/a', 'sqlite:///runs.db')
    """
    scheme, there, rest = uri.partition("://")
    if not there:
        return uri.partition("?")[0]
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}".partition("?")[0]


def secrets(uri: str) -> tuple[str, ...]:
    """What of an address no one may read: user with password, password, query.

    >>> secrets("https://ada:secret@tracking:5000?token=x")
    ('ada:secret', 'secret', 'token=x')
    """
    rest = uri.partition("://")[2]
    place, _, query = rest.partition("?")
    who = place.partition("/")[0].rpartition("@")[0]
    return tuple(part for part in (who, who.partition(":")[2], query) if part)


def records(*, settings: Settings, contract: Contract) -> Records | None:
    """Where records go; None where nobody asked for any.

    Raises:
        TrackingError: as `Records`.
    """
    uri = settings.tracking.get_secret_value() if settings.tracking else ""
    return Records(uri, contract=contract.name) if uri else None


def of_contract(name: str) -> Records | None:
    """Where the records of a contract, told as a flow takes it, go by this installation's settings.

    Raises:
        TrackingError: as `Records`.
    """
    settings = Settings()
    return records(settings=settings, contract=contracts.load(settings.contract_path(name)))


def retrained(told: Records | None, *, summary: Mapping[str, Any], folder: Path) -> None:  # Any: plain JSON
    """A retrain that came to its gate: its parameters, every epoch, what was measured, and what the gate said of which release.

    Args:
        told: where records go, as `of_contract` gave it before anything was trained; None writes nothing.
        summary: of the run, with what the gate said.
        folder: of the run, whose `work` is still there.
    """
    if told is None:
        return
    keys = ("contract", "contract_digest", "lake_version", "gate", "verdict", "release", "candidate", "champion")
    record = json.loads((folder / "work" / "training.json").read_text(encoding="utf-8"))
    run = told.begin(f"{summary.get('flow')} {folder.name}", tags={"run": folder.name, **{key: summary.get(key) for key in keys}})
    history = read(folder, name=HISTORY)
    epochs = () if history is None else history.select(NUMBER, LOSS, VALIDATION_LOSS, SECONDS).iter_rows(named=True)
    metrics = [(name, epoch[name], epoch[NUMBER]) for epoch in epochs for name in (LOSS, VALIDATION_LOSS, SECONDS)]
    metrics += [(name, value, 0) for name in MEASURED if (value := number(summary.get(name))) is not None]
    told.write(run, params=_params(record["network"], record["training"]), metrics=metrics)
    told.end(run)


class Sweep(AbstractContextManager["Sweep"]):
    """A run of a sweep, and within it one for each training. Without records it does nothing."""

    def __init__(self, told: Records | None, *, run: str, tags: Mapping[str, Any]) -> None:  # Any: told as text
        self._records, self._tags, self._runs = told, tags, dict[tuple[str, int], str | None]()
        self._parent = told.begin(f"sweep {run}", tags=tags) if told else None

    def outcome(self, outcome: "Outcome", *, design: "Design") -> None:
        """A training that is over."""
        if self._records is None or self._parent is None:
            return
        run = self._records.begin(f"{design.name}, seed {outcome.seed}", tags={**self._tags, "design": design.name}, parent=self._parent)
        facts = asdict(outcome)
        metrics = [(name, facts[name], 0) for name in ("accuracy", "validation_loss", "epochs", "train_seconds", "predict_seconds")]
        params = {**_params(design.network.to_dict(), asdict(design.training)), "training.seed": outcome.seed}
        self._records.write(run, params=params, metrics=[*metrics, ("cost", design.cost, 0)])
        self._records.end(run)
        self._runs[design.name, outcome.seed] = run

    def ranked(self, ranked: "Sequence[Ranked]", *, designs: "Sequence[Design]") -> None:
        """What was chosen; every training is told whether its design was."""
        if self._records is None or self._parent is None:
            return
        chosen = next(each for each in ranked if each.chosen)
        for (name, _), run in self._runs.items():
            self._records.write(run, tags={"chosen": str(name == chosen.design.name).lower()})
        metrics = [("accuracy", chosen.accuracy, 0), ("accuracy_best", ranked[0].accuracy, 0), ("standard_error_best", ranked[0].error, 0)]
        params = {"designs": len(designs), "trainings": len(self._runs)}
        self._records.write(self._parent, params=params, metrics=metrics, tags={"chosen": chosen.design.name})

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the run of the sweep as it ended."""
        if self._records is not None:
            ended = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
            self._records.end(self._parent, status=ended)

    def __enter__(self) -> Self:
        return self


def sweep(*, settings: Settings, contract: Contract, run: str, lake_version: int) -> Sweep:
    """The records of a sweep, where they are asked for.

    Raises:
        TrackingError: as `Records`.
    """
    tags = {"contract": contract.name, "contract_digest": contract.digest, "lake_version": lake_version, "run": run}
    return Sweep(records(settings=settings, contract=contract), run=run, tags=tags)


def _params(network: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:  # Any: plain JSON
    return {f"network.{name}": value for name, value in network.items()} | {f"training.{name}": value for name, value in training.items()}
