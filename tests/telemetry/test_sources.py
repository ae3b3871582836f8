"""Files become readings; what cannot be read is in the quarantine with its reason, or the file is refused by a message that helps."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.errors import BadValueError, EmptySourceError, MissingColumnError, NaiveTimeError, TidewatchError, UnitError
from telemetry.lake import Lake
from telemetry.resample import to_grid
from telemetry.schema import AT, COHORT, ENTITY, LABEL, QUARANTINE, REASON, ROW, ROWS_QUARANTINED, SOURCE, TEXT, TIME
from telemetry.sources import Readings, read, scan

Declare = Callable[..., Contract]
Write = Callable[..., Path]
HEADER = b"time,customer,region,queries,query_time,cpu\n"
GOOD = "2026-01-01T00:00:00Z,acme,eu,5,0.25,10"
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


def readings(path: Path, contract: Contract, **how: Any) -> Readings:
    return read(scan(path, contract=contract).files, contract=contract, **how)


def values(found: Readings) -> list[tuple[Any, ...]]:
    return found.frame.select(ENTITY, COHORT, AT, "queries", "query_time", "cpu").collect().rows()


def test_a_row_is_keyed_timed_and_converted(declare: Declare, write: Write) -> None:
    assert values(readings(write(GOOD), declare())) == [("acme/eu", "eu", MIDNIGHT, 5.0, 250.0, 10.0)]


def test_every_format_says_the_same(declare: Declare, write: Write, tmp_path: Path) -> None:
    csv = write(GOOD, "2026-01-01T00:01:00Z,acme,us,,0.5,1e1")
    text = pl.read_csv(csv, infer_schema=False)
    typed = text.with_columns(pl.col("time").str.to_datetime(time_zone="UTC"), pl.col("queries", "query_time", "cpu").cast(pl.Float64))
    files = {name: tmp_path / f"readings.{name}" for name in ("csv.gz", "parquet", "jsonl", "ndjson")}
    files["csv.gz"].write_bytes(gzip.compress(csv.read_bytes()))
    typed.write_parquet(files["parquet"])
    typed.with_columns(text["time"]).write_ndjson(files["jsonl"])
    text.write_ndjson(files["ndjson"])
    expected = readings(csv, declare()).frame.collect()
    for path in files.values():
        assert_frame_equal(readings(path, declare()).frame.collect(), expected)


def test_blanks_around_headers_cells_and_quotes_do_not_matter(declare: Declare, write: Write) -> None:
    path = write('2026-01-01T00:00:00Z , acme, eu ," 5",0.25, 10', header="\ufefftime, customer ,region,queries, query_time,cpu ")
    assert values(readings(path, declare())) == [("acme/eu", "eu", MIDNIGHT, 5.0, 250.0, 10.0)]


def test_keys_come_from_the_path_where_its_pattern_names_them(declare: Declare, write: Write, tmp_path: Path) -> None:
    write("2026-01-01T00:00:00Z,5,0.25,10", header="time,queries,query_time,cpu", name="eu/acme.csv")
    by_path = {"keys": ["customer"], "cohort": "region", "path_pattern": r"(?P<region>\w+)/(?P<customer>\w+)\.csv$"}
    found = readings(tmp_path / "source", declare(entity=by_path))
    assert values(found) == [("acme", "eu", MIDNIGHT, 5.0, 250.0, 10.0)]


def test_without_a_cohort_everyone_is_alike(declare: Declare, write: Write) -> None:
    found = readings(write(GOOD), declare(entity={"keys": ["customer"]}))
    assert found.frame.select(ENTITY, COHORT).collect().rows() == [("acme", "all")]


def test_a_column_may_have_another_name_in_the_source(declare: Declare, write: Write) -> None:
    contract = declare(parameters={"cpu": {"column": "CpuUsage(%)"}})
    path = write(GOOD, header="time,customer,region,queries,query_time,CpuUsage(%)")
    assert values(readings(path, contract))[0][-1] == 10.0


def test_nothing_and_nan_are_null_and_a_zero_is_a_zero(declare: Declare, write: Write, tmp_path: Path) -> None:
    rows = [f"2026-01-01T00:0{minute}:00Z,acme,eu,{cell},0,0" for minute, cell in enumerate(("", "NaN", "null", "N/A", "0"))]
    assert [row[3] for row in values(readings(write(*rows), declare()))] == [None, None, None, None, 0.0]
    typed = pl.DataFrame({"time": [MIDNIGHT], "customer": "a", "region": "b", "queries": float("nan"), "query_time": 1, "cpu": None})
    typed.write_parquet(tmp_path / "nan.parquet")
    assert values(readings(tmp_path / "nan.parquet", declare())) == [("a/b", "b", MIDNIGHT, None, 1000.0, None)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2026-01-01T00:01:00Z,acme,eu,many,0.25,10", "column 'queries' has 'many', expected a finite number or nothing"),
        ("2026-01-01T00:01:00Z,acme,eu,1,inf,10", "column 'query_time' has 'inf', expected a finite number or nothing"),
        ('2026-01-01T00:01:00Z,acme,eu,1,"0,25",10', "column 'query_time' has '0,25', expected a finite number or nothing"),
        ("soon,acme,eu,5,0.25,10", "column 'time' has 'soon', expected an ISO 8601 time such as 2026-01-31T23:59:00Z"),
        (",acme,eu,5,0.25,10", "column 'time' has nothing, expected an ISO 8601 time such as 2026-01-31T23:59:00Z"),
        (
            "1970-01-01T00:00:00Z,acme,eu,5,0.25,10",
            "column 'time' has '1970-01-01T00:00:00Z', expected .*, after 1990 and not in the future",
        ),
        ("2026-01-01T00:01:00Z,,eu,5,0.25,10", "column 'customer' has nothing, expected a key"),
        ("2026-01-01T00:01:00Z,acme/x,eu,5,0.25,10", "column 'customer' has 'acme/x', expected a key without '/'"),
    ],
)
def test_a_row_that_cannot_be_read_is_quarantined_with_its_reason_and_text(declare: Declare, write: Write, row: str, reason: str) -> None:
    found = readings(write(GOOD, row, GOOD), declare())
    told = found.quarantine.row(0, named=True)
    assert (found.rows_in, found.frame.collect().height, found.quarantine.height) == (3, 2, 1)
    assert (told[SOURCE], told[ROW]) == (scan(write(GOOD, row, GOOD), contract=declare()).files[0].name, 2)
    assert pl.Series([told[REASON]]).str.contains(f"^{reason}$").all()
    assert json.loads(told[TEXT])["region"] == "eu"
    assert found.files[ROWS_QUARANTINED].to_list() == [1]


def test_a_time_from_the_future_is_implausible(declare: Declare, write: Write) -> None:
    found = readings(write(GOOD, GOOD.replace("2026", "2027"), GOOD), declare(), now=datetime(2026, 6, 1, tzinfo=UTC))
    assert found.quarantine[ROW].to_list() == [2]


def test_a_skipped_hour_is_quarantined_and_names_the_zone(declare: Declare, write: Write) -> None:
    contract = declare(time={"column": "time", "zone": "Europe/Helsinki"})
    rows = [f"2026-03-29 {hour}:30,acme,eu,5,0.25,10" for hour in ("02", "03", "04")]
    found = readings(write(*rows), contract)
    assert found.frame.select(pl.col(AT).dt.hour()).collect()[AT].to_list() == [0, 1]
    assert (
        "'2026-03-29 03:30', expected an ISO 8601 time such as 2026-01-31T23:59:00Z that exists in Europe/Helsinki"
        in found.quarantine[REASON][0]
    )


def test_json_lines_and_parquet_rows_are_quarantined_alike(declare: Declare, tmp_path: Path) -> None:
    row = {"time": "2026-01-01T00:00:00Z", "customer": "acme", "region": "eu", "queries": 5, "query_time": 0.25, "cpu": 10}
    rows = [row, row | {"cpu": "warm"}, row]
    lines = tmp_path / "readings.jsonl"
    lines.write_text("\n".join(json.dumps(each) for each in rows))
    found = readings(lines, declare())
    assert found.quarantine[ROW].to_list() == [2]
    table = pl.DataFrame([row | {"cpu": 1.0}, row | {"cpu": float("inf")}, row | {"cpu": 2.0}], schema_overrides={"cpu": pl.Float64})
    table.write_parquet(tmp_path / "readings.parquet")
    assert readings(tmp_path / "readings.parquet", declare()).quarantine[REASON].to_list() == [
        "column 'cpu' has 'inf', expected a finite number or nothing"
    ]


def test_labels_are_read_where_a_file_tells_them(declare: Declare, write: Write, tmp_path: Path) -> None:
    header = "time,customer,region,queries,query_time,cpu,anomaly"
    write(*(f"2026-01-01T00:0{n}:00Z,acme,eu,1,1,1,{text}" for n, text in enumerate(("0", "1", "true", ""))), header=header, name="a.csv")
    write(GOOD, name="b.csv")
    found = readings(tmp_path / "source", declare(label_column="anomaly"))
    assert found.frame.collect()[LABEL].to_list() == [False, True, True, None, None]


def test_times_out_of_order_and_repeated_rows_are_fine_and_counted(declare: Declare, write: Write) -> None:
    found = readings(write(GOOD.replace("00:00:00Z", "00:05:00Z"), GOOD, GOOD), declare())
    assert (found.frame.collect().height, found.repeated) == (3, 1)


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (b"", EmptySourceError, r"bad\.csv holds no row"),
        (HEADER, EmptySourceError, r"bad\.csv holds no row"),
        (
            b"time,customer\n2026-01-01T00:00:00Z,a\n",
            MissingColumnError,
            r"lacks the columns region, queries, query_time, cpu; it has time, customer",
        ),
        (bytes(range(256)) * 20, BadValueError, r"bad\.csv cannot be read as CSV"),
        (HEADER + b"2026-01-01T00:00:00Z,caf\xe9,eu,1,1,1\n", BadValueError, r"bad\.csv cannot be read as CSV: invalid utf-8"),
        (HEADER + GOOD.encode() + b",surplus\n", BadValueError, r"bad\.csv cannot be read as CSV: found more fields"),
    ],
)
def test_a_csv_that_is_none_is_refused_with_a_hint(
    declare: Declare, tmp_path: Path, content: bytes, error: type[TidewatchError], told: str
) -> None:
    (tmp_path / "bad.csv").write_bytes(content)
    with pytest.raises(error, match=rf"{told}(.|\n)*Hint: "):
        readings(tmp_path / "bad.csv", declare())


@pytest.mark.parametrize("kept", [0, 60, -20])
def test_a_truncated_parquet_is_refused_with_a_hint(declare: Declare, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.parquet"
    pl.DataFrame({"time": [MIDNIGHT] * 100}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadValueError, match=r"cut\.parquet cannot be read as Parquet(.|\n)*Hint: the file is damaged, still being written"):
        readings(path, declare())


@pytest.mark.parametrize("lines", ["", '{"time": 1}\n{"time": 2,\n', "no json at all"])
def test_json_lines_that_are_none_are_refused_with_a_hint(declare: Declare, tmp_path: Path, lines: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(lines)
    with pytest.raises((BadValueError, EmptySourceError), match=r"bad\.jsonl (holds no row|cannot be read as JSON lines)(.|\n)*Hint: "):
        readings(path, declare())


def test_a_time_without_a_zone_is_refused_until_one_is_declared(declare: Declare, write: Write) -> None:
    path = write(GOOD, GOOD.replace("Z,", ","))
    with pytest.raises(NaiveTimeError, match=r"column 'time' has '2026-01-01T00:00:00' in row 2.*\nHint: set time\.zone"):
        readings(path, declare())
    assert len(values(readings(path, declare(time={"column": "time", "zone": "UTC"})))) == 2


def test_a_file_that_is_mostly_unreadable_is_refused_as_a_whole(declare: Declare, write: Write) -> None:
    path = write(GOOD, *["2026-01-01T00:00:00Z,acme,eu,many,0.25,10"] * 2)
    with pytest.raises(
        BadValueError, match=r"2 of 3 rows cannot be read; the first, row 2: column 'queries' has 'many', expected a finite.*\nHint: "
    ):
        readings(path, declare())


def test_milliseconds_declared_as_seconds_are_refused_as_times(declare: Declare, write: Write) -> None:
    path = write("1767225600000,acme,eu,5,0.25,10")
    with pytest.raises(
        BadValueError, match="column 'time' has '1767225600000', expected seconds since 1970, after 1990 and not in the future"
    ):
        readings(path, declare(time={"column": "time", "format": "epoch_s"}))


def test_a_column_of_another_kind_is_refused(declare: Declare, tmp_path: Path) -> None:
    row = {"time": [MIDNIGHT], "customer": ["a"], "region": ["b"], "queries": [[1, 2]], "query_time": [1.0], "cpu": [b"\xff"]}
    pl.DataFrame(row).write_parquet(tmp_path / "odd.parquet")
    with pytest.raises(BadValueError, match=r"column 'queries' has \{\"queries\":\[1,2\]\}, expected a finite number"):
        readings(tmp_path / "odd.parquet", declare())


def test_a_bad_file_among_good_ones_leaves_the_lake_untouched(declare: Declare, write: Write, tmp_path: Path) -> None:
    write(GOOD, name="a.csv")
    write(GOOD.replace("Z,", ","), name="b.csv")
    lake = Lake(str(tmp_path / "lake"))
    with pytest.raises(NaiveTimeError):
        lake.merge_grid(to_grid(readings(tmp_path / "source", declare()).frame, contract=declare()).collect(), contract=declare())
    assert not Path(lake.root).exists()


def test_an_unknown_unit_is_refused_before_any_file_is_opened() -> None:
    with pytest.raises(TidewatchError, match="unknown unit 'procent'") as caught:
        contracts.parse({"name": "x", "entity": {"keys": ["a"]}, "time": {"column": "t"}, "parameters": {"cpu": {"unit": "procent"}}})
    assert not isinstance(caught.value, UnitError)


_cells = st.sampled_from(["5", "0.25", "", "NaN", "many", "inf", "1e400"])
_times = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-02T00:00:00+02:00", "soon", "", "1970-01-01T00:00:00Z"])
_keys = st.sampled_from(["acme", "bolt", "", " ", "a/b"])
_rows = st.lists(st.tuples(_times, _keys, _keys, _cells, _cells, _cells), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60)
@given(rows=_rows)
def test_every_row_is_a_reading_or_in_quarantine(rows: list[tuple[str, ...]]) -> None:
    contract = contracts.parse(
        {
            "name": "small",
            "entity": {"keys": ["customer", "region"]},
            "time": {"column": "time"},
            "parameters": {name: {"unit": "count", "target": True} for name in ("queries", "query_time", "cpu")},
        }
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "readings.csv"
        path.write_text("\n".join(["time,customer,region,queries,query_time,cpu", *(",".join(row) for row in rows)]))
        try:
            found = readings(path, contract)
        except BadValueError as error:
            assert "rows cannot be read" in error.message  # noqa: PT017  (the refusal is one of the two allowed outcomes)
            return
    frame = found.frame.collect()
    assert found.rows_in == len(rows) == frame.height + found.quarantine.height
    assert found.quarantine.schema == pl.Schema(QUARANTINE)
    assert frame.schema[AT] == TIME
    assert frame.select(ENTITY, AT).null_count().row(0) == (0, 0)
    assert not frame.select(pl.any_horizontal(pl.col(contract.names).is_nan() | pl.col(contract.names).is_infinite()).any()).item()
