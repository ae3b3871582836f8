"""A draft says what a sample looks like, marks what a person must confirm, is a contract, reads the sample, and is not used unread."""

import csv
import io
import json
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from telemetry.contract import Contract, load, parse
from telemetry.drafting import REVIEW, draft
from telemetry.errors import BadValueError, ContractError, EmptySourceError, SourceMissingError
from telemetry.files import FileSource
from telemetry.sources import read

NOW = datetime(2026, 11, 21, tzinfo=UTC)
START = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def sample(tmp_path: Path) -> Callable[..., Path]:
    """A file in a folder `sample` of rows that a function tells by their number; the folder."""

    def write(name: str, header: str, row: Callable[[int], str], *, rows: int = 60) -> Path:
        path = tmp_path / "sample" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [header] * bool(header) + [row(number) for number in range(rows)]
        path.write_text("\n".join(lines) + "\n")
        return tmp_path / "sample"

    return write


def stamp(number: int, *, form: str = "%Y-%m-%dT%H:%M:%SZ", step: timedelta = timedelta(minutes=1)) -> str:
    return (START + number * step).strftime(form)


def drafted(sample: Path) -> tuple[Contract, str]:
    text = draft(sample, name="drafted")
    return parse(tomllib.loads(text)), text


def shares(sample: Path, contract: Contract) -> tuple[int, int]:
    """Rows of a sample, and how many of them are accepted or repeated."""
    parts = FileSource(str(sample), contract=contract).parts(since=None, until=None).parts
    batches = [batch for part in parts for batch in read(part, contract=contract, now=NOW)]
    return sum(batch.rows_in for batch in batches), sum(batch.accepted + batch.repeated for batch in batches)


def told(text: str, line: str) -> str:
    """The comment behind a line of a draft."""
    return next(each.partition("#")[2] for each in text.splitlines() if each.startswith(line))


def test_a_wide_file_of_a_fleet_is_understood(sample: Callable[..., Path]) -> None:
    who = [("acme", "eu"), ("acme", "us"), ("bolt", "eu"), ("bolt", "us"), ("crew", "eu")]
    header = "time,customer,region,requests,latency (ms),cpu_usage,rx_bytes_total,label"

    def row(number: int) -> str:
        customer, region = who[number % 5]
        noise = (number * 37) % 101
        return f"{stamp(number // 5)},{customer},{region},{noise},{noise / 7:.3f},{noise * 0.9:.1f},{number * 1000},{number % 2}"

    source = sample("fleet.csv", header, row, rows=300)
    contract, text = drafted(source)
    assert (contract.entity.keys, contract.entity.cohort) == (("customer", "region"), "region")
    assert (contract.time.column, contract.time.format, contract.time.zone, contract.time.cadence_seconds) == ("time", "iso", None, 60)
    assert contract.label_column == "label"
    found = {name: (each.column, each.unit, each.aggregation) for name, each in contract.parameters.items()}
    assert found == {
        "requests": (None, "count", "sum"),
        "latency": ("latency (ms)", "ms", "mean"),
        "cpu_usage": (None, "percent", "mean"),
        "rx_bytes_total": (None, "B", "counter"),
    }
    assert set(contract.targets) == {"requests", "latency", "cpu_usage"}
    assert shares(source, contract) == (300, 300)
    assert told(text, 'unit = "ms"') == " the header says '(ms)'"


def test_semicolons_decimal_commas_and_days_before_months_are_understood(sample: Callable[..., Path]) -> None:
    form = "%d.%m.%Y %H:%M"
    source = sample("export.csv", "Zeit;Temperatur;Druck (hPa)", lambda n: f"{stamp(n, form=form)};{n % 9},5;{1000 + n % 7},25")
    contract, text = drafted(source)
    assert (contract.files.separator, contract.files.decimal_comma, contract.files.header) == (";", True, True)
    assert (contract.time.format, contract.time.pattern, contract.time.zone) == ("pattern", form, "UTC")
    assert told(text, "zone").startswith(f" {REVIEW[2:]} the times carry no zone")
    assert contract.parameters["druck"].unit == "hPa"
    assert shares(source, contract) == (60, 60)


def test_a_date_that_could_be_read_both_ways_is_to_be_confirmed(sample: Callable[..., Path]) -> None:
    _, text = drafted(sample("export.csv", "when,load", lambda n: f"{stamp(n, form='%d/%m/%Y %H:%M')},{n % 5}.5"))
    assert "'%m/%d/%Y %H:%M' reads it as well: which comes first, the day or the month?" in told(text, "pattern")


def test_the_long_layout_with_a_unit_a_row_is_understood(sample: Callable[..., Path]) -> None:
    names = (("cpu", "percent"), ("rtt", "ms"), ("Disk free", "GB"))

    def row(number: int) -> str:
        name, unit = names[number % 3]
        return f"{int(START.timestamp() * 1000) + number // 6 * 30_000}\th{number // 3 % 2}\t{name}\t{number % 13}.5\t{unit}"

    source = sample("readings.tsv", "ts\thost\tmetric\tvalue\tunit", row, rows=120)
    contract, _ = drafted(source)
    assert (contract.layout.kind, contract.layout.parameter_column, contract.layout.value_column) == ("long", "metric", "value")
    assert (contract.layout.unit_column, contract.entity.keys, contract.time.cadence_seconds) == ("unit", ("host",), 30)
    assert (contract.time.format, contract.files.separator) == ("epoch_ms", ",")
    found = {name: (each.column, each.unit) for name, each in contract.parameters.items()}
    assert found == {"cpu": (None, "percent"), "rtt": (None, "ms"), "disk_free": ("Disk free", "GB")}
    assert shares(source, contract) == (120, 120)


def test_one_file_an_entity_becomes_a_group_of_the_path_and_other_tables_are_passed_over(sample: Callable[..., Path]) -> None:
    for half, first in (("train", 0), ("test", 60)):
        for machine in ("m-1", "m-2"):
            sample(f"{half}/{machine}.csv", "minute,cpu", lambda n, first=first: f"{first + n},{(n * 7) % 10 / 10}")
    source = sample("causes/m-1.csv", "start,end", lambda n: f"{n},{n + 1}", rows=3)
    contract, text = drafted(source)
    assert (contract.entity.keys, contract.time.format) == (("file",), "minute_index")
    assert contract.entity.path_pattern == r"(?:^|/)(?:test|train)/(?P<file>[^/]+)\.csv$"
    assert "# Not taken: causes/m-1.csv" in text
    assert shares(source, contract) == (240, 240)


def test_numbers_alone_have_neither_header_nor_time(sample: Callable[..., Path]) -> None:
    source = sample("machine7.csv", "", lambda n: f"{n % 3}.25, {n % 5}.5")
    contract, text = drafted(source)
    assert (contract.files.header, contract.time.format, contract.time.column) == (False, "row", "")
    assert tuple(each.column or name for name, each in contract.parameters.items()) == ("column_1", "column_2")
    assert told(text, "origin").startswith(f" {REVIEW[2:]} the instant of 0")
    assert shares(source, contract) == (60, 60)


def test_json_lines_with_a_second_clock_and_a_nested_value_are_understood(tmp_path: Path) -> None:
    rows = [
        {"at": stamp(n), "sent": int(START.timestamp()) + 60 * n, "sensor_id": n % 2, "volts": 3.5 + n % 4, "tags": {"a": 1}}
        for n in range(40)
    ]
    path = tmp_path / "sensors.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    contract, text = drafted(path)
    assert contract.time.clock is not None
    assert (contract.time.column, contract.time.clock.column, contract.time.clock.format) == ("at", "sent", "epoch_s")
    assert (contract.entity.keys, contract.parameters["volts"].unit) == (("sensor_id",), "V")
    assert "# Not taken: tags (is no single value)." in text
    assert shares(path, contract) == (40, 40)


def test_parquet_of_typed_columns_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "hosts.parquet"
    times = [START.replace(tzinfo=None) + timedelta(minutes=5) * n for n in range(50)]
    frame = pl.DataFrame({"time": times * 2, "host": ["a"] * 50 + ["b"] * 50, "temperature": [20.0 + n % 7 for n in range(100)]})
    frame.with_columns(pl.col("host").cast(pl.Categorical)).write_parquet(path)
    contract, _ = drafted(path)
    assert (contract.entity.keys, contract.time.cadence_seconds, contract.time.zone) == (("host",), 300, "UTC")
    assert contract.parameters["temperature"].unit == "degC"


def test_a_draft_is_not_used_before_someone_has_reviewed_it(sample: Callable[..., Path], tmp_path: Path) -> None:
    _, text = drafted(sample("a.csv", "time,host,cpu", lambda n: f"{stamp(n)},h1,{n}.5"))
    path = tmp_path / "drafted.toml"
    path.write_text(text)
    with pytest.raises(ContractError, match="draft that nobody has reviewed"):
        load(path)
    assert told(text, "reviewed = false").startswith(f" {REVIEW[2:]}")
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("reviewed = false")))
    assert load(path).targets == ("cpu",)


def test_every_guess_that_the_source_does_not_tell_is_marked(sample: Callable[..., Path]) -> None:
    _, text = drafted(sample("a.csv", "date,x,y (ms)", lambda n: f"{stamp(n, form='%Y-%m-%d %H:%M')},{n % 3}.5,{n % 4}"))
    marked = {line.partition(" =")[0] for line in text.splitlines() if REVIEW in line}
    assert marked == {"description", "reviewed", "keys", "path_pattern", "zone", "unit", "target"}
    assert [line.partition("#")[2] for line in text.splitlines() if line.startswith("unit") and REVIEW not in line] == [
        " the header says '(ms)'"
    ]


@pytest.mark.parametrize(
    ("name", "content", "error", "match"),
    [
        ("empty.csv", "", EmptySourceError, "holds no row"),
        (
            "words.csv",
            "time,host\n2026-05-01T00:00:00Z,h1\n",
            BadValueError,
            "no column of numbers.*\n?Hint: name a file with measurements",
        ),
        ("notes.txt", "time,cpu\n", SourceMissingError, "There is no telemetry"),
        ("damaged.parquet", "PAR1", BadValueError, "damaged.parquet cannot be read as Parquet"),
    ],
)
def test_what_is_no_sample_is_refused(tmp_path: Path, name: str, content: str, error: type[Exception], match: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(error, match=match):
        draft(path, name="drafted")


def test_a_name_that_no_contract_may_have_is_refused(sample: Callable[..., Path]) -> None:
    with pytest.raises(ContractError, match="name: String should match pattern"):
        draft(sample("a.csv", "time,cpu", lambda n: f"{stamp(n)},{n}"), name="Not a name")


# Polars takes a column called `*` or `^...$` for a pattern of names.
_headers = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0*^"), max_size=12), min_size=1, max_size=5)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(header=["a\x7fb", 'a "quote"', "back\\slash", "tab\tin it", "# no comment"], values=[0.1, 2.0, 0.3])
@given(header=_headers, values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3, max_size=3))
def test_whatever_columns_are_called_the_draft_is_a_contract(tmp_path: Path, header: list[str], values: list[float]) -> None:
    written = io.StringIO()
    table = csv.writer(written)
    table.writerow(["time", "host", "cpu", *header])
    table.writerows([stamp(n), "h1", 2.5, *(values[n] for _ in header)] for n in range(3))
    path = tmp_path / "odd.csv"
    path.write_text(written.getvalue(), newline="")
    contract, _ = drafted(path)
    assert contract.time.column == "time"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("accel_normal_head500.csv", {"time": "second_index", "column": "TimeStamp (s)", "keys": ("SensorId",), "parameters": 24}),
        ("ibm_lorenz_broken_head300.jsonl", {"time": "row", "column": "", "keys": ("file",), "parameters": 3}),
        ("jumpstarter_d2_service1_test_head288.csv", {"time": "row", "column": "", "keys": ("file",), "parameters": 19}),
        ("ms_mongo-01_head1440.csv", {"time": "iso", "column": "TimeStamp", "keys": ("file",), "parameters": 1, "label": "Label"}),
        ("nab_ec2_cpu_utilization_5f5533.csv", {"time": "iso", "column": "timestamp", "keys": ("file",), "parameters": 1}),
        ("nezha_frontend_2022-08-22.csv", {"time": "iso", "column": "Time", "keys": ("PodName",), "parameters": 19, "clock": "TimeStamp"}),
        ("uci_energydata_head500.csv", {"time": "iso", "column": "date", "keys": ("file",), "parameters": 28}),
    ],
)
def test_a_publishers_own_file_is_drafted_and_every_row_read(data: Path, name: str, meant: dict[str, Any]) -> None:
    path = data / "raw_samples" / name
    contract, _ = drafted(path)
    clock = contract.time.clock.column if contract.time.clock else None
    found = {"time": contract.time.format, "column": contract.time.column, "keys": contract.entity.keys, "parameters": len(contract.names)}
    assert found | {"clock": clock, "label": contract.label_column} == {"clock": None, "label": None} | meant
    rows, read_well = shares(path, contract)
    assert read_well == rows > 0


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "keys", "label", "unread"),
    [
        ("jumpstarter", ("file",), "label", 0),
        ("nezha", ("system", "pod"), None, 0),
        ("nab", ("series",), "in_window", 9),
        ("ms_cloud", ("series",), "label", 3),
        ("smd", ("file",), "label", 0),
        ("asd", ("file",), "label", 0),
        ("aiops_kpi_5min", ("kpi",), "label", 0),
    ],
)
def test_a_public_set_is_drafted_and_its_rows_read(data: Path, name: str, keys: tuple[str, ...], label: str | None, unread: int) -> None:
    contract, _ = drafted(data / name)
    assert (contract.entity.keys, contract.label_column) == (keys, label)
    rows, read_well = shares(data / name, contract)
    assert rows - read_well == unread
