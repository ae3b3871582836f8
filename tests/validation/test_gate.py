"""The gate fails closed, and says why."""

import math
from dataclasses import replace
from typing import Any, assert_never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.sections import Gate
from validation.gate import Decision, Evidence, Hold, Promote, decide
from validation.injected import FaultsFound, Lost
from validation.metrics import Metrics

POLICY = Gate()
GOOD = Metrics(
    accuracy=0.99,
    accuracy_lower=0.988,
    accuracy_persistence=0.93,
    accuracy_oracle=None,
    skill=0.27,
    rows=100_000,
    not_finite=0,
    blocks=400,
    entity_skill_share=1.0,
    worst_decile_accuracy=0.98,
)
FOUND = FaultsFound(faults=200, found=190)
LOST = Lost(kind="shift", faults=20, found=12, found_by_champion=20, p=0.02)
FINE = Evidence(checks_passed=True, finite=True, same_bytes=True, injected=replace(FOUND, lost=replace(LOST, found=19, p=1.0)))


def judged(*, champion: Metrics | None = None, evidence: Evidence = FINE, **figures: Any) -> Decision:
    return decide(replace(GOOD, **figures), champion=champion, evidence=evidence, policy=POLICY)


def reasons(decision: Decision) -> list[str]:
    match decision:
        case Promote():
            return []
        case Hold(reasons=told):
            return [reason.sentence for reason in told]
        case _:
            assert_never(decision)


def test_a_release_that_passes_every_bar_is_promoted() -> None:
    decision = judged()
    assert isinstance(decision, Promote)
    assert [bar.name for bar in decision.bars if bar.passed] == [
        "accuracy, lower 95 % bound",
        "skill over repeating the last value",
        "entities with skill above 0",
        "accuracy of the worst tenth of the entities",
        "incidents that the champion finds",
        "injected faults found, lower 95 % bound",
        "injected faults that the champion finds",
        "data checks",
        "finite",
        "same bytes on reload",
    ]


def test_one_bad_customer_holds_the_release() -> None:
    assert reasons(judged(worst_decile_accuracy=0.91)) == ["Accuracy of the worst tenth of the entities: 91.00 %, needed at least 95.00 %."]


def test_the_lower_bound_decides_not_the_accuracy() -> None:
    assert reasons(judged(accuracy=0.999, accuracy_lower=0.984999)) == ["Accuracy, lower 95 % bound: 98.49 %, needed at least 98.50 %."]


def test_no_better_than_the_last_value_is_not_good_enough() -> None:
    assert reasons(judged(skill=0.0)) == ["Skill over repeating the last value: 0.0000, needed above 0.0000."]


def test_a_lost_incident_holds_the_release() -> None:
    evidence = replace(FINE, incidents_candidate=frozenset({"a@1"}), incidents_champion=frozenset({"a@1", "b@2"}))
    assert reasons(judged(champion=GOOD, evidence=evidence)) == ["Incidents that the champion finds: lost b@2, needed none lost."]
    assert isinstance(judged(evidence=evidence), Promote), "there is no champion yet whose incidents could be lost"


@pytest.mark.parametrize(("candidate", "champion"), [(None, frozenset({"a@1"})), (frozenset({"a@1"}), None)])
def test_incidents_that_were_not_compared_hold_the_release(candidate: frozenset[str] | None, champion: frozenset[str] | None) -> None:
    evidence = replace(FINE, incidents_candidate=candidate, incidents_champion=champion)
    assert reasons(judged(champion=GOOD, evidence=evidence)) == ["Incidents that the champion finds: not compared, needed none lost."]


def test_a_class_of_injected_faults_that_is_lost_holds_the_release() -> None:
    evidence = replace(FINE, injected=replace(FOUND, lost=LOST))
    told = ["Injected faults that the champion finds: of 20 (shift) 12, the champion 20; p = 0.02, needed no significant loss."]
    assert reasons(judged(champion=GOOD, evidence=evidence)) == told
    assert isinstance(judged(evidence=evidence), Promote), "there is no champion yet that could find more"


def test_too_few_injected_faults_found_hold_the_release_whatever_the_champion_finds() -> None:
    few = replace(FINE, injected=FaultsFound(faults=200, found=165))  # 82.5 %, its lower bound 77.6 %
    assert reasons(judged(evidence=few)) == ["Injected faults found, lower 95 % bound: 77.65 %, needed at least 80.00 %."]


def test_injected_faults_that_nobody_looked_for_hold_the_release() -> None:
    name = "Injected faults found, lower 95 % bound"
    assert reasons(judged(evidence=replace(FINE, injected=None))) == [f"{name}: not looked at, needed some."]
    assert reasons(judged(evidence=replace(FINE, injected=FaultsFound(faults=0, found=0)))) == [f"{name}: no fault met, needed some."]
    uncompared = replace(FINE, injected=FOUND)
    told = ["Injected faults that the champion finds: not compared, needed no significant loss."]
    assert reasons(judged(champion=GOOD, evidence=uncompared)) == told
    asked_for_none = POLICY.model_copy(update={"injected_recall": 0.0})
    assert isinstance(decide(GOOD, champion=None, evidence=replace(FINE, injected=None), policy=asked_for_none), Promote)


@pytest.mark.parametrize("field", ["checks_passed", "finite", "same_bytes"])
@pytest.mark.parametrize("found", [False, None])
def test_evidence_that_is_bad_or_missing_holds_the_release(field: str, found: bool | None) -> None:
    decision = judged(evidence=replace(FINE, **{field: found}))
    assert len(reasons(decision)) == 1


@pytest.mark.parametrize("field", ["accuracy_lower", "skill", "entity_skill_share", "worst_decile_accuracy"])
@pytest.mark.parametrize("found", [math.nan, -math.inf, math.inf])
def test_a_figure_that_is_no_number_holds_the_release(field: str, found: float) -> None:
    assert len(reasons(judged(**{field: found}))) == 1


def test_a_single_forecast_that_is_no_number_holds_the_release() -> None:
    assert reasons(judged(not_finite=1)) == ["Finite: 1 forecasts that are no number, needed finite."]


def test_nothing_measured_holds_the_release() -> None:
    told = ["Measured rows: none, needed at least 1."]
    assert reasons(decide(None, champion=None, evidence=FINE, policy=POLICY)) == told
    assert reasons(judged(rows=0)) == told


FIGURES = ("accuracy_lower", "skill", "entity_skill_share", "worst_decile_accuracy")


@given(
    found=st.fixed_dictionaries(dict.fromkeys(FIGURES, st.floats(-1, 1))),
    worse=st.fixed_dictionaries(dict.fromkeys(FIGURES, st.floats(0, 1))),
    evidence=st.tuples(*[st.sampled_from([True, False, None])] * 3),
)
def test_making_anything_worse_never_turns_hold_into_promote(
    found: dict[str, float], worse: dict[str, float], evidence: tuple[bool | None, ...]
) -> None:
    told = replace(FINE, checks_passed=evidence[0], finite=evidence[1], same_bytes=evidence[2])
    before = judged(evidence=told, **found)
    after = judged(evidence=told, **{name: found[name] - worse[name] for name in FIGURES})
    assert not (isinstance(before, Hold) and isinstance(after, Promote))


@given(st.frozensets(st.sampled_from("abcd")), st.frozensets(st.sampled_from("abcd")), st.frozensets(st.sampled_from("abcd")))
def test_finding_fewer_incidents_never_turns_hold_into_promote(
    candidate: frozenset[str], champion: frozenset[str], lost: frozenset[str]
) -> None:
    def with_found(found: frozenset[str]) -> Decision:
        return judged(champion=GOOD, evidence=replace(FINE, incidents_candidate=found, incidents_champion=champion))

    before, after = with_found(candidate), with_found(candidate - lost)
    assert isinstance(before, Promote) == (champion <= candidate)
    assert not (isinstance(before, Hold) and isinstance(after, Promote))
