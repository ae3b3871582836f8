"""What the README tells a reader to type can be typed, and what it links to is there."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from flows.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TYPED = sorted(set(re.findall(r"^    (tidewatch .+?)(?:\s{2,}#.*)?$", README, flags=re.MULTILINE)))
TARGETS = sorted(set(re.findall(r"\bmake ([a-z-]+)", README)))


@pytest.mark.parametrize("line", TYPED)
def test_a_command_of_the_readme_is_understood(line: str) -> None:
    _, name, *arguments = shlex.split(line, comments=True)
    group = typer.main.get_command(app)
    command = group.commands[name]  # type: ignore[attr-defined]  # the app is a group
    with command.make_context(name, arguments) as context:
        assert context.args == []


def test_the_readme_shows_every_command() -> None:
    shown = {line.split()[1] for line in TYPED} | {"demo"}
    assert shown == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # as above


def test_every_target_of_make_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert TARGETS
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in TARGETS)


def test_every_link_leads_to_a_file() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
