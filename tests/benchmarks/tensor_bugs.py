"""Is every error of scaling stopped, named rightly, and pinned to the entities and parameters that it struck?

    python tests/benchmarks/tensor_bugs.py [--seeds N] [--json]

Plants every kind of `tests/validation/tensor_bugs.py` into a clean panel of each seed, once in each, and judges the clean panels too: as
they are, with the scales of an earlier release at hand, and scaled with these, as when a champion is tried on newer data.

Counted are panels. Stopped: at least one finding stops. Named: of everything that was struck, a finding that stops says what was done.
Places: what is stopped is what was struck, no more and no less. Exits with 1 if a clean panel is stopped or a bug is not. The last
line of `--json` is {"planted": .., "stopped": .., "named": .., "places": .., "clean": .., "clean_stopped": .., "missed": [..]}.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.validation.tensor_bugs import KINDS, Planted, champion, fleet, plant  # noqa: E402  (the checkout is put on the path first)
from tests.validation.tensors import Scaled  # noqa: E402


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the judgements made of a panel with a bug."""

    planted: Planted
    seed: int
    stopped: bool
    named: bool
    places: bool
    told: str
    """The first finding."""


def outcome(spoiled: Scaled, *, planted: Planted, seed: int) -> Outcome:
    """Hold the findings against what was planted."""
    stops = [finding for finding in spoiled.findings() if finding.severity == "stop"]
    by_name = {(f.entity, f.parameter) for f in stops if planted.named in f.found or planted.named in f.sentence}
    return Outcome(
        planted=planted,
        seed=seed,
        stopped=bool(stops),
        named=by_name >= planted.where,
        places={(f.entity, f.parameter) for f in stops} == planted.where,
        told=f"{stops[0].expectation}: {stops[0].found}" if stops else "nothing",
    )


def measure(*, seeds: int) -> tuple[list[Outcome], list[str]]:
    """What became of every bug, and what was stopped without one."""
    found, false = [], []
    for seed in range(seeds):
        clean = fleet(seed)
        older = champion(clean)
        every = (*clean.findings(), *older.findings(unfitting="warn"))
        false += [f"seed {seed}: {finding.sentence}" for finding in every if finding.severity == "stop"]
        for kind in KINDS:
            spoiled, planted = plant(clean, kind=kind, seed=seed)
            if planted.where:
                found.append(outcome(spoiled, planted=planted, seed=seed))
    return found, false


def table(found: list[Outcome]) -> str:
    """A line for each kind."""
    columns = ("planted", "stopped", "named", "places")
    kinds: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for each in found:
        kinds[each.planted.kind].update(planted=1, stopped=each.stopped, named=each.named, places=each.places)
    lines = [f"{'kind':34}" + "".join(f"{column:>10}" for column in columns)]
    lines += [f"{kind:34}" + "".join(f"{counts[column]:10}" for column in columns) for kind, counts in kinds.items()]
    return "\n".join(lines)


def main() -> int:
    """Print what became of every kind."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print the figures only, as one line")
    arguments.add_argument("--seeds", type=int, default=20)
    asked = arguments.parse_args()
    found, false = measure(seeds=asked.seeds)
    missed = [each for each in found if not (each.stopped and each.named and each.places)]
    if not asked.json:
        print(table(found))
    for each in missed:
        print(f"{each.planted.kind}, seed {each.seed}: expected '{each.planted.named}', told {each.told}", file=sys.stderr)
    for told in false:
        print(told, file=sys.stderr)
    figures = {
        "planted": len(found),
        "stopped": sum(each.stopped for each in found),
        "named": sum(each.named for each in found),
        "places": sum(each.places for each in found),
        "clean": 2 * asked.seeds,
        "clean_stopped": len({told.partition(":")[0] for told in false}),
        "missed": sorted({each.planted.kind for each in missed}),
    }
    print(json.dumps(figures))
    return 1 if false or figures["stopped"] != figures["planted"] else 0


if __name__ == "__main__":
    sys.exit(main())
