"""Objects in a store are read as files are: over HTTP, from a real server of the S3 interface."""

import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import obstore
import polars as pl
import pytest

from telemetry.contract import Contract
from telemetry.errors import SourceError, SourceMissingError
from telemetry.feeds import ROW_INDEX, Part, Parts
from telemetry.files import FileSource
from telemetry.stores import glob_pattern, objects

Declare = Callable[..., Contract]
Put = Callable[..., None]
HEADER = b"time,customer,region,queries,query_time,cpu\n"
ROW = b"2026-01-01T00:00:00Z,acme,eu,5,0.1,10\n"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server on a free port of this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def put(address: str, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Writes objects into the bucket `fleet`, which is empty at first; the environment says where it is, as in production."""
    import httpx

    secrets = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    for name, value in {**secrets, "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{address}/moto-api/reset").raise_for_status()
    httpx.put(f"{address}/fleet").raise_for_status()
    store = obstore.store.from_url("s3://fleet")

    def write(**contents: bytes) -> None:
        for key, content in contents.items():
            obstore.put(store, key.replace("__", "/").replace("_dot_", "."), content)

    return write


def scan(location: str, *, contract: Contract) -> Parts:
    return FileSource(location, contract=contract).parts(since=None, until=None)


def only(location: str, *, contract: Contract) -> Part:
    (part,) = scan(location, contract=contract).parts
    return part


@pytest.mark.service
def test_a_prefix_is_read_as_a_folder_is(declare: Declare, put: Put) -> None:
    put(
        a__x_dot_csv=HEADER,
        a__b__y_dot_csv=ROW,
        a__truth__z_dot_csv=ROW,
        a___tmp__t_dot_csv=ROW,
        a__notes_dot_txt=b"",
        other__o_dot_csv=ROW,
    )
    for location in ("s3://fleet/a", "s3://fleet/a/"):
        assert [part.name for part in scan(location, contract=declare()).parts] == ["b/y.csv", "x.csv"]
    assert "other/o.csv" in [part.name for part in scan("s3://fleet", contract=declare()).parts]


@pytest.mark.service
def test_an_object_and_a_glob_name_what_they_name(declare: Declare, put: Put) -> None:
    put(a__x1_dot_csv=ROW, a__x2_dot_csv=ROW + ROW, a__b__x3_dot_csv=ROW)
    assert only("s3://fleet/a/x1.csv", contract=declare()).name == "s3://fleet/a/x1.csv"
    assert [part.name[-6:] for part in scan("s3://fleet/a/x*.csv", contract=declare()).parts] == ["x1.csv", "x2.csv"]
    assert len(scan("s3://fleet/a/**/x?.csv", contract=declare()).parts) == 3


@pytest.mark.service
def test_every_format_is_read_row_by_row(declare: Declare, put: Put) -> None:
    table = io.BytesIO()
    pl.DataFrame({"cpu": [1.5, 2.5]}).write_parquet(table)
    plain = HEADER + ROW + b"cut,off\n" + ROW
    put(
        a_dot_csv=plain,
        b_dot_csv_dot_gz=gzip.compress(plain),
        c_dot_jsonl=b'{"cpu": 1}\n{"cpu": \n{"cpu": 3}\n',
        d_dot_parquet=table.getvalue(),
    )
    found = {part.name: part.open() for part in scan("s3://fleet", contract=declare()).parts}
    rows = {name: each.frame.select(ROW_INDEX, "cpu").collect().rows() for name, each in found.items()}
    assert rows == {
        "a.csv": [(1, "10"), (3, "10")],
        "b.csv.gz": [(1, "10"), (3, "10")],
        "c.jsonl": [(1, "1"), (3, "3")],
        "d.parquet": [(1, 1.5), (2, 2.5)],
    }
    assert {name: each.damaged.height for name, each in found.items()} == {"a.csv": 1, "b.csv.gz": 1, "c.jsonl": 1, "d.parquet": 0}


@pytest.mark.service
def test_an_object_is_known_again_until_it_is_written_anew(declare: Declare, put: Put) -> None:
    put(a_dot_csv=HEADER + ROW)
    first = only("s3://fleet/a.csv", contract=declare())
    assert first.fingerprint == only("s3://fleet/a.csv", contract=declare()).fingerprint
    put(a_dot_csv=HEADER + ROW + ROW)
    second = only("s3://fleet/a.csv", contract=declare())
    assert (first.fingerprint != second.fingerprint, first.revision <= second.revision) == (True, True)
    with pytest.raises(SourceError, match=r"s3://fleet/a\.csv has changed since it was listed\.\nHint: it is still being written"):
        first.open()
    assert second.open().frame.collect().height == 2


@pytest.mark.service
def test_what_is_not_there_is_told(declare: Declare, put: Put) -> None:
    put(a_dot_csv=ROW)
    with pytest.raises(SourceMissingError, match="no telemetry at s3://fleet/none"):
        scan("s3://fleet/none", contract=declare())
    with pytest.raises(SourceError, match=r"s3://nobody/x cannot be reached: .*\nHint: see that the address and the credentials"):
        scan("s3://nobody/x", contract=declare())
    stored = objects("s3://fleet/a.csv", keep=lambda _: True)["s3://fleet/a.csv"]
    with pytest.raises(SourceError, match=r"is not there \(any more\)"):
        next(replace(stored, key="gone.csv").chunks())


def test_a_scheme_of_no_store_is_told(declare: Declare) -> None:
    with pytest.raises(SourceError, match=r"No store is known by the scheme of ftp://host/x\.\nHint: known are paths, file://, s3://"):
        scan("ftp://anna:secret@host/x", contract=declare())


@pytest.mark.parametrize(
    ("glob", "key", "matches"),
    [
        ("a/*.csv", "a/b.csv", True),
        ("a/*.csv", "a/b/c.csv", False),
        ("a/**/*.csv", "a/b/c/d.csv", True),
        ("a/**/*.csv", "a/d.csv", True),
        ("a/m[12].csv", "a/m2.csv", True),
        ("a/m[!12].csv", "a/m2.csv", False),
        ("a/m?.csv", "a/m22.csv", False),
        ("a.b/*.csv", "axb/c.csv", False),
    ],
)
def test_a_glob_over_keys_means_what_it_means_over_paths(glob: str, key: str, matches: bool) -> None:
    assert bool(glob_pattern(glob).fullmatch(key)) is matches
