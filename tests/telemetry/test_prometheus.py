"""A Prometheus server's answers are read as files are: from a real server, and from a pretended one where a real one does not misbehave."""

import json
import logging
import re
import threading
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

import httpx
import polars as pl
import psutil
import pytest

from telemetry import prometheus as prom
from telemetry import promql
from telemetry.contract import Contract
from telemetry.errors import EmptySourceError, MissingColumnError, SourceError
from telemetry.feeds import find
from telemetry.prometheus import PrometheusSource
from telemetry.schema import AT, COHORT, ENTITY
from telemetry.sources import Batch, read
from tests.telemetry.servers import Prometheus, prometheus

Declare = Callable[..., Contract]
Answer = tuple[int, bytes, dict[str, str]]
START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(hours=26)
NOW = END
QUERIES = "sum by (customer, region) (requests)"
ENTITIES = [("acme", "eu"), ("acme", "us"), ("bolt", "eu")]
SILENT = (60, 120)
"""Minutes in which `cpu` of acme/eu is not told."""


def expected(minute: int, place: int) -> tuple[float, float, float]:
    """Queries (two instances together), query time in seconds, and cpu of an entity."""
    return 2.0 * minute + 10 * place, 0.25 * place + minute / 1000, float((minute + place) % 100)


def history() -> str:
    """A day and two hours, a sample a minute, as OpenMetrics."""
    lines: dict[str, list[str]] = {"requests": [], "query_time": [], "cpu": [], "odd": []}
    for place, (customer, region) in enumerate(ENTITIES):
        who = f'customer="{customer}",region="{region}"'
        for minute in range(26 * 60):
            at = int(START.timestamp()) + 60 * minute
            queries, query_time, cpu = expected(minute, place)
            lines["requests"] += [
                f'requests{{{who},instance="a"}} {queries - minute} {at}',
                f'requests{{{who},instance="b"}} {minute} {at}',
            ]
            lines["query_time"].append(f"query_time{{{who}}} {query_time} {at}")
            if place or not SILENT[0] <= minute < SILENT[1]:
                lines["cpu"].append(f"cpu{{{who}}} {cpu} {at}")
            if minute < 10:
                lines["odd"].append(f"odd{{{who}}} {('NaN', '+Inf', '7')[place]} {at}")
    told = [text for name, samples in lines.items() for text in (f"# TYPE {name} gauge", *samples)]
    return "\n".join([*told, "# EOF", ""])


@pytest.fixture(scope="module")
def server() -> Iterator[Prometheus]:
    with prometheus(openmetrics=history()) as running:
        yield running


@pytest.fixture
def contract(declare: Declare) -> Contract:
    return declare(parameters={"queries": {"query": QUERIES}})


def batches(source: PrometheusSource, **span: Any) -> list[Batch]:
    span = {"since": START, "until": END} | span
    return [batch for part in source.parts(**span).parts for batch in read(part, contract=source.contract, now=NOW)]


def frame(source: PrometheusSource, **span: Any) -> pl.DataFrame:
    return pl.concat(batch.frame for batch in batches(source, **span))


def hour(contract: Contract, server: Prometheus, **span: Any) -> pl.DataFrame:
    """The readings of the first ten minutes."""
    return frame(PrometheusSource(server.url, contract=contract, now=NOW), until=START + timedelta(minutes=10), **span)


@pytest.mark.service
def test_every_sample_becomes_a_reading(contract: Contract, server: Prometheus) -> None:
    source = PrometheusSource(server.url, contract=contract, now=NOW)
    assert [part.name for part in source.parts(since=START, until=END).parts] == ["2026-01-01", "2026-01-02"]
    rows = {
        (f"{customer}/{region}", region, START + timedelta(minutes=minute)): expected(minute, place)
        for place, (customer, region) in enumerate(ENTITIES)
        for minute in range(26 * 60)
    }
    found = {row[:3]: row[3:] for row in frame(source).select(ENTITY, COHORT, AT, "queries", "query_time", "cpu").iter_rows()}
    assert found.keys() == rows.keys()
    silent = {("acme/eu", "eu", START + timedelta(minutes=minute)) for minute in range(SILENT[0] + 5, SILENT[1])}
    for key, (queries, query_time, cpu) in rows.items():
        assert found[key][:2] == pytest.approx((queries, 1000 * query_time))
        if key in silent:  # a server repeats the last value for five minutes, and no longer
            assert found[key][2] is None
        elif key[0] != "acme/eu" or not SILENT[0] <= (key[2] - START) / timedelta(minutes=1) < SILENT[1]:
            assert found[key][2] == cpu


@pytest.mark.service
def test_what_was_answered_before_is_known_again(contract: Contract, server: Prometheus) -> None:
    first = PrometheusSource(server.url, contract=contract, now=NOW).parts(since=START, until=END).parts
    again = PrometheusSource(server.url, contract=contract, now=NOW + timedelta(hours=1)).parts(since=START, until=END).parts
    assert [part.fingerprint for part in again] == [part.fingerprint for part in first]
    assert [part.revision for part in again] == [part.revision + 3_600_000_000 for part in first]
    for part, other in zip(first, again, strict=True):
        assert part.open().frame.collect().equals(other.open().frame.collect())
    shorter = PrometheusSource(server.url, contract=contract, now=END - timedelta(minutes=1)).parts(since=START, until=None).parts
    assert shorter[0].fingerprint == first[0].fingerprint
    assert shorter[1].fingerprint != first[1].fingerprint


@pytest.mark.service
def test_another_meaning_of_the_same_answer_is_not_known(declare: Declare, server: Prometheus) -> None:
    span = {"since": START, "until": START + timedelta(hours=1)}
    told = {
        PrometheusSource(server.url, contract=declare(parameters={"queries": {"query": QUERIES}, **unit}), now=NOW)
        .parts(**span)
        .parts[0]
        .fingerprint
        for unit in ({}, {"query_time": {"source_unit": "ms"}})
    }
    assert len(told) == 2


@pytest.mark.service
def test_without_a_beginning_the_whole_history_is_asked_for(contract: Contract, server: Prometheus) -> None:
    parts = PrometheusSource(server.url, contract=contract, now=END).parts(since=None, until=None).parts
    assert [part.name for part in parts] == ["2026-01-01", "2026-01-02"]
    late = PrometheusSource(server.url, contract=contract, now=END + timedelta(days=30)).parts(since=None, until=END).parts
    assert [part.fingerprint for part in late] == [part.fingerprint for part in parts]


@pytest.mark.service
def test_a_beginning_and_an_end_within_a_day_are_kept_to(contract: Contract, server: Prometheus) -> None:
    source = PrometheusSource(server.url, contract=contract, now=NOW)
    found = frame(source, since=START + timedelta(minutes=3, seconds=1), until=START + timedelta(minutes=6))
    assert found[AT].unique().sort().to_list() == [START + timedelta(minutes=4), START + timedelta(minutes=5)]


@pytest.mark.service
def test_a_day_of_seconds_is_asked_for_in_pieces(declare: Declare, server: Prometheus) -> None:
    contract = declare(
        entity={"keys": ["customer"]},
        time={"column": "time", "cadence_seconds": 1},
        parameters={
            "queries": {"query": 'max by (customer) (requests{customer="bolt"})'},
            "query_time": {"query": "queries"},
            "cpu": {"query": "queries"},
        },
    )
    found = frame(PrometheusSource(server.url, contract=contract, now=NOW), until=START + timedelta(days=1))
    assert found.height == 86_400
    assert found[AT].is_sorted()
    assert found[AT].n_unique() == 86_400


@pytest.mark.service
def test_nan_is_no_value_and_infinity_is_quarantined(declare: Declare, server: Prometheus) -> None:
    contract = declare(parameters={"queries": {"query": QUERIES}, "cpu": {"query": "odd"}})
    source = PrometheusSource(server.url, contract=contract, now=NOW)
    (batch,) = batches(source, until=START + timedelta(minutes=10))
    assert batch.quarantine.height == 10
    assert batch.quarantine[0, "reason"] == "column 'cpu' has 'inf', expected a finite number or nothing"
    by_entity = {key[0]: rows["cpu"].unique().to_list() for key, rows in batch.frame.group_by(ENTITY)}
    assert by_entity == {"acme/eu": [None], "bolt/eu": [7.0]}
    nothing_else = PrometheusSource(server.url, contract=declare(parameters={name: {"query": "odd"} for name in contract.names}), now=NOW)
    (part,) = nothing_else.parts(since=START, until=START + timedelta(minutes=10)).parts
    assert part.open().frame.select("customer", "region").unique().collect().sort("customer").rows() == [("acme", "us"), ("bolt", "eu")]


@pytest.mark.service
@pytest.mark.parametrize(
    "time",
    [
        {"format": "epoch_ms"},
        {"format": "pattern", "pattern": "%d.%m.%Y", "zone": "Europe/Berlin"},
        {"format": "minute_index", "origin": "2025-12-31T00:00:00Z"},
        {"format": "step_index", "origin": "2025-12-31T00:00:00Z"},
        {"format": "second_index", "origin": "2025-12-31T00:00:00Z"},
        {"clock": {"column": "sent", "format": "epoch_ms"}},
    ],
)
def test_the_servers_times_are_meant_however_files_tell_theirs(
    declare: Declare, contract: Contract, server: Prometheus, time: dict[str, Any]
) -> None:
    other = declare(parameters={"queries": {"query": QUERIES}}, time={"column": "time", **time})
    assert hour(other, server).drop("revision").equals(hour(contract, server).drop("revision"))


@pytest.mark.service
def test_the_long_layout_is_spoken_too(declare: Declare, contract: Contract, server: Prometheus) -> None:
    long = {"kind": "long", "parameter_column": "metric", "value_column": "value", "unit_column": "unit"}
    columns = ["entity", "cohort", "at", "queries", "query_time", "cpu"]
    told = hour(declare(parameters={"queries": {"query": QUERIES}}, layout=long), server).select(columns).sort("entity", "at")
    assert told.equals(hour(contract, server).select(columns).sort("entity", "at"))


@pytest.mark.service
def test_several_series_of_an_entity_are_refused(declare: Declare, server: Prometheus) -> None:
    contract = declare(parameters={"queries": {"column": "requests"}})
    with pytest.raises(SourceError, match=r"several series of 'requests' have the same customer, region") as refused:
        hour(contract, server)
    assert refused.value.hint == "aggregate in the query (parameters.<name>.query): sum by (customer, region) (requests)"


@pytest.mark.service
def test_a_key_that_is_no_label_is_told(declare: Declare, server: Prometheus) -> None:
    contract = declare(parameters={"queries": {"query": "sum by (region) (requests)"}})
    with pytest.raises(SourceError, match=r"no series of 'sum by \(region\) \(requests\)' has the label customer, which is a key"):
        hour(contract, server)


@pytest.mark.service
def test_an_expression_that_the_server_refuses_is_told_with_its_reason(declare: Declare, server: Prometheus) -> None:
    with pytest.raises(SourceError, match=r"refuses 'sum\(': .*parse error.*bad_data"):
        hour(declare(parameters={"queries": {"query": "sum("}}), server)


@pytest.mark.service
def test_a_metric_that_is_nowhere_is_told(
    declare: Declare, contract: Contract, server: Prometheus, caplog: pytest.LogCaptureFixture
) -> None:
    contract = declare(parameters={"queries": {"query": QUERIES}, "cpu": {"column": "cpus"}})
    source = PrometheusSource(server.url, contract=contract, now=END)
    with pytest.raises(MissingColumnError, match="lacks the column cpus; it has queries, query_time"):
        source.parts(since=None, until=None)
    with caplog.at_level(logging.WARNING):
        assert hour(contract, server)["cpu"].null_count() == 30
    assert "has nothing of cpus in the span" in caplog.text
    nothing = PrometheusSource(server.url, contract=declare(parameters={name: {"query": "nothing"} for name in contract.names}), now=END)
    with pytest.raises(EmptySourceError, match="has nothing of what the contract 'small' asks for"):
        nothing.parts(since=None, until=None)


@pytest.mark.service
def test_the_server_is_found_by_its_address_and_is_reached_on_this_machine_alone(contract: Contract, server: Prometheus) -> None:
    assert isinstance(find(server.url, contract=contract, now=NOW), PrometheusSource)
    listening = [each.laddr.ip for each in psutil.Process(server.pid).net_connections(kind="inet") if each.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]


# A server that misbehaves on purpose.


@dataclass(slots=True)
class Pretended:
    """What a pretended server answers, and what it was asked.

    Attributes:
        status: of the answer.
        body: of it.
        headers: of it.
        most_steps: if it is set, as many steps and no more are answered, with their own times.
        seconds: before it answers.
        seen: the headers of every request.
        asked: the steps of every request.
    """

    url: str = ""
    status: int = 200
    body: bytes = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'
    most_steps: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    seen: list[dict[str, str]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def pretended() -> Iterator[Pretended]:
    """A server on a free loopback port that answers as it is told."""
    told = Pretended()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.seen.append(dict(self.headers))
            asked = {name: values[0] for name, values in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
            start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
            times = [start + number * step for number in range(round((end - start) / step) + 1)]
            told.asked.append({**asked, "steps": len(times)})
            if told.most_steps is not None:
                fits = len(times) <= told.most_steps
                series = {"metric": {"who": "a"}, "values": [[time, "1"] for time in times]}
                told.status = 200 if fits else 422
                told.body = json.dumps({"data": {"result": [series]}, "errorType": "execution", "error": "too many samples"}).encode()
            told.released.wait(told.seconds)
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        told.url = f"http://127.0.0.1:{served.server_port}"
        yield told
        told.released.set()
        served.shutdown()
        thread.join()


def refusal(source: PrometheusSource, **span: Any) -> SourceError:
    with pytest.raises(SourceError) as refused:
        source.parts(**{"since": START, "until": START + timedelta(hours=1)} | span)
    assert refused.value.hint
    return refused.value


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, b"<html>a proxy</html>", {}), "answers 'queries' with something that is no answer of a Prometheus server"),
        ((200, b"", {}), "answers 'queries' with something that is no answer of a Prometheus server"),
        ((200, b'{"status":"success","data":null}', {}), "answers 'queries' with something that is no answer of a Prometheus server"),
        ((200, b'{"data":{"result":[{"metric":{},"values":[[1,"x"]]}]}}', {}), "something that is no answer"),
        ((200, b'{"data":{"result":[{"metric":{},"histograms":[]}]}}', {}), "'queries' gives histograms, and a parameter is a number"),
        ((500, b"", {}), "answers 'queries' with HTTP 500 and no reason"),
        ((404, b"not here", {}), "answers 'queries' with HTTP 404 and no reason"),
        (
            (503, b'{"status":"error","errorType":"timeout","error":"query timed out"}', {}),
            r"refuses 'queries': query timed out \(timeout\)",
        ),
        ((401, b"", {}), r"refuses the credentials \(HTTP 401\)"),
        (
            (302, b"", {"Location": "https://ann:x9y8@elsewhere/login?next=1"}),
            "sends its callers on to https://elsewhere/login, and is not",
        ),
    ],
)
def test_an_answer_that_is_none_is_told(declare: Declare, pretended: Pretended, answer: Answer, told: str) -> None:
    pretended.status, pretended.body, pretended.headers = answer
    assert re.search(told, refusal(PrometheusSource(pretended.url, contract=declare(), now=NOW)).message)
    assert len(pretended.seen) == 1


def test_a_server_that_is_not_there_or_too_slow_is_told(declare: Declare, pretended: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    source = PrometheusSource(pretended.url, contract=declare(), now=NOW)
    assert "cannot be reached: [Errno 111] Connection refused" in refusal(replace(source, location="http://127.0.0.1:1")).message
    assert "is no address of a server: Invalid port" in refusal(replace(source, location="http://127.0.0.1:nowhere")).message
    pretended.seconds = 30
    monkeypatch.setattr(prom, "ANSWER_SECONDS", 0.05)
    assert "cannot be reached: it takes too long to answer" in refusal(source).message


def test_a_large_answer_is_asked_for_in_halves_until_it_fits(declare: Declare, pretended: Pretended) -> None:
    source = PrometheusSource(pretended.url, contract=declare(), now=NOW, most_bytes=10)
    assert "the answer to 'queries' is too large even for one instant: more than 10 bytes" in refusal(source).message
    assert [asked["steps"] for asked in pretended.asked] == [60, 30, 15, 7, 3, 1]
    pretended.asked.clear()
    pretended.status, pretended.body = 422, b'{"errorType":"execution","error":"query processing would load too many samples into memory"}'
    assert "too many samples" in refusal(replace(source, most_bytes=1000)).message
    assert len(pretended.asked) == 6


def test_halves_of_a_span_are_the_whole(declare: Declare, pretended: Pretended) -> None:
    pretended.most_steps = 7
    whole = promql.Asking(name="server", client=httpx.Client(base_url=pretended.url), labels=("who",), most_bytes=1 << 20)
    with whole.client:
        found = whole.samples("x", start_ms=1_000_500, end_ms=1_100_000, step_ms=1_000)
    assert (found[promql.AT].dt.epoch("ms").sort() - 1_000_500).to_list() == list(range(0, 100_000, 1000))


@pytest.mark.parametrize("secret", ["s3cret-t0ken", "p%40ss%2Fw0rd"])
def test_credentials_are_sent_and_never_told(declare: Declare, pretended: Pretended, caplog: pytest.LogCaptureFixture, secret: str) -> None:
    address = pretended.url.replace("://", f"://ann:{secret}@") if "%" in secret else pretended.url
    source = PrometheusSource(address, contract=declare(), now=NOW, token=None if "%" in secret else secret)
    with caplog.at_level(logging.DEBUG):
        pretended.status = 403
        errors = [refusal(source), refusal(replace(source, location=address.replace("127.0.0.1", "127.0.0.1:1:1")))]
        pretended.status = 500
        errors.append(refusal(source))
    sent = {request["Authorization"] for request in pretended.seen}
    assert sent == {"Basic " + b64encode(b"ann:p@ss/w0rd").decode() if "%" in secret else f"Bearer {secret}"}
    told = " ".join([repr(source), source.name, caplog.text, *(text for error in errors for text in traceback.format_exception(error))])
    causes = [cause for error in errors for cause in (error.__cause__, error.__context__) if cause is not None]
    for hidden in (secret, unquote(secret), *sent):
        assert hidden not in told + repr(causes)


@pytest.mark.parametrize("location", ["http://zoe:p@ss@host/", "http://zoe:p/w@host/", "http://zoe:p?w@host", "https://zoe:p#w@host"])
def test_credentials_of_which_nobody_can_tell_the_end_are_refused_unsaid(declare: Declare, location: str) -> None:
    source = PrometheusSource(location, contract=declare(), now=NOW)
    assert source.name.rstrip("/").endswith("://host")
    error = refusal(source)
    assert "It cannot be told where the credentials" in error.message
    assert "zoe" not in str(error)


def test_contracts_that_are_of_files_alone_are_refused(declare: Declare, pretended: Pretended) -> None:
    row = declare(time={"format": "row", "origin": START.isoformat()})
    by_path = declare(entity={"keys": ["m"], "path_pattern": r"(?P<m>\w+)"})
    twice = declare(parameters={"queries": {"column": "x", "query": "a"}, "cpu": {"column": "x", "query": "b"}})
    for contract, told in ((row, "counts rows"), (by_path, "from the paths of files"), (twice, "is asked for as 'a' and as 'b'")):
        assert told in refusal(PrometheusSource(pretended.url, contract=contract, now=NOW)).message
    assert pretended.seen == []


def test_what_a_server_warns_of_is_logged(declare: Declare, pretended: Pretended, caplog: pytest.LogCaptureFixture) -> None:
    pretended.body = b'{"status":"success","warnings":["a store is away"],"data":{"resultType":"matrix","result":[]}}'
    PrometheusSource(pretended.url, contract=declare(), now=NOW).parts(since=START, until=START + timedelta(hours=1))
    assert "warns: a store is away" in caplog.text
