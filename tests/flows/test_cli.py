"""The command line as a person meets it: help at once, refusals with a hint and without a traceback, figures as one last line of JSON."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.settings import CHECKOUT
from tests.flows.conftest import Released, SmallFleet, small_contract
from validation.findings import Finding

COMMANDS = ("demo", "ingest", "check", "retrain", "recalibrate", "sweep", "score", "report", "releases", "rollback", "up")


def tidewatch(*arguments: str, home: Path, told: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TIDEWATCH_HOME": str(home)} | (told or {})
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What a refusal says; it must be one."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "Hint:" in done.stderr
    return done.stderr


def test_help_names_every_command() -> None:
    told = CliRunner().invoke(app, ["--help"]).stdout
    assert all(command in told for command in COMMANDS)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("cohorte = 'region'", "entity.cohorte: unknown key; allowed here: cohort, keys, path_pattern"),
        ("keys = 3", "entity.keys"),
    ],
)
def test_a_typo_in_a_contract_is_named_with_what_is_allowed(tmp_path: Path, line: str, told: str) -> None:
    shipped = (CHECKOUT / "infra" / "contracts" / "fleet.toml").read_text(encoding="utf-8")
    contract = tmp_path / "typo.toml"
    changed = shipped.replace('keys = ["customer", "region"]', line if line.startswith("keys") else f'keys = ["customer"]\n{line}')
    contract.write_text(changed, encoding="utf-8")
    result = CliRunner().invoke(app, ["retrain", "--contract", str(contract)], env={"TIDEWATCH_HOME": str(tmp_path / "home")})
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "home").exists()


def test_a_source_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["ingest", "--source", str(tmp_path / "nowhere")], env={"TIDEWATCH_HOME": str(tmp_path / "home")})
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
    assert "Hint:" in result.stderr
    assert not (tmp_path / "home").exists()


def test_an_unknown_setting_is_refused_by_its_name(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["score"], env={"TIDEWATCH_HOME": str(tmp_path), "TIDEWATCH_HOEM": "x"})
    assert result.exit_code == 2
    assert "TIDEWATCH_HOEM" in result.stderr


def readings(fleet: SmallFleet) -> pl.DataFrame:
    return pl.read_parquet(next(Path(fleet.history).glob("*.parquet"))).head(60)


def missing_column(fleet: SmallFleet, source: Path) -> str:
    readings(fleet).drop("queries").write_csv(source / "a.csv")
    return "queries"


def text_in_every_number(fleet: SmallFleet, source: Path) -> str:
    readings(fleet).with_columns(pl.lit("many").alias("queries")).write_csv(source / "a.csv")
    return "many"


def naive_time(fleet: SmallFleet, source: Path) -> str:
    readings(fleet).with_columns(pl.col("time").dt.replace_time_zone(None)).write_parquet(source / "a.parquet")
    return "zone"


def empty_file(fleet: SmallFleet, source: Path) -> str:
    (source / "a.csv").write_text("", encoding="utf-8")
    return "a.csv"


def binary_csv(fleet: SmallFleet, source: Path) -> str:
    (source / "a.csv").write_bytes(gzip.compress(os.urandom(2000)))
    return "a.csv"


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.parametrize("spoil", [missing_column, text_in_every_number, naive_time, empty_file, binary_csv], ids=lambda f: f.__name__)
def test_bad_telemetry_is_refused_with_a_hint_and_nothing_is_half_written(
    api: None, spoil: Callable[[SmallFleet, Path], str], small_fleet: SmallFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEWATCH_HOME", str(tmp_path / "home"))
    source, contract = tmp_path / "source", tmp_path / "zoneless.toml"
    source.mkdir()
    contract.write_text(small_contract(zone=""), encoding="utf-8")
    named = spoil(small_fleet, source)
    result = CliRunner().invoke(app, ["ingest", "--contract", str(contract), "--source", str(source)])
    assert result.exit_code == 2, result.stderr
    assert named in result.stderr
    assert "Hint:" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "home" / "lake" / "fleet" / "grid").exists()


@pytest.mark.service
@pytest.mark.slow
def test_a_real_process_prints_one_object_of_json_as_its_last_line_and_leaves_no_api_behind(released: Released) -> None:
    done = tidewatch("score", "--contract", released.fleet.contract, "--json", home=released.home)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["verdict"] == "scored"
    assert Path(told["page"]).is_file()
    there = subprocess.run(["ps", "axeww"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True).stdout
    assert not [line for line in there.splitlines() if str(released.home) in line]


def test_the_help_of_the_check_tells_its_exit_codes() -> None:
    told = " ".join(CliRunner().invoke(app, ["check", "--help"]).stdout.split())
    assert "0 passed (warnings too), 1 crashed, 2 refused" in told
    assert "3 a check stopped it" in told


@pytest.mark.service
@pytest.mark.slow
def test_a_check_that_passes_ends_with_0_and_says_where_its_pages_are(
    small_fleet: SmallFleet, tmp_path: Path, told_to: dict[str, str]
) -> None:
    done = tidewatch("check", "--contract", small_fleet.contract, "--source", small_fleet.history, "--json", home=tmp_path, told=told_to)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["verdict"] == "passed"
    assert {finding["severity"] for finding in told["findings"]} <= {"warn"}
    assert told["rows_accepted"] == told["rows_in"] > 0
    assert "passed" in Path(told["data_docs"]).read_text(encoding="utf-8")


@pytest.mark.service
@pytest.mark.slow
def test_a_check_that_stops_ends_with_3_and_names_what_was_found(faulty_fleet: SmallFleet, tmp_path: Path, told_to: dict[str, str]) -> None:
    done = tidewatch("check", "--contract", faulty_fleet.contract, "--source", faulty_fleet.history, "--json", home=tmp_path, told=told_to)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["verdict"], told["error"]) == ("stopped", "DataCheckFailed")
    first = Finding.from_json(told["findings"][0])
    assert first.severity == "stop"
    assert f"{first.entity} / {first.parameter}" in done.stderr
    docs = Path(told["data_docs"])
    assert escape(first.sentence) in docs.read_text(encoding="utf-8")
    (page,) = (docs.parent / "validations").rglob("*.html")
    assert '<svg class="picture"' in page.read_text(encoding="utf-8")
    assert 'href="data_docs/index.html"' in Path(told["page"]).read_text(encoding="utf-8")


@pytest.mark.service
@pytest.mark.slow
def test_a_source_that_cannot_be_read_ends_a_real_process_with_2_without_a_traceback_and_says_why(
    small_fleet: SmallFleet, tmp_path: Path, told_to: dict[str, str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    missing_column(small_fleet, source)
    done = tidewatch("check", "--contract", small_fleet.contract, "--source", str(source), "--json", home=tmp_path / "home", told=told_to)
    assert "queries" in refused(done)
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["verdict"], told["error"]) == ("stopped", "MissingColumnError")
