"""The house keeps its shape: who may import whom, which library lives in which room, and how large a function may grow.

Everything is read from the sources (`ast`), nothing is imported. Imports inside functions and under TYPE_CHECKING count too. A rule takes a
module and gives back a sentence for each breach; every rule is shown to fail on a small source below.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).resolve().parents[1]

READERS_MAY_LOAD = ("models.config", "models.predict", "models.baselines")
ARROWS: Final[dict[str, tuple[str, ...]]] = {
    "telemetry": (),
    "validation": ("telemetry",),
    "models": ("telemetry.panel", "telemetry.errors"),
    "serving": ("telemetry", "validation", *READERS_MAY_LOAD),
    "flows": ("telemetry", "validation", "models", "serving"),
}
ROOMS: Final = {
    "prefect": "flows",
    "great_expectations": "validation",
    "pandas": "validation",
    "jax": "models",
    "flax": "models",
    "optax": "models",
    "orbax": "models",
}
BARE_GPU_MACHINE = {"jax", "flax", "optax", "orbax", "numpy"}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
MODULE_LINES, FUNCTION_LINES = 400, 60
TERMINAL = ("flows.cli",)  # where results are printed

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A source file under its dotted name."""

    name: str
    source: str

    @property
    def package(self) -> str:
        """The room it is in."""
        return self.name.partition(".")[0]

    @property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return parse(self.source)


Rule = Callable[[Module], list[str]]


@cache
def parse(source: str) -> ast.Module:
    """The syntax of a source, parsed once for all rules."""
    return ast.parse(source)


@cache
def house() -> tuple[Module, ...]:
    """Every module of the packages."""
    paths = sorted(path for package in ARROWS for path in (ROOT / package).rglob("*.py"))
    return tuple(Module(name=".".join(path.relative_to(ROOT).with_suffix("").parts), source=path.read_text()) for path in paths)


def within(target: str, *places: str) -> bool:
    """Whether a dotted name is one of the places or lies in it.

    >>> within("telemetry.panel.Panel", "telemetry.panel"), within("telemetry.panels", "telemetry.panel")
    (True, False)
    """
    return any(target == place or target.startswith(f"{place}.") for place in places)


@cache
def imports(module: Module) -> list[str]:
    """The dotted names that it imports: `from a.b import c` gives a.b.c, whether c is a module or a name."""
    found = []
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                found += [alias.name for alias in names]
            case ast.ImportFrom(module=origin, names=names, level=level):
                above = module.name.split(".")[:-level] if level else []
                found += [".".join([*above, *filter(None, [origin]), alias.name]) for alias in names]
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                found.append(name)
    return found


def third_parties(module: Module) -> list[str]:
    """The packages that it imports and that are neither ours nor Python's."""
    names = (target.partition(".")[0] for target in imports(module))
    return [name for name in names if name not in ARROWS and name not in sys.stdlib_module_names]


def functions(module: Module) -> Iterator[Function]:
    """Every function and method, nested ones too."""
    return (node for node in ast.walk(module.tree) if isinstance(node, Function))


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What of a module is evaluated by importing it: all but the bodies of functions and of `if __name__ == "__main__"`."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            children: list[ast.AST] = [*node.decorator_list, node.args]
        case ast.Lambda():
            children = [node.args]
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
            children = list(node.orelse)
        case _:
            children = list(ast.iter_child_nodes(node))
    for child in children:
        yield child
        yield from run_at_import(child)


def touches_the_environment(node: ast.AST) -> bool:
    """Whether a node is `os.environ`, `os.getenv`, or one of them imported by name."""
    match node:
        case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv" | "putenv"):
            return True
        case ast.Name(id="environ" | "getenv"):
            return True
    return False


def sets_something_up(node: ast.AST) -> bool:
    """Whether a node is `jax.config` or reads the settings."""
    match node:
        case ast.Attribute(value=ast.Name(id="jax"), attr="config") | ast.Call(func=ast.Name(id="Settings")):
            return True
    return False


def reach(start: str, *, modules: tuple[Module, ...]) -> dict[str, list[str]]:
    """Every module of ours that importing the package `start` can load, with all that each of them imports."""
    by_name = {module.name.removesuffix(".__init__"): module for module in modules}
    reached: dict[str, list[str]] = {}
    waiting = [name for name in by_name if within(name, start)]
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in reached:
            reached[name] = imports(by_name[name])
            waiting += [part for target in reached[name] for part in (target, target.rpartition(".")[0])]
    return reached


# The rules.


def imports_follow_the_arrows(module: Module) -> list[str]:
    allowed = (module.package, *ARROWS[module.package])
    ours = [target for target in imports(module) if within(target, *ARROWS)]
    return [f"{module.name} imports {target}; {module.package} may only see {allowed}" for target in ours if not within(target, *allowed)]


def libraries_stay_in_their_rooms(module: Module) -> list[str]:
    return [
        f"{module.name} imports {name}, which lives in {ROOMS[name]} only"
        for name in third_parties(module)
        if ROOMS.get(name, module.package) != module.package
    ]


def models_run_on_a_bare_gpu_machine(module: Module) -> list[str]:
    strangers = [name for name in third_parties(module) if name not in BARE_GPU_MACHINE and module.package == "models"]
    return [f"{module.name} imports {name}; models need {sorted(BARE_GPU_MACHINE)} alone" for name in strangers]


def modules_are_named_for_what_they_hold(module: Module) -> list[str]:
    empty = NAMES_THAT_SAY_NOTHING & set(module.name.split("."))
    return [f"{module.name}: a module named {name} holds anything" for name in empty]


def modules_and_functions_stay_short(module: Module) -> list[str]:
    lines = len(module.source.splitlines())
    found = [f"{module.name} has {lines} lines, more than {MODULE_LINES}"] if lines > MODULE_LINES else []
    for function in functions(module):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > FUNCTION_LINES:
            found.append(f"{module.name}.{function.name} has {length} lines, more than {FUNCTION_LINES}")
    return found


def what_is_public_says_what_it_is(module: Module) -> list[str]:
    public = [node for node in module.tree.body if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")]
    silent = [module.name] if not ast.get_docstring(module.tree) else []
    silent += [f"{module.name}.{node.name}" for node in public if not ast.get_docstring(node)]
    return [f"{name} has no docstring" for name in silent]


def packages_hold_only_a_docstring(module: Module) -> list[str]:
    more = [node for node in module.tree.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    return [f"{module.name} holds more than a docstring"] if module.name.endswith(".__init__") and more else []


def only_the_command_line_prints(module: Module) -> list[str]:
    prints = [node.lineno for node in ast.walk(module.tree) if isinstance(node, ast.Name) and node.id == "print"]
    return [f"{module.name}:{line} prints" for line in prints if module.name not in TERMINAL]


def nothing_is_read_at_import(module: Module) -> list[str]:
    effects = [node for node in run_at_import(module.tree) if touches_the_environment(node) or sets_something_up(node)]
    return [f"{module.name} uses {ast.unparse(node)} while it is imported" for node in effects]


def only_flows_read_the_environment(module: Module) -> list[str]:
    reads = [node for node in ast.walk(module.tree) if touches_the_environment(node)]
    return [f"{module.name} uses {ast.unparse(node)}; it comes as an argument from flows" for node in reads if module.package != "flows"]


RULES: tuple[Rule, ...] = (
    imports_follow_the_arrows,
    libraries_stay_in_their_rooms,
    models_run_on_a_bare_gpu_machine,
    modules_are_named_for_what_they_hold,
    modules_and_functions_stay_short,
    what_is_public_says_what_it_is,
    packages_hold_only_a_docstring,
    only_the_command_line_prints,
    nothing_is_read_at_import,
    only_flows_read_the_environment,
)


def long_function(lines: int) -> str:
    """A module with one function of so many lines."""
    return '"""D."""\ndef f():\n    """D."""\n' + "    x = 1\n" * (lines - 2)


# (rule, module, source): each breaks the rule.
BREACHES: tuple[tuple[Rule, str, str], ...] = (
    (imports_follow_the_arrows, "telemetry.lake", "import serving.ledger"),
    (imports_follow_the_arrows, "telemetry.lake", "from models import config"),
    (imports_follow_the_arrows, "validation.gate", "def f():\n    from models.predict import forecast"),
    (imports_follow_the_arrows, "validation.gate", "import importlib\nimportlib.import_module('flows.cli')"),
    (imports_follow_the_arrows, "models.train", "from telemetry.lake import Lake"),
    (imports_follow_the_arrows, "models.train", "from telemetry import lake"),
    (imports_follow_the_arrows, "models.train", "if TYPE_CHECKING:\n    from validation.metrics import Metrics"),
    (imports_follow_the_arrows, "serving.scorer", "from models.train import fit"),
    (imports_follow_the_arrows, "serving.scorer", "from models import train"),
    (imports_follow_the_arrows, "serving.scorer", "from ..flows import cli"),
    (libraries_stay_in_their_rooms, "telemetry.lake", "from prefect import flow"),
    (libraries_stay_in_their_rooms, "models.train", "import prefect.logging"),
    (libraries_stay_in_their_rooms, "serving.scorer", "def f():\n    import jax.numpy as jnp"),
    (libraries_stay_in_their_rooms, "flows.train", "from flax import nnx"),
    (libraries_stay_in_their_rooms, "flows.report", "import pandas as pd"),
    (libraries_stay_in_their_rooms, "flows.check", "import great_expectations as gx"),
    (models_run_on_a_bare_gpu_machine, "models.train", "import polars as pl"),
    (models_run_on_a_bare_gpu_machine, "models.weights", "def f():\n    from safetensors.numpy import save"),
    (modules_are_named_for_what_they_hold, "serving.utils", ""),
    (modules_are_named_for_what_they_hold, "flows.common.plots", ""),
    (modules_and_functions_stay_short, "flows.plots", "x = 1\n" * (MODULE_LINES + 1)),
    (modules_and_functions_stay_short, "flows.plots", long_function(FUNCTION_LINES + 1)),
    (what_is_public_says_what_it_is, "flows.plots", "x = 1"),
    (what_is_public_says_what_it_is, "flows.plots", '"""D."""\ndef f():\n    return 1'),
    (what_is_public_says_what_it_is, "flows.plots", '"""D."""\nclass Plot:\n    x = 1'),
    (packages_hold_only_a_docstring, "models.__init__", '"""D."""\nfrom models.train import fit'),
    (only_the_command_line_prints, "flows.train", "print(1)"),
    (only_the_command_line_prints, "validation.gate", "def f():\n    print('held')"),
    (nothing_is_read_at_import, "flows.settings", "import os\nHOME = os.environ['HOME']"),
    (nothing_is_read_at_import, "flows.settings", "import os\ndef f(home=os.getenv('HOME')):\n    pass"),
    (nothing_is_read_at_import, "flows.settings", "from os import environ\nclass C:\n    home = environ['HOME']"),
    (nothing_is_read_at_import, "flows.settings", "SETTINGS = Settings()"),
    (nothing_is_read_at_import, "models.train", "import jax\njax.config.update('jax_enable_x64', True)"),
    (only_flows_read_the_environment, "serving.release", "import os\ndef f():\n    return os.environ.get('HOME')"),
)

# (rule, module, source): each keeps the rule, narrowly.
KEPT: tuple[tuple[Rule, str, str], ...] = (
    (
        imports_follow_the_arrows,
        "serving.scorer",
        "from models.predict import forecast\nfrom models import baselines\nfrom serving import release",
    ),
    (imports_follow_the_arrows, "models.train", "from telemetry.panel import Panel\nfrom telemetry import errors\nfrom . import lstm"),
    (imports_follow_the_arrows, "telemetry.lake", "import modelsmith\nfrom telemetry.errors import SourceError"),
    (libraries_stay_in_their_rooms, "flows.train", "from prefect import flow\nimport polars as pl"),
    (models_run_on_a_bare_gpu_machine, "models.train", "import jax, numpy, time\nfrom telemetry.panel import Panel"),
    (modules_and_functions_stay_short, "flows.plots", long_function(FUNCTION_LINES)),
    (what_is_public_says_what_it_is, "flows.plots", '"""D."""\ndef _f():\n    return 1'),
    (only_the_command_line_prints, "flows.cli", "print(1)"),
    (only_the_command_line_prints, "flows.train", "console.print(1)"),
    (nothing_is_read_at_import, "flows.settings", "import os\ndef f():\n    return os.environ"),
    (nothing_is_read_at_import, "flows.up", "import os\nif __name__ == '__main__':\n    os.environ['A'] = 'b'"),
)


def test_every_room_is_looked_at() -> None:
    assert {module.package for module in house()} == set(ARROWS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule: Rule) -> None:
    breaches = [breach for module in house() for breach in rule(module)]
    assert not breaches, "\n".join(breaches)


@pytest.mark.parametrize(("rule", "name", "source"), BREACHES)
def test_a_breach_is_seen(rule: Rule, name: str, source: str) -> None:
    assert rule(Module(name=name, source=source))


@pytest.mark.parametrize(("rule", "name", "source"), KEPT)
def test_what_is_allowed_passes(rule: Rule, name: str, source: str) -> None:
    assert rule(Module(name=name, source=source)) == []


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for rule, _, _ in BREACHES} == set(RULES)


def test_readers_never_load_a_trainer() -> None:
    loaded = reach("serving", modules=house())
    assert "models.train" not in loaded
    assert not [(name, target) for name, targets in loaded.items() for target in targets if within(target, "optax", "orbax")]


def test_models_load_no_frame_library_through_telemetry() -> None:
    modules = {module.name: module for module in house()}
    strangers = [
        (name, library)
        for name in reach("models", modules=house())
        if name in modules
        for library in third_parties(modules[name])
        if library not in BARE_GPU_MACHINE
    ]
    assert not strangers


def test_what_is_reached_by_a_detour_is_seen() -> None:
    modules = (
        Module(name="serving.__init__", source=""),
        Module(name="serving.scorer", source="from models.predict import forecast"),
        Module(name="models.predict", source="def f():\n    from models import train"),
        Module(name="models.train", source="import optax"),
        Module(name="models.lstm", source="import flax"),
    )
    assert set(reach("serving", modules=modules)) == {"serving", "serving.scorer", "models.predict", "models.train"}
