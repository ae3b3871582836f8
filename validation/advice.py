"""What to do about a finding: a line for each kind of it, a nearer one where its cause is known. For who does not know the checks."""

import re
from typing import Final

from validation import tensor_causes as causes
from validation.findings import Finding
from validation.forms import ALL_ZERO, LOGARITHM, SIGN, SWAPPED
from validation.tensor_judgements import ARITHMETIC, SCALES_OF_OTHERS

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
    "quarantined share": "So much is wrong at once that the sender, or the way from there, has changed for all: begin with the findings "
    "that name most entities. If it is right after all, raise checks.max_quarantined_share of the contract.",
    "copied day": "Ask the sender for the readings of those days as they were measured, and since when an export or a cache repeats "
    "what it knew; a copy that was made to fill a gap is to be left out of the source.",
    "suites of the release": "Look at what is asked now and was not asked then, and learn anew if it matters: a retrain is guarded by "
    "today's suites.",
    "volume": "Ask the customer or the team that runs the agent what happened on that day. Where readings come late, "
    "ingest and check again.",
    "freshness": "Ask the customer or the team that runs the agent whether the source broke down. If the entity left for good, nothing is "
    "to be done: it counts as departed after newcomer.departed_days.",
    "outage": "Ask the customer or the team that runs the systems what happened then. An outage: label it (--labels), so that it is not "
    "learned. Planned work: declare it with tidewatch maintenance add, also afterwards. As it should be: nothing is to be done.",
    "outage confirmed": "An incident: label it (--labels). Planned work: tidewatch maintenance add. A false alarm: nothing is to be done; "
    "where it recurs, promise fewer of them in [thresholds], or take thresholds.accept_hours down.",
    "rule": "Look at the examples at the source: one of the two parameters is told wrongly there, or in another unit. If such values are "
    "possible, give the rule a tolerance in the contract, or take it out.",
    "counter": "Look at the readings of that time at the source: do several senders tell one counter, or is it a sum over members that "
    "come and go? Have each told apart. If it can fall by its nature, it is no counter: declare aggregation = 'mean' in the contract.",
    "counter restarts": "Ask the team that runs the agent what is restarted so often. If that is as it should be, raise "
    "checks.max_restarts_a_day of the contract.",
    "drift": "Look whether the change is real and stays. If it does, learn anew: tidewatch retrain. If it is a mistake at the sender, have "
    "the period sent again.",
    "scaled mean": "For who maintains the pipeline: take the mean of this entity's training part from the grid and compare it with the "
    "scale's. They differ: telemetry.scaling.fit saw other rows. They agree: the panel was made with other scales.",
    "scaled deviation": "For who maintains the pipeline: take the deviation of this entity's training part from the grid (ddof=0) and "
    "compare it with the scale's. They differ: telemetry.scaling.fit saw other rows. They agree: the panel was made with other scales.",
    "finite tensor": "For who maintains the pipeline: look for a deviation of 0, a missing scale or a cast to 16 bits in "
    "telemetry.windows.panel; an infinite value of the source would have been found in the raw grid.",
    "zero where unobserved": "For who maintains the pipeline: set the value to 0 after scaling wherever the grid is null "
    "(telemetry.windows.panel); a 0 put in before scaling becomes -mean/deviation.",
    "round trip": "For who maintains the pipeline: scale one of these rows by hand, (value - mean) / deviation, and follow it through "
    "telemetry.windows.panel; also look whether the rows are sorted by entity and time before they are laid out.",
    "own scale": "For who maintains the pipeline: look at how scales and rows are brought together (telemetry.scaling.matrices): by the "
    "names of entity and parameter, never by their place.",
    "calendar": "For who maintains the pipeline: make the calendar from UTC instants and the zone that the contract names "
    "(telemetry.calendars.calendar), and look up whose calendar an entity follows by its key (telemetry.calendars.follow); a local clock, "
    "a naive time, or another entity's zone has come in.",
    "calendar keys": "Add the name to the table of the contract's section calendar, or correct how it is written there. If the default is "
    "meant for it, name it with the default.",
    "attributes": "For who maintains the pipeline: make them from the contract's section of that name and from the scales that the network "
    "was trained with (telemetry.attributes.attribute), by the names of the entities and never by their place.",
    "newcomer flag": "For who maintains the pipeline: compare the entity's first_seen in the table `entities` with its first row in the "
    "grid, and newcomer.days of the contract.",
}
"""By the finding's expectation."""
OTHERWISE: Final = "Compare what was found with what was expected, and ask who sends this telemetry."

OF_RAW: Final = {
    ALL_ZERO: "Ask the team that runs the agent whether a division of whole numbers came in at that time, or the measuring stopped. Have "
    "the period sent again; what was rounded away cannot be calculated back.",
    "integer division": "Ask the team that runs the agent since when it divides whole numbers, and have it divide with decimals and send "
    "the period again: the remainders are lost, so source_unit cannot mend this.",
    LOGARITHM: "Ask the team that runs the agent since when it sends the logarithm (a change of a dashboard's or an exporter's axis), and "
    "have the period sent again as it is measured.",
    SIGN: "Ask the team that runs the agent since when it counts the other way round (sent minus received, say), and have the period sent "
    "again with the old sign.",
    SWAPPED: "Compare the order of the columns in the source with that of its header, or of the query that fills it, since that time; have "
    "the period sent again. Both parameters are wrong.",
}
"""By the beginning of the finding's cause; a factor is a change of unit, as its kind says."""
OF_TENSORS: Final = {
    causes.UNSCALED: "look whether the scaling was passed over, or whether the scales hold mean 0 and deviation 1 for it.",
    causes.TWICE: "look for a second scaling on the way: a grid that was scaled before it was stored, a panel scaled after it was loaded.",
    causes.OTHER: "scales were brought to the rows by their place and not by their name: look at the join of entities and scales, and at "
    "entities that were added or left out since.",
    causes.POOLED: "take mean and deviation by entity and parameter: a grouping by entity, or the axis of an array, is missing.",
    causes.PER_STEP: "take mean and deviation over time and not over entities: the axis of an array is the wrong one.",
    causes.LEAK: "fit the scales on what lies before train_end of telemetry.windows.cuts. Release nothing that was judged with these: its "
    "accuracy looks better than it is.",
    causes.STALE: "look which scales the run took: a retrain fits its own, only a recalibration takes the champion's. A cache may lie.",
    causes.MEAN_ONLY: "divide by the deviation; the step is missing, or the deviation that came in was 1.",
    causes.DEVIATION_ONLY: "take the mean off before dividing; the step is missing, or the mean that came in was 0.",
    causes.VARIANCE: "divide by the deviation: the root of the variance was not taken, or it was divided twice.",
    causes.MOVED: "look at the sorting by entity and time and at every shift before the panel. If values come from later, throw away what "
    "was learned: it has seen the future.",
    causes.ROUNDED: "look for a cast to fewer bits or to whole numbers between scaling and panel; 32-bit floats lose nothing that matters.",
    causes.COLUMN: "select the columns by their name: their order and that of the contract's parameters have parted.",
    causes.MASK: "make the mask from the grid's nulls alone (telemetry.windows.panel), and lay it out by the same rows as the values.",
}
"""By the cause in `tensor_causes`."""


def advice(expectation: str) -> str:
    """The line for a kind of finding.

    >>> advice("finite")
    'Have the sender leave the value out where its divisor is zero.'
    """
    return ADVICE.get(expectation, OTHERWISE)


def advice_of(finding: Finding) -> str:
    """The line for a finding: that for its cause where one is known, else that for its kind."""
    raw = next((line for cause, line in OF_RAW.items() if finding.cause.startswith(cause)), None)
    tensors = None if finding.cause else _tensor_cause(finding)
    return raw or (f"For who maintains the pipeline: {OF_TENSORS[tensors]}" if tensors else advice(finding.expectation))


def cause_of(finding: Finding) -> str:
    """The error behind a finding, of arithmetic or one of those in `tensor_causes`; empty where none was recognised."""
    return finding.cause or _tensor_cause(finding) or ""


def _tensor_cause(finding: Finding) -> str | None:
    """The cause in `tensor_causes`, which a finding of the tensors tells in its own words; null where it tells none."""
    if not ADVICE.get(finding.expectation, "").startswith("For who maintains"):
        return None
    if finding.sentence.startswith("The mask of "):
        return causes.MASK
    return next((cause for cause, words in _WORDS.items() if words.search(finding.found) or words.search(finding.sentence)), None)


def _words(found: str) -> re.Pattern[str]:
    """What stands in `found`, alone, behind a colon, or in brackets at the end of a sentence.

    >>> bool(_words("the scale of {of}").search("3 values that do not come back: the scale of acme/eu"))
    True
    """
    told = ".+".join(re.escape(part) for part in found.split("{of}"))
    return re.compile(rf"(?:^|: |\()(?:{told})(?:$|,|\)\.)")


_WORDS: Final = {cause: _words(said.found) for cause, said in {**SCALES_OF_OTHERS, **ARITHMETIC}.items() if said.found}
