"""What the README tells a reader to type can be typed, and what it links to is there."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from flows.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TYPED = sorted(set(re.findall(r"^    (tidewatch .+?)(?:\s{2,}#.*)?$", README, flags=re.MULTILINE)))
TARGETS = sorted(set(re.findall(r"\bmake ([a-z-]+)", README)))


def commands(group: Any, *, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:  # Any: typer's own copy of click has no types
    """Every command below a group, by the words that lead to it."""
    found: dict[tuple[str, ...], Any] = {}
    for name, command in group.commands.items():
        found |= commands(command, above=(*above, name)) if hasattr(command, "commands") else {(*above, name): command}
    return found


COMMANDS = commands(typer.main.get_command(app))


def typed(line: str) -> tuple[tuple[str, ...], list[str]]:
    """The words of a command, and its arguments."""
    _, *words = shlex.split(line, comments=True)
    length = next(n for n in (1, 2) if tuple(words[:n]) in COMMANDS)
    return tuple(words[:length]), words[length:]


@pytest.mark.parametrize("line", TYPED)
def test_a_command_of_the_readme_is_understood(line: str) -> None:
    name, arguments = typed(line)
    with COMMANDS[name].make_context(name[-1], arguments) as context:
        assert context.args == []


def test_the_readme_shows_every_command() -> None:
    assert {typed(line)[0] for line in TYPED} | {("demo",)} == set(COMMANDS)


def test_every_target_of_make_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert TARGETS
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in TARGETS)


def test_every_link_leads_to_a_file() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
