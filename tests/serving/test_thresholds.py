"""Thresholds: what they are learned from, what they promise, and what is borrowed."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.lending import complete
from serving.surprise import LEAST_SD, SLOW_CLIP, SLOW_STEPS, SLOW_UNIT, Z, errors, joint
from serving.thresholds import LEAST_THRESHOLD, calibrate
from telemetry.schema import AT, COUNT, ENTITY, FORECAST, LEAD, SD, TARGET, THRESHOLD, THRESHOLDS
from telemetry.sections import Thresholds

ForecastsOf = Callable[..., pl.DataFrame]
POLICY = Thresholds()
WEEK = 7 * 24 * 60


def noise(steps: int, *, seed: int = 0, scale: float = 1.0) -> list[float]:
    return (scale * np.random.default_rng(seed).normal(size=steps)).tolist()


def z_of(errors: Sequence[float], *, sd: float) -> NDArray[np.float64]:
    """z of one target and lead: of the minute, or of the last minutes together."""
    scaled, half = np.asarray(errors) / sd, SLOW_STEPS // 2
    sums = np.convolve(np.clip(scaled, -SLOW_CLIP, SLOW_CLIP), np.ones(half))[half - 1 : len(scaled)]
    newer, older = sums[half:], sums[:-half]
    lean = np.where(newer * older > 0, np.minimum(np.abs(newer), np.abs(older)), 0.0)
    return np.maximum(np.abs(scaled), np.concatenate([np.zeros(SLOW_STEPS - 1), lean * SLOW_UNIT]))


def thresholds_of(*rows: tuple[str, str, int, float, float, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=THRESHOLDS, orient="row")


def test_the_scale_is_robust_and_in_units_of_sigma(forecasts_of: ForecastsOf) -> None:
    errors_in_sigma = np.array(noise(4000, scale=0.8))
    errors_in_sigma[:100] = 50.0  # an incident that nobody labelled
    found = calibrate(forecasts_of(errors_in_sigma.tolist()), policy=POLICY, cadence_seconds=60)
    assert found.get_column(SD).to_list() == [pytest.approx(0.8, rel=0.1)]
    assert found.get_column(COUNT).to_list() == [4000]


def test_a_constant_target_gets_the_floors(forecasts_of: ForecastsOf) -> None:
    found = calibrate(forecasts_of([0.0] * 100), policy=POLICY, cadence_seconds=60)
    assert found.select(SD, THRESHOLD).rows() == [(LEAST_SD, LEAST_THRESHOLD)]


def test_every_lead_has_its_own_scale_and_all_share_the_threshold(forecasts_of: ForecastsOf) -> None:
    near, far = forecasts_of(noise(500), leads=(1,)), forecasts_of(noise(500, seed=1, scale=3.0), leads=(60,))
    found = calibrate(pl.concat([near, far]), policy=POLICY, cadence_seconds=60)
    assert found.get_column(LEAD).to_list() == [1, 60]
    assert found.get_column(SD).to_list() == pytest.approx([1.0, 3.0], rel=0.15)
    assert found.get_column(THRESHOLD).n_unique() == 1


@pytest.mark.parametrize("column", ["newcomer", "label"])
def test_newcomers_and_labelled_minutes_teach_nothing(forecasts_of: ForecastsOf, column: str) -> None:
    quiet = forecasts_of(noise(500))
    loud = forecasts_of([9.0] * 500, **{column: True}).with_columns(pl.col(AT) + timedelta(days=1))
    assert calibrate(pl.concat([quiet, loud]), policy=POLICY, cadence_seconds=60).equals(
        calibrate(quiet, policy=POLICY, cadence_seconds=60)
    )


def test_minutes_whose_slow_surprise_still_knows_of_a_label_teach_nothing(forecasts_of: ForecastsOf) -> None:
    quiet = noise(3000)
    struck = [*quiet[:1000], *[9.0] * 60, *quiet[1000:]]
    rows = forecasts_of(struck)
    labelled = rows.with_columns((pl.int_range(pl.len()).is_between(1000, 1059)).alias("label"))
    plain, found = (calibrate(told, policy=POLICY, cadence_seconds=60) for told in (forecasts_of(quiet), labelled))
    assert found.get_column(THRESHOLD).item() == pytest.approx(plain.get_column(THRESHOLD).item(), rel=0.05)


def test_minutes_in_which_a_labelled_incident_would_open_again_teach_nothing(forecasts_of: ForecastsOf) -> None:
    def bar(since: int) -> float:
        rows = forecasts_of([*noise(1000), *[9.0] * 60, *noise(since, seed=1), *[9.0, -9.0] * 3, *noise(2000, seed=2)])
        labelled = rows.with_columns((pl.int_range(pl.len()).is_between(1000, 1059)).alias("label"))
        return float(calibrate(labelled, policy=POLICY, cadence_seconds=60).get_column(THRESHOLD).item())

    again = POLICY.close_minutes + POLICY.reopen_minutes
    assert bar(again - 7) < 0.7 * bar(again)


def test_what_one_half_says_of_the_other_raises_the_bars_where_telemetry_drifts(forecasts_of: ForecastsOf) -> None:
    policy = Thresholds(false_alarms_per_week=WEEK / 100)

    def bars(growth: float) -> dict[str, float]:
        told = [forecasts_of([*noise(3000, seed=s), *noise(3000, seed=50 + s, scale=growth)], entity=f"e{s}") for s in range(4)]
        found = calibrate(told, policy=policy, cadence_seconds=60)
        return {row[ENTITY]: row[SD] * row[THRESHOLD] for row in found.iter_rows(named=True)}

    still, grown = bars(1.0), bars(1.5)
    later = {s: np.abs(noise(20_000, seed=90 + s)) for s in range(4)}
    assert np.mean([(later[s] > still[f"e{s}"]).mean() for s in range(4)]) == pytest.approx(0.01, rel=0.2)
    assert np.mean([(later[s] * 1.5 > grown[f"e{s}"]).mean() for s in range(4)]) < 0.012  # all minutes together would say twice that


def test_tracked_thresholds_begin_where_all_minutes_say_and_not_where_drift_would_put_them(forecasts_of: ForecastsOf) -> None:
    told = [forecasts_of([*noise(3000, seed=s), *noise(3000, seed=50 + s, scale=1.5)], entity=f"e{s}") for s in range(4)]

    def rate(policy: Thresholds) -> float:
        found = {row[ENTITY]: row[SD] * row[THRESHOLD] for row in calibrate(told, policy=policy, cadence_seconds=60).iter_rows(named=True)}
        both = [[*noise(10_000, seed=90 + s), *noise(10_000, seed=80 + s, scale=1.5)] for s in range(4)]
        return float(np.mean([(np.abs(each) > found[f"e{s}"]).mean() for s, each in enumerate(both)]))

    asked = Thresholds(false_alarms_per_week=WEEK / 100)
    assert rate(asked) < 0.002
    assert 0.007 < rate(asked.model_copy(update={"track": 0.1})) < 0.012


def test_the_promised_rate_is_kept_on_new_minutes(forecasts_of: ForecastsOf) -> None:
    policy = Thresholds(false_alarms_per_week=20.0)
    found = calibrate(forecasts_of(noise(WEEK)), policy=policy, cadence_seconds=60)
    later = np.abs(noise(20 * WEEK, seed=1)) / found.get_column(SD).item()
    assert 10 < (later > found.get_column(THRESHOLD).item()).sum() / 20 < 40


def test_a_short_part_is_extrapolated_beyond_its_greatest_error(forecasts_of: ForecastsOf) -> None:
    found = calibrate(forecasts_of(noise(2000)), policy=POLICY, cadence_seconds=60)
    threshold = found.get_column(THRESHOLD).item() * found.get_column(SD).item()
    truth = NormalDist().inv_cdf(1 - 1 / WEEK / 2)  # 3.9: exceeded once a week
    assert max(np.abs(noise(2000))) <= threshold < 1.5 * truth


LENGTHS = range(1, 61)


@pytest.fixture(scope="module")
def short(forecasts_of: ForecastsOf) -> pl.DataFrame:
    """A target for every length of a short part: targets know nothing of each other."""
    return pl.concat([forecasts_of(noise(steps, seed=steps), target=f"of {steps}") for steps in LENGTHS])


@settings(max_examples=15)
@given(st.floats(0.01, 100))
def test_the_tail_never_falls_below_what_was_seen(short: pl.DataFrame, per_week: float) -> None:
    found = calibrate(short, policy=Thresholds(false_alarms_per_week=per_week), cadence_seconds=60)
    bars = {target: (sd, bar) for target, sd, bar in found.select(TARGET, SD, THRESHOLD).iter_rows()}
    assert len(bars) == len(LENGTHS)
    for steps in LENGTHS:
        sd, threshold = bars[f"of {steps}"]
        greatest = max(np.abs(noise(steps, seed=steps))) / sd
        assert np.isfinite(threshold)
        assert threshold >= min(greatest, 1e9) * (1 - 1e-5)


def test_a_lower_promise_is_a_higher_threshold(forecasts_of: ForecastsOf) -> None:
    told = forecasts_of(noise(3000))
    found = [
        calibrate(told, policy=Thresholds(false_alarms_per_week=rate), cadence_seconds=60).get_column(THRESHOLD).item()
        for rate in (1000.0, 100.0, 10.0, 1.0, 0.1)
    ]
    assert found == sorted(found)
    assert len(set(found)) == 5


def test_sigmas_are_taken_as_they_are(forecasts_of: ForecastsOf) -> None:
    found = calibrate(forecasts_of(noise(50)), policy=Thresholds(method="sigma", sigmas=4.0), cadence_seconds=60)
    assert found.get_column(THRESHOLD).to_list() == [4.0]


def test_who_has_no_history_borrows_the_medians(forecasts_of: ForecastsOf) -> None:
    old = [forecasts_of(noise(400, seed=index, scale=index), entity=f"e{index}") for index in (1, 2, 5)]
    new = forecasts_of(noise(9), entity="new", newcomer=True)
    found = calibrate([*old, new], policy=POLICY, cadence_seconds=60)
    own, borrowed = found.filter(pl.col(ENTITY) != "new"), found.filter(pl.col(ENTITY) == "new")
    assert own.get_column(COUNT).to_list() == [400, 400, 400]
    assert borrowed.select(SD, THRESHOLD, COUNT).row(0) == (*own.select(pl.col(SD, THRESHOLD).median()).row(0), 0)


def test_what_is_borrowed_is_not_lent_again() -> None:
    known = thresholds_of(("a", "q", 1, 1.0, 4.0, 99), ("b", "q", 1, 9.0, 9.0, 0))
    found = complete(known, entities=["a", "c"])
    assert found.rows() == [("a", "q", 1, 1.0, 4.0, 99), ("b", "q", 1, 9.0, 9.0, 0), ("c", "q", 1, 1.0, 4.0, 0)]


def test_an_entity_in_two_frames_is_refused(forecasts_of: ForecastsOf) -> None:
    with pytest.raises(ValueError, match="whole entities"):
        calibrate([forecasts_of([1.0]), forecasts_of([2.0])], policy=POLICY, cadence_seconds=60)


def test_nothing_to_learn_from_gives_no_thresholds(forecasts_of: ForecastsOf) -> None:
    assert calibrate(forecasts_of([1.0, 2.0], newcomer=True), policy=POLICY, cadence_seconds=60).is_empty()
    assert calibrate(forecasts_of([None, None]), policy=POLICY, cadence_seconds=60).is_empty()


def test_z_is_the_root_mean_square_over_the_leads(forecasts_of: ForecastsOf) -> None:
    told = pl.concat([forecasts_of([3.0, None], leads=(1,)), forecasts_of([8.0, 8.0], leads=(60,))])
    known = thresholds_of(("a", "q", 1, 1.0, 1.0, 9), ("a", "q", 60, 2.0, 1.0, 9))
    found = joint(errors(told), thresholds=known)
    assert found.get_column(Z).to_list() == pytest.approx([np.sqrt((3**2 + 4**2) / 2), 4.0])
    assert found.get_column(FORECAST).to_list() == [4.0, None], "the forecast that is told is that of the next minute"


def test_rows_in_any_order_give_the_same(forecasts_of: ForecastsOf) -> None:
    told = pl.concat([forecasts_of(noise(40), leads=(1, 5)), forecasts_of(noise(40, seed=1), target="t", leads=(1, 5))])
    shuffled = told.sample(fraction=1.0, shuffle=True, seed=0)
    known = calibrate(told, policy=POLICY, cadence_seconds=60)
    order = [ENTITY, AT, TARGET]
    found, again = (joint(errors(rows), thresholds=known).sort(order) for rows in (told, shuffled))
    assert found.drop(Z).equals(again.drop(Z))
    assert found.get_column(Z).to_list() == pytest.approx(again.get_column(Z).to_list())
    assert calibrate(shuffled, policy=POLICY, cadence_seconds=60).equals(known)


def test_a_newcomer_with_a_day_of_its_own_learns_from_it(forecasts_of: ForecastsOf) -> None:
    old = forecasts_of(noise(3000, seed=1), entity="old")
    new = forecasts_of(noise(1440, seed=2, scale=4), entity="new", newcomer=True)
    young = forecasts_of(noise(1439, seed=3, scale=4), entity="young", newcomer=True)
    found = calibrate([old, new, young], policy=POLICY, cadence_seconds=60).rows_by_key(ENTITY, named=True, unique=True)
    assert found["new"][COUNT] == 1440
    assert found["new"][SD] > 2 * found["old"][SD]
    assert found["young"][COUNT] == 0


def test_one_factor_brings_all_entities_of_a_target_to_the_promise(forecasts_of: ForecastsOf) -> None:
    """Bounded noise: a law of extreme values is wrong about it, and each entity alone is too short to show the rate."""
    told = [forecasts_of(np.random.default_rng(seed).uniform(-1, 1, 8000).tolist(), entity=f"e{seed}") for seed in range(12)]
    policy = Thresholds(false_alarms_per_week=4.0)
    found = calibrate(told, policy=policy, cadence_seconds=60)
    above = 0
    for seed in range(12):
        bar = found.row(by_predicate=pl.col(ENTITY) == f"e{seed}", named=True)
        later = np.random.default_rng(100 + seed).uniform(-1, 1, 20 * WEEK).tolist()
        above += int((z_of(later, sd=bar[SD]) > bar[THRESHOLD]).sum())
    assert 0.5 < above / (12 * 20 * 4.0) < 1.6


@pytest.mark.parametrize("method", ["conformal", "tail"])
def test_exchangeable_minutes_realise_the_promise(forecasts_of: ForecastsOf, method: str) -> None:
    told = [forecasts_of(noise(12_000, seed=seed, scale=1 + seed / 4), entity=f"e{seed}") for seed in range(8)]
    policy = Thresholds.model_validate({"method": method, "false_alarms_per_week": 20.0})
    found = calibrate(told, policy=policy, cadence_seconds=60)
    above = [
        (z_of(noise(10 * WEEK, seed=50 + seed, scale=1 + seed / 4), sd=sd) > bar).mean()
        for seed, (sd, bar) in enumerate(found.select(SD, THRESHOLD).iter_rows())
    ]
    assert np.mean(above) * WEEK == pytest.approx(20.0, rel=0.25)


@pytest.mark.parametrize("method", ["conformal", "tail", "sigma", "mean_sd", "best_f1"])
def test_no_method_calls_the_usual_error_an_anomaly(forecasts_of: ForecastsOf, method: str) -> None:
    policy = Thresholds.model_validate({"method": method, "false_alarms_per_week": 5000.0, "sigmas": 0.01})
    found = calibrate([forecasts_of(noise(300), entity=name) for name in "abcd"], policy=policy, cadence_seconds=60)
    assert (found.get_column(THRESHOLD) >= LEAST_THRESHOLD).all()


def test_mean_and_deviations_are_those_of_z(forecasts_of: ForecastsOf) -> None:
    found = calibrate(forecasts_of(noise(3000)), policy=Thresholds(method="mean_sd", sigmas=3.0), cadence_seconds=60)
    z = z_of(noise(3000), sd=found.get_column(SD).item())
    assert found.get_column(THRESHOLD).item() == pytest.approx(z.mean() + 3 * z.std(ddof=1), rel=1e-5)


def test_labels_choose_the_threshold_that_tells_them_best(forecasts_of: ForecastsOf) -> None:
    quiet = forecasts_of(np.random.default_rng(0).uniform(-1, 1, 2000).tolist())
    loud = forecasts_of([5.0] * 40, label=True).with_columns(pl.col(AT) + timedelta(days=9))
    spikes = forecasts_of([3.0] * 4).with_columns(pl.col(AT) + timedelta(days=8))  # false alarms of the promise, which labels forbid
    told = pl.concat([quiet, spikes, loud])
    promise = Thresholds(false_alarms_per_week=100.0)
    found = calibrate(told, policy=promise.model_copy(update={"method": "best_f1"}), cadence_seconds=60).row(0, named=True)
    kept = calibrate(told, policy=promise, cadence_seconds=60).row(0, named=True)
    assert kept[THRESHOLD] * kept[SD] < 3.0 < found[THRESHOLD] * found[SD] < 5.0


def test_without_labels_the_best_f1_is_conformal_and_says_so(forecasts_of: ForecastsOf, caplog: pytest.LogCaptureFixture) -> None:
    told = forecasts_of(noise(300))
    found = calibrate(told, policy=Thresholds(method="best_f1"), cadence_seconds=60)
    assert found.equals(calibrate(told, policy=POLICY, cadence_seconds=60))
    assert "no minute of the calibrate part is labelled" in caplog.text
