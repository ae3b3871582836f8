"""A training in the pipeline: as the contract says, gone on with after a kill, begun with the champion, taken apart, stopped."""

import fcntl
import json
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from flows import checkpoints
from flows.cli import app
from flows.ingest import ingest
from flows.lakes import lake_of
from flows.prepare import build
from flows.recalibrate import recalibrate
from flows.retrain import retrain
from flows.score import score
from flows.settings import Settings
from flows.starts import Start, _unlike_attributes, carried_over, start_of
from flows.tend import tend
from flows.train import Changes, network_of, training_of
from flows.train_alone import train_alone
from models import train as trainer
from models.config import Training
from serving import ledger
from serving.release import Release, load
from telemetry import contract as contracts
from telemetry import scaling, windows
from telemetry.errors import TrainingError
from telemetry.panel import Panel
from telemetry.schema import ENTITIES, SCORES
from tests.flows.conftest import Released, SmallFleet
from tests.flows.processes import tidewatch
from tests.models.panels import make_panel

pytestmark = [pytest.mark.service, pytest.mark.slow]
TOLD: dict[str, Any] = {
    "hidden": (16, 8),
    "cells": ("lstm", "gru"),
    "dense": 12,
    "embedding": 3,
    "loss": "quantile",
    "batch": 32,
    "learning_rate": 0.01,
    "schedule": "cosine",
    "rise": 0.1,
    "clip": 1.5,
    "precision": "float32",
    "epochs": 3,
    "patience": 2,
    "overlapping": False,
    "unknown_share": 0.3,
    "seed": 7,
}


def contract_with(fleet: SmallFleet, folder: Path, **training: Any) -> str:
    """The fleet's contract with other lines in `[training]`, which is its last section."""
    head, _, before = Path(fleet.contract).read_text(encoding="utf-8").partition("[training]\n")
    kept = [line for line in before.splitlines() if line.partition("=")[0].strip() not in training]
    lines = [f"{name} = {json.dumps(value)}" for name, value in training.items()]
    path = folder / "changed.toml"
    path.write_text("\n".join([head, "[training]", *kept, *lines, ""]), encoding="utf-8")
    return str(path)


def release_of(summary: dict[str, Any], *, home: Path) -> Release:
    return load(summary["candidate"], folder=home / "releases")


def bytes_of(release: Release) -> dict[str, bytes]:
    return {name: weight.tobytes() for name, weight in release.weights.items()}


def test_every_option_of_the_contract_comes_to_the_network_or_to_its_training(small_fleet: SmallFleet) -> None:
    contract = contracts.load(Path(small_fleet.contract))
    declared = contract.model_copy(update={"training": contract.training.model_copy(update=TOLD)})
    panel: Panel = make_panel(parameters=4)
    network, training = network_of(panel, contract=declared), training_of(declared)
    assert network.layers == (("lstm", 16), ("gru", 8))
    assert (network.dense, network.embedding, network.extras) == (12, 3, 4)
    ours = {name: value for name, value in asdict(training).items() if name in TOLD}
    assert ours == {name: TOLD[name] for name in ours}
    assert set(TOLD) - set(ours) == {"hidden", "cells", "dense", "embedding"}
    assert set(Training.__dataclass_fields__) - set(ours) == {"time_steps", "warmup_steps", "supervision"}  # of the section windows
    changed = training_of(declared, changes=Changes(epochs=9, learning_rate=0.5, seed=0))
    assert (changed.epochs, changed.learning_rate, changed.seed) == (9, 0.5, 0)


def test_what_a_loss_tells_beside_and_other_cells_go_the_whole_way(api: None, home: Path, small_fleet: SmallFleet, tmp_path: Path) -> None:
    contract = contract_with(small_fleet, tmp_path, cells=["lstm", "gru"], loss="quantile", clip=1.0)
    learned = retrain(contract=contract, source=small_fleet.history, labels=small_fleet.labels)
    assert learned["verdict"] == "promoted", learned["sentence"]
    release = release_of(learned, home=home)
    assert (release.network["cells"], release.network["extras"]) == (["lstm", "gru"], 4)
    assert release.manifest["training"]["loss"] == "quantile"
    targets = len(release.network["targets"]) * len(release.network["leads"])
    assert release.weights["head.bias"].shape == (5 * targets,)
    scored = score(contract=contract, source=small_fleet.live)
    assert scored["scored_by"] == learned["release"]
    rows = lake_of(contracts.load(Path(contract)), settings=Settings()).read("scores", schema=SCORES).collect()
    assert 0 < rows.height <= scored["scored_minutes"] * (targets + 1)  # each, and all together
    assert rows["forecast"].is_finite().all()
    assert recalibrate(contract=contract)["verdict"] == "promoted"


def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    told_to: dict[str, str], small_fleet: SmallFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="models.train")
    contract = contract_with(small_fleet, tmp_path, epochs=24, patience=24)
    monkeypatch.setenv("TIDEWATCH_HOME", str(tmp_path / "whole"))
    whole = retrain(contract=contract, source=small_fleet.history)
    home = tmp_path / "killed"
    with tidewatch("retrain", "--contract", contract, "--source", small_fleet.history, home=home, told=told_to) as command:
        command.wait_until(lambda: "epoch 2/24" in command.told)
        command.process.send_signal(signal.SIGKILL)
        command.process.wait()
    assert "epoch 24/24" not in command.told, "it was killed too late"
    assert any(place.is_dir() for place in (home / "checkpoints").iterdir())
    monkeypatch.setenv("TIDEWATCH_HOME", str(home))
    resumed = retrain(contract=contract)
    after = resumed["training"]["resumed_epochs"]
    assert 2 <= after < 24
    assert [record.getMessage() for record in caplog.records if "going on" in record.msg] == [f"going on after epoch {after}"]
    (stage,) = [stage for stage in resumed["stages"] if stage["name"] == "train"]
    assert f"gone on after epoch {after}, where a run was killed" in stage["note"]
    assert resumed["training"]["epochs"] == whole["training"]["epochs"] == 24
    assert bytes_of(release_of(resumed, home=home)) == bytes_of(release_of(whole, home=tmp_path / "whole"))
    assert pl.read_parquet(Path(resumed["page"]).parent / "data" / "history.parquet").height == 24
    assert not any(place.is_dir() for place in (home / "checkpoints").iterdir())
    assert train_alone(contract=contract)["training"]["resumed_epochs"] == 0


def test_what_no_training_came_back_for_goes_after_a_week_but_not_while_one_is_at_work(released: Released) -> None:
    settings, now = Settings(), datetime.now(UTC)
    folder = settings.home / "checkpoints"
    for name, days in (("old", 8), ("new", 6)):
        (folder / name / "3").mkdir(parents=True)
        at = (now - timedelta(days=days)).timestamp()
        os.utime(folder / name, (at, at))
    with (folder / checkpoints.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert checkpoints.forget(settings, now=now) == 0
        with checkpoints.kept(settings, now=now) as kept:
            assert kept.folder is None, "two trainings would write into each other's checkpoints"
    notes = {stage["name"]: stage["note"] for stage in tend(contract=released.fleet.contract)["stages"]}
    assert notes["retain"].endswith("Removed the checkpoints of 1 trainings that never came back.")
    assert sorted(place.name for place in folder.iterdir() if place.is_dir()) == ["new"]
    with checkpoints.kept(settings, now=now) as kept:
        assert kept.before == {folder / "new": 3}
        assert kept.resumed() == 0
        (folder / "new" / "3").rmdir()
        (folder / "new").rmdir()
        assert kept.resumed() == 3


def test_a_start_with_the_champion_is_ahead_of_a_fresh_one_and_says_so(released: Released) -> None:
    contract = released.fleet.contract
    ingest(contract=contract, source=released.fleet.live)
    fresh = train_alone(contract=contract, epochs=1)
    warm = train_alone(contract=contract, epochs=1, start="champion")
    assert (fresh["training"]["started_from"], fresh["training"]["fresh_because"]) == (None, None)
    assert (warm["training"]["started_from"], warm["training"]["fresh_because"]) == (released.summary["release"], None)
    assert warm["training"]["validation_loss"] < fresh["training"]["validation_loss"]
    assert f"begun with the weights of {released.summary['release']}" in warm["sentence"]
    assert warm["verdict"] == "trained"
    assert ledger.history(lake_of(contracts.load(Path(contract)), settings=Settings())).height == 1, "nothing is published"


def test_a_release_says_with_whose_weights_it_began_and_a_fresh_one_is_as_ever(released: Released, tmp_path: Path) -> None:
    ingest(contract=released.fleet.contract, source=released.fleet.live)
    warm = retrain(contract=contract_with(released.fleet, tmp_path, start="champion", learning_rate=0.003))
    assert warm["training"]["started_from"] == released.summary["release"]
    assert release_of(warm, home=released.home).manifest["training"]["started_from"] == released.summary["release"]
    assert "started_from" not in release_of(released.summary, home=released.home).manifest["training"]


def test_a_champion_that_is_another_network_is_no_start_and_the_run_says_so(released: Released, tmp_path: Path) -> None:
    told = train_alone(contract=contract_with(released.fleet, tmp_path, hidden=[8, 8]), epochs=1, start="champion")
    why = f"{released.summary['release']} is another network: hidden [16, 16], now [8, 8]"
    assert (told["training"]["started_from"], told["training"]["fresh_because"]) == (None, why)
    assert f"begun afresh: {why}" in told["sentence"]


def start_with(contract: str) -> Start:
    """What a training by that contract would begin with where the champion is asked for."""
    declared, settings = contracts.load(Path(contract)), Settings()
    lake = lake_of(declared, settings=settings)
    grid, entities = lake.grid(contract=declared), lake.read("entities", schema=ENTITIES).collect()
    parts = windows.cuts(grid, contract=declared)
    scales = scaling.fit(grid, contract=declared, entities=entities, cuts=parts)
    panel = build(grid, lake=lake, contract=declared, scales=scales, parts=parts)
    return start_of(
        "champion", panel=panel, network=network_of(panel, contract=declared), contract=declared, parts=parts, settings=settings
    )


def test_only_a_champion_of_the_same_network_and_parameters_is_a_start(released: Released, tmp_path: Path) -> None:
    contract, name = Path(released.fleet.contract), released.summary["release"]
    assert start_with(str(contract)).release == name, "what is changed below is all that is in the way"
    for changes, why in (
        ({"cells": ["lstm", "gru"]}, "is another network: cells ['lstm', 'lstm'], now ['lstm', 'gru']"),
        ({"loss": "gaussian"}, "is another network: extras 0, now 1"),
    ):
        start = start_with(contract_with(released.fleet, tmp_path, **changes))
        assert (start.release, start.weights, start.why) == (None, None, f"{name} {why}")
    fewer = tmp_path / "fewer.toml"
    before, _, rest = contract.read_text(encoding="utf-8").partition("[parameters.cpu]")
    fewer.write_text(before + "[parameters." + rest.partition("[parameters.")[2], encoding="utf-8")
    assert start_with(str(fewer)).why == f"{name} has learned other parameters: it alone has cpu"


def test_a_champion_that_has_seen_what_the_new_model_is_judged_on_is_no_start(released: Released, tmp_path: Path) -> None:
    contract = tmp_path / "earlier.toml"
    told = Path(released.fleet.contract).read_text(encoding="utf-8")
    contract.write_text(told.replace("test_share = 0.25", "test_share = 0.4"), encoding="utf-8")
    start = start_with(str(contract))
    assert start.release is None
    assert "later than the new training's end at" in str(start.why)
    contract.write_text(told.replace("test_share = 0.25", "test_share = 0.3").replace("calibrate_share = 0.15", "calibrate_share = 0.05"))
    start = start_with(str(contract))
    assert start.release is None
    assert "into the new test that begins at" in str(start.why)


def test_without_a_champion_a_training_begins_afresh_and_says_why(api: None, home: Path, small_fleet: SmallFleet) -> None:
    told = train_alone(contract=small_fleet.contract, source=small_fleet.history, epochs=1, start="champion")
    assert told["training"]["fresh_because"] == "no release is in force"


def test_a_profile_stands_in_the_summary_and_on_the_page(released: Released) -> None:
    told = train_alone(contract=released.fleet.contract, epochs=1, profile=True)
    profile = told["profile"]
    assert sum(part["share"] for part in profile["parts"] if part["share"] is not None) == pytest.approx(1, abs=1e-4)
    assert json.loads((Path(told["page"]).parent / "summary.json").read_text())["profile"] == profile
    page = Path(told["page"]).read_text(encoding="utf-8")
    assert 'id="profile"' in page
    assert all(part["name"] in page for part in profile["parts"])
    assert f"{profile['windows_a_second']:,.0f} windows" in page
    assert [stage["name"] for stage in told["stages"]] == ["check", "prepare", "profile", "train"]


def test_a_training_that_explodes_says_in_which_steps_and_by_which_weights(released: Released, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"not finite in training steps \d+ to \d+ \(epoch \d+\)") as failed:
        retrain(contract=released.fleet.contract, learning_rate=1e30)
    folder = max((released.home / "runs" / "retrain").iterdir(), key=lambda place: place.stat().st_mtime)
    told = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert told["verdict"] == "stopped"
    assert failed.value.message in told["sentence"]
    assert "layers.0.input_kernel" in told["sentence"]
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "layers.0.input_kernel" in page
    assert "lower training.learning_rate in the contract" in page
    assert ledger.champion(lake_of(contracts.load(Path(released.fleet.contract)), settings=Settings())) is not None
    result = CliRunner().invoke(app, ["train", "--contract", released.fleet.contract, "--learning-rate", "1e30", "--json"])
    assert result.exit_code == 2
    last = json.loads(result.stdout.splitlines()[-1])
    assert (last["error"], last["verdict"]) == ("TrainingError", "stopped")
    assert "Traceback" not in result.stderr


def test_epochs_before_a_training_broke_off_are_on_its_page(released: Released, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, on_epoch: Callable[[trainer.Epoch], None], **named: Any) -> None:
        for number in (1, 2):
            on_epoch(trainer.Epoch(number=number, loss=0.4, validation_loss=0.5, seconds=1.0, windows=64))
        raise TrainingError("The loss is not finite in training steps 40 to 41 (epoch 3).")

    monkeypatch.setattr(trainer, "fit", broken)
    with pytest.raises(TrainingError):
        train_alone(contract=released.fleet.contract)
    (folder,) = (released.home / "runs" / "train").iterdir()
    assert pl.read_parquet(folder / "data" / "history.parquet")["number"].to_list() == [1, 2]
    assert 'id="training"' in (folder / "index.html").read_text(encoding="utf-8")


def test_the_champions_rows_go_to_their_entities_and_newcomers_get_the_shared_prior() -> None:
    before = {"correction": np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32), "prior": np.ones(2, dtype=np.float32)}
    after = carried_over(before, known=("a", "b", "c"), entities=("c", "d", "a"))
    assert after["correction"].tolist() == [[5, 6], [0, 0], [1, 2]]
    assert after["correction"].dtype == np.float32
    assert after["prior"] is before["prior"]


def test_attributes_of_other_values_are_no_start_though_there_are_as_many(small_fleet: SmallFleet, tmp_path: Path) -> None:
    path = tmp_path / "attributed.toml"
    path.write_text(f'{Path(small_fleet.contract).read_text(encoding="utf-8")}\n[attributes]\none_hot = ["region"]\n', encoding="utf-8")
    learned = contracts.load(path)
    counted = pl.DataFrame({"entity": ["acme/eu", "acme/us"], "count": [9, 9]})
    release = SimpleNamespace(id="r", manifest={"entities": ["acme/eu", "acme/us"]}, scales=counted)
    nobody = pl.DataFrame(schema=ENTITIES)

    def why(*attributes: str) -> str | None:
        panel = replace(make_panel(entities=2), attributes=attributes, static=np.zeros((2, len(attributes)), dtype=np.float32))
        return _unlike_attributes(cast("Release", release), learned=learned, panel=panel, entities=nobody)

    assert why() is None
    assert why("region=eu", "region=us") is None
    assert why("region=ap", "region=eu") == "knows other attributes: region=eu, region=us, now region=ap, region=eu"
