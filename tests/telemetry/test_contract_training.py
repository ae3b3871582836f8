"""How a network is trained is declared in the contract: every mistake is told by its key, and what is left out means what it always did."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from telemetry.contract import Contract, parse
from telemetry.errors import ContractError
from telemetry.learning_sections import Training

FLEET = Path(__file__).parents[2] / "infra" / "contracts" / "fleet.toml"
LEAST: dict[str, Any] = {
    "name": "least",
    "entity": {"keys": ["host"]},
    "time": {"column": "t"},
    "parameters": {"cpu": {"unit": "percent", "target": True}},
}
TOLD: dict[str, Any] = {
    "cells": ["lstm", "gru"],
    "loss": "quantile",
    "rise": 0.1,
    "clip": 1.5,
    "precision": "float32",
    "overlapping": False,
    "unknown_share": 0.0,
    "start": "champion",
}
"""Every key that contracts of the first version could not have, other than by default."""


def trained(**changes: Any) -> Contract:
    return parse(LEAST | {"training": changes})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cells": ["lstm"]}, "training.cells: one of lstm and gru is needed for each of the 2 layers of hidden [64, 64], or none"),
        ({"hidden": [8], "cells": ["gru", "gru"]}, "training.cells: one of lstm and gru is needed for each of the 1 layers of hidden [8]"),
        ({"cells": ["rnn", "gru"]}, "training.cells.0: Input should be 'lstm' or 'gru' (found 'rnn')"),
        ({"loss": "mse"}, "training.loss: Input should be 'mae', 'huber', 'gaussian' or 'quantile' (found 'mse')"),
        ({"clip": -1.0}, "training.clip: Input should be greater than or equal to 0"),
        ({"clip": float("inf")}, "training.clip: Input should be a finite number"),
        ({"rise": 1.0}, "training.rise: Input should be less than 1"),
        ({"unknown_share": 1.5}, "training.unknown_share: Input should be less than or equal to 1"),
        ({"overlapping": "sometimes"}, "training.overlapping: Input should be a valid boolean"),
        ({"start": "yesterday"}, "training.start: Input should be 'fresh' or 'champion' (found 'yesterday')"),
        ({"clips": 1.0}, "training.clips: unknown key; allowed here: batch, cells, clip, dense"),
    ],
)
def test_a_mistake_is_told_by_its_key(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ContractError, match=re.escape(told)):
        trained(**changes)


def test_every_key_is_read_and_comes_back_from_a_release() -> None:
    contract = trained(**TOLD)
    assert contract.training.cells == ("lstm", "gru")
    assert (contract.training.loss, contract.training.start) == ("quantile", "champion")
    assert parse(contract.model_dump(mode="json")) == contract


@pytest.mark.parametrize("name", TOLD)
def test_a_key_that_says_something_has_a_digest_of_its_own(name: str) -> None:
    assert trained(**{name: TOLD[name]}).digest != trained().digest


@pytest.mark.parametrize("name", TOLD)
def test_a_key_at_its_default_leaves_a_contract_what_it_was(name: str) -> None:
    usual = Training.model_fields[name].default
    assert trained(**{name: usual}).digest == trained().digest
    assert name not in trained(**{name: usual}).model_dump(mode="json")["training"]


def test_contracts_that_are_older_than_these_keys_keep_their_digest() -> None:
    told = tomllib.loads((FLEET.parent / "smd.toml").read_text(encoding="utf-8"))
    assert parse(told | {"thresholds": {}}, path="smd, not tracked").digest == "69ea599fe1194cf8"


def test_the_annotated_example_shows_every_key_of_the_training_at_its_default_or_otherwise() -> None:
    section = FLEET.read_text(encoding="utf-8").partition("[training]")[2].partition("\n[")[0]
    shown = set(re.findall(r"^(?:# )?(\w+) = ", section, flags=re.MULTILINE))
    assert shown == set(Training.model_fields)
    commented = tomllib.loads("\n".join(re.findall(r"^# (\w+ = [^#]*)", section, flags=re.MULTILINE)))
    usual = {name: Training.model_fields[name].default for name in commented if name != "cells"}
    assert {name: value for name, value in commented.items() if name != "cells"} == usual
