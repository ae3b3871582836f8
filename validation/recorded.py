"""The suites of a contract as a release keeps them: plain JSON to be compared with, never to be run.

What is run is built in code from the release's contract. Where that differs from what the release holds, the software that asks has changed
since the release was published, and a finding says so.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

from great_expectations.expectations.expectation import Expectation

from telemetry.contract import Contract
from telemetry.errors import ReleaseError
from validation import suites
from validation.expectations import kinds
from validation.findings import Finding

Json = dict[str, Any]  # Any: a JSON document

KIND: Final = "suites of the release"
"""The expectation of which findings tell that a release's suites are not those that are run."""


def record(contract: Contract) -> Json:
    """The configurations of all expectations of a contract, by suite: `raw`, `counters`, `tensors`."""
    tensors = suites.of_tensors(contract, newcomers=True, unfitting="stop")
    raw = (*suites.door(contract), *suites.of_grid(contract))
    return {"raw": _told(raw), "counters": _told(suites.of_counters(contract)), "tensors": _told(tensors)}


def _told(asked: Iterable[Expectation]) -> list[Json]:
    return [dict(expectation.configuration.to_json_dict()) for expectation in asked]


def digest(told: Json) -> str:
    """SHA-256 over what is asked (16 hex digits): equal for equal suites."""
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def differences(kept: Json | None, *, contract: Contract, release: str) -> tuple[Finding, ...]:
    """A warning where the suites that a release keeps are not those that this software makes of the release's contract.

    Args:
        kept: as of `record`, when the release was published; None if it is older than that.
        contract: the release's own.
        release: its id.

    Raises:
        ReleaseError: the release was guarded by a kind of expectation that this software does not know any more.
    """
    if kept is None:
        sentence = (
            f"{release} does not say by which expectations it was guarded: it is older than this record. It is checked by those of today."
        )
        return (Finding.warning(KIND, found="no suites in the release", expected="the suites that guarded it", sentence=sentence),)
    now = record(contract)
    if digest(kept) == digest(now):
        return ()
    _refuse_unknown(kept, release=release)
    before, after = _by_place(kept), _by_place(now)
    parts = (
        ("new", [place for place in after if place not in before]),
        ("gone", [place for place in before if place not in after]),
        ("otherwise", [place for place, told in after.items() if place in before and before[place] != told]),
    )
    told = "; ".join(f"{what}: {len(places)} ({_kinds(places)})" for what, places in parts if places) or "in another order"
    sentence = (
        f"The suites that this software makes of the contract of {release} ({digest(now)}) are not those with which it was published "
        f"({digest(kept)}): {told}. The telemetry was checked by those of today; the next retrain publishes them."
    )
    return (Finding.warning(KIND, found=told, expected=f"suites {digest(kept)}, as published", sentence=sentence),)


def _refuse_unknown(kept: Json, *, release: str) -> None:
    unknown = sorted({told["type"] for suite in kept.values() for told in suite} - kinds())
    if unknown:
        raise ReleaseError(
            f"{release} was guarded by expectations that this software does not know: {', '.join(unknown)}.",
            hint="take the software that published it, or learn anew: tidewatch retrain.",
        )


def _by_place(told: Json) -> dict[tuple[str, ...], str]:
    """Expectations by suite, type and what they are about; a rule is about both of its parameters."""
    about = ("column", "column_A", "column_B", "rule", "mostly")
    return {
        (suite, each["type"], *(str(each["kwargs"].get(name, "")) for name in about)): json.dumps(each, sort_keys=True)
        for suite, every in told.items()
        for each in every
    }


def _kinds(places: list[tuple[str, ...]]) -> str:
    return ", ".join(dict.fromkeys(kind for _, kind, *_ in places))
