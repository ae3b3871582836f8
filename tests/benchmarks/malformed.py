"""Does every row of a malformed file end as a reading, in the quarantine, or in a refusal that names the file?

    python tests/benchmarks/malformed.py [--json] [--variations N] [--seed N]

Plants every kind of damage of `tests/telemetry/damage.py` in CSV, packed CSV, JSON lines and Parquet files, wide, long and without a
header, and reads them as a source is read. Whoever planted the damage knows how many rows there are, how many of them are bad, and
whether the file is to be refused. Then all of them are ingested into a lake, a folder a layout, and each must be found there again:
with its rows in the table of sources, or refused by name in the quarantine.

Exits with 1 on a crash (anything but a TidewatchError), a row that is not accounted for, a bad row that became a reading, a good one
that did not, or a file that was refused without need. The last line of `--json` is {"inputs": .., "crashes": .., "rows_in": ..,
"rows_accounted": .., "refused": .., "mismatches": .., "lost_in_the_lake": ..}.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from telemetry.contract import Contract, parse  # noqa: E402  (the checkout is put on the path first)
from telemetry.errors import TidewatchError  # noqa: E402
from telemetry.feeds import Part  # noqa: E402
from telemetry.files import FileSource  # noqa: E402
from telemetry.ingestion import ingest  # noqa: E402
from telemetry.lake import Lake  # noqa: E402
from telemetry.schema import AT, ROW, ROWS_IN, ROWS_QUARANTINED, SOURCE  # noqa: E402
from telemetry.sources import read  # noqa: E402
from tests.telemetry.damage import NOW, Damaged, Planted, contracts, planted  # noqa: E402


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a file.

    Attributes:
        accounted: rows that are a reading, in quarantine, repeated, or in a file whose refusal names it.
        quarantined: of these, those in quarantine.
        refused: the refusal; empty if there was none.
        crash: what was raised that is no TidewatchError; empty if nothing was.
        mismatch: what is not as it was planted; empty if everything is.
    """

    accounted: int
    quarantined: int = 0
    refused: str = ""
    crash: str = ""
    mismatch: str = ""


def outcome(each: Planted, *, contract: Contract, folder: Path) -> Outcome:
    """Read a file in a folder of its own as a source is read."""
    home = folder / Path(each.name).stem
    home.mkdir()
    (home / each.name).write_bytes(each.file.content)
    try:
        (part,) = FileSource(str(home), contract=contract).parts(since=None, until=None).parts
        return judged(part, each=each, contract=contract)
    except TidewatchError as refusal:
        return refused(str(refusal), name=each.name, file=each.file)
    except KeyboardInterrupt:
        raise
    except BaseException as crash:  # noqa: BLE001  (of any kind: a panic of Rust is no Exception)
        return Outcome(accounted=0, crash=f"{type(crash).__name__}: {crash}"[:300], mismatch="crashed")


def judged(part: Part, *, each: Planted, contract: Contract) -> Outcome:
    """Every batch of a part, against what was planted."""
    file, batches = each.file, list(read(part, contract=contract, now=NOW))
    rows_in, accepted, repeated = (sum(getattr(batch, name) for batch in batches) for name in ("rows_in", "accepted", "repeated"))
    quarantined = sum(batch.quarantine.height for batch in batches)
    accounted = accepted + repeated + quarantined
    wrong = []
    if rows_in != accounted:
        wrong.append(f"rows_in {rows_in} != accepted {accepted} + repeated {repeated} + quarantined {quarantined}")
    if accounted != file.rows:
        wrong.append(f"{accounted} of {file.rows} rows are accounted for")
    if file.bad is not None and quarantined != file.bad:
        wrong.append(f"{quarantined} rows in quarantine, {file.bad} are bad")
    if file.refused == "always":
        wrong.append("not refused")
    if file.bad is not None and each.cpu:
        told = [pair for batch in batches for pair in batch.frame.select(AT, "cpu").iter_rows()]
        wrong += [f"cpu is {value} at {at}, not {each.cpu.get(at)}" for at, value in told if value != each.cpu.get(at)][:1]
        wrong += [f"{len(told)} readings of {accepted} rows"] if len(told) != accepted else []
    return Outcome(accounted=accounted, quarantined=quarantined, mismatch="; ".join(wrong))


def refused(refusal: str, *, name: str, file: Damaged) -> Outcome:
    """A file that was refused: its rows count where the refusal names it."""
    first = refusal.splitlines()[0]
    if name not in refusal:
        return Outcome(accounted=0, refused=first, mismatch=f"refused, but not by name: {first}")
    wrong = f"refused without need: {first}" if file.refused == "never" else ""
    return Outcome(accounted=file.rows, refused=first, mismatch=wrong)


def measure(files: Iterable[Planted]) -> list[tuple[Planted, Outcome]]:
    """What became of each file."""
    parsed = {layout: parse(raw) for layout, raw in contracts().items()}
    with tempfile.TemporaryDirectory(prefix="tidewatch-malformed-") as folder:
        return [(each, outcome(each, contract=parsed[each.layout], folder=Path(folder))) for each in files]


def lost_in_the_lake(files: Iterable[Planted]) -> list[str]:
    """Ingest all files, and say of which the lake does not tell every row."""
    parsed = {layout: parse(raw) for layout, raw in contracts().items()}
    by_layout: dict[str, list[Planted]] = {}
    for each in files:
        by_layout.setdefault(each.layout, []).append(each)
    lost = []
    for layout, some in by_layout.items():
        with tempfile.TemporaryDirectory(prefix="tidewatch-malformed-") as folder:
            source, lake = Path(folder) / "source", Lake(f"{folder}/lake")
            source.mkdir()
            for each in some:
                (source / each.name).write_bytes(each.file.content)
            try:
                done = ingest(FileSource(str(source), contract=parsed[layout]), contract=parsed[layout], lake=lake, now=NOW)
            except Exception as crash:  # noqa: BLE001  (of any kind, as above)
                lost.append(f"{layout}: {type(crash).__name__}: {crash}"[:300])
                continue
            if done.rows_in != done.rows_accepted + done.rows_quarantined + done.rows_repeated:
                lost.append(f"{layout}: {done}")
            lost += [f"{layout} {told}" for told in _untold(some, root=lake.root, copies=done.copies)]
    return lost


def _untold(files: list[Planted], *, root: str, copies: tuple[str, ...]) -> list[str]:
    """Files of which the tables of a lake do not tell every row."""
    sources = {name: (rows, bad) for name, rows, bad in pl.read_delta(f"{root}/sources").select(SOURCE, ROWS_IN, ROWS_QUARANTINED).rows()}
    kept = pl.read_delta(f"{root}/quarantine").select(SOURCE, ROW)
    refusals = set(kept.filter(pl.col(ROW) == 0)[SOURCE])
    quarantined = dict(kept.filter(pl.col(ROW) > 0).group_by(SOURCE).len().rows())
    told = []
    for each in files:
        if each.name in sources:
            rows, bad = sources[each.name]
            if rows != each.file.rows or bad != quarantined.get(each.name, 0):
                told.append(f"{each.name}, {each.kind}: {rows} of {each.file.rows} rows, {quarantined.get(each.name, 0)} of {bad} kept")
        elif each.name not in refusals and each.name not in copies:
            told.append(f"{each.name}, {each.kind}: unknown to the lake")
    return told


def summary(found: list[tuple[Planted, Outcome]]) -> dict[str, int]:
    """The figures of the last line."""
    return {
        "inputs": len(found),
        "crashes": sum(bool(told.crash) for _, told in found),
        "rows_in": sum(each.file.rows for each, _ in found),
        "rows_accounted": sum(told.accounted for _, told in found),
        "refused": sum(bool(told.refused) for _, told in found),
        "mismatches": sum(bool(told.mismatch) for _, told in found),
    }


def table(found: list[tuple[Planted, Outcome]]) -> str:
    """A line for each kind: files, rows, and what became of them."""
    kinds: dict[str, Counter[str]] = {}
    for each, told in found:
        counts = kinds.setdefault(each.kind, Counter())
        counts.update(files=1, rows=each.file.rows, accounted=told.accounted, quarantined=told.quarantined, refused=bool(told.refused))
        counts.update(crashes=bool(told.crash), mismatches=bool(told.mismatch))
    columns = ("files", "rows", "accounted", "quarantined", "refused", "crashes", "mismatches")
    lines = [f"{'kind':34}" + "".join(f"{column:>12}" for column in columns)]
    lines += [f"{kind[:33]:34}" + "".join(f"{counts[column]:12}" for column in columns) for kind, counts in kinds.items()]
    return "\n".join(lines)


def main() -> int:
    """Print what became of every kind."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print the figures only, as one line")
    arguments.add_argument("--variations", type=int, default=1, help="files of each kind, format and layout")
    arguments.add_argument("--seed", type=int, default=0)
    asked = arguments.parse_args()
    logging.disable(logging.WARNING)  # every refusal would be one
    files = list(planted(seed=asked.seed, variations=asked.variations))
    found, lost = measure(files), lost_in_the_lake(files)
    figures = {**summary(found), "lost_in_the_lake": len(lost)}
    wrong = [(each, told) for each, told in found if told.mismatch]
    if not asked.json:
        print(table(found))
    for each, told in wrong:
        print(f"{each.layout} {each.name}, {each.kind}: {told.mismatch} {told.crash}", file=sys.stderr)
    for told in lost:
        print(told, file=sys.stderr)
    print(json.dumps(figures))
    return 1 if wrong or lost or figures["crashes"] or figures["rows_in"] != figures["rows_accounted"] else 0


if __name__ == "__main__":
    sys.exit(main())
