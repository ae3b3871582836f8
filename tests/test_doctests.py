"""Every worked example in a docstring is true. Only modules that hold one are imported, so the rest costs the quick tests nothing."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("telemetry", "validation", "models", "serving", "flows", "tests")
EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if any(line.lstrip().startswith(">>>") for line in path.read_text().splitlines())
)


def quick_or_slow(name: str) -> object:
    """A benchmark imports everything that there is, Great Expectations and the flows too."""
    return pytest.param(name, marks=pytest.mark.slow) if name.startswith("tests.benchmarks.") else name


@pytest.mark.parametrize("name", [quick_or_slow(name) for name in EXAMPLES])
def test_the_examples_are_true(name: str) -> None:
    told = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert told.attempted > 0
    assert told.failed == 0


def test_examples_are_found() -> None:
    assert "telemetry.units" in EXAMPLES
