"""What the command line says of a lake and its quarantine, and what it does to them; without Prefect."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import drafts
from flows.cli import app
from flows.drafts import ContractExistsError, name_of
from tests.flows.lakes import DAY, Edge, make_edge, minute


@pytest.fixture
def edge(tmp_path: Path, home: Path) -> Edge:
    """Two files with bad rows, one of them unreadable as a whole."""
    made = make_edge(tmp_path / "edge")
    made.write("a.csv", *(minute(n) for n in range(20)), minute(20, queries="many"), minute(21, queries="few"), minute(3) + ",4")
    made.write("b.csv", *(minute(n, customer="brim") for n in range(3)), minute(60 * 24 * 40, customer="brim"))
    (made.source / "c.csv").write_text("time,customer\n1,2\n", encoding="utf-8")
    made.take()
    return made


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def told(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(*arguments, "--json").splitlines()[-1])
    return found


def test_the_quarantine_is_listed_by_reason(edge: Edge) -> None:
    found = told("quarantine", "list", "--contract", edge.contract)
    assert (found["open"], found["parts"], found["resolved"]) == (4, 1, 0)
    assert [(each["reason"], each["rows"], each["source"], each["row"]) for each in found["reasons"]] == [
        ("column 'queries' has ..., expected a finite number or nothing", 2, "a.csv", 21),
        ("... lacks the column queries; it has time, customer.", 1, "c.csv", 0),
        ("column 'time' has ..., expected an ISO 8601 time such as 2026-01-31T23:59:00Z, after 1990 and not in the future", 1, "b.csv", 4),
        ("has ... fields, expected 3", 1, "a.csv", 23),
    ]
    text = said("quarantine", "list", "--contract", edge.contract)
    assert '"queries":"many"' in text
    assert text.endswith("4 rows and 1 whole parts are in quarantine; 0 were read after all.\n")


def test_rows_are_shown_as_they_stood_in_their_source(edge: Edge) -> None:
    found = told("quarantine", "show", "--contract", edge.contract, "--source", "a.csv", "--limit", "2")
    assert found["found"] == 3
    assert [row["row"] for row in found["rows"]] == [21, 22]
    text = said("quarantine", "show", "--contract", edge.contract, "--source", "c.csv")
    assert "c.csv, the whole part, since 2024-01-03 00:00: c.csv lacks the column queries" in text


def test_a_retry_reads_what_can_be_read_now_and_says_so(edge: Edge) -> None:
    done = told("quarantine", "retry", "--contract", edge.contract)  # the clock has come to the time of the last row
    assert (done["rows"], done["rows_resolved"], done["rows_left"], done["rows_passed_over"], done["rows_new"]) == (3, 1, 2, 2, 1)
    again = told("quarantine", "list", "--contract", edge.contract)
    assert (again["open"], again["parts"], again["resolved"]) == (3, 1, 1)
    every = told("quarantine", "show", "--contract", edge.contract, "--source", "b.csv", "--all")
    assert [row["resolved"] is not None for row in every["rows"]] == [True]
    assert "read after all" in said("quarantine", "show", "--contract", edge.contract, "--source", "b.csv", "--all")


def test_the_state_of_the_lake_is_a_line_a_table(edge: Edge) -> None:
    tables = {table["table"]: table for table in told("lake", "status", "--contract", edge.contract)["tables"]}
    assert (tables["grid"]["rows"], tables["grid"]["oldest"]) == (23, "2024-01-01")
    assert tables["quarantine"]["rows"] == 5
    lines = said("lake", "status", "--contract", edge.contract).splitlines()
    assert [line.split()[0] for line in lines] == ["table", *tables]


def test_a_lake_that_is_not_there_yet_is_no_error(tmp_path: Path, home: Path) -> None:
    contract = make_edge(tmp_path / "edge").contract
    assert "holds no table yet" in said("lake", "status", "--contract", contract)
    assert said("lake", "compact", "--contract", contract) == "No table had too many files.\n"
    assert said("lake", "retain", "--contract", contract) == "Nothing was older than is kept.\n"
    assert said("quarantine", "list", "--contract", contract).startswith("0 rows")
    assert said("quarantine", "retry", "--contract", contract).startswith("0 of 0 rows")
    assert "0 entities" in said("entities", "--contract", contract)


def test_many_small_files_become_few(edge: Edge) -> None:
    for number in range(5):
        edge.write(f"d{number}.csv", minute(100 + number))
        edge.take()
    assert said("lake", "compact", "--contract", edge.contract) == "Fewer by 5 files of grid.\n"
    assert told("lake", "compact", "--contract", edge.contract)["files_fewer"] == {}


def test_what_is_older_than_is_kept_goes(edge: Edge) -> None:
    removed = told("lake", "retain", "--contract", edge.contract)["rows_removed"]  # by the clock, the grid is months old
    assert removed == {"grid": 23, "quarantine": 5}
    assert told("lake", "retain", "--contract", edge.contract)["sentence"] == "Nothing was older than is kept."


def test_entities_are_told(edge: Edge) -> None:
    found = told("entities", "--contract", edge.contract)
    assert [entity["entity"] for entity in found["entities"]] == ["acme", "brim"]


def test_a_draft_is_written_once_and_says_what_to_settle(tmp_path: Path, home: Path) -> None:
    sample = tmp_path / "sample"
    sample.mkdir()
    rows = [f"{DAY + timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ},{'ab'[n % 2]},{n % 7}" for n in range(200)]
    (sample / "a.csv").write_text("\n".join(("time,host,queries", *rows)) + "\n", encoding="utf-8")
    out = tmp_path / "new" / "edge-hosts.toml"
    text = said("init", str(sample), "--out", str(out))
    draft = out.read_text(encoding="utf-8")
    assert 'name = "edge_hosts"' in draft
    lines = draft.splitlines()
    asked = [int(line.split()[1].rstrip(":")) for line in text.splitlines() if line.startswith("  line ")]
    assert asked
    assert all("REVIEW" in lines[number - 1] for number in asked)
    assert f"tidewatch ingest --contract {out}" in text
    for arguments in (["init", str(sample), "--out", str(out)], ["ingest", "--contract", str(out), "--source", str(sample)]):
        refused = CliRunner().invoke(app, arguments)
        assert refused.exit_code == 2
        assert "Hint:" in refused.stderr
    assert out.read_text(encoding="utf-8") == draft


def test_a_contract_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "a.toml"

    def draft(_sample: Path, *, name: str) -> str:
        out.write_text(f"mine, not {name}", encoding="utf-8")
        return "drafted"

    monkeypatch.setattr(drafts, "draft", draft)
    with pytest.raises(ContractExistsError):
        drafts.written(tmp_path, out=out, name="a")
    assert out.read_text(encoding="utf-8") == "mine, not a"


@pytest.mark.parametrize(("file", "name"), [("a.toml", "a"), ("2026 edge.toml", "telemetry_2026_edge"), ("Ö.toml", "telemetry")])
def test_a_contract_is_named_after_its_file(file: str, name: str) -> None:
    assert name_of(Path(file)) == name
