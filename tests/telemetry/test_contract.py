"""A contract says what is wrong with it by the key's name, and means the same in any layout."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.contract import Contract, load, parse
from telemetry.errors import ContractError

CONTRACTS = Path(__file__).parents[2] / "infra" / "contracts"
LEAST: dict[str, Any] = {
    "name": "least",
    "entity": {"keys": ["host"]},
    "time": {"column": "t"},
    "parameters": {"cpu": {"unit": "percent", "target": True}},
}


def test_the_least_contract_is_complete_by_its_defaults() -> None:
    assert parse(LEAST).gate.accuracy == 0.985


def test_a_draft_that_nobody_has_reviewed_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    text = (CONTRACTS / "smd.toml").read_text()
    draft = tmp_path / "draft.toml"
    draft.write_text(f"reviewed = false\n{text}")
    with pytest.raises(ContractError, match="draft that nobody has reviewed: reviewed = false\nHint: settle every line marked REVIEW"):
        load(draft)
    draft.write_text(f"reviewed = true\n{text}")
    assert load(draft).digest == load(CONTRACTS / "smd.toml").digest


def test_a_review_changes_nothing_of_what_a_contract_means() -> None:
    assert parse(LEAST | {"reviewed": False}).digest == parse(LEAST).digest


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tiem": {}}, "tiem: unknown key; allowed here: attributes, calendar, checks, description, entity"),
        (
            {"time": {"column": "t", "zoen": "UTC"}},
            "time.zoen: unknown key; allowed here: cadence_seconds, clock, column, fold, format, gap, origin, pattern, repeated, zone",
        ),
        (
            {"parameters": {"cpu": {"unit": "percent", "taget": True}}},
            "parameters.cpu.taget: unknown key; allowed here: aggregation, column",
        ),
    ],
)
def test_a_typo_is_told_with_the_keys_that_are_allowed_there(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse(LEAST | changes)
    assert told in str(caught.value)


def test_every_missing_key_is_named_at_once() -> None:
    with pytest.raises(ContractError) as caught:
        parse({"name": "least", "entity": {}, "parameters": {"cpu": {}}})
    assert set(caught.value.problems) == {"entity.keys: missing", "time: missing", "parameters.cpu.unit: missing"}


@pytest.mark.parametrize(
    ("parameter", "told"),
    [
        ({"unit": "procent"}, "unknown unit 'procent'"),
        ({"unit": "count", "source_unit": "B"}, "'B' cannot be turned into 'count'"),
        ({"unit": "percent", "minimum": 5, "maximum": 1}, "minimum 5.0 is not below maximum 1.0"),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_refused_by_its_name(parameter: dict[str, Any], told: str) -> None:
    with pytest.raises(ContractError, match=r"parameters\.cpu: ") as caught:
        parse(LEAST | {"parameters": {"cpu": parameter | {"target": True}}})
    assert told in str(caught.value)


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ContractError, match="'Mars/Base' is no IANA time zone"):
        parse(LEAST | {"time": {"column": "t", "zone": "Mars/Base"}})


def test_a_contract_without_a_target_is_refused() -> None:
    with pytest.raises(ContractError, match="no parameter is a target"):
        parse(LEAST | {"parameters": {"cpu": {"unit": "percent"}}})


def test_a_contract_file_that_is_missing_or_no_toml_says_so(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="there is no such file\nHint: see infra/contracts"):
        load(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(ContractError, match="it is no TOML"):
        load(broken)


def test_layout_comments_and_order_do_not_change_the_digest() -> None:
    one = '[entity]\nkeys = ["host"]\n[time]\ncolumn = "t"\n[parameters.cpu]\nunit = "percent"\ntarget = true\n'
    other = (
        '# the same\ntime = {column = "t"}\nparameters.cpu = {target = true, unit = "percent"}  # hosts\n[entity]\nkeys = [\n "host",\n]\n'
    )
    first, second = (parse({"name": "least"} | tomllib.loads(text)) for text in (one, other))
    assert first.digest == second.digest == parse(LEAST).digest


def test_another_meaning_has_another_digest(declare: Callable[..., Contract]) -> None:
    assert declare().digest != declare(parameters={"cpu": {"unit": "ratio"}}).digest


_numbers = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)
_parameters = st.fixed_dictionaries(
    {"unit": st.sampled_from(["count", "ms", "MB", "percent"]), "target": st.just(value=True)},
    optional={
        "aggregation": st.sampled_from(["sum", "mean"]),
        "missing": st.sampled_from(["mark", "zero", "previous"]),
        "minimum": _numbers.map(lambda value: value - 2e6),
        "maximum": _numbers.map(lambda value: value + 2e6),
        "description": st.text(max_size=20),
    },
)
_contracts = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True),
        "entity": st.fixed_dictionaries({"keys": st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3)}),
        "time": st.fixed_dictionaries({"column": st.just("t")}, optional={"zone": st.sampled_from(["UTC", "Europe/Helsinki"])}),
        "parameters": st.dictionaries(st.from_regex(r"[a-z]{1,6}_x", fullmatch=True), _parameters, min_size=1, max_size=4),
    },
    optional={"newcomer": st.fixed_dictionaries({"days": st.integers(0, 90)}), "leads": st.just({"steps": [1, 60], "shortcut": [1]})},
)


@given(raw=_contracts)
def test_a_contract_that_is_dumped_and_parsed_is_the_same(raw: dict[str, Any]) -> None:
    contract = parse(raw)
    again = parse(contract.model_dump(mode="json"))
    assert isinstance(again, Contract)
    assert again == contract
    assert again.digest == contract.digest


@pytest.mark.parametrize("name", ["at", "entity", "disk use", "1st", "__old"])
def test_a_parameter_is_not_named_like_a_column_of_our_own(name: str) -> None:
    with pytest.raises(ContractError, match="cannot be a parameter's name"):
        parse(LEAST | {"parameters": {name: {"unit": "percent", "target": True}}})


RULE = {"left": "errors", "op": "<=", "right": "requests"}


def ruled(*rules: dict[str, Any]) -> Contract:
    parameters = {name: {"unit": "count", "target": True} for name in ("errors", "requests")} | {
        "time": {"unit": "ms"},
        "wait": {"unit": "s"},
    }
    return parse(LEAST | {"parameters": parameters, "rules": list(rules)})


def test_a_rule_stops_unless_it_says_otherwise_and_a_few_steps_may_break_it() -> None:
    (rule,) = ruled(RULE).rules
    assert (rule.text, rule.tolerance, rule.max_share, rule.severity) == ("errors <= requests", 0.0, 0.01, "stop")
    assert ruled(RULE, RULE | {"max_share": 0.2, "severity": "warn"}).rules[1].severity == "warn"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            RULE | {"left": "erors"},
            "rules: 'erors <= requests' names 'erors', no parameter of this contract; its parameters are errors, requests, time, wait",
        ),
        ({"left": "a", "op": "<", "right": "b"}, "'a < b' names 'a' and 'b', no parameter"),
        (RULE | {"right": "errors"}, "'errors <= errors' compares a parameter with itself"),
        (RULE | {"right": "time"}, "'errors <= time': 'count' cannot be turned into 'ms'"),
        ({"left": "time", "op": "<", "right": "wait"}, "'time < wait' compares ms with s; both sides need the same unit"),
        (RULE | {"op": ">="}, r"rules.0.op: Input should be '<=' or '<' (found '>=')"),
        (RULE | {"share": 0.1}, "rules.0.share: unknown key; allowed here: left, max_share, op, right, severity, tolerance"),
        (RULE | {"max_share": 1}, "rules.0.max_share: Input should be less than 1"),
        (RULE | {"severity": "off"}, "rules.0.severity: Input should be 'stop', 'quarantine' or 'warn'"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rule: dict[str, Any], told: str) -> None:
    with pytest.raises(ContractError, match=re.escape(told)):
        ruled(rule)


def test_a_rule_that_is_declared_twice_is_refused() -> None:
    with pytest.raises(ContractError, match="'errors <= requests' is declared twice"):
        ruled(RULE, RULE)
