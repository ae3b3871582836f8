"""The figures for machines are those that the README documents, no more and no fewer."""

import re

import pytest

from flows import entities, maintenance, quarantine, releases, suspended, upkeep
from flows.backtest import backtest
from flows.ingest import ingest
from flows.quality_report import quality_report
from flows.score import score
from flows.settings import CHECKOUT, Settings
from flows.shadow import shadow
from flows.sweep import sweep
from flows.tend import tend
from flows.train_alone import train_alone
from tests.flows.conftest import Released

pytestmark = [pytest.mark.service, pytest.mark.slow]
INCIDENTAL = {"revoked"}
"""Of rollback alone, and told there by its sentence."""


def documented() -> set[str]:
    """The keys of the README's table."""
    table = (CHECKOUT / "README.md").read_text(encoding="utf-8").partition("## Figures for machines")[2].partition("\n## ")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {key for cell in first for key in re.findall(r"`(\w+)`", cell)}


def test_every_key_that_is_printed_is_documented_and_the_other_way_round(released: Released) -> None:
    contract = released.fleet.contract
    told = [
        released.summary,
        ingest(contract=contract, source=released.fleet.live),
        score(contract=contract),
        shadow(contract=contract),
        backtest(contract=contract, rules=str(CHECKOUT / "infra" / "rules" / "fleet.yml")),
        quality_report(contract=contract),
        tend(contract=contract),
        sweep(contract=contract, designs="2 x LSTM(64), 16 steps, apart", time_steps=(16,), seeds=1, epochs=1),
        train_alone(contract=contract, epochs=1, profile=True),
        releases.told(contract, settings=Settings()),
        entities.told(contract, settings=Settings()),
        upkeep.status(contract, settings=Settings()),
        quarantine.told(contract, settings=Settings()),
        quarantine.rows_told(contract, settings=Settings(), source="", limit=1, every=True),
        quarantine.retried(contract, settings=Settings()),
        suspended.told(contract, settings=Settings()),
        maintenance.told(contract, settings=Settings()),
    ]
    printed = set().union(*told) - INCIDENTAL
    assert printed - documented() == set()
    assert documented() - printed <= {"error", "hint", "planted", "lifted"}  # of a run that was stopped, a faulty demo, a lift
