"""An edge is named after the error that makes of the values before it what comes after, by digits, by size, by noise, or not at all."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tests.validation.bugs import named as called
from tests.validation.grids import STEP, STEPS_A_DAY, day
from validation.causes import Named, _best, named
from validation.edges import Edge, Suspicion
from validation.forms import LOGARITHM, TEMPERATURES
from validation.profile import measure

DAYS = 14
LENGTH = DAYS * STEPS_A_DAY
AT = 10 * STEPS_A_DAY + 80
"""The step at which most errors begin: 13:20 of the eleventh day."""
NONE: frozenset[str] = frozenset()

Floats = NDArray[np.float64]


def noisy(level: float, *, noise: float = 0.05, seed: int = 0, digits: int | None = None) -> Floats:
    """f64[step] about a level, with digits only where they are asked for."""
    values = level * np.exp(np.random.default_rng(seed).normal(0, noise, LENGTH))
    return values if digits is None else np.round(values, digits)


def changed(before: Floats, after: Floats, *, since: int = AT, until: int = LENGTH) -> Floats:
    """One up to a step, then another."""
    step = np.arange(LENGTH)
    return np.where((step >= since) & (step < until), after, before)


def crossed(one: Floats, other: Floats) -> dict[str, Floats]:
    """Two that change places."""
    return {"one": changed(one, other), "other": changed(other, one)}


def time(step: int) -> object:
    return day(0) + step * STEP


def edge(name: str, values: Floats, *, suspicion: Suspicion = "any", until: int | None = None) -> Edge:
    """The edge of a parameter at `AT`, as the hours tell it."""
    before, after = (np.abs(side[side != 0]) for side in (values[AT - 36 : AT], values[AT : AT + 36]))
    size = float(np.log(np.median(after) / np.median(before)))
    hours = [None if step is None else day(0) + timedelta(hours=step // 6) for step in (AT, until)]
    assert hours[0] is not None
    return Edge(entity="acme/eu", parameter=name, start=hours[0], end=hours[1], size=size, suspicion=suspicion)


def told(*edges: Edge, temperatures: frozenset[str] = NONE, **series: Floats) -> tuple[Named, ...]:
    """What edges are taken for; by default one, of the first of the series."""
    at = pl.datetime_range(day(0), interval=STEP, end=day(0) + STEP * (LENGTH - 1), time_unit="us", eager=True)
    grid = pl.DataFrame({"entity": "acme/eu", "at": at, "observed": True, **series})
    first = next(iter(series))
    found = edges or (edge(first, series[first]),)
    return named(found, grid=grid, entities=measure(grid).entities, cadence=STEP, temperatures=temperatures)


def causes(*edges: Edge, temperatures: frozenset[str] = NONE, **series: Floats) -> list[tuple[str, str, bool]]:
    return [(each.edge.parameter, each.cause, each.exact) for each in told(*edges, temperatures=temperatures, **series)]


@pytest.mark.parametrize("factor", [1000.0, 1024.0, 60.0, 8.0])
def test_digits_confirm_a_factor_at_its_very_step(factor: float) -> None:
    values = noisy(40, digits=2)
    for by in (factor, 1 / factor):
        (each,) = told(load=changed(values, values * by))
        assert (each.cause, each.exact, each.start, each.end) == (called(by), True, time(AT), time(LENGTH))
        assert each.size == pytest.approx(np.log(by), abs=0.05)


def test_digits_confirm_a_factor_although_the_level_has_changed_too() -> None:
    values = noisy(40, digits=2)
    assert causes(load=changed(values, np.round(values * 1.4, 2) * 1000)) == [("load", "x1000", True)]
    assert causes(load=changed(values, np.round(values * 1.75, 2) * 1000)) == [("load", "x1000", False)]  # too far to be sure of it


def test_digits_are_heard_although_the_weeks_around_say_it_better_than_the_edge() -> None:
    values = noisy(40, digits=2)
    dip = changed(values, values * 1000)
    dip[AT : AT + 144] = np.round(values[AT : AT + 144] / 3, 2) * 1000
    assert causes(load=dip)[0][:2] == ("load", "x1000")


def test_without_digits_the_size_must_be_that_of_an_error() -> None:
    values = noisy(40, noise=0.02)
    for by in (8.0, 8.15, 1 / 60, 1e6):
        (each,) = told(load=changed(values, values * by))
        assert (each.cause, each.exact) == (called(8.0 if by > 8 and by < 9 else by), False)
    for by in (8.6, 5.0, 20.0, 1 / 70):
        assert causes(load=changed(values, values * by)) == []


def test_however_noisy_a_series_is_a_size_must_be_near_that_of_an_error() -> None:
    values = noisy(40, noise=1.0)
    assert causes(load=changed(values, noisy(40 * 8, noise=1.0, seed=1))) in ([], [("load", "x8", False)])
    assert causes(load=changed(values, noisy(40 * 1000 * 1.45, noise=1.0, seed=1))) == []


def test_digits_that_are_not_there_again_speak_against_an_error() -> None:
    values = noisy(40, digits=1)
    assert causes(load=changed(values, noisy(320, seed=1, digits=1))) == []


def test_noise_that_has_changed_as_well_speaks_against_a_multiplication() -> None:
    values = noisy(40)
    assert causes(load=changed(values, noisy(320, noise=0.05, seed=1))) == [("load", "x8", False)]
    for noise in (0.005, 0.5):
        assert causes(load=changed(values, noisy(320, noise=noise, seed=1))) == []


def test_an_edge_within_the_noise_is_none() -> None:
    rng = np.random.default_rng(4)
    wandering = 40 * np.exp(np.repeat(rng.normal(0, 0.9, LENGTH // 72 + 1), 72)[:LENGTH] + rng.normal(0, 0.5, LENGTH))
    assert causes(load=changed(wandering, wandering * 8)) == []


def test_few_counts_jump_by_themselves() -> None:
    few, some = (np.random.default_rng(seed).poisson(mean, LENGTH).astype(float) for seed, mean in ((0, 1.5), (1, 12.0)))
    assert causes(load=changed(few, some)) == []


def test_what_has_lost_its_remainder_was_divided() -> None:
    values = np.random.default_rng(0).integers(2_000, 9_000, LENGTH).astype(float)
    assert causes(load=changed(values, np.floor(values / 60))) == [("load", "integer division by 60", True)]


def test_single_precision_leaves_powers_of_two_likelier() -> None:
    values = noisy(40, noise=0.01).astype(np.float32).astype(float)
    assert causes(load=changed(values, values * 1024)) == [("load", "x1024", False)]
    for by, cause in ((1004, "x1024"), (60, "x60")):
        assert causes(load=changed(values, np.float32(values * by).astype(float))) == [("load", cause, False)]
    double = noisy(40)
    assert causes(load=changed(double, double * 990)) == [("load", "x1000", False)]


def test_a_large_logarithm_needs_no_digits_and_a_small_one_does() -> None:
    values = noisy(5_000)
    assert causes(load=changed(values, np.log1p(values))) == [("load", LOGARITHM, False)]
    few, rounded = noisy(12), noisy(12, digits=1)
    assert causes(load=changed(few, np.log1p(few))) == []
    for suspicion in ("any", "logarithm"):
        small = changed(rounded, np.log1p(rounded))
        assert causes(edge("load", small, suspicion=suspicion), load=small) == [("load", LOGARITHM, True)]


def test_what_may_be_a_logarithm_alone_is_nothing_else() -> None:
    values = noisy(40, digits=2)
    eighth = changed(values, values / 8)
    assert causes(edge("load", eighth, suspicion="logarithm"), load=eighth) == []


@pytest.mark.parametrize("cause", ["degC told as K", "K told as degC", "degC told as degF"])
def test_temperatures_are_confused_where_there_are_degrees(cause: str) -> None:
    factor, offset = TEMPERATURES[cause]
    values = noisy(20 if cause.startswith("degC") else 293, noise=0.01)
    warm = changed(values, values * factor + offset)
    assert [name for _, name, _ in causes(warmth=warm, temperatures=frozenset({"warmth"}))] == [cause]
    assert causes(warmth=warm) == []


def test_two_that_change_places_are_an_exchange() -> None:
    assert causes(**crossed(noisy(40), noisy(900, seed=1))) == [("one", "swapped with other", False), ("other", "swapped with one", False)]


def test_an_exchange_is_told_whatever_the_digits_may_be_taken_for() -> None:
    thousandths, whole = noisy(5, digits=3), noisy(5_000, digits=0, seed=1)
    swap = crossed(thousandths, whole)
    assert causes(one=swap["one"], other=whole) == [("one", "x1000", True)]
    both = [edge(name, swap[name]) for name in swap]
    assert causes(*both, **swap) == [("one", "swapped with other", False), ("other", "swapped with one", False)]


def test_a_third_that_moves_at_the_same_time_is_told_apart_from_an_exchange() -> None:
    swap = crossed(noisy(40), noisy(900, seed=1))
    values = noisy(7, seed=2, digits=2)
    third = changed(values, values * 1000)
    found = causes(edge("one", swap["one"]), edge("third", third), **swap, third=third)
    assert found == [("one", "swapped with other", False), ("other", "swapped with one", False), ("third", "x1000", True)]


def name(cause: str, *, parameter: str = "one", exact: bool = False, entity: str = "acme/eu", days: tuple[float, float] = (3, 9)) -> Named:
    of = Edge(entity=entity, parameter=parameter, start=day(days[0]), end=None, size=2.0)
    return Named(edge=of, cause=cause, start=day(days[0]), end=day(days[1]), exact=exact, size=2.0)


def best(*given: Named) -> list[str]:
    return [each.cause for each in _best(given)]


def test_of_one_series_and_time_what_the_digits_confirm_is_told() -> None:
    sure, guess = name("x1000", exact=True), name("x8", days=(8, 12))
    assert best(guess, sure) == best(sure, guess) == ["x1000"]
    assert best(sure, name("x8", days=(9, 12))) == ["x1000", "x8"]
    assert best(sure, name("x8", parameter="two")) == ["x1000", "x8"]
    assert best(sure, name("x8", entity="bolt/eu")) == ["x1000", "x8"]
    assert best(guess, name("x60")) == ["x8", "x60"]


def test_of_one_series_and_time_an_exchange_is_told_first_and_once() -> None:
    sure, swap = name("x1000", exact=True), name("swapped with two")
    assert best(sure, swap) == best(swap, sure) == ["swapped with two"]
    assert best(name("x8"), swap) == ["swapped with two"]
    assert best(swap, name("swapped with three", days=(8, 12))) == ["swapped with two"]
    assert best(swap, name("x8", days=(9, 12))) == ["swapped with two", "x8"]


def test_both_columns_must_have_moved_to_where_the_other_was() -> None:
    one, other = noisy(1_000), noisy(100, seed=1)
    assert causes(one=changed(one, noisy(100, seed=2)), other=changed(other, noisy(20, seed=3))) == []
    assert causes(one=changed(one, noisy(100, seed=2)), other=other) == []
    assert causes(one=changed(one, noisy(100, seed=2)), other=changed(other, noisy(1_600, seed=3))) == []
    assert causes(one=changed(one, noisy(160, seed=2)), other=changed(other, noisy(1_000, seed=3))) == []


def test_levels_that_are_near_to_each_other_are_not_seen_to_change_places() -> None:
    assert causes(**crossed(noisy(40), noisy(70, seed=1))) == []
    assert causes(**crossed(noisy(40), noisy(90, seed=1))) != []


def test_noise_digits_and_signs_must_change_places_too() -> None:
    one, other = noisy(40), noisy(900, seed=1)
    rough = noisy(900, noise=0.3, seed=1)
    assert causes(one=changed(one, noisy(900, noise=0.3, seed=2)), other=changed(rough, noisy(40, seed=3))) != []
    assert causes(one=changed(one, noisy(900, noise=0.01, seed=2)), other=changed(rough, noisy(40, seed=3))) == []
    rounded = noisy(40, digits=1)
    assert causes(one=changed(rounded, noisy(900, seed=2)), other=changed(noisy(900, seed=1, digits=0), rounded)) == []
    assert causes(one=changed(rounded, noisy(900, seed=2, digits=0)), other=changed(noisy(900, seed=1, digits=0), rounded)) != []
    finer, fine = noisy(40, digits=2), noisy(900, digits=6, seed=1)
    assert causes(one=changed(finer, fine), other=changed(fine, noisy(40, digits=1))) == []
    assert causes(one=changed(finer, noisy(900, digits=7, seed=1)), other=changed(fine, finer)) != []  # what binary digits leave
    assert causes(one=changed(one, -other), other=changed(-other, one)) == []


def test_an_exchange_must_stand_out_of_the_noise_and_of_counting() -> None:
    one, other = noisy(40, noise=1.2), noisy(88, noise=1.2, seed=1)
    assert causes(**crossed(one, other)) == []
    few, more = (level + (np.arange(LENGTH) % 10 == 0) for level in (2.0, 5.0))
    assert causes(**crossed(few, more)) == []
    assert causes(**crossed(few, more * 20)) != []


def test_of_two_that_could_be_the_other_one_the_nearer_is() -> None:
    one, near, far = noisy(40, noise=0.3), noisy(900, noise=0.3, seed=5), noisy(1_000, noise=0.3, seed=15)
    series = {"one": changed(one, near), "far": changed(far, one), "near": changed(near, one)}
    found = causes(edge("one", series["one"]), **series)
    assert found == [("one", "swapped with near", False), ("near", "swapped with one", False)]


def test_what_ends_is_told_by_both_of_its_edges() -> None:
    values = noisy(40, digits=2)
    load = changed(values, values * 1000, until=AT + 400)
    (each,) = told(edge("load", load, until=AT + 400), load=load)
    assert (each.start, each.end) == (time(AT), time(AT + 400))
    rough = noisy(40, noise=1.0)
    rough[AT - 80 : AT] *= 0.5
    load = changed(rough, rough * 60, until=AT + 400)
    assert [cause for _, cause, _ in causes(edge("load", load, until=AT + 400), load=load)] == ["x60"]


def test_the_weeks_around_an_edge_are_heard_where_it_is_noisy_and_only_there() -> None:
    rough, smooth = noisy(40, noise=1.0), noisy(40)
    rough[AT - 80 : AT] *= 1.45
    assert causes(load=changed(rough, rough * 1000)) == [("load", "x1000", False)]
    grown = changed(smooth, smooth * 8)
    grown[AT + 200 :] *= 1.5
    assert causes(load=grown) == [("load", "x8", False)]


def test_a_noisy_level_may_miss_the_error_by_its_noise() -> None:
    values = noisy(40, noise=0.4)
    assert causes(load=changed(values, values * 8 * 1.12)) == [("load", "x8", False)]


def test_what_never_changes_tells_its_error_by_size_alone() -> None:
    values = np.full(LENGTH, 10 * np.pi)
    assert causes(load=changed(values, values * 8)) == [("load", "x8", False)]


def test_a_value_an_hour_for_half_a_day_is_enough() -> None:
    values = noisy(40, noise=0.02)
    load = changed(values, values * 8)
    load[np.arange(LENGTH) % 6 != 0] = np.nan
    load[AT + 72 :] = np.nan
    at = day(0) + timedelta(hours=AT // 6)
    found = Edge(entity="acme/eu", parameter="load", start=at, end=None, size=float(np.log(8)), suspicion="any")
    assert causes(found, load=load) == [("load", "x8", False)]


def test_too_few_values_tell_nothing() -> None:
    values = noisy(40, digits=2)
    load = changed(values, values * 1000)
    load[AT + 1 :] = np.nan
    assert causes(load=load) == []
