"""Groups: incidents that come together are one, told as they open."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.groups import group, summed
from telemetry.schema import END, ENTITY, GROUP, GROUPS, INCIDENT, INCIDENTS, LABEL_SET, OPENED, PEAK, START
from telemetry.sections import Thresholds

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = Thresholds()
REGIONS = ("ap", "eu", "sa", "us")
LABELS = pl.DataFrame(
    [(f"c{n:02}/{region}", f"c{n:02}", region, ("2.0", "2.1", "3.0")[n % 3]) for n in range(30) for region in REGIONS],
    schema=[ENTITY, "customer", "region", "version"],
    orient="row",
)
Told = tuple[str, int, int]


def incident(entity: str, minute: int, *, lasts: int = 60, peak: float = 2.0) -> tuple[object, ...]:
    """A row of INCIDENTS that opens at a minute, three after its start."""
    start = BEGIN + (minute - 3) * MINUTE
    name = f"{entity}@{start:%Y-%m-%dT%H:%M:%SZ}"
    return (name, entity, start, BEGIN + minute * MINUTE, start + lasts * MINUTE, peak, "q", "r")


def frame(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=INCIDENTS, orient="row")


def of(where: pl.Expr, *, minute: int = 10, lasts: int = 60, spread: int = 1) -> pl.DataFrame:
    """Incidents of all entities of a label set, the first at a minute and the others within `spread` of it."""
    names = LABELS.filter(where)[ENTITY].to_list()
    return frame(*(incident(name, minute + number % spread, lasts=lasts) for number, name in enumerate(names)))


def grouped(*parts: pl.DataFrame, policy: Thresholds = POLICY) -> pl.DataFrame:
    return group(pl.concat(parts), labels=LABELS, policy=policy, cadence_seconds=60)


def told(groups: pl.DataFrame) -> list[Told]:
    """Label set, hit and not hit of each, the first to open first."""
    return summed(groups).sort(OPENED, GROUP).select(LABEL_SET, "hit", "not_hit").rows()


EU, US, V21 = pl.col("region") == "eu", pl.col("region") == "us", pl.col("version") == "2.1"
NOISE = frame(incident("c05/us", 8), incident("c11/ap", 12), incident("c20/sa", 25), incident("c28/us", 41))


def test_a_region_that_goes_bad_is_one_group_and_the_others_stay_single() -> None:
    found = grouped(of(EU, spread=6), NOISE)
    assert told(found) == [("region=eu", 30, 0)]
    assert found[INCIDENT].null_count() == 0
    assert set(found[ENTITY]) == set(LABELS.filter(EU)[ENTITY])


def test_a_group_tells_its_members_from_first_to_last_and_who_is_not_hit() -> None:
    hit = frame(*(incident(f"c{n:02}/eu", 10 + n % 3, lasts=60 + n, peak=2.0 + n) for n in range(28)))
    found = grouped(hit, NOISE)
    assert told(found) == [("region=eu", 28, 2)]
    line = summed(found).row(0, named=True)
    assert (line[START], line[OPENED], line[END]) == (BEGIN + 7 * MINUTE, BEGIN + 10 * MINUTE, BEGIN + (9 + 86) * MINUTE)
    assert (line[PEAK], line["incidents"]) == (29.0, 28)
    spared = found.filter(pl.col(INCIDENT).is_null())
    assert spared.select(ENTITY, START, OPENED, PEAK).rows() == [(f"c{n}/eu", line[START], line[OPENED], None) for n in (28, 29)]
    assert found[END].unique().to_list() == [line[END]]
    of_first = found.filter(pl.col(ENTITY) == "c01/eu").row(0, named=True)
    assert (of_first[OPENED], of_first[PEAK]) == (BEGIN + 11 * MINUTE, 3.0)
    assert found[GROUP].unique().to_list() == ["group of c00/eu@2026-01-01T00:07:00Z"]


def test_two_outages_at_once_are_two_groups() -> None:
    found = told(grouped(of(EU | V21, spread=4), NOISE))
    assert [(name, spared) for name, _, spared in found] == [("region=eu", 0), ("version=2.1", 0)]
    assert sum(hit for _, hit, _ in found) == 60


def test_values_of_one_key_at_once_are_one_group_and_one_after_the_other_two() -> None:
    assert told(grouped(of(EU | US, spread=4))) == [("region=eu|us", 60, 0)]
    assert told(grouped(of(EU, lasts=120), of(US, minute=45))) == [("region=eu", 30, 0), ("region=us", 30, 0)]


def test_where_all_are_hit_it_is_everyone() -> None:
    silent = of(pl.lit(value=True)).with_columns(pl.lit("silence").alias("target"))
    assert told(grouped(silent)) == [("everyone", 120, 0)]


def test_what_no_label_set_explains_stays_single() -> None:
    assert grouped(NOISE).is_empty()
    assert grouped(frame(incident("c05/us", 10), incident("c11/ap", 10), incident("c20/sa", 10))).is_empty()
    assert grouped(frame()).is_empty()


def test_a_pair_of_one_customer_is_chance_in_a_large_fleet_and_none_in_a_small_one() -> None:
    pair = frame(incident("c05/us", 10), incident("c05/eu", 12))
    small = LABELS.select(ENTITY, "customer", "region").filter(EU | US).head(24)
    assert grouped(pair).is_empty()
    assert told(group(pair, labels=small, policy=POLICY, cadence_seconds=60)) == [("customer=c05", 2, 0)]


def test_an_entity_that_is_hit_by_many_incidents_is_one_entity() -> None:
    again = frame(*(incident("c05/us", minute, lasts=10) for minute in (10, 11, 12, 13, 14)))
    assert grouped(again).is_empty()


def test_what_opens_apart_is_not_one() -> None:
    first = (incident("c05/us", 10, lasts=10), incident("c05/eu", 12, lasts=10))
    assert grouped(frame(*first, incident("c05/ap", 100, lasts=10))).is_empty()
    assert told(grouped(frame(*first, incident("c05/ap", 14, lasts=10)))) == [("customer=c05", 3, 1)]


def test_who_joins_late_is_in_it_as_long_as_it_is_open() -> None:
    early = of(EU & (pl.col("customer") < "c25"))
    assert told(grouped(early, frame(incident("c26/eu", 60)))) == [("region=eu", 26, 4)]
    assert told(grouped(early, frame(incident("c26/eu", 60 + 7 + 40)))) == [("region=eu", 26, 4)]  # they could open again until then
    assert told(grouped(early, frame(incident("c26/eu", 60 + 7 + 41)))) == [("region=eu", 25, 5)]


def test_a_label_set_widens_when_more_is_hit_and_the_group_keeps_its_name() -> None:
    first = of(EU & V21)
    later = of(V21 & ~EU, minute=16)
    before, after = grouped(first), grouped(first, later)
    assert told(before) == [("region=eu & version=2.1", 10, 0)]
    assert told(after) == [("version=2.1", 40, 0)]
    assert before[GROUP].unique().to_list() == after[GROUP].unique().to_list()


def test_two_that_turn_out_to_be_one_go_on_under_the_name_of_the_older() -> None:
    one, two = (frame(*(incident(f"{name}/{region}", minute) for region in REGIONS)) for name, minute in (("c04", 5), ("c01", 25)))
    assert told(grouped(one, two)) == [("customer=c04", 4, 0), ("customer=c01", 4, 0)]
    found = grouped(one, two, of(V21 & (pl.col("customer") > "c04"), minute=30))
    assert told(found) == [("version=2.1", 40, 0)]
    assert found[GROUP].unique().to_list() == ["group of c04/ap@2026-01-01T00:02:00Z"]


def test_a_second_outage_leaves_the_first_its_members() -> None:
    found = grouped(of(EU, lasts=200), of(V21 & ~EU, minute=70))
    assert told(found) == [("region=eu", 30, 0), ("version=2.1", 30, 0)]


def test_who_was_not_watched_then_is_not_told_as_spared() -> None:
    hit = of(EU & (pl.col("customer") < "c25"))
    spans = LABELS.select(ENTITY, pl.lit(BEGIN).alias(START), pl.lit(BEGIN + timedelta(days=1)).alias(END))
    gone = spans.with_columns(pl.when(pl.col(ENTITY) == "c29/eu").then(pl.lit(BEGIN)).otherwise(END).alias(END))
    told_of = group(hit, labels=LABELS, policy=POLICY, cadence_seconds=60, watched=gone)
    assert told(told_of) == [("region=eu", 25, 4)]
    assert "c29/eu" not in told_of[ENTITY]


def test_who_has_no_labels_is_hit_all_the_same() -> None:
    assert told(grouped(of(EU), frame(incident("stranger", 10)))) == [("region=eu", 30, 0)]


def test_a_silence_of_days_keeps_nothing_open_for_others() -> None:
    rests = frame(*(incident(f"c05/{region}", minute, lasts=5000) for region, minute in (("us", 10), ("ap", 500), ("sa", 1000))))
    assert told(grouped(rests, of(EU, minute=2000))) == [("region=eu", 30, 0)]
    assert grouped(rests, frame(incident("c05/eu", 2000))).is_empty()


def test_nothing_is_grouped_where_the_contract_says_so() -> None:
    assert grouped(of(EU), policy=Thresholds(group_minutes=0)).is_empty()
    found = group(of(EU), labels=LABELS, policy=POLICY, cadence_seconds=60)
    assert dict(found.schema) == dict(GROUPS)


@st.composite
def storms(draw: st.DrawFn) -> pl.DataFrame:
    """A part of a label set goes bad within some minutes, and others beside it."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    where = draw(st.sampled_from([EU, V21, EU & V21, pl.col("customer") == "c03", EU | V21, pl.lit(value=False)]))
    names = LABELS.filter(where)[ENTITY].to_list()
    part = [name for name in names if random.random() < draw(st.sampled_from([1.0, 0.8, 0.4]))]
    beside = random.choice(LABELS[ENTITY].to_list(), size=draw(st.integers(0, 6)), replace=False).tolist()
    rows = [incident(name, int(random.integers(10, 18)), lasts=int(random.integers(5, 90))) for name in part]
    rows += [incident(name, int(random.integers(0, 90)), lasts=int(random.integers(5, 40))) for name in beside]
    return frame(*rows).unique(INCIDENT, maintain_order=True)


@settings(max_examples=25)
@given(storms(), st.integers(0, 1000))
def test_the_order_of_the_rows_changes_nothing(storm: pl.DataFrame, seed: int) -> None:
    shuffled = storm.sample(fraction=1.0, shuffle=True, seed=seed)
    turned = LABELS.sample(fraction=1.0, shuffle=True, seed=seed)
    assert grouped(storm).equals(group(shuffled, labels=turned, policy=POLICY, cadence_seconds=60))


@settings(max_examples=25)
@given(storms(), st.integers(0, 100))
def test_what_opens_later_changes_no_group_that_is_over(storm: pl.DataFrame, minute: int) -> None:
    at = BEGIN + minute * MINUTE
    early = storm.filter(pl.col(OPENED) <= at)
    before, after = grouped(early), grouped(storm)
    over = before.filter(pl.col(END) + (POLICY.close_minutes + POLICY.reopen_minutes) * MINUTE < at)
    assert over.filter(pl.col(INCIDENT).is_not_null()).join(after, on=[GROUP, INCIDENT, LABEL_SET], how="anti").is_empty()


@settings(max_examples=25)
@given(storms())
def test_an_incident_is_in_one_group_and_within_its_label_set(storm: pl.DataFrame) -> None:
    found = grouped(storm)
    members = found.drop_nulls(INCIDENT)
    assert not members[INCIDENT].is_duplicated().any()
    assert (
        members.select(INCIDENT, ENTITY, START, OPENED, PEAK).join(storm, on=[INCIDENT, ENTITY, START, OPENED, PEAK], how="anti").is_empty()
    )
    spared = found.filter(pl.col(INCIDENT).is_null())
    assert spared.join(members, on=[GROUP, ENTITY]).is_empty()
    assert members.group_by(GROUP).agg(pl.col(ENTITY).n_unique()).filter(pl.col(ENTITY) < 2).is_empty()


@pytest.mark.parametrize("seed", range(5))
def test_a_part_of_a_region_beside_noise_is_that_region(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = LABELS[ENTITY].to_list()
    hit = [name for name in names if name.endswith("/eu") and random.random() < 0.7]
    others = [name for name in names if not name.endswith("/eu")]
    beside = random.choice(others, 3, replace=False).tolist()
    rows = [incident(name, int(random.integers(10, 16))) for name in (*hit, *beside)]
    assert told(grouped(frame(*rows))) == [("region=eu", len(hit), 30 - len(hit))]
