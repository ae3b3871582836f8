"""Whether a release may replace the champion: every bar with what was found and what was needed, and one answer.

It fails closed: a figure that is missing, not finite or measured on nothing does not pass its bar. A refusal is a result (`Hold`), not
an exception.
"""

import math
from dataclasses import dataclass

from telemetry.sections import Gate
from validation.injected import FaultsFound
from validation.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What else is known of the candidate; None = it was not looked at.

    Attributes:
        checks_passed: whether the data checks of the run passed.
        finite: whether all weights and forecasts are finite.
        same_bytes: whether the release, read back, is the same byte for byte.
        incidents_candidate: keys of the labelled incidents that the candidate finds; None where there are no labels.
        incidents_champion: keys of those that the champion finds, over the same period.
        injected: what was found of injected faults, by the champion too where there is one.
    """

    checks_passed: bool | None
    finite: bool | None
    same_bytes: bool | None
    incidents_candidate: frozenset[str] | None = None
    incidents_champion: frozenset[str] | None = None
    injected: FaultsFound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One condition: its name, what was found, what was needed, whether it passed, and all of that as a sentence."""

    name: str
    found: str
    needed: str
    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a release is held: a bar that it did not pass."""

    bar: str
    found: str
    needed: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """The release may be published. It passed all of `bars`."""

    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The release stays out and the champion stays in force."""

    reasons: tuple[Reason, ...]
    bars: tuple[Bar, ...]


Decision = Promote | Hold


def decide(candidate: Metrics | None, *, champion: Metrics | None, evidence: Evidence, policy: Gate) -> Decision:
    """Whether `candidate` passes every bar of `policy`.

    Args:
        candidate: measured on the parallel test; None if that did not happen.
        champion: the release in force, measured on the same rows; None for a first release.
        evidence: what is known beside the metrics.
        policy: the bars, fixed before anything was measured.
    """
    bars = (
        *_figures(candidate, policy=policy),
        _incidents(evidence, first=champion is None),
        *_injected(evidence.injected, first=champion is None, policy=policy),
        _holds(evidence.checks_passed, name="data checks", yes="passed", no="failed"),
        _finite(candidate, evidence=evidence),
        _holds(evidence.same_bytes, name="same bytes on reload", yes="the same", no="different"),
    )
    reasons = tuple(Reason(bar=b.name, found=b.found, needed=b.needed, sentence=b.sentence) for b in bars if not b.passed)
    return Hold(reasons=reasons, bars=bars) if reasons else Promote(bars=bars)


def _figures(candidate: Metrics | None, *, policy: Gate) -> tuple[Bar, ...]:
    """The bars on what was measured."""
    if candidate is None or candidate.rows <= 0:
        return (_bar("measured rows", found="none", needed="at least 1", passed=False),)
    return (
        _at_least("accuracy, lower 95 % bound", candidate.accuracy_lower, bar=policy.accuracy),
        _above("skill over repeating the last value", candidate.skill, bar=policy.skill),
        _at_least("entities with skill above 0", candidate.entity_skill_share, bar=policy.entity_skill_share),
        _at_least("accuracy of the worst tenth of the entities", candidate.worst_decile_accuracy, bar=policy.worst_decile_accuracy),
    )


def _incidents(evidence: Evidence, *, first: bool) -> Bar:
    name, needed = "incidents that the champion finds", "none lost"
    candidate, champion = evidence.incidents_candidate, evidence.incidents_champion
    if first or (candidate is None and champion is None):
        found = "no champion yet" if first else "no labelled incident"
        return _bar(name, found=found, needed=needed, passed=True)
    if candidate is None or champion is None:
        return _bar(name, found="not compared", needed=needed, passed=False)
    lost = sorted(champion - candidate)
    return _bar(name, found=f"lost {', '.join(lost)}" if lost else "none lost", needed=needed, passed=not lost)


def _injected(found: FaultsFound | None, *, first: bool, policy: Gate) -> tuple[Bar, ...]:
    """Of the injected faults that nobody may miss, enough are found, and in no class significantly fewer than by the champion."""
    floor, beside, needed = "injected faults found, lower 95 % bound", "injected faults that the champion finds", "no significant loss"
    if policy.injected_recall == 0:
        return (_bar(floor, found="not asked", needed="not asked", passed=True),)
    if found is None or found.faults == 0:
        return (_bar(floor, found="not looked at" if found is None else "no fault met", needed="some", passed=False),)
    bars = _at_least(floor, found.lower, bar=policy.injected_recall)
    if first:
        return (bars, _bar(beside, found="no champion yet", needed=needed, passed=True))
    if found.lost is None:
        return (bars, _bar(beside, found="not compared", needed=needed, passed=False))
    lost = found.lost
    told = f"of {lost.faults} ({lost.kind}) {lost.found}, the champion {lost.found_by_champion}; p = {lost.p:.3g}"
    return (bars, _bar(beside, found=told, needed=needed, passed=not lost.significant))


def _finite(candidate: Metrics | None, *, evidence: Evidence) -> Bar:
    bad = 0 if candidate is None else candidate.not_finite
    if bad:
        return _bar("finite", found=f"{bad} forecasts that are no number", needed="finite", passed=False)
    return _holds(evidence.finite, name="finite", yes="finite", no="not finite")


def _at_least(name: str, found: float, *, bar: float) -> Bar:
    return _bar(name, found=_percent(found), needed=f"at least {_percent(bar)}", passed=math.isfinite(found) and found >= bar)


def _above(name: str, found: float, *, bar: float) -> Bar:
    return _bar(name, found=f"{found:.4f}", needed=f"above {bar:.4f}", passed=math.isfinite(found) and found > bar)


def _holds(found: bool | None, *, name: str, yes: str, no: str) -> Bar:
    told = {True: yes, False: no, None: "not looked at"}[found]
    return _bar(name, found=told, needed=yes, passed=found is True)


def _bar(name: str, *, found: str, needed: str, passed: bool) -> Bar:
    told = f"{name}: {found}" if passed and found == needed else f"{name}: {found}, needed {needed}"
    return Bar(name=name, found=found, needed=needed, passed=passed, sentence=f"{told[0].upper()}{told[1:]}.")


def _percent(share: float) -> str:
    """Percent, rounded down, so that what misses its bar by a hair does not read as if it met it.

    >>> _percent(0.984999)
    '98.49 %'
    """
    return f"{math.floor(share * 1e4 + 1e-9) / 100:.2f} %" if math.isfinite(share) else "no number"
