"""VUS-PR: frozen values of the authors' implementation, its properties, and what it refuses.

The frozen values are those of the package `vus` 0.0.6, version 'opt'; tests/benchmarks/vus_equal.py compares 54 more cases.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from validation.vus import vus_pr

Labels = NDArray[np.bool_]


def labelled(steps: int, *runs: tuple[int, int]) -> Labels:
    label = np.zeros(steps, dtype=np.bool_)
    for first, end in runs:
        label[first:end] = True
    return label


def sawtooth(steps: int) -> NDArray[np.float64]:
    """A score without randomness: 0 .. 96, over and over, in a scrambled order."""
    return (np.arange(steps) * 37 % 97).astype(np.float64)


@pytest.mark.parametrize(
    ("label", "lift", "expected"),
    [
        pytest.param(labelled(1200, (500, 560)), 40.0, 0.540843010649, id="one run"),
        pytest.param(labelled(900, (0, 30)), 40.0, 0.468927941820, id="at the start"),
        pytest.param(labelled(900, (899, 900)), -30.0, 0.021662185776, id="the last step alone"),
        pytest.param(labelled(1000, (300, 320), (330, 340), (345, 346), (419, 440)), 30.0, 0.483910176366, id="blurs overlap"),
        pytest.param(labelled(120, (40, 60), (80, 82)), 10.0, 0.781802960176, id="fewer steps than thresholds"),
        pytest.param(labelled(700, (200, 240)), 0.0, 0.119041093763, id="a worthless score"),
    ],
)
def test_it_equals_the_reference_implementation(label: Labels, lift: float, expected: float) -> None:
    assert vus_pr(sawtooth(label.size) + lift * label, label) == pytest.approx(expected, abs=1e-9)


def test_a_perfect_ranking_is_one_and_a_worse_one_less() -> None:
    label = labelled(2000, (100, 160), (900, 905))
    near = label.astype(np.float64)
    assert vus_pr(near, label) == pytest.approx(1.0)
    assert vus_pr(np.roll(near, 300), label) < vus_pr(np.roll(near, 20), label) < 1.0


def test_nothing_is_adjusted_to_whole_runs() -> None:
    label = labelled(1000, (400, 600))
    one_step, whole = np.zeros(1000), label.astype(np.float64)
    one_step[500] = 1.0
    assert vus_pr(one_step, label) < 0.5 < vus_pr(whole, label)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(-5, 5))
def test_only_the_order_of_the_scores_counts(seed: int, factor: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    score, label = rng.integers(0, 50, size=300).astype(np.float64), np.repeat(rng.random(30) < 0.3, 10)
    label[0] = True
    found = vus_pr(score, label, window=20)
    assert 0 <= found <= 1
    assert vus_pr(score * factor + offset, label, window=20) == pytest.approx(found)


@pytest.mark.parametrize(
    ("score", "label", "told"),
    [
        (np.zeros(5), np.zeros(5, dtype=np.bool_), "no step is labelled"),
        (np.array([0.0, np.nan, 1.0]), np.array([False, True, False]), "1 of 3 scores are not finite"),
        (np.zeros(4), np.ones(5, dtype=np.bool_), "of one length"),
    ],
)
def test_what_has_no_value_is_refused(score: NDArray[np.float64], label: Labels, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        vus_pr(score, label)
