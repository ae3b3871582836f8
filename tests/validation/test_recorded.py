"""Suites as a release keeps them, and what is told where the software asks something else today."""

import json

import pytest

from telemetry.errors import ReleaseError
from tests.validation.grids import contract

pytestmark = pytest.mark.slow

RULE = {"left": "failures", "op": "<=", "right": "queries"}


def test_a_record_is_plain_json_and_equal_for_equal_contracts() -> None:
    from validation.recorded import digest, record

    told = record(contract(rules=(RULE,)))
    assert json.loads(json.dumps(told)) == told
    assert [suite for suite, asked in told.items() if len(asked) > 20] == ["raw", "tensors"]
    assert digest(told) == digest(record(contract(rules=(RULE,))))
    assert digest(told) != digest(record(contract()))
    assert digest(record(contract(unit_shift="warn"))) != digest(record(contract()))


def test_the_same_software_has_nothing_to_tell() -> None:
    from validation.recorded import differences, record

    assert differences(record(contract()), contract=contract(), release="ab12") == ()


def test_what_changed_since_a_release_was_published_is_told() -> None:
    from validation.recorded import differences, record

    kept = record(contract())
    kept["raw"] = [told for told in kept["raw"] if told["type"] != "expect_freshness"]
    kept["tensors"][0]["severity"] = "info"
    (found,) = differences(kept, contract=contract(), release="ab12")
    assert (found.severity, found.entity) == ("warn", None)
    assert found.found == "new: 1 (expect_freshness); otherwise: 1 (expect_calendar)"
    assert "are not those with which it was published" in found.sentence
    (again,) = differences({"raw": kept["raw"] * 2, "tensors": kept["tensors"]}, contract=contract(), release="ab12")
    assert again.found == found.found


def test_a_release_without_suites_says_so() -> None:
    from validation.recorded import differences

    (found,) = differences(None, contract=contract(), release="ab12")
    assert found.severity == "warn"
    assert "ab12 does not say by which expectations it was guarded" in found.sentence


def test_a_release_that_was_guarded_by_what_nobody_knows_any_more_is_refused() -> None:
    from validation.recorded import differences, record

    kept = record(contract())
    kept["raw"].append({"type": "expect_moonlight", "kwargs": {}})
    with pytest.raises(ReleaseError, match=r"expectations that this software does not know: expect_moonlight\."):
        differences(kept, contract=contract(), release="ab12")


def test_a_record_names_only_what_is_known() -> None:
    from validation.expectations import kinds
    from validation.recorded import record

    told = record(contract(rules=(RULE,)))
    assert {each["type"] for suite in told.values() for each in suite} <= kinds()
