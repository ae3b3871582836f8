"""Files become readings; what cannot be read is in the quarantine with its reason, or the file is refused by a message that helps."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
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
from telemetry.errors import BadValueError, EmptySourceError, MissingColumnError, NaiveTimeError, NewColumnsError, TidewatchError, UnitError
from telemetry.files import FileSource
from telemetry.schema import AT, COHORT, ENTITY, LABEL, QUARANTINE, REASON, REVISION, ROW, SOURCE, TEXT, TIME
from telemetry.sources import read

Declare = Callable[..., Contract]
Write = Callable[..., Path]
HEADER = b"time,customer,region,queries,query_time,cpu\n"
GOOD = "2026-01-01T00:00:00Z,acme,eu,5,0.25,10"
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    frame: pl.LazyFrame
    quarantine: pl.DataFrame
    rows_in: int
    accepted: int
    repeated: int
    undeclared: tuple[str, ...]
    clocks_apart: int


def readings(path: Path, contract: Contract, **how: Any) -> Found:
    """Everything that the files at a path say."""
    parts = FileSource(str(path), contract=contract).parts(since=None, until=None).parts
    batches = [batch for part in parts for batch in read(part, contract=contract, **how)]
    assert all(batch.rows_in == batch.accepted + batch.quarantine.height + batch.repeated for batch in batches)
    return Found(
        frame=pl.concat([batch.frame for batch in batches], how="diagonal").lazy(),
        quarantine=pl.concat([batch.quarantine for batch in batches]),
        rows_in=sum(batch.rows_in for batch in batches),
        accepted=sum(batch.accepted for batch in batches),
        repeated=sum(batch.repeated for batch in batches),
        undeclared=tuple(sorted({name for batch in batches for name in batch.undeclared})),
        clocks_apart=sum(batch.clocks_apart for batch in batches),
    )


def values(found: Found) -> list[tuple[Any, ...]]:
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
    expected = readings(csv, declare()).frame.drop(REVISION).collect()
    for path in files.values():
        assert_frame_equal(readings(path, declare()).frame.drop(REVISION).collect(), expected)


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
    found = readings(write(GOOD, row, GOOD.replace("00:00:00", "00:09:00")), declare())
    told = found.quarantine.row(0, named=True)
    assert (found.rows_in, found.frame.collect().height, found.quarantine.height) == (3, 2, 1)
    assert told[SOURCE].endswith(".csv")
    assert told[ROW] == 2
    assert pl.Series([told[REASON]]).str.contains(f"^{reason}$").all()
    assert json.loads(told[TEXT])["region"] == "eu"


def test_a_time_from_the_future_is_implausible(declare: Declare, write: Write) -> None:
    found = readings(
        write(GOOD, GOOD.replace("2026", "2027"), GOOD.replace("2026", "2025")), declare(), now=datetime(2026, 6, 1, tzinfo=UTC)
    )
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
    rows = [row, row | {"cpu": "warm"}, row | {"time": "2026-01-01T00:01:00Z"}]
    lines = tmp_path / "readings.jsonl"
    lines.write_text("\n".join(json.dumps(each) for each in rows))
    found = readings(lines, declare())
    assert found.quarantine[ROW].to_list() == [2]
    table = pl.DataFrame(
        [rows[0] | {"cpu": 1.0}, row | {"cpu": float("inf")}, rows[2] | {"cpu": 2.0}], schema_overrides={"cpu": pl.Float64}
    )
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
    assert (found.frame.collect().height, found.accepted, found.repeated) == (2, 2, 1)


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
        (bytes(range(256)) * 20, TidewatchError, r"bad\.csv"),
        (HEADER + b"2026-01-01T00:00:00Z,caf\xe9,eu,1,1,1\n", BadValueError, r"bad\.csv: none of its 1 rows can be read"),
        (HEADER + GOOD.encode() + b",surplus\n", BadValueError, r"bad\.csv: none of its 1 rows can be read"),
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


@pytest.mark.parametrize("lines", ["", '{"time": 1,\n{"time": 2,\n', "no json at all"])
def test_json_lines_that_are_none_are_refused_with_a_hint(declare: Declare, tmp_path: Path, lines: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(lines)
    with pytest.raises(
        (BadValueError, EmptySourceError), match=r"bad\.jsonl(:)? (holds no row|none of its \d rows can be read)(.|\n)*Hint: "
    ):
        readings(path, declare())


def test_a_time_without_a_zone_is_refused_until_one_is_declared(declare: Declare, write: Write) -> None:
    path = write(GOOD, GOOD.replace("00:00Z,", "01:00,"))
    with pytest.raises(NaiveTimeError, match=r"column 'time' has '2026-01-01T00:01:00' in row 2.*\nHint: set time\.zone"):
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
    assert found.rows_in == len(rows) == found.accepted + found.quarantine.height + found.repeated
    assert frame.height <= found.accepted
    assert found.quarantine.schema == pl.Schema(QUARANTINE)
    assert frame.schema[AT] == TIME
    assert frame.select(ENTITY, AT).null_count().row(0) == (0, 0)
    assert not frame.select(pl.any_horizontal(pl.col(contract.names).is_nan() | pl.col(contract.names).is_infinite()).any()).item()


LONG = {"kind": "long", "parameter_column": "metric", "value_column": "value", "unit_column": "unit"}


def test_long_and_wide_say_the_same(declare: Declare, write: Write) -> None:
    cells = (("queries", "5", "count"), ("query_time", "0.25", "s"), ("cpu", "0.1", "ratio"))
    rows = [f"2026-01-01T00:00:00Z,acme,eu,{metric},{value},{unit}" for metric, value, unit in cells]
    long = write(*rows, header="time,customer,region,metric,value,unit", name="long.csv")
    found = readings(long, declare(layout=LONG))
    assert values(found) == values(readings(write(GOOD), declare()))
    assert (found.rows_in, found.accepted) == (3, 3)


def test_a_row_of_an_unknown_unit_or_parameter_is_quarantined_with_what_is_known(declare: Declare, write: Write) -> None:
    good = [f"2026-01-01T00:0{n}:00Z,acme,eu,queries,5,count" for n in range(3)]
    rows = [*good, "2026-01-01T00:00:00Z,acme,eu,cpu,5,furlong", "2026-01-01T00:00:00Z,acme,eu,heat,5,degC"]
    found = readings(write(*rows, header="time,customer,region,metric,value,unit"), declare(layout=LONG))
    assert found.undeclared == ("heat",)
    unit, parameter = found.quarantine[REASON]
    assert "'furlong' cannot be turned into 'percent'" in unit
    assert parameter == "parameter 'heat' is not declared; declared are queries, query_time, cpu"


@pytest.mark.parametrize(("how", "columns"), [("discard", ()), ("evolve", ("Wind_Speed_m_s",))])
def test_a_new_column_is_told_and_kept_or_not_as_declared(declare: Declare, write: Write, how: str, columns: tuple[str, ...]) -> None:
    path = write(f"{GOOD},7.5", header="time,customer,region,queries,query_time,cpu,Wind Speed (m/s)")
    found = readings(path, declare(new_columns=how))
    frame = found.frame.collect()
    assert found.undeclared == ("Wind Speed (m/s)",)
    assert [frame[name].to_list() for name in columns] == [[7.5] for _ in columns]
    assert ("Wind_Speed_m_s" in frame.columns) == bool(columns)


def test_a_new_column_is_refused_where_new_ones_are_frozen(declare: Declare, write: Write) -> None:
    path = write(f"{GOOD},7.5", header="time,customer,region,queries,query_time,cpu,wind")
    with pytest.raises(NewColumnsError, match=r"has wind, which the contract does not name(.|\n)*'discard'.*'evolve'"):
        readings(path, declare(new_columns="freeze"))


def test_two_clocks_that_disagree_are_told_and_no_row_is_lost(declare: Declare, write: Write) -> None:
    clock = {"column": "time", "clock": {"column": "epoch", "format": "epoch_s", "tolerance_seconds": 5}}
    header = "time,customer,region,queries,query_time,cpu,epoch"
    right = int(MIDNIGHT.timestamp())
    rows = [f"2026-01-01T00:0{n}:00Z,acme,eu,5,0.25,10,{epoch}" for n, epoch in enumerate((right, right, "soon"))]
    found = readings(write(*rows, header=header), declare(time=clock))
    assert (found.accepted, found.clocks_apart) == (3, 2)


def test_a_contradiction_within_a_file_is_quarantined_and_the_later_row_counts(declare: Declare, write: Write) -> None:
    found = readings(write(GOOD, GOOD.replace(",5,", ",6,"), GOOD.replace(",5,", ",6,")), declare())
    assert values(found)[0][3] == 6.0
    assert (found.accepted, found.repeated, found.quarantine[ROW].to_list()) == (1, 1, [1])
    assert found.quarantine[REASON][0] == "row 3 says something else of the same entity and instant, and the later row counts"


def test_rows_that_complete_each_other_are_one_reading(declare: Declare, write: Write) -> None:
    found = readings(write("2026-01-01T00:00:00Z,acme,eu,5,,", "2026-01-01T00:00:00Z,acme,eu,,0.25,10"), declare())
    assert values(found) == [("acme/eu", "eu", MIDNIGHT, 5.0, 250.0, 10.0)]
    assert (found.accepted, found.repeated) == (2, 0)


def test_rows_of_one_instant_are_added_up_where_that_is_declared(declare: Declare, write: Write) -> None:
    found = readings(write(GOOD, GOOD.replace(",10", ",20")), declare(time={"column": "time", "repeated": "aggregate"}))
    assert values(found) == [("acme/eu", "eu", MIDNIGHT, 10.0, 250.0, 15.0)]
    assert found.accepted == 2


def test_a_file_without_header_or_time_is_read_by_its_columns_and_rows(declare: Declare, write: Write) -> None:
    contract = declare(
        entity={"keys": ["machine"], "path_pattern": r"(?P<machine>m\d)\.csv$"},
        files={"header": False, "separator": ";", "decimal_comma": True},
        time={"format": "row", "origin": MIDNIGHT, "cadence_seconds": 300},
        parameters={name: {"column": f"column_{n}"} for n, name in enumerate(("queries", "query_time", "cpu"), start=1)},
    )
    found = readings(write("5;0,25;1", header="4;0,5;1", name="m7.csv"), contract)
    told = found.frame.select(ENTITY, AT, "queries", "query_time").collect().rows()
    assert told == [("m7", MIDNIGHT, 4.0, 500.0), ("m7", datetime(2026, 1, 1, 0, 5, tzinfo=UTC), 5.0, 250.0)]


def test_batches_of_any_size_say_the_same(declare: Declare, write: Write) -> None:
    path = write(*(f"2026-01-01T00:{n:02}:00Z,acme,eu,{n},0.25,{'x' if n % 7 == 6 else n}" for n in range(40)))
    whole, pieces = readings(path, declare()), readings(path, declare(), batch_rows=9)
    assert_frame_equal(whole.frame.collect(), pieces.frame.collect())
    assert_frame_equal(whole.quarantine, pieces.quarantine)
    assert (pieces.rows_in, pieces.accepted) == (40, 35)


@pytest.mark.parametrize("name", ["*", "^time$", "^.*$"])
def test_a_column_that_is_named_like_a_pattern_is_a_column(declare: Declare, write: Write, tmp_path: Path, name: str) -> None:
    path = write(f"{GOOD},7.5", header=f"time,customer,region,queries,query_time,cpu,{name}")
    typed = tmp_path / "typed.parquet"
    pl.DataFrame(
        [[cell] for cell in (*GOOD.split(","), "x")], schema=["time", "customer", "region", "queries", "query_time", "cpu", name]
    ).write_parquet(typed)
    for each in (path, typed):
        assert values(readings(each, declare())) == [("acme/eu", "eu", MIDNIGHT, 5.0, 250.0, 10.0)]
