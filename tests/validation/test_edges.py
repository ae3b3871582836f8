"""Levels that change from one hour to the next are seen where they may be errors, at their hour; rhythms, spikes and drifts are not."""

from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.validation.grids import MONDAY, day
from validation.edges import Edge, Suspicion, find
from validation.forms import Hours
from validation.shifts import midnight

DAYS = 16
LENGTH = DAYS * 24
AT = 250
"""The hour in which most steps below happen: 10 o'clock of the eleventh day."""
NONE: frozenset[str] = frozenset()

Floats = NDArray[np.float64]


def steady(level: float, *, seed: int = 0, noise: float = 0.02, length: int = LENGTH) -> Floats:
    """f64[hour] about a level."""
    return level * np.exp(np.random.default_rng(seed).normal(0, noise, length))


def stepped(values: Floats, *, by: float, since: int = AT, until: int = LENGTH) -> Floats:
    """`values` with some hours multiplied; the first hour and the one after the last hold both levels."""
    hour = np.arange(len(values))
    share = np.where((hour == since) | (hour == until), 0.5, (hour > since) & (hour < until))
    return np.asarray(values * by**share)


def found(*, temperatures: frozenset[str] = NONE, whole: frozenset[str] = NONE, **series: Floats) -> tuple[Edge, ...]:
    """The edges of one entity whose parameters are told hour by hour, NaN where nothing is."""
    days = -(-max(map(len, series.values())) // 24)
    level = np.full((1, len(series), days * 24), np.nan)
    for place, told in enumerate(series.values()):
        level[0, place, : len(told)] = told
    is_whole = np.broadcast_to(np.array([[[name in whole] for name in series]]), level.shape)
    hours = Hours(
        entities=("acme/eu",),
        parameters=tuple(series),
        first_day=(MONDAY - midnight(0)).days,
        level=level.reshape(1, len(series), days, 24),
        whole=is_whole.reshape(1, len(series), days, 24),
    )
    return find(hours, temperatures=temperatures)


def hour(number: int) -> object:
    return day(0) + timedelta(hours=number)


@pytest.mark.parametrize("by", [8.0, 1 / 8, 1000.0])
def test_a_level_that_stays_is_told_with_its_hour_and_size(by: float) -> None:
    (edge,) = found(load=stepped(steady(40), by=by))
    assert (edge.entity, edge.parameter, edge.start, edge.end, edge.suspicion) == ("acme/eu", "load", hour(AT), None, "any")
    assert edge.size == pytest.approx(np.log(by), abs=0.05)


def test_a_step_is_told_at_its_hour_whatever_the_noise_around_it() -> None:
    wide = [found(load=stepped(steady(40, noise=0.25, seed=seed), by=100.0)) for seed in range(20)]
    assert [[edge.start for edge in edges] for edges in wide] == [[hour(AT)]] * 20


@pytest.mark.parametrize(("by", "told"), [(3.0, False), (4.8, False), (5.2, True)])
def test_a_step_alone_is_looked_at_from_a_fifth_on(by: float, told: bool) -> None:
    assert bool(found(load=stepped(steady(40), by=by))) is told


@pytest.mark.parametrize(("by", "told"), [(1.05, False), (1.2, True), (0.7, True), (3.0, True)])
def test_of_degrees_far_less_is_looked_at(by: float, told: bool) -> None:
    warm = stepped(steady(290), by=by)
    assert [edge.suspicion for edge in found(warmth=warm, temperatures=frozenset({"warmth"}))] == ["any"] * told
    assert found(warmth=stepped(steady(290), by=min(by, 1.7))) == ()


@pytest.mark.parametrize(("by", "told"), [(1.5, False), (2.2, True)])
def test_two_that_step_against_each_other_may_be_an_exchange(by: float, told: bool) -> None:
    one, other = stepped(steady(100), by=by), stepped(steady(100 * by, seed=1), by=1 / by)
    assert [(edge.parameter, edge.suspicion) for edge in found(one=one, other=other)] == [("one", "any"), ("other", "any")] * told


def test_two_that_step_against_each_other_by_roughly_as_much_may_be_an_exchange() -> None:
    one, other = stepped(steady(100), by=2.2), stepped(steady(300, seed=1), by=1 / 2.2**1.4)
    assert [edge.parameter for edge in found(one=one, other=other)] == ["one", "other"]


def test_two_that_step_the_same_way_or_by_quite_another_amount_are_no_exchange() -> None:
    one = stepped(steady(100), by=2.2)
    assert found(one=one, other=stepped(steady(70, seed=1), by=2.2)) == ()
    assert found(one=one, other=stepped(steady(70, seed=1), by=1 / 1.2)) == ()


@pytest.mark.parametrize(("later", "told"), [(1, True), (4, True), (12, False)])
def test_an_exchange_is_at_about_one_time(later: int, told: bool) -> None:
    other = stepped(steady(220, seed=1), by=1 / 2.2, since=AT + later)
    assert bool(found(one=stepped(steady(100), by=2.2), other=other)) is told


def logged(values: Floats) -> Floats:
    return np.where(np.arange(len(values)) >= AT, np.log1p(values), values)


@pytest.mark.parametrize(("level", "told"), [(12.0, "logarithm"), (0.5, "logarithm"), (500.0, "any")])
def test_a_logarithm_is_suspected_where_the_level_falls_to_it(level: float, told: Suspicion) -> None:
    assert [edge.suspicion for edge in found(load=logged(steady(level)))] == [told]


def test_no_logarithm_is_suspected_of_whole_numbers_of_a_rise_or_of_another_fall() -> None:
    fallen = logged(steady(12))
    assert found(load=fallen, whole=frozenset({"load"})) == ()
    assert found(load=stepped(steady(12), by=12 / np.log1p(12))) == ()
    assert found(load=stepped(steady(12), by=0.4)) == ()
    assert found(load=stepped(steady(0.1), by=1.2)) == ()  # it would have to fall to 0.095


def tides(*, low: float) -> Floats:
    """f64[hour]: 1 from 8 to 20 o'clock, and little in the night."""
    of_day = np.arange(LENGTH) % 24
    return np.where((of_day >= 8) & (of_day < 20), 1.0, low)


def test_the_rhythm_of_the_day_is_none_and_hides_none() -> None:
    rhythmic = steady(400) * tides(low=0.1)
    assert found(load=rhythmic) == ()
    for since in (AT, AT + 6, AT + 10):
        (edge,) = found(load=stepped(rhythmic, by=8.0, since=since))
        assert (edge.start, edge.size) == (hour(since), pytest.approx(np.log(8), abs=0.1))


def test_a_rhythm_is_known_from_the_days_before_and_not_from_those_after() -> None:
    rhythmic = np.where(np.arange(LENGTH) < AT + 72, 1.0, tides(low=0.3)) * stepped(steady(400), by=8.0)
    whole, early = (found(load=told) for told in (rhythmic, rhythmic[: AT + 72]))
    assert [edge.start for edge in whole] == [edge.start for edge in early] == [hour(AT)]
    assert whole[0].size == early[0].size


def test_a_level_that_comes_back_has_an_end() -> None:
    there, back = found(load=stepped(steady(40), by=8.0, until=AT + 70))
    assert (there.start, there.end, back.start, back.end) == (hour(AT), hour(AT + 70), hour(AT + 70), None)


def test_only_a_step_of_about_the_same_size_is_the_way_back() -> None:
    load = stepped(stepped(steady(40), by=8.0), by=0.4, since=AT + 70)
    assert [edge.end for edge in found(load=load)] == [None]
    there, _ = found(load=stepped(stepped(steady(40), by=8.0), by=0.16, since=AT + 70))  # an eighth, and a little of life
    assert there.end == hour(AT + 70)


@pytest.mark.parametrize(("lasts", "told"), [(10, False), (40, False), (47, False), (48, True)])
def test_what_is_gone_within_two_days_is_an_incident(lasts: int, told: bool) -> None:
    starts = [edge.start for edge in found(load=stepped(steady(40), by=8.0, until=AT + lasts))]
    assert (hour(AT) in starts) is told


@pytest.mark.parametrize(("left", "told"), [(6, False), (12, False), (13, True), (30, True)])
def test_at_the_end_of_the_data_twelve_hours_are_enough(left: int, told: bool) -> None:
    load = steady(40)
    assert bool(found(load=stepped(load, by=8.0, since=LENGTH - left))) is told


def test_a_level_that_ebbs_away_or_goes_on_to_rise_does_not_stay() -> None:
    since = np.maximum(np.arange(LENGTH) - AT, 0)
    jump = stepped(steady(40), by=8.0)
    ebbing, rising = 8.0 ** -np.minimum(since / 30, 1), 8.0 ** np.minimum(since / 30, 2)
    assert found(load=jump * ebbing) == ()
    assert found(load=jump * rising) == ()
    assert len(found(load=jump * 8.0 ** -np.minimum(since / 300, 0.2))) == 1
    assert len(found(load=jump * 8.0 ** np.minimum(since / 300, 0.2))) == 1


def test_a_change_must_stand_out_of_the_noise() -> None:
    told = [found(load=stepped(steady(40, noise=noise, seed=5), by=8.0)) for noise in (0.3, 2.0)]
    assert [len(edges) for edges in told] == [1, 0]
    assert found(load=steady(40, noise=2.0, seed=5), other=steady(40, noise=0.5, seed=6)) == ()


def test_a_gap_is_no_step_and_few_hours_tell_none() -> None:
    jump = stepped(steady(40), by=8.0)
    gap, seldom, short = jump.copy(), jump.copy(), jump.copy()
    gap[AT - 2 : AT + 1] = np.nan
    assert len(found(load=gap)) == 1
    seldom[np.arange(LENGTH) % 3 != 0] = np.nan  # two in six hours
    assert found(load=seldom) == ()
    short[AT + 8 :] = np.nan
    assert found(load=short) == ()


def test_what_comes_once_in_a_while_is_told_where_half_of_the_hours_tell_something() -> None:
    often = stepped(steady(40), by=8.0)
    often[np.arange(LENGTH) % 2 != 0] = np.nan
    assert [edge.parameter for edge in found(load=often)] == ["load"]


def test_two_steps_are_two_edges_sorted_by_time() -> None:
    edges = found(load=stepped(stepped(steady(40), by=8.0, since=AT - 60), by=8.0))
    assert [edge.start for edge in edges] == [hour(AT - 60), hour(AT)]


def test_no_hours_have_no_edges() -> None:
    none = np.empty((0, 0, 0, 24))
    assert find(Hours(entities=(), parameters=(), first_day=0, level=none, whole=none.astype(np.bool_)), temperatures=NONE) == ()
    assert found(load=steady(40, length=48)) == ()
