"""What becomes of real telemetry: a line for each public set and publisher's own file, ingested by its contract into a lake of its own.

    python tests/benchmarks/public_sets.py [--json] [--data FOLDER]

Every count is compared with what plain Polars finds in the same files (`tests/telemetry/public_sets.py`). Exits with 1 where one is
another, or where a second ingestion changes anything. The data lie in `../shared/data` or where TIDEWATCH_DATA says; nothing is measured
without them. Seconds are of the ingestion alone, on whatever else the machine does.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from telemetry.contract import load  # noqa: E402  (the checkout is put on the path first)
from telemetry.files import FileSource  # noqa: E402
from telemetry.ingestion import Ingested, ingest  # noqa: E402
from telemetry.lake import Lake  # noqa: E402
from telemetry.schema import ENTITIES, QUARANTINED, REASON  # noqa: E402
from tests.telemetry.public_sets import PUBLIC_SETS, PublicSet  # noqa: E402

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a set.

    Attributes:
        reasons: of rows in quarantine, numbers as `N`, with how many there are.
        wrong: what is not as plain Polars finds it; empty if everything is.
    """

    name: str
    rows: int
    accepted: int
    quarantined: int
    reasons: dict[str, int]
    repeated: int
    clocks_apart: int
    entities: int
    steps: int
    seconds: float
    wrong: str


def outcome(public: PublicSet, *, data: Path, root: str) -> Outcome:
    """Ingest a set twice, and compare the first time with what the files say and the second with the first."""
    contract = load(public.contract)
    lake, source = Lake(root), FileSource(str(data / public.source), contract=contract)
    began = time.perf_counter()
    done = ingest(source, contract=contract, lake=lake, now=NOW)
    seconds = time.perf_counter() - began
    entities = lake.read("entities", schema=ENTITIES).collect().height
    reasons = lake.read("quarantine", schema=QUARANTINED).collect()[REASON].str.replace_all(r"\d+", "N").value_counts(sort=True).rows()
    again = ingest(source, contract=contract, lake=lake, now=NOW)
    return Outcome(
        name=public.name,
        rows=done.rows_in,
        accepted=done.rows_accepted,
        quarantined=done.rows_quarantined,
        reasons=dict(reasons),
        repeated=done.rows_repeated,
        clocks_apart=done.clocks_apart,
        entities=entities,
        steps=done.rows_new,
        seconds=round(seconds, 2),
        wrong=against(public, data=data, done=done, again=again, entities=entities),
    )


def against(public: PublicSet, *, data: Path, done: Ingested, again: Ingested, entities: int) -> str:
    """What is not as the files say."""
    told = public.told(data)
    expected = {
        "rows": (done.rows_in, told.rows),
        "quarantined": (done.rows_quarantined, told.contradicted),
        "repeated": (done.rows_repeated, told.repeated),
        "accepted": (done.rows_accepted, told.rows - told.contradicted - told.repeated),
        "clocks apart": (done.clocks_apart, public.wrong_clocks(data / public.source)),
        "entities": (entities, told.entities),
        "changed by a second ingestion": (again.rows_in + again.rows_new + again.rows_changed, 0),
    }
    return "; ".join(f"{found} {name}, expected {wanted}" for name, (found, wanted) in expected.items() if found != wanted)


def table(found: list[Outcome]) -> str:
    """A line for each set."""
    columns = ("rows", "accepted", "quarantined", "repeated", "clocks_apart", "entities", "steps", "seconds")
    lines = [f"{'set':20}" + "".join(f"{column:>13}" for column in columns) + "  quarantined because"]
    for each in found:
        told = asdict(each)
        because = "; ".join(f"{count} x {reason}" for reason, count in each.reasons.items())
        lines.append(f"{each.name:20}" + "".join(f"{told[column]:>13}" for column in columns) + f"  {because}")
    return "\n".join(lines)


def main() -> int:
    """Print what became of every set."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one line of JSON")
    arguments.add_argument("--data", type=Path, default=Path(os.environ.get("TIDEWATCH_DATA", ROOT.parent / "shared" / "data")))
    asked = arguments.parse_args()
    if not asked.data.is_dir():
        print(f"There are no public sets at {asked.data}; TIDEWATCH_DATA names their folder.", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory(prefix="tidewatch-public-") as folder:
        found = [outcome(public, data=asked.data, root=f"{folder}/{number}") for number, public in enumerate(PUBLIC_SETS)]
    print(json.dumps({"sets": [asdict(each) for each in found]}) if asked.json else table(found))
    wrong = [each for each in found if each.wrong]
    for each in wrong:
        print(f"{each.name}: {each.wrong}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
