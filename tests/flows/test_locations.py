"""What is secret of a source stays in the environment; a span of time is told as a person tells it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.locations import CREDENTIALS, QUERY, SpanError, expanded, hidden, instant, open_source, shown
from telemetry import contract as contracts
from telemetry.errors import SourceError
from telemetry.files import FileSource
from telemetry.prometheus import PrometheusSource
from tests.flows.lakes import CONTRACT

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECRET = "p%40ss:w0rd"  # noqa: S105


@pytest.mark.parametrize(
    "location",
    [f"postgresql://ann:{SECRET}@db:5432/fleet?password={SECRET}", f"https://ann:{SECRET}@metrics/prefix", f"http://{SECRET}@metrics"],
)
def test_credentials_are_moved_into_the_environment_and_come_back_from_there(location: str) -> None:
    environment: dict[str, str] = {}
    kept = hidden(location, environment=environment)
    assert SECRET not in kept
    assert expanded(kept, environment=environment) == location
    assert set(environment) <= {CREDENTIALS, QUERY}
    assert SECRET not in shown(location)
    assert shown(kept) == shown(location)


@pytest.mark.parametrize(
    "location", ["exports/*.csv", "a b/c@d.csv", "s3://bucket/a@b.parquet", "postgresql://${WHO}@db/fleet", "https://metrics:9090"]
)
def test_a_location_without_secrets_stays_as_it_is(location: str) -> None:
    environment: dict[str, str] = {}
    assert hidden(location, environment=environment) == location
    assert environment == {}


def test_a_variable_that_is_not_set_is_named_and_nothing_else_is_told() -> None:
    with pytest.raises(SourceError, match="names PGPASSWORD, which the environment does not set") as refused:
        expanded("postgresql://${PGUSER}:${PGPASSWORD}@db/fleet", environment={"PGUSER": "ann"})
    assert "export PGPASSWORD" in str(refused.value)
    assert "postgresql://db/fleet" in str(refused.value)


def test_a_source_is_opened_with_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(CONTRACT, encoding="utf-8")
    contract = contracts.load(path)
    monkeypatch.setenv("METRICS", "metrics:9090")
    monkeypatch.setenv("PROMETHEUS_TOKEN", SECRET)
    server, files = (open_source(location, contract=contract, now=NOON) for location in ("http://${METRICS}", str(tmp_path)))
    assert isinstance(server, PrometheusSource)
    assert (server.name, server.token) == ("http://metrics:9090", SECRET)
    assert SECRET not in repr(server)
    assert isinstance(files, FileSource)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("2d", NOON - timedelta(days=2)),
        ("90m", NOON - timedelta(minutes=90)),
        ("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T06:00:00+02:00", datetime(2026, 1, 1, 4, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_an_instant_is_told_by_the_clock_or_by_how_long_ago_it_was(told: str | None, expected: datetime | None) -> None:
    assert instant(told, now=NOON, name="since") == expected


def test_what_is_no_time_is_refused_with_examples() -> None:
    with pytest.raises(SpanError, match=r"'yesterday' is no time for since\.\nHint: tell it like 2026-01-31"):
        instant("yesterday", now=NOON, name="since")
