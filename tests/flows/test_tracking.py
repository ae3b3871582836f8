"""Records of trainings: nothing without being asked, all of it where it is asked for, credentials nowhere, and no run ended by them.

Each is tested against a stand-in of MLflow's client, and against MLflow itself over SQLite where it is installed.
"""

import importlib.util
import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import polars as pl
import pytest

from flows import tracking
from flows.exhibits import path_of
from flows.settings import CHECKOUT, Settings
from models.config import Network, Training
from models.sweep import Design, Outcome, Ranked
from telemetry import contract as contracts
from telemetry.contract import Contract
from tests.flows.conftest import Released, small_contract
from tests.flows.processes import free_port
from tests.flows.runs_for_pages import new_run

NETWORK = Network(parameters=4, calendar=8, entities=3, targets=(0, 2), hidden=(8,))
SMALL = Design(name="small, apart", network=NETWORK, training=Training(overlapping=False))
LARGE = Design(name="large", network=replace(NETWORK, hidden=(8, 8)), training=Training())
SECRET = "s3cr3t"  # noqa: S105
ADDRESS = f"https://ada:{SECRET}@tracking.example/store?token={SECRET}"


@dataclass(slots=True, kw_only=True)
class Record:
    """A run as its store tells it."""

    name: str
    parent: str | None
    status: str
    params: dict[str, str]
    metrics: dict[str, list[float]]
    tags: dict[str, str]


@dataclass(slots=True)
class StandIn:
    """MLflow's client as far as it is used, with what it was told; from call `until` on it fails, and tells its address."""

    runs: dict[str, Record] = field(default_factory=dict)
    uri: str = ""
    until: float = float("inf")
    calls: int = 0
    numbers: Iterator[int] = field(default_factory=count)

    def _called(self) -> None:
        self.calls += 1
        if self.calls > self.until:
            raise ConnectionError(f"nobody answers at {self.uri}")

    def get_experiment_by_name(self, _name: str) -> Any:
        self._called()

    def create_experiment(self, name: str) -> str:
        self._called()
        return name

    def create_run(self, experiment: str, *, tags: dict[str, str], run_name: str) -> Any:
        self._called()
        run = f"{experiment} {next(self.numbers)}"
        parent = tags.get("mlflow.parentRunId")
        self.runs[run] = Record(name=run_name, parent=parent, status="RUNNING", params={}, metrics={}, tags=dict(tags))
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def log_batch(self, run: str, *, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        self._called()
        assert len(metrics) + len(params) + len(tags) <= 1000
        record = self.runs[run]
        for name, value, _, _ in metrics:
            record.metrics.setdefault(name, []).append(value)
        record.params |= dict(params)
        record.tags |= dict(tags)

    def set_terminated(self, run: str, *, status: str) -> None:
        self._called()
        self.runs[run].status = status


@dataclass(frozen=True, slots=True)
class Store:
    """Where records go, and what is found there."""

    uri: str
    found: Callable[[], list[Record]]

    def named(self, name: str) -> Record:
        return next(record for record in self.found() if record.name == name)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Stands in for MLflow, installed or not."""
    told = StandIn()

    def client(*, tracking_uri: str) -> StandIn:
        told.uri = tracking_uri
        return told

    def entity(*values: Any) -> Any:
        return values

    module, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    module.__dict__.update(MlflowClient=client, entities=entities)
    entities.__dict__.update(Metric=entity, Param=entity, RunTag=entity)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return told


@pytest.fixture(params=["stand-in", pytest.param("mlflow", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Both, one after the other."""
    if request.param == "stand-in":
        told = request.getfixturevalue("stand_in")
        return Store(ADDRESS, lambda: list(told.runs.values()))
    if importlib.util.find_spec("mlflow") is None:  # an extra: it would bring some 25 distributions to everyone who only runs the tests
        pytest.skip("MLflow is not installed (extra mlflow)")
    uri = f"sqlite:///{tmp_path}/records.db"
    return Store(uri, lambda: of_mlflow(uri))


def of_mlflow(uri: str) -> list[Record]:
    """The runs as MLflow itself tells them."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiments = [each.experiment_id for each in client.search_experiments() if each.name.startswith("tidewatch/")]
    return [
        Record(
            name=run.info.run_name,
            parent=run.data.tags.get("mlflow.parentRunId"),
            status=run.info.status,
            params=run.data.params,
            metrics={name: [each.value for each in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics},
            tags=run.data.tags,
        )
        for run in client.search_runs(experiments)
    ]


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    path = tmp_path_factory.mktemp("contract") / "small.toml"
    path.write_text(small_contract(), encoding="utf-8")
    return contracts.load(path)


@pytest.fixture
def settings(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation whose records go there."""
    monkeypatch.setenv("TIDEWATCH_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    return Settings()


def outcome(design: Design, *, seed: int, accuracy: float = 0.9) -> Outcome:
    return Outcome(design=design.name, seed=seed, accuracy=accuracy, validation_loss=0.1, epochs=2, train_seconds=1.5, predict_seconds=0.1)


def ranked(design: Design, *, chosen: bool) -> Ranked:
    return Ranked(design=design, accuracy=0.9, spread=0.0, error=0.001, train_seconds=1.5, predict_seconds=0.1, chosen=chosen)


def swept(settings: Settings, contract: Contract, *, fails: type[BaseException] | None = None) -> None:
    """A sweep of two designs and two seeds, or one that ends badly after the first training."""
    with tracking.sweep(settings=settings, contract=contract, run="20260302-a1b2c3", lake_version=7) as tracker:
        for design in (SMALL, LARGE):
            for seed in (0, 1):
                tracker.outcome(outcome(design, seed=seed), design=design)
                if fails is not None:
                    raise fails
        tracker.ranked([ranked(LARGE, chosen=False), ranked(SMALL, chosen=True)], designs=[SMALL, LARGE])


def test_a_sweep_leaves_a_run_and_below_it_one_for_each_training(store: Store, settings: Settings, contract: Contract) -> None:
    swept(settings, contract)
    parent = store.named("sweep 20260302-a1b2c3")
    below = [record for record in store.found() if record.parent is not None]
    assert len(store.found()) == 5
    assert {record.parent for record in below} == {below[0].parent}
    assert {record.status for record in store.found()} == {"FINISHED"}
    assert {record.name: record.tags["chosen"] for record in below} == {
        "small, apart, seed 0": "true",
        "small, apart, seed 1": "true",
        "large, seed 0": "false",
        "large, seed 1": "false",
    }
    tags = {"contract": contract.name, "contract_digest": contract.digest, "lake_version": "7", "chosen": "small, apart"}
    assert parent.tags.items() >= tags.items()
    first = store.named("large, seed 1")
    assert first.params.items() >= {"network.hidden": "[8, 8]", "training.seed": "1", "training.overlapping": "True"}.items()
    assert first.metrics.items() >= {"accuracy": [0.9], "validation_loss": [0.1], "train_seconds": [1.5], "cost": [LARGE.cost]}.items()
    assert parent.metrics["accuracy_best"] == [0.9]


@pytest.mark.parametrize(("fails", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_sweep_that_ends_badly_says_so(
    store: Store, settings: Settings, contract: Contract, fails: type[BaseException], status: str
) -> None:
    with pytest.raises(fails):
        swept(settings, contract, fails=fails)
    assert store.named("sweep 20260302-a1b2c3").status == status
    assert store.named("small, apart, seed 0").status == "FINISHED"


def test_a_retrain_leaves_its_epochs_and_what_the_gate_said(store: Store, settings: Settings, contract: Contract, tmp_path: Path) -> None:
    folder = tmp_path / "20260303-b1b2b3"
    (folder / "work").mkdir(parents=True)
    (folder / "work" / "training.json").write_text(
        json.dumps({"network": NETWORK.to_dict(), "training": asdict(Training())}), encoding="utf-8"
    )
    path_of(folder, name="history").parent.mkdir()
    epochs = {
        "number": list(range(1, 401)),
        "loss": [0.5] * 400,
        "validation_loss": [0.25] * 400,
        "seconds": [2.0] * 400,
        "windows": [64] * 400,
    }
    pl.DataFrame(epochs).write_parquet(path_of(folder, name="history"))
    summary = {"flow": "retrain", "contract": "small.toml", "contract_digest": contract.digest, "gate": "hold", "verdict": "held"}
    summary |= {"release": None, "candidate": "4d981eff", "champion": "0b9dd4e8", "accuracy": 0.9384, "skill": 0.004, "lake_version": 3}
    tracking.retrained(tracking.records(settings=settings, contract=contract), summary=summary, folder=folder)
    record = store.named("retrain 20260303-b1b2b3")
    assert (record.status, record.parent, len(store.found())) == ("FINISHED", None, 1)
    assert record.metrics["validation_loss"] == [0.25] * 400
    assert record.metrics["accuracy"] == [0.9384]
    assert record.tags.items() >= {"gate": "hold", "candidate": "4d981eff", "champion": "0b9dd4e8", "lake_version": "3"}.items()
    assert "release" not in record.tags
    assert record.params.items() >= {"training.batch": "64", "network.embedding": "8"}.items()


def test_nothing_is_written_and_mlflow_not_asked_for_where_nobody_wants_records(
    contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # an import would fail
    assert tracking.records(settings=Settings(), contract=contract) is None
    swept(Settings(), contract)
    tracking.retrained(None, summary={}, folder=tmp_path)


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "TIDEWATCH_TRACKING"])
def test_without_mlflow_who_asks_for_records_is_refused(variable: str, contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, ADDRESS)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(
        tracking.TrackingError, match=r"go to https://tracking.example/store, .*not installed.*\nHint: .*extra mlflow"
    ) as refused:
        tracking.records(settings=Settings(), contract=contract)
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(Settings())


def test_the_own_variable_counts_more_than_that_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other:5000")
    monkeypatch.setenv("TIDEWATCH_TRACKING", "http://ours:5000")
    told = Settings().tracking
    assert told is not None
    assert told.get_secret_value() == "http://ours:5000"


def test_a_server_that_cannot_be_reached_is_refused_at_the_start_without_credentials(
    stand_in: StandIn, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    stand_in.until = 0
    with pytest.raises(tracking.TrackingError, match=r"cannot be written to https://tracking.example/store: .*nobody answers") as refused:
        tracking.records(settings=Settings(), contract=contract)
    assert SECRET not in str(refused.value)
    assert refused.value.__suppress_context__, "the cause holds the credentials, and would be printed with it"


def test_a_server_that_goes_away_ends_no_sweep_and_is_told_of_once(
    stand_in: StandIn, contract: Contract, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    stand_in.until = 6
    with caplog.at_level(logging.INFO):
        swept(Settings(), contract)
    assert stand_in.calls > 10
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "nobody answers" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.slow
def test_a_retrain_whose_records_cannot_be_written_is_refused_before_anything_is_learned(
    contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.retrain import learn

    path = tmp_path / "small.toml"
    path.write_text(small_contract(), encoding="utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    run = new_run(tmp_path)
    with pytest.raises(tracking.TrackingError, match="not installed"):
        learn(run, {}, contract=str(path), source="")
    assert run.stages == []


@pytest.mark.slow
@pytest.mark.service
def test_a_retrain_leaves_a_record_and_the_credentials_nowhere(
    released: Released, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.retrain import retrain

    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    summary = retrain(contract=released.fleet.contract, epochs=2)
    (record,) = stand_in.runs.values()
    assert (record.status, record.tags["gate"], record.tags["candidate"]) == ("FINISHED", summary["gate"], summary["candidate"])
    assert len(record.metrics["loss"]) == summary["training"]["epochs"]
    told = [path for path in Path(summary["page"]).parent.rglob("*") if path.suffix in {".json", ".html"}]
    assert told
    assert not [path for path in told if SECRET in path.read_text(encoding="utf-8")]


@pytest.mark.slow
def test_mlflow_itself_tells_no_credentials(
    contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed (extra mlflow)")
    monkeypatch.setenv("TIDEWATCH_TRACKING", f"http://ada:{SECRET}@127.0.0.1:{free_port()}")
    with pytest.raises(tracking.TrackingError, match=r"cannot be written to http://127\.0\.0\.1") as refused:
        tracking.records(settings=Settings(), contract=contract)
    monkeypatch.setenv("TIDEWATCH_TRACKING", f"sqlite:///{tmp_path}/records.db")
    assert tracking.records(settings=Settings(), contract=contract) is not None
    told = capfd.readouterr()
    assert SECRET not in str(refused.value) + told.out + told.err
    with sqlite3.connect(tmp_path / "records.db") as database:
        assert ("tidewatch/fleet",) in database.execute("SELECT name FROM experiments").fetchall()


@pytest.mark.slow
def test_mlflow_sends_nothing_about_us(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed (extra mlflow)")
    code = (
        f"from flows.tracking import Records; Records('sqlite:///{tmp_path}/records.db', contract='fleet')\n"
        "from mlflow.telemetry import get_telemetry_client; assert get_telemetry_client() is None"
    )
    kept = {
        name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH", "HOME"}
    }  # else it takes itself to be tested
    done = subprocess.run([sys.executable, "-c", code], env=kept, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
