"""What the repository promises beside its code: a lock that says all, caps with reasons, nothing of one machine, a quick `--help`."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PACKAGES = ("telemetry", "validation", "models", "serving", "flows")
OPTIONAL = ("postgresql", "kafka", "mqtt", "mlflow", "spark", "ray", "dask", "peers")
DISTRIBUTIONS = {"yaml": "pyyaml", "orbax": "orbax-checkpoint"}  # where the name that is imported is another
PYTHONS = ("3.11", "3.12", "3.13")
HEAVY = ("prefect", "jax", "flax", "great_expectations", "polars", "pandas", "numpy", "plotly", "deltalake")

# Written so that this file does not match itself.
OF_ONE_MACHINE = re.compile(r"(?<![\w.}-])/(([w]ork|[f]arm|[r]oot|[U]sers|[h]ome/[a-z]+)/|[t]mp/[a-z])")
OF_A_REGISTRY = re.compile(r"https?://[^ ]*/(simple|packages|-)/|[p]ypi\.org|[p]ythonhosted\.org|[f]iles\.pypi|registry\.[n]pmjs")


@dataclass(frozen=True, slots=True)
class Pin:
    """One entry of the lock."""

    requirement: Requirement
    hashes: tuple[str, ...]


def pins(lock: str) -> tuple[Pin, ...]:
    """The entries of a lock: `name==1 ; marker \\`, then its hashes."""
    entries = re.findall(r"^([a-z0-9].*?)((?: \\\n    --hash=\S+)*)$", lock, flags=re.MULTILINE)
    return tuple(Pin(Requirement(text), tuple(re.findall(r"--hash=(\S+)", hashes))) for text, hashes in entries)


def environment(python: str) -> dict[str, str]:
    """The markers' environment of Linux under a Python."""
    return {**default_environment(), "python_version": python, "python_full_version": f"{python}.9", "extra": ""}  # type: ignore[dict-item]


def locked(*, lock: str, python: str) -> dict[str, str]:
    """Which version of each package the lock installs under a Python."""
    here = environment(python)
    chosen = [pin.requirement for pin in pins(lock) if pin.requirement.marker is None or pin.requirement.marker.evaluate(here)]
    return {requirement.name: str(requirement.specifier).removeprefix("==") for requirement in chosen}


def unmet(*, wanted: list[str], lock: str, python: str) -> list[str]:
    """The direct requirements that the lock does not meet."""
    versions = locked(lock=lock, python=python)
    needs = [(text, Requirement(text)) for text in wanted]
    return [text for text, need in needs if need.name not in versions or not need.specifier.contains(versions[need.name])]


def caps_without_reason(pyproject: str) -> list[str]:
    """The lines that cap a requirement and give no reason beside it."""
    capped = re.findall(r'^ *(?:\w+ = \[)?"[\w\[\]-]+>=[^"<]*,<[^"]*".*$', pyproject, flags=re.MULTILINE)
    return [line.strip() for line in capped if not re.search(r"# \S+ \S+ \S+", line)]


def strays(text: str) -> list[str]:
    """What a file says of one machine or of a package registry."""
    return [match.group() for pattern in (OF_ONE_MACHINE, OF_A_REGISTRY) for match in pattern.finditer(text)]


def imported(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Each package that is imported and not Python's own, with one file that does."""
    trees = [(path, ast.parse(path.read_text())) for path in paths]
    nodes = [(path, node) for path, tree in trees for node in ast.walk(tree)]
    names = [(alias.name, path) for path, node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [(node.module, path) for path, node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {root: path for name, path in names if (root := name.partition(".")[0]) not in sys.stdlib_module_names}


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Git in the checkout."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tracked() -> tuple[Path, ...]:
    """The files under version control; a copy without its history has none to look at."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: no list of tracked files")
    listed = git("ls-files", "-z")
    assert listed.returncode == 0, listed.stderr
    return tuple(path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file())


@pytest.fixture(scope="module")
def project() -> dict[str, list[str]]:
    """The requirements that are direct: of the core, and by extra."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"core": declared["dependencies"], **declared["optional-dependencies"]}


def test_the_lock_pins_and_hashes_every_requirement() -> None:
    entries = pins(LOCK.read_text())
    assert len(entries) > 100
    assert [str(pin.requirement) for pin in entries if not re.fullmatch(r"==[^*,]+", str(pin.requirement.specifier))] == []
    assert [str(pin.requirement) for pin in entries if not pin.hashes] == []
    assert {text.partition(":")[0] for pin in entries for text in pin.hashes} == {"sha256"}


def test_a_requirement_without_hash_is_seen() -> None:
    lock = "# made by hand\na[b, c]==1 ; python_version >= '3.11' \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n    # via d\nd==2\n"
    assert [(str(pin.requirement.name), pin.hashes) for pin in pins(lock)] == [("a", ("sha256:00", "sha256:01")), ("d", ())]


def test_the_lock_names_no_index_and_no_place() -> None:
    lock = LOCK.read_text()
    assert re.findall(r"https?:|file:|^ *-.*(?:index|find-links|trusted).*|^-e|@ ", lock, flags=re.MULTILINE) == []
    assert strays(lock) == []


@pytest.mark.slow
@pytest.mark.parametrize(("folders", "extras"), [(PACKAGES, ("core",)), ((*PACKAGES, "tests"), ("core", "dev"))])
def test_what_is_imported_is_asked_for_by_name(project: dict[str, list[str]], folders: tuple[str, ...], extras: tuple[str, ...]) -> None:
    asked = {Requirement(text).name for extra in (*extras, *OPTIONAL) for text in project[extra]}
    paths = tuple(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    strangers = {name: path for name, path in imported(paths).items() if canonicalize_name(DISTRIBUTIONS.get(name, name)) not in asked}
    assert {name: str(path.relative_to(ROOT)) for name, path in strangers.items() if name not in (*PACKAGES, "tests")} == {}


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_meets_what_the_project_asks_for(project: dict[str, list[str]], python: str) -> None:
    assert unmet(wanted=project["core"] + project["dev"], lock=LOCK.read_text(), python=python) == []


def test_a_lock_that_falls_behind_is_seen() -> None:
    lock = "a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:00\na==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:01\n"
    assert unmet(wanted=["a>=2"], lock=lock, python="3.11") == ["a>=2"]
    assert unmet(wanted=["a>=2"], lock=lock, python="3.12") == []
    assert unmet(wanted=["b"], lock=lock, python="3.12") == ["b"]


def test_every_cap_gives_its_reason() -> None:
    assert caps_without_reason((ROOT / "pyproject.toml").read_text()) == []


def test_a_cap_without_reason_is_seen() -> None:
    lines = '  "a>=1,<2",\n  "b>=1,<2",  # 3 breaks it\n  "c>=1",\nd = ["e[f]>=1,<2"]\n'
    assert caps_without_reason(lines) == ['"a>=1,<2",', 'd = ["e[f]>=1,<2"]']


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("fastapi", "0.155"),  # the server does not start
        ("sqlalchemy", "2.1"),  # the scheduler silently creates no run
    ],
)
def test_versions_that_break_prefect_stay_out(project: dict[str, list[str]], name: str, broken: str) -> None:
    requirements = [requirement for text in project["core"] if (requirement := Requirement(text)).name == name]
    assert [requirement.specifier.contains(broken) for requirement in requirements] == [False]


def test_plain_pyspark_is_asked_for_nowhere(project: dict[str, list[str]]) -> None:
    """It ends a process that imports Great Expectations, without a word and with exit code 0."""
    spark = [(extra, Requirement(text)) for extra, texts in project.items() for text in texts if Requirement(text).name == "pyspark"]
    assert [(extra, requirement.extras) for extra, requirement in spark] == [("spark", {"connect"})]
    assert "pyspark" not in {pin.requirement.name for pin in pins(LOCK.read_text())}


def test_a_lock_that_names_hosts_cannot_come_in(tracked: tuple[Path, ...]) -> None:
    assert ROOT / "uv.lock" not in tracked
    assert git("check-ignore", "--quiet", "uv.lock").returncode == 0


def texts(paths: tuple[Path, ...]) -> Iterator[tuple[Path, str]]:
    """The files that are text."""
    for path in paths:
        content = path.read_bytes()
        if b"\0" not in content:
            yield path, content.decode()


def test_no_file_names_a_machine_or_a_registry(tracked: tuple[Path, ...]) -> None:
    found = {str(path.relative_to(ROOT)): stray for path, text in texts(tracked) if (stray := strays(text))}
    assert found == {}


@pytest.mark.parametrize(
    "parts",
    [
        ("cd /", "work/main"),
        ("/", "root/.cache"),
        ("/", "tmp/x"),
        ("/", "home/ann/x"),
        ("https://host/", "simple/"),
        ("https://py", "pi.org/p"),
    ],
)
def test_a_stray_is_seen(parts: tuple[str, ...]) -> None:
    assert strays("".join(parts))


def test_a_path_that_means_nothing_passes() -> None:
    assert strays(f"../shared/data, tests/{'work'}/x, https://www.apache.org/licenses/, $HOME/.cache, s3://lake/grid") == []


def test_help_is_told_before_anything_heavy_is_loaded() -> None:
    command = Path(sys.executable).with_name("tidewatch")
    told = subprocess.run(
        [command, "--help"], capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    )
    assert told.returncode == 0, told.stderr[-2000:]
    assert "Usage: tidewatch" in told.stdout
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.stderr.splitlines() if line.startswith("import time:")}
    assert "typer" in loaded
    assert loaded & set(HEAVY) == set()
