"""Is `validation.vus.vus_pr` equal to the reference implementation by the measure's authors (package `vus`, version 'opt')?

    python tests/benchmarks/vus_equal.py [--json] [--data FOLDER]

Builds a virtual environment in a temporary folder, installs the reference there (without TensorFlow and the other packages that only its
detectors need), runs both over the same cases and prints the greatest difference. Exits with 1 if it exceeds 1e-6. The last line of
`--json` is {"cases": .., "max_difference": .., "equal": ..}.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from validation.vus import vus_pr  # noqa: E402  (the checkout is put on the path first)

TOLERANCE = 1e-6
WINDOW = 100
REFERENCE = "vus==0.0.6"
NEEDED = ("numpy", "pandas", "scikit-learn", "tqdm")
"""What its metrics module imports; the wheel itself is installed without its dependencies."""
RUN_REFERENCE = """
import sys, types, pathlib, importlib.util, numpy as np
# `vus/__init__` is left out: it imports every detector; utils/metrics.py holds the measure.
root = pathlib.Path(next(p for p in sys.path if (pathlib.Path(p) / "vus" / "utils" / "metrics.py").exists())) / "vus"
spec = importlib.util.spec_from_file_location("vus_metrics", root / "utils" / "metrics.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
cases = np.load(sys.argv[1])
for name in sorted({key.rsplit(":", 1)[0] for key in cases.files}):
    score, label = cases[name + ":score"], cases[name + ":label"].astype(float)
    print(name, repr(float(module.metricor().RangeAUC_volume_opt(label, score, int(sys.argv[2]), 250)[-1])), flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A score and its labels."""

    score: NDArray[np.float64]
    label: NDArray[np.bool_]


def labelled(steps: int, *runs: tuple[int, int]) -> NDArray[np.bool_]:
    """bool[step], True in each half-open run."""
    label = np.zeros(steps, dtype=np.bool_)
    for first, end in runs:
        label[first:end] = True
    return label


LAYOUTS: dict[str, NDArray[np.bool_]] = {
    "one_run": labelled(1200, (500, 560)),
    "one_step": labelled(900, (300, 301)),
    "at_the_start": labelled(900, (0, 30)),
    "at_the_end": labelled(900, (860, 900)),
    "last_step": labelled(900, (899, 900)),
    "first_step": labelled(900, (0, 1)),
    "both_edges": labelled(900, (0, 3), (890, 900)),
    "far_apart": labelled(2000, (100, 160), (900, 905), (1700, 1830)),
    "blurs_touch": labelled(1000, (300, 320), (419, 440), (541, 560)),
    "blurs_overlap": labelled(1000, (300, 320), (330, 340), (345, 346), (360, 400)),
    "comb": labelled(800, *((at, at + 1) for at in range(200, 400, 3))),
    "nearly_all": labelled(600, (1, 599)),
    "all": labelled(400, (0, 400)),
    "fewer_than_thresholds": labelled(120, (40, 60), (80, 82)),
}


def random_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Every layout with an informative score, a tied one, a worthless one and a constant one for some."""
    cases: dict[str, Case] = {}
    for name, label in LAYOUTS.items():
        noise = rng.normal(size=label.size)
        informative = noise + 1.5 * label
        cases[f"{name}.informative"] = Case(score=informative, label=label)
        cases[f"{name}.ties"] = Case(score=np.round(informative), label=label)
        cases[f"{name}.shifted"] = Case(score=np.roll(informative, 20), label=label)
    cases["constant"] = Case(score=np.zeros(700), label=labelled(700, (200, 240)))
    cases["perfect"] = Case(score=LAYOUTS["far_apart"].astype(np.float64), label=LAYOUTS["far_apart"])
    cases["inverted"] = Case(score=-LAYOUTS["far_apart"].astype(np.float64), label=LAYOUTS["far_apart"])
    for index in range(6):
        label = np.repeat(rng.random(150) < 0.1, 10)
        cases[f"random_{index}"] = Case(score=rng.gamma(1.0, size=label.size) + rng.random() * 3 * label, label=label)
    return cases


def machine_cases(folder: Path) -> dict[str, Case]:
    """The first 6,000 labelled minutes of some server machines, scored by the distance of all metrics from the minute before."""
    cases: dict[str, Case] = {}
    for name in ("machine-1-2", "machine-2-1", "machine-3-4"):
        path = folder / "smd" / "test" / f"{name}.parquet"
        if path.exists():
            rows = pl.read_parquet(path)
            values = rows.drop("minute", "label").to_numpy().astype(np.float64)
            score = np.abs(np.diff(values, axis=0, prepend=values[:1])).sum(axis=1)
            label = rows["label"].to_numpy().astype(np.bool_)
            start = max(int(np.argmax(label)) - 1000, 0)
            cases[name] = Case(score=score[start : start + 6000], label=label[start : start + 6000])
    return cases


def reference(cases: dict[str, Case]) -> dict[str, float]:
    """The authors' value of every case, computed in an environment of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        venv.create(folder / "venv", with_pip=True)
        python = str(folder / "venv" / "bin" / "python")
        for asked in ((*NEEDED,), ("--no-deps", REFERENCE)):
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *asked], check=True)
        arrays = {f"{n}:score": c.score for n, c in cases.items()} | {f"{n}:label": c.label for n, c in cases.items()}
        np.savez(folder / "cases.npz", **arrays)
        (folder / "run.py").write_text(RUN_REFERENCE, encoding="utf-8")
        command = [python, "-W", "ignore", str(folder / "run.py"), str(folder / "cases.npz"), str(WINDOW)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {name: float(value) for name, value in (line.split(" ") for line in told.splitlines())}


def main() -> int:
    """0 if every value is equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="last line is a JSON object")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the public data sets")
    asked = parser.parse_args()
    cases = random_cases(np.random.default_rng(20260101)) | machine_cases(asked.data)
    started = time.perf_counter()
    ours = {name: vus_pr(case.score, case.label, window=WINDOW) for name, case in cases.items()}
    seconds = time.perf_counter() - started
    theirs = reference(cases)
    difference = {name: abs(ours[name] - theirs[name]) for name in cases}
    for name in sorted(cases):
        print(f"{name:36} {ours[name]:.9f} {theirs[name]:.9f} {difference[name]:.1e}")
    greatest = max(difference.values())
    print(f"{len(cases)} cases, greatest difference {greatest:.2e}; ours took {seconds:.2f} s in all")
    if asked.json:
        print(json.dumps({"cases": len(cases), "max_difference": greatest, "equal": bool(greatest <= TOLERANCE)}))
    return 0 if greatest <= TOLERANCE else 1


if __name__ == "__main__":
    raise SystemExit(main())
