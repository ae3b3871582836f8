"""A rules file becomes incidents of entities; what cannot be followed is refused by a sentence, and the rest is used all the same."""

from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import polars as pl
import pytest

from telemetry.alert_rules import Rules, alerts, fire, fitting, load, reach
from telemetry.errors import RulesError
from telemetry.schema import END, ENTITY, INCIDENT, OPENED, PEAK, RELEASE, START, TARGET
from tests.telemetry.alerting import at, contract, grid

A, B, C = "acme/eu", "acme/us", "borealis/eu"
N = None


def rules_of(folder: Path, text: str) -> Rules:
    """The rules of a file with a text."""
    path = folder / "rules.yml"
    path.write_text(dedent(text), encoding="utf-8")
    return load(path)


def one(folder: Path, expr: str, **more: str) -> Rules:
    """A file with one alert."""
    lines = "".join(f"\n            {key}: {value}" for key, value in more.items())
    return rules_of(folder, f"groups:\n  - name: g\n    rules:\n          - alert: Alert\n            expr: {expr!r}{lines}\n")


def spans(found: pl.DataFrame) -> list[tuple[str, int, int, int]]:
    """Entity, and minutes of start, opened and end."""
    zero = at(0)
    return [
        (e, *((each - zero) // timedelta(minutes=1) for each in times)) for e, *times in found.select(ENTITY, START, OPENED, END).rows()
    ]


def test_an_alert_is_an_incident_of_its_entity(tmp_path: Path) -> None:
    told = grid({"queries": {A: [1, 9, 12, 1, 9], B: [1, 1, 1, 1, 1]}})
    found = alerts(one(tmp_path, "queries > 5"), grid=told.lazy(), contract=contract())
    assert spans(found) == [(A, 1, 2, 3), (A, 4, 5, 5)]
    assert found.select(INCIDENT, TARGET, PEAK, RELEASE).row(0) == (
        "Alert{customer=acme,region=eu}@2026-01-05T00:01:00Z",
        "Alert",
        12.0,
        "rules",
    )


def test_an_alert_fires_when_it_has_held_for_long_enough(tmp_path: Path) -> None:
    told = grid({"queries": {A: [9, 9, 1, 9, 9, 9, 9]}})
    found = alerts(one(tmp_path, "queries > 5", **{"for": "2m"}), grid=told.lazy(), contract=contract())
    assert spans(found) == [(A, 3, 6, 7)]  # pending in minute 3, two minutes later it fires, and that is known when minute 5 is over


def test_an_alert_that_keeps_firing_is_one(tmp_path: Path) -> None:
    told = grid({"queries": {A: [9, 1, 9, 9, 1, 1, 9, 1, 1, 1, 1, 9]}})
    found = alerts(one(tmp_path, "queries > 5", keep_firing_for="2m", **{"for": "1m"}), grid=told.lazy(), contract=contract())
    assert spans(found) == [(A, 2, 4, 7)]  # minute 0 was over too soon, minute 6 comes while it fires on, minute 11 is too late and alone


def test_a_group_is_looked_at_at_its_own_interval(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        """
        groups:
          - name: slow
            interval: 2m
            rules:
              - alert: Alert
                expr: queries > 5
        """,
    )
    told = grid({"queries": {A: [1, 9, 1, 1, 9, 1, 9, 1]}})
    assert spans(alerts(rules, grid=told.lazy(), contract=contract())) == [(A, 4, 5, 8)]


def test_an_alert_of_a_region_is_one_incident_of_each_entity_of_it(tmp_path: Path) -> None:
    told = grid({"queries": {A: [1, 9], B: [9, 9], C: [1, 1]}})
    found = alerts(one(tmp_path, "sum by (region) (queries) > 9"), grid=told.lazy(), contract=contract())
    assert spans(found) == [(A, 1, 2, 2), (C, 1, 2, 2)]
    assert found[INCIDENT].unique().to_list() == ["Alert{region=eu}@2026-01-05T00:01:00Z"]


def test_an_alert_of_the_whole_fleet_is_of_everybody(tmp_path: Path) -> None:
    told = grid({"queries": {A: [1, 9], B: [9, 9], C: [1, 1]}})
    assert spans(alerts(one(tmp_path, "sum(queries) > 15"), grid=told.lazy(), contract=contract())) == [(e, 1, 2, 2) for e in (A, B, C)]


def test_a_label_that_a_rule_adds_says_whose_it_is(tmp_path: Path) -> None:
    told = grid({"queries": {A: [1, 9], B: [9, 9], C: [1, 1]}})
    rules = one(tmp_path, "sum(queries) > 15", labels="{severity: page, customer: acme}")
    assert spans(alerts(rules, grid=told.lazy(), contract=contract())) == [(A, 1, 2, 2), (B, 1, 2, 2)]


def test_silence_is_told_by_absence(tmp_path: Path) -> None:
    told = grid({"queries": {A: [1, *[N] * 7], B: [1] * 8}})
    rules = one(tmp_path, 'absent(queries{customer="acme", region="eu"})', **{"for": "1m"})
    assert spans(alerts(rules, grid=told.lazy(), contract=contract())) == [(A, 5, 7, 8)]


def test_what_cannot_be_followed_is_refused_and_the_rest_is_used(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        """
        groups:
          - name: mixed
            rules:
              - record: job:share
                expr: failed / queries
              - alert: Shares
                expr: job:share > 0.5
              - alert: Top
                expr: topk(3, queries) > 1
              - alert: Unknown
                expr: up == 0
              - alert: Job
                expr: queries{job="api"} > 1
              - alert: Gauge
                expr: rate(query_time[5m]) > 1
              - alert: Range
                expr: queries[5m]
              - alert: For
                expr: queries > 1
                for: soon
              - alert: Nothing
              - expr: queries > 3
              - alert: Many
                expr: queries + on (region) failed > 1
          - name: fine
            rules:
              - alert: Queries
                expr: queries > 8
        """,
    )
    told = grid({"queries": {A: [1, 9], C: [1, 1]}, "failed": {A: [1, 1], C: [0, 0]}})
    fired = fire(rules, grid=told.lazy(), contract=contract())
    assert [alert.name for alert in fired.rules.alerts] == ["Shares", "Queries"]
    assert spans(fired.incidents) == [(A, 0, 1, 1), (A, 1, 2, 2)]
    sentences = {refused.name: refused.sentence for refused in fired.rules.refused}
    assert sentences["Top"].startswith("At character 1: topk() is not supported; supported are")
    assert sentences["Unknown"] == "At character 1: up is no parameter of the contract; it has queries, failed, query_time."
    assert sentences["Job"] == "At character 9: nothing has the label job; the keys are customer, region."
    assert sentences["Gauge"] == "At character 6: query_time is a mean, and rate() is for counters; delta() is for such."
    assert sentences["Range"] == "An alert needs an expression with a value an instant, such as metric > 5."
    assert sentences["For"] == "'soon' is no duration such as 30s, 5m, 1h30m or 1d."
    assert sentences["Nothing"] == "It has no expr."
    assert sentences["without a name"] == "It has neither an alert's name nor a record's."
    assert sentences["Many"].startswith("At character 9: several elements of the")
    assert {refused.line for refused in fired.rules.refused if refused.name == "Top"} == {9}


def test_a_record_of_itself_is_refused(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        """
        groups:
          - name: g
            rules:
              - {record: one, expr: two + 1}
              - {record: two, expr: one + 1}
              - {alert: Alert, expr: one > 1}
        """,
    )
    assert [refused.sentence for refused in fitting(rules, contract=contract()).refused] == ["At character 1: one is recorded by itself."]


def test_two_rules_of_one_name_are_told_apart(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        """
        groups:
          - name: g
            rules:
              - {alert: Alert, expr: queries > 5, labels: {severity: warn}}
              - {alert: Alert, expr: queries > 7, labels: {severity: page}}
        """,
    )
    found = alerts(rules, grid=grid({"queries": {A: [1, 9]}}).lazy(), contract=contract())
    assert found[INCIDENT].n_unique() == 2
    assert found[TARGET].unique().to_list() == ["Alert"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: [", "is no YAML"),
        ("rules: []", "has no list of groups"),
        ("groups: {}", "has no list of groups"),
        ("", "has no list of groups"),
        ("groups: [{name: a}]", "Group 1 of .* has no list of rules"),
        ("groups: [{name: a, rules: [1]}]", "A rule of group 'a' of .* is no mapping: '1'"),
        ("groups: [{name: a, interval: often, rules: [{alert: A, expr: a}]}]", "The interval of group 'a'"),
        ("a: 1\n---\nb: 2", "is no YAML"),
        ("!!python/object/apply:os.system ['true']", "is no YAML"),
    ],
)
def test_a_file_that_is_no_rules_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RulesError, match=said):
        rules_of(tmp_path, text)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="There is no rules file"):
        load(tmp_path / "none.yml")


def test_how_far_rules_look_back(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        """
        groups:
          - name: g
            rules:
              - {record: hour, expr: "avg_over_time(queries[1h])"}
              - {alert: Near, expr: queries > 1, for: 10m}
              - {alert: Far, expr: "max_over_time(hour[30m] offset 1d) > 2"}
        """,
    )
    assert reach(rules) == timedelta(days=1, hours=1, minutes=30)
    assert reach(one(tmp_path, "queries > 1", **{"for": "10m"})) == timedelta(minutes=15)
