"""No row of a malformed file vanishes, and no file crashes what reads it: see tests/benchmarks/malformed.py."""

import gzip
import itertools
from types import SimpleNamespace

import pytest

from tests.benchmarks.malformed import Outcome, lost_in_the_lake, measure, refused, summary, table
from tests.telemetry.damage import Damaged, planted

A_HANDFUL = frozenset(
    {
        "too few fields",
        "quotes opened twice",
        "zero bytes",
        "packed and cut",
        "number many",
        "line cut",
        "text for a number",
        "numbers as text",
    }
)


def test_a_handful_of_damages_costs_the_damaged_rows_only() -> None:
    found = measure(planted(only=A_HANDFUL))
    assert len({each.kind for each, _ in found}) == len(A_HANDFUL)
    assert {(each.name, told.mismatch) for each, told in found} == {(each.name, "") for each, _ in found}


def test_the_same_seed_plants_the_same_files_and_another_one_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(1_000_000_000, 3600)  # whatever the time is: a packed file has room for that of its writing
    monkeypatch.setattr(gzip, "time", SimpleNamespace(time=lambda: float(next(clock))))
    first, same, other = (list(planted(only=A_HANDFUL, seed=seed)) for seed in (1, 1, 2))
    assert (first == same, first == other) == (True, False)


def test_a_refusal_counts_where_it_names_the_file_and_was_needed() -> None:
    file = Damaged(content=b"", rows=9, bad=None, refused="always")
    assert refused("a.csv holds no row.\nHint: x", name="a.csv", file=file) == Outcome(accounted=9, refused="a.csv holds no row.")
    assert refused("something is wrong", name="a.csv", file=file).accounted == 0
    assert refused("a.csv is bad", name="a.csv", file=Damaged(content=b"", rows=9)).mismatch == "refused without need: a.csv is bad"


@pytest.mark.slow
def test_every_row_of_every_malformed_file_is_accounted_for() -> None:
    files = list(planted())
    found = measure(files)
    figures = summary(found)
    wrong = [(each.layout, each.name, each.kind, told.mismatch, told.crash) for each, told in found if told.mismatch]
    assert wrong == [], table(found)
    assert (figures["inputs"] >= 300, figures["crashes"], figures["rows_accounted"]) == (True, 0, figures["rows_in"])
    assert lost_in_the_lake(files) == []
