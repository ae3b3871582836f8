"""The contracts that ship: each loads, teaches, and together they show every key that there is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from telemetry.contract import Contract, load

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "infra" / "contracts").glob("*.toml"))
OF_TESTS = sorted((ROOT / "tests" / "contracts").glob("*.toml"))
FLEET = "1a2dc7c45eab34b9"
"""The digest of the fleet: a comment may change, the meaning may not."""


def keys(section: type[BaseModel]) -> Iterator[str]:
    """Every key of a section and of the sections in it."""
    for name, field in section.model_fields.items():
        yield name
        for found in (field.annotation, *get_args(field.annotation)):
            if isinstance(found, type) and issubclass(found, BaseModel):
                yield from keys(found)


@pytest.mark.parametrize("path", [*SHIPPED, *OF_TESTS], ids=lambda path: path.stem)
def test_every_contract_loads_under_the_name_of_its_file(path: Path) -> None:
    assert load(path).name == path.stem


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_contract_says_in_its_first_lines_what_it_is_for(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert load(path).description


def test_the_annotated_example_shows_every_key_that_a_contract_may_have() -> None:
    example = (ROOT / "infra" / "contracts" / "fleet.toml").read_text()
    told = re.findall(r"^(?:# )?(?:(\w+) = |\[\[?(?:\w+\.)?(\w+))", example, re.MULTILINE)
    shown = {key or section for key, section in told}
    assert set(keys(Contract)) - shown - {"parameters"} == set()


def test_a_shipped_contract_fits_on_lines_of_140_characters() -> None:
    long = [f"{path.name}: {line}" for path in SHIPPED for line in path.read_text().splitlines() if len(line) > 140]
    assert long == []


def test_the_fleet_keeps_its_meaning() -> None:
    assert load(ROOT / "infra" / "contracts" / "fleet.toml").digest == FLEET
