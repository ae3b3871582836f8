"""Incidents: when they open and close, and what they are matched with."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.incidents import FALSE, FOUND, KEY, MINUTES_TO_DETECT, SILENCE, match, open_incidents
from telemetry.schema import AT, END, ENTITY, INCIDENT, INCIDENTS, LABELS, OPENED, PEAK, START, SURPRISE, TARGET
from telemetry.sections import Thresholds

ScoresOf = Callable[..., pl.DataFrame]
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = Thresholds(open_minutes=3, open_within=5, close_minutes=10, reopen_minutes=0, flaps=0)
"""Nothing is damped."""


def told(text: str) -> list[float | None]:
    """Surprises from a drawing: `.` normal, `x` anomalous, `X` more so, a blank is a minute without a row."""
    return [{".": 0.2, "x": 1.5, "X": 4.0, " ": None}[sign] for sign in text]


def spans(incidents: pl.DataFrame) -> list[tuple[int, int]]:
    """First minute and end of each."""
    return incidents.select((pl.col(column) - BEGIN).dt.total_minutes() for column in (START, END)).rows()


def opened(scores: pl.DataFrame, *, policy: Thresholds = POLICY, until: datetime | None = None) -> pl.DataFrame:
    return open_incidents(scores, policy=policy, cadence_seconds=60, until=until)


@pytest.mark.parametrize(
    ("drawing", "expected"),
    [
        ("..xx......", []),
        ("..xxx.....", [(2, 5)]),
        ("..x.x.x...", [(2, 7)]),
        ("..x..xx...", [(2, 7)]),
        ("..x...xx..", []),
        ("x.....xxx.", [(6, 9)]),
        ("xxx..........xxx", [(0, 3), (13, 16)]),
        ("xxx.........xxx", [(0, 15)]),
        ("xxx.........x..", [(0, 13)]),
        ("xxx..........x..", [(0, 3)]),
        ("..x x x...", [(2, 7)]),
        ("", []),
    ],
)
def test_it_opens_by_m_of_n_and_closes_by_quiet_minutes(scores_of: ScoresOf, drawing: str, expected: list[tuple[int, int]]) -> None:
    assert spans(opened(scores_of(told(drawing)))) == expected


def test_it_is_named_after_its_entity_and_start_and_tells_its_worst_target(scores_of: ScoresOf) -> None:
    scores = pl.concat([scores_of(told("..xxx")), scores_of(told("...X."), target="t")])
    start, end = BEGIN + 2 * MINUTE, BEGIN + 5 * MINUTE
    assert opened(scores).rows() == [("a@2026-01-01T00:02:00Z", "a", start, end, end, 4.0, "t", "r")]


def test_it_tells_when_it_could_first_be_told(scores_of: ScoresOf) -> None:
    assert opened(scores_of(told("..x.xx.xxx.")))[OPENED].to_list() == [BEGIN + 6 * MINUTE]
    silent = opened(scores_of(told(".....")), until=BEGIN + 20 * MINUTE)
    assert silent[OPENED].to_list() == [BEGIN + (5 + POLICY.open_within) * MINUTE]


def test_what_came_before_the_opening_minutes_is_no_part_of_it(scores_of: ScoresOf) -> None:
    found = opened(scores_of(told("X.....xxx")))
    assert found.select(PEAK).rows() == [(1.5,)]
    assert spans(found) == [(6, 9)]


def test_minutes_of_different_targets_make_one_incident_and_of_different_entities_none(scores_of: ScoresOf) -> None:
    first, second, third = (told(drawing) for drawing in ("x....", ".x...", "..x.."))
    targets = [scores_of(drawing, target=name) for drawing, name in ((first, "q"), (second, "t"), (third, "u"))]
    entities = [scores_of(drawing, entity=name) for drawing, name in ((first, "a"), (second, "b"), (third, "c"))]
    assert spans(opened(pl.concat(targets))) == [(0, 3)]
    assert opened(pl.concat(entities)).is_empty()


def test_a_close_rule_as_short_as_the_opening_window_keeps_incidents_apart(scores_of: ScoresOf) -> None:
    policy = Thresholds(open_minutes=3, open_within=5, close_minutes=2, reopen_minutes=0, flaps=0)
    assert spans(opened(scores_of(told("xxx..xx..xx")), policy=policy)) == [(0, 3), (5, 7), (9, 11)]


def test_a_surprise_that_is_not_known_is_not_anomalous(scores_of: ScoresOf) -> None:
    scores = scores_of(told("xxx..")).with_columns(pl.when(pl.col(AT) > BEGIN).then(SURPRISE).alias(SURPRISE))
    assert opened(scores).is_empty()


def test_an_entity_that_stops_reporting_is_an_incident(scores_of: ScoresOf) -> None:
    found = opened(scores_of(told("......     ....")))
    assert spans(found) == [(6, 11)]
    assert found.select(INCIDENT, TARGET, PEAK).rows() == [("a@2026-01-01T00:06:00Z/silence", SILENCE, 1.0)]


@pytest.mark.parametrize("drawing", ["......    ....", ".     .     .    .", "..     ..    .", "......"])
def test_a_short_gap_or_rare_reports_are_no_silence(scores_of: ScoresOf, drawing: str) -> None:
    assert opened(scores_of(told(drawing))).is_empty()


def test_silence_at_the_end_is_seen_beside_those_who_report_or_by_the_clock(scores_of: ScoresOf) -> None:
    scores = pl.concat([scores_of(told("....")), scores_of(told(".........."), entity="b")])
    assert opened(scores).select(ENTITY).rows() == [("a",)]
    assert spans(opened(scores)) == [(4, 10)]
    assert spans(opened(scores, until=BEGIN + 20 * MINUTE)) == [(4, 20), (10, 20)]


def test_steps_are_counted_in_the_cadence(scores_of: ScoresOf) -> None:
    scores = scores_of(told("..xxx....."), cadence=5 * MINUTE)
    assert spans(open_incidents(scores, policy=POLICY, cadence_seconds=300)) == [(10, 25)]


def reference(drawing: str, *, policy: Thresholds) -> list[tuple[int, int]]:
    """The same rule, minute by minute."""
    found: list[tuple[int, int]] = []
    start: int | None = None
    first_of_run = last = -(10**9)
    for minute, sign in enumerate(drawing):
        if minute - last > policy.close_minutes and start is not None:
            found.append((start, last + 1))
            start = None
        if sign == "x":
            first_of_run = minute if minute - last > policy.close_minutes else first_of_run
            last = minute
            window = [at for at in range(max(minute - policy.open_within + 1, 0), minute + 1) if drawing[at] == "x"]
            if start is None and len(window) >= policy.open_minutes:
                start = max(window[-policy.open_minutes], first_of_run)
    return [*found, (start, last + 1)] if start is not None else found


@given(st.text(alphabet=".x", max_size=80), st.integers(1, 4), st.integers(0, 4), st.integers(0, 6))
def test_it_equals_the_rule_told_minute_by_minute(scores_of: ScoresOf, drawing: str, least: int, more: int, longer: int) -> None:
    policy = Thresholds(open_minutes=least, open_within=least + more, close_minutes=max(more + longer, 1), reopen_minutes=0, flaps=0)
    assert spans(opened(scores_of(told(drawing)), policy=policy)) == reference(drawing, policy=policy)


DAMPED = Thresholds(open_minutes=2, open_within=2, close_minutes=3, reopen_minutes=4, flaps=2, flap_minutes=20)


@pytest.mark.parametrize(
    ("drawing", "expected"),
    [
        ("xx......xx", [(0, 10)]),  # closed at 5, again at 8: within 4 of it
        ("xx.......xx", [(0, 2), (9, 11)]),
        ("xx......x.......xx", [(0, 2), (16, 18)]),  # a single step opens nothing
        ("xx....xx....xx..............xx", [(0, 30)]),  # three within 20: it flaps, and is not quiet for 20
        ("xx....xx....xx....................xx", [(0, 14), (34, 36)]),
        ("xx.......xx.......xx..........xx", [(0, 2), (9, 11), (18, 32)]),  # none of them reopened, and flapping all the same
        ("xx.......xx.........xx...............xx", [(0, 2), (9, 11), (20, 39)]),  # three within 20, the first and the third included
        ("xx.......xx..........xx...............xx", [(0, 2), (9, 11), (21, 23), (38, 40)]),
        ("xx.......xx............xx..........xx", [(0, 2), (9, 11), (23, 25), (35, 37)]),
    ],
)
def test_what_opens_and_closes_by_turns_is_one_incident(scores_of: ScoresOf, drawing: str, expected: list[tuple[int, int]]) -> None:
    assert spans(opened(scores_of(told(drawing)), policy=DAMPED)) == expected


def test_what_is_told_again_keeps_its_name_and_its_worst(scores_of: ScoresOf) -> None:
    scores = pl.concat([scores_of(told("xx......xx")), scores_of(told("........X."), target="t")])
    found = opened(scores, policy=DAMPED)
    assert found.rows() == [("a@2026-01-01T00:00:00Z", "a", BEGIN, BEGIN + 2 * MINUTE, BEGIN + 10 * MINUTE, 4.0, "t", "r")]


def test_silences_are_damped_for_themselves(scores_of: ScoresOf) -> None:
    policy = DAMPED.model_copy(update={"open_minutes": 1, "open_within": 3})
    found = opened(scores_of(told("....    ..    ..xx")), policy=policy)
    assert found.select(TARGET).to_series().to_list() == [SILENCE, "q"]
    assert spans(found) == [(4, 14), (16, 18)]
    apart = opened(scores_of(told("....    .....    .")), policy=policy)
    assert spans(apart) == [(4, 8), (13, 17)]


@pytest.mark.parametrize("minutes", [1, 15, 24 * 60])
def test_damping_counts_steps_whatever_their_length(scores_of: ScoresOf, minutes: int) -> None:
    policy, cadence = Thresholds(open_minutes=2, open_within=2), minutes * MINUTE

    def of(gap: int) -> int:
        scores = scores_of(told(f"xx{'.' * gap}xx"), cadence=cadence)
        return open_incidents(scores, policy=policy, cadence_seconds=60 * minutes).height

    assert (of(39), of(40)) == (1, 2)  # closed after 10, again within 30


def damped(told: list[tuple[int, int]], *, policy: Thresholds) -> list[tuple[int, int]]:
    """The rule of damping, one opening after the other."""
    found: list[tuple[int, int]] = []
    for number, (start, end) in enumerate(told):
        lately = [begun for begun, _ in told[:number] if told[number - 1][0] - begun <= policy.flap_minutes]
        flaps = policy.flaps > 0 and len(lately) > policy.flaps
        closed = policy.close_minutes + policy.reopen_minutes
        held = max(closed, policy.flap_minutes) if flaps else closed
        if found and start - found[-1][1] < held:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


@st.composite
def dampings(draw: st.DrawFn) -> Thresholds:
    """Policies that contradict nothing."""
    again = draw(st.integers(0, 6))
    told: dict[str, Any] = {
        "open_minutes": draw(st.integers(1, 2)),
        "flaps": draw(st.integers(0, 3)),
        "flap_minutes": 2 + again + draw(st.integers(1, 30)),
    }
    return Thresholds(open_within=2, close_minutes=2, reopen_minutes=again, **told)


@given(st.text(alphabet="...x", max_size=120), dampings())
def test_damping_equals_the_rule_told_opening_by_opening(scores_of: ScoresOf, drawing: str, policy: Thresholds) -> None:
    assert spans(opened(scores_of(told(drawing)), policy=policy)) == damped(reference(drawing, policy=policy), policy=policy)


@given(st.text(alphabet=".xx", min_size=1, max_size=80), st.data())
def test_what_was_told_is_not_taken_back(scores_of: ScoresOf, drawing: str, data: st.DataObject) -> None:
    seen = drawing[: data.draw(st.integers(0, len(drawing)))]
    before, after = (opened(scores_of(told(text)), policy=DAMPED).select(INCIDENT, ENTITY, START, OPENED) for text in (seen, drawing))
    assert before.join(after, on=before.columns, how="anti").is_empty()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reopen_minutes": -1}, "greater than or equal to 0"),
        (
            {"close_minutes": 30, "reopen_minutes": 60, "flap_minutes": 90},
            r"which can open again for close_minutes 30 \+ reopen_minutes 60; make it longer, or set flaps = 0",
        ),
    ],
)
def test_a_damping_that_contradicts_itself_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Thresholds(**fields)
    if "flap_minutes" in fields:
        assert Thresholds(**fields, flaps=0).flap_minutes == 90


def test_a_contract_that_says_nothing_of_damping_stays_what_it_was() -> None:
    old = Thresholds(close_minutes=400)
    assert Thresholds.model_validate(old.model_dump(mode="json")) == old
    assert not {"reopen_minutes", "flaps", "flap_minutes", "group_minutes"} & old.model_dump().keys()


def labels_of(*spans: tuple[int, int], entity: str = "a") -> pl.DataFrame:
    return pl.DataFrame([(entity, BEGIN + s * MINUTE, BEGIN + e * MINUTE, "labelled") for s, e in spans], schema=LABELS, orient="row")


def incidents_of(*spans: tuple[int, int], entity: str = "a") -> pl.DataFrame:
    told = [(f"{entity}@{s}", entity, BEGIN + s * MINUTE, BEGIN + (s + 3) * MINUTE, BEGIN + e * MINUTE, 2.0, "q", "r") for s, e in spans]
    return pl.DataFrame(told, schema=INCIDENTS, orient="row")


def test_labels_are_found_or_missed_and_incidents_true_or_false() -> None:
    matched = match(incidents_of((100, 120), (300, 310)), labels=labels_of((95, 130), (200, 230)))
    assert (matched.found, matched.missed, matched.false) == (1, 1, 1)
    assert matched.labels.select(FOUND, MINUTES_TO_DETECT, KEY).rows() == [
        (True, 8.0, "a@2026-01-01T01:35:00Z"),
        (False, None, "a@2026-01-01T03:20:00Z"),
    ]
    assert matched.incidents.get_column(FALSE).to_list() == [False, True]
    assert matched.found_keys == {"a@2026-01-01T01:35:00Z"}


@pytest.mark.parametrize(
    ("incident", "found"),
    [((90, 100), False), ((90, 101), True), ((105, 106), True), ((111, 120), True), ((119, 130), True), ((120, 130), False)],
)
def test_an_incident_counts_from_the_labels_start_until_ten_minutes_after_its_end(incident: tuple[int, int], found: bool) -> None:
    matched = match(incidents_of(incident), labels=labels_of((100, 110)))
    assert (matched.found == 1, matched.false == 0) == (found, found)


def test_an_early_start_is_detected_at_once_and_the_first_of_many_incidents_counts() -> None:
    matched = match(incidents_of((90, 105), (108, 109)), labels=labels_of((100, 110)))
    assert matched.labels.get_column(MINUTES_TO_DETECT).to_list() == [0.0]
    assert (matched.found, matched.false) == (1, 0)


def test_one_incident_may_cover_several_labels() -> None:
    matched = match(incidents_of((100, 200)), labels=labels_of((110, 120), (150, 160)))
    assert (matched.found, matched.missed, matched.false) == (2, 0, 0)


def test_other_entities_do_not_count() -> None:
    matched = match(incidents_of((100, 110), entity="b"), labels=labels_of((100, 110)))
    assert (matched.found, matched.missed, matched.false) == (0, 1, 1)


def test_nothing_matches_nothing() -> None:
    matched = match(incidents_of(), labels=labels_of())
    assert (matched.found, matched.missed, matched.false, matched.found_keys) == (0, 0, 0, frozenset())


def test_a_silence_ends_when_its_entity_has_departed(scores_of: ScoresOf) -> None:
    day = 24 * 60
    rows = pl.concat([scores_of([0.1] * 10), scores_of([0.1] * 10).with_columns(pl.col(AT) + timedelta(days=9))])
    for until, ends in ((day, [day]), (3 * day, [3 * day]), (8 * day, [4 * day]), (10 * day, [4 * day, 10 * day])):
        end = BEGIN + timedelta(minutes=until)
        found = open_incidents(rows.filter(pl.col(AT) < end), policy=POLICY, cadence_seconds=60, until=end, departed_days=3)
        assert [last for _, last in spans(found)] == ends
        assert found[PEAK][0] == (min(until, 4 * day) - 10) / POLICY.open_within
