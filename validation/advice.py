"""What to do about a finding: one line for each kind of it. For a person who does not know the checks."""

from typing import Final

OF_TENSORS: Final = (
    "scaled mean",
    "scaled deviation",
    "finite tensor",
    "zero where unobserved",
    "round trip",
    "own scale",
    "calendar",
    "newcomer flag",
)
ADVICE: Final = {
    "columns": "Compare the source's columns with the contract's [parameters]: a column was renamed, dropped or added at the sender.",
    "rows": "Ask the sender whether anything was sent, and look into the quarantine: tidewatch quarantine list.",
    "one row a step": "Ask the sender whether an export was sent twice; check entity.keys and time.repeated of the contract.",
    "time goes forward": "Check time.format and time.zone of the contract against the source: day and month, or zones, may be mixed up.",
    "not missing": "Ask the customer or the team that runs the agent since when the parameter is not sent, and why. "
    "If nobody needs it, take it out of the contract.",
    "plausible range": "Look at the readings of that period at the source. Impossible: have the sender fix and send them again. "
    "Possible after all: widen minimum and maximum in the contract.",
    "finite": "Have the sender leave the value out where its divisor is zero.",
    "same unit": "Ask the customer or the team that runs the agent what changed at that time. If the unit changed, have the period sent "
    "again in the old unit, or declare source_unit in the contract; until then keep those readings out of the source. "
    "If it is real, wait until the new level is the entity's own past.",
    "unit of the others": "Ask the customer in which unit the agent tells this parameter. If it is another one, declare source_unit in the "
    "contract.",
    "volume": "Ask the customer or the team that runs the agent what happened on that day. Where readings come late, "
    "ingest and check again.",
    "freshness": "Ask the customer or the team that runs the agent whether the source broke down. If the entity left for good, nothing is "
    "to be done: it counts as departed after newcomer.departed_days.",
    "rule": "Look at the examples at the source: one of the two parameters is told wrongly there, or in another unit. If such values are "
    "possible, give the rule a tolerance in the contract, or take it out.",
    "drift": "Look whether the change is real and stays. If it does, learn anew: tidewatch retrain. If it is a mistake at the sender, have "
    "the period sent again.",
    **dict.fromkeys(
        OF_TENSORS, "Keep this page and show it to who maintains the pipeline: the telemetry is sound, its preparation is not."
    ),
}
"""By the finding's expectation."""
OTHERWISE: Final = "Compare what was found with what was expected, and ask who sends this telemetry."


def advice(expectation: str) -> str:
    """The line for a kind of finding.

    >>> advice("finite")
    'Have the sender leave the value out where its divisor is zero.'
    """
    return ADVICE.get(expectation, OTHERWISE)
