"""A Delta table is read by the data files that are live in its newest version, with partitions, late columns and deleted rows."""

import base64
import json
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import obstore
import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from telemetry import delta
from telemetry.contract import Contract
from telemetry.delta import DeltaSource, is_delta
from telemetry.errors import SourceError, SourceMissingError
from telemetry.feeds import ROW_INDEX, find
from telemetry.schema import AT, COHORT, ENTITY
from telemetry.sources import Batch, read

Declare = Callable[..., Contract]
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=9)


def rows(count: int, *, day: int = 0, customer: str = "a c") -> pl.DataFrame:
    """So many minutes of a customer."""
    n = pl.int_range(count, eager=True).alias("n")
    return pl.select(
        (pl.lit(START + timedelta(days=day)) + pl.duration(minutes=n)).cast(pl.Datetime("us", "UTC")).alias("time"),
        pl.lit(customer).alias("customer"),
        pl.lit("eu").alias("region"),
        n.alias("queries"),
        (n / 10).alias("query_time"),
        (n % 100).cast(pl.Float64).alias("cpu"),
        pl.lit(date(2026, 1, 1 + day)).alias("day"),
    )


def batches(location: Path | str, contract: Contract) -> list[Batch]:
    parts = DeltaSource(str(location), contract=contract).parts(since=None, until=None).parts
    return [batch for part in parts for batch in read(part, contract=contract, now=NOW)]


def frame(location: Path | str, contract: Contract) -> pl.DataFrame:
    return pl.concat(batch.frame for batch in batches(location, contract)).sort(AT, ENTITY)


def fingerprints(location: Path | str, contract: Contract) -> dict[str, str]:
    return {part.name: part.fingerprint for part in DeltaSource(str(location), contract=contract).parts(since=None, until=None).parts}


def test_a_table_with_partitions_is_read_with_their_values(declare: Declare, tmp_path: Path) -> None:
    for day, customer in enumerate(("acme", "b & c", "ö[1]*")):
        write_deltalake(tmp_path / "ü 1", rows(3, day=day, customer=customer), mode="append", partition_by=["region", "customer", "day"])
    found = frame(tmp_path / "ü 1", declare())
    assert found.select(ENTITY, COHORT, AT, "queries", "query_time", "cpu").rows() == [
        (f"{customer}/eu", "eu", START + timedelta(days=day, minutes=minute), float(minute), 100.0 * minute, float(minute))
        for day, customer in enumerate(("acme", "b & c", "ö[1]*"))
        for minute in range(3)
    ]


def test_every_spelling_of_its_place_is_the_same_table(declare: Declare, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", rows(3))
    told = [
        [part.fingerprint for part in source.parts(since=None, until=None).parts]
        for location in (f"{tmp_path}/t", f"{tmp_path}/t/", f"file://{tmp_path}/t")
        if isinstance(source := find(location, contract=declare(), now=NOW), DeltaSource)
    ]
    assert len(told) == 3
    assert told[0] == told[1] == told[2] != []


def test_what_was_read_before_is_known_again_and_only_new_files_are_new(declare: Declare, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", rows(3))
    first = fingerprints(tmp_path / "t", declare())
    assert fingerprints(tmp_path / "t", declare()) == first
    assert frame(tmp_path / "t", declare()).equals(frame(tmp_path / "t", declare()))
    write_deltalake(tmp_path / "t", rows(3, day=1), mode="append")
    second = fingerprints(tmp_path / "t", declare())
    assert len(second) == 2
    assert first.items() < second.items()
    assert not set(fingerprints(tmp_path / "t", declare(parameters={"query_time": {"source_unit": "ms"}})).values()) & set(second.values())


def test_files_that_a_newer_version_has_no_more_are_not_read(declare: Declare, tmp_path: Path) -> None:
    for day in range(3):
        write_deltalake(tmp_path / "t", rows(3, day=day), mode="append")
    before = frame(tmp_path / "t", declare())
    DeltaTable(tmp_path / "t").optimize.compact()
    assert len(fingerprints(tmp_path / "t", declare())) == 1
    assert frame(tmp_path / "t", declare()).drop("revision").equals(before.drop("revision"))
    DeltaTable(tmp_path / "t").delete("queries = 1")
    assert frame(tmp_path / "t", declare())["queries"].to_list() == [0.0, 2.0] * 3
    assert len(list((tmp_path / "t").glob("*.parquet"))) == 5


def test_a_column_that_came_later_is_nothing_in_older_files(declare: Declare, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", rows(2).drop("cpu"))
    write_deltalake(tmp_path / "t", rows(2, day=1), mode="append", schema_mode="merge")
    assert frame(tmp_path / "t", declare())["cpu"].to_list() == [None, None, 0.0, 1.0]


def test_the_revision_is_when_the_file_was_written(declare: Declare, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", rows(2))
    (written,) = pl.DataFrame(DeltaTable(tmp_path / "t").get_add_actions())["modification_time"]
    assert frame(tmp_path / "t", declare())["revision"].to_list() == [written * 1000] * 2


def test_keys_come_from_the_path_where_its_pattern_names_them(declare: Declare, tmp_path: Path) -> None:
    for customer in ("acme", "bolt"):
        write_deltalake(tmp_path / "t", rows(2, customer=customer).rename({"customer": "shop"}), mode="append", partition_by=["shop"])
    contract = declare(entity={"keys": ["customer"], "path_pattern": "shop=(?P<customer>a[^/]*)/"})
    source = DeltaSource(str(tmp_path / "t"), contract=contract)
    assert source.parts(since=None, until=None).passed_over == 1
    assert frame(tmp_path / "t", contract)[ENTITY].to_list() == ["acme", "acme"]


def test_rows_are_numbered_as_they_stand_in_their_file(declare: Declare, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", rows(4).with_columns(cpu=pl.when(pl.col("queries") == 2).then(float("inf")).otherwise(1.0)))
    (batch,) = batches(tmp_path / "t", declare())
    assert batch.quarantine["row"].to_list() == [3]


def commit(table: Path, *actions: dict[str, Any]) -> None:
    """A new version of a table, by hand."""
    log = table / "_delta_log"
    (log / f"{len(list(log.glob('*.json'))):020}.json").write_text("\n".join(json.dumps(action) for action in actions))


def strike_out(table: Path, *, place: int) -> None:
    """Give the table's only data file a deletion vector, as Spark writes one: in the log itself, one row struck out."""
    bitmap = struct.pack("<iqi", 1681511377, 1, 0)  # the magic number, one 32-bit bitmap, its upper half
    bitmap += struct.pack("<iihhih", 12346, 1, 0, 0, 16, place)  # no runs, one container: key 0, one value, at byte 16
    bitmap += b"\0" * (-len(bitmap) % 4)
    log = table / "_delta_log"
    actions = [json.loads(line) for path in sorted(log.glob("*.json")) for line in path.read_text().splitlines()]
    (add,) = [action["add"] for action in actions if "add" in action]
    features = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    remove = {
        "path": add["path"],
        "deletionTimestamp": 1,
        "dataChange": True,
        "partitionValues": add["partitionValues"],
        "size": add["size"],
    }
    vector = {"storageType": "i", "pathOrInlineDv": z85(bitmap), "sizeInBytes": len(bitmap), "cardinality": 1}
    commit(table, {"protocol": features}, {"remove": remove}, {"add": add | {"deletionVector": vector}})


def z85(content: bytes) -> str:
    """Base 85 with ZeroMQ's digits."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    python = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    return base64.b85encode(content).decode().translate(str.maketrans(python, digits))


@pytest.mark.parametrize("partition", [None, ["customer"]])
def test_rows_that_a_deletion_vector_strikes_out_are_not_read(declare: Declare, tmp_path: Path, partition: list[str] | None) -> None:
    table = tmp_path / "ü 1"
    write_deltalake(table, rows(4), partition_by=partition)
    before = fingerprints(table, declare())
    strike_out(table, place=2)
    (part,) = DeltaSource(str(table), contract=declare()).parts(since=None, until=None).parts
    assert part.open().frame.select(ROW_INDEX, "queries").collect().rows() == [(1, 0), (2, 1), (4, 3)]
    assert frame(table, declare())["queries"].to_list() == [0.0, 1.0, 3.0]
    after = fingerprints(table, declare())
    assert before.keys() == after.keys()
    assert before != after


def test_a_deletion_vector_that_fits_no_file_is_not_passed_over(declare: Declare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_deltalake(tmp_path / "t", rows(4))
    strike_out(tmp_path / "t", place=2)
    monkeypatch.setattr(delta, "_comparable", str)  # one address has a scheme and the other has none
    with pytest.raises(SourceError, match=r"it strikes out rows of .*, which is none of its data files"):
        DeltaSource(str(tmp_path / "t"), contract=declare()).parts(since=None, until=None)


def test_a_file_of_which_every_row_is_deleted_is_no_part(declare: Declare, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", rows(1))
    strike_out(tmp_path / "t", place=0)
    with pytest.raises(SourceMissingError, match="has nothing to be read: it holds no row"):
        DeltaSource(str(tmp_path / "t"), contract=declare()).parts(since=None, until=None)


@pytest.mark.parametrize(
    "protocol",
    [
        {"minReaderVersion": 2, "minWriterVersion": 5},
        {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["columnMapping"], "writerFeatures": ["columnMapping"]},
    ],
)
def test_a_table_whose_files_call_columns_otherwise_is_refused(declare: Declare, tmp_path: Path, protocol: dict[str, Any]) -> None:
    write_deltalake(tmp_path / "t", rows(1))
    commit(tmp_path / "t", {"protocol": protocol})
    with pytest.raises(SourceError, match="asks its readers for columnMapping, which is not read here") as refused:
        DeltaSource(str(tmp_path / "t"), contract=declare()).parts(since=None, until=None)
    assert refused.value.hint


def test_a_table_that_is_damaged_or_of_another_kind_is_told(declare: Declare, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", rows(1))
    contract = declare(entity={"keys": ["m"], "path_pattern": "(?P<m>nowhere)"})
    with pytest.raises(SourceMissingError, match="None of its 1 data files matches path_pattern"):
        DeltaSource(str(tmp_path / "t"), contract=contract).parts(since=None, until=None)
    (tmp_path / "t" / "_delta_log" / "00000000000000000001.json").write_text("{no json")
    with pytest.raises(SourceError, match=r"The Delta table .* cannot be read"):
        DeltaSource(str(tmp_path / "t"), contract=declare()).parts(since=None, until=None)


def test_what_is_no_table_is_none(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "lake" / "t", rows(1))
    (tmp_path / "empty" / "_delta_log").mkdir(parents=True)
    (tmp_path / "file.csv").write_text("a,b\n")
    assert is_delta(str(tmp_path / "lake" / "t"))
    nothing = ("", "nowhere", "*.csv", "a/**/[0-9].csv", "x" * 5000, "nul\0", "ftp://host/x", "s3://bucket/*.csv")
    for location in (
        *nothing,
        tmp_path,
        tmp_path / "lake",
        tmp_path / "empty",
        tmp_path / "file.csv",
        tmp_path / "lake" / "t" / "_delta_log",
    ):
        assert not is_delta(str(location))


@pytest.mark.service
def test_a_table_in_an_object_store_is_read_as_a_local_one(declare: Declare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(2):
        write_deltalake(tmp_path / "t", rows(3, day=day), mode="append", partition_by=["customer", "day"])
    DeltaTable(tmp_path / "t").delete("queries = 1 AND day = '2026-01-02'")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    place = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    for name, value in {**place, "AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    try:
        httpx.put(f"http://{host}:{port}/fleet").raise_for_status()
        store = obstore.store.from_url("s3://fleet")
        for path in (tmp_path / "t").rglob("*.*"):
            obstore.put(store, f"lake/{path.relative_to(tmp_path).as_posix()}", path.read_bytes())
        assert is_delta("s3://fleet/lake/t")
        assert not is_delta("s3://fleet/lake")
        assert frame("s3://fleet/lake/t", declare()).drop("revision").equals(frame(tmp_path / "t", declare()).drop("revision"))
        assert fingerprints("s3://fleet/lake/t", declare()) == fingerprints(tmp_path / "t", declare())
    finally:
        server.stop()
    with pytest.raises(SourceError, match="s3://fleet/lake/t cannot be reached"):
        is_delta("s3://fleet/lake/t")
