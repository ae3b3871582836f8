"""Schedules and pools are what this file says. A change to `infra/prefect.yaml` is a change here, on purpose."""

import ast
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: list[dict[str, Any]] = FILE["deployments"]

FIELDS = {"name", "description", "tags", "entrypoint", "parameters", "schedules", "concurrency_limit", "work_pool"}
"""Prefect ignores a field that it does not know: a slip of the pen would be silent."""

each = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])


def test_schedules_are_these() -> None:
    schedules = {each["name"]: [(s["cron"], s["timezone"], s["slug"]) for s in each["schedules"]] for each in DEPLOYMENTS}
    assert schedules == {
        "ingest": [("* * * * *", "UTC", "every-minute")],
        "score": [("* * * * *", "UTC", "every-minute")],
        "quality-report": [("7 * * * *", "UTC", "hourly")],
        "tend": [("41 1 * * *", "UTC", "daily")],
        "recalibrate": [("17 2 * * *", "UTC", "daily")],
        "shadow": [("37 5 * * *", "UTC", "daily")],
        "retrain": [("23 3 * * 0", "UTC", "weekly")],
        "sweep": [],
    }


def test_flows_and_parameters_are_these() -> None:
    assert {each["name"]: (each["entrypoint"], each["parameters"]) for each in DEPLOYMENTS} == {
        "ingest": ("flows.ingest.ingest", {"contract": "fleet", "source": "", "since": None}),
        "score": ("flows.score.score", {"contract": "fleet"}),
        "quality-report": ("flows.quality_report.quality_report", {"contract": "fleet"}),
        "tend": ("flows.tend.tend", {"contract": "fleet"}),
        "recalibrate": ("flows.recalibrate.recalibrate", {"contract": "fleet"}),
        "shadow": ("flows.shadow.shadow", {"contract": "fleet"}),
        "retrain": ("flows.retrain.retrain", {"contract": "fleet", "source": ""}),
        "sweep": ("flows.sweep.sweep", {"contract": "fleet", "source": "", "designs": "all", "seeds": 3}),
    }


def test_nothing_is_pulled() -> None:
    assert FILE["pull"] == []


@each
def test_a_writer_runs_once_at_a_time_in_the_pool_that_up_makes(deployment: dict[str, Any]) -> None:
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert deployment["work_pool"] == {
        "name": "tidewatch",
        "job_variables": {"command": "python -P -m flows.watched prefect.engine", "working_dir": "{{ $PWD }}"},
    }


@each
def test_every_field_is_known_to_prefect_and_says_something(deployment: dict[str, Any]) -> None:
    assert set(deployment) == FIELDS
    assert deployment["description"].endswith(".")
    assert deployment["tags"][0] == "tidewatch"


@each
def test_the_entrypoint_is_a_flow_of_that_name_and_takes_the_parameters(deployment: dict[str, Any]) -> None:
    """Read, not imported: Prefect stays out of the unit part."""
    *module, name = deployment["entrypoint"].split(".")
    tree = ast.parse((ROOT / Path(*module)).with_suffix(".py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    decorator = function.decorator_list[0]
    assert isinstance(decorator, ast.Call)
    assert {key.arg: ast.literal_eval(key.value) for key in decorator.keywords}["name"] == deployment["name"]
    assert set(deployment["parameters"]) <= {argument.arg for argument in function.args.args}
    assert len(function.args.defaults) == len(function.args.args)  # the form can be sent as it is


@pytest.mark.slow
def test_the_file_is_one_that_prefect_reads() -> None:
    from prefect.cli.deploy._models import PrefectYamlModel  # the model that `prefect deploy` reads it with

    read = PrefectYamlModel.model_validate(FILE)
    assert [each.name for each in read.deployments] == [each["name"] for each in DEPLOYMENTS]
    assert os.environ["PREFECT_HOME"]  # the tests' own, never the user's
