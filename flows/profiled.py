"""Where the time of a training goes, in words: for the terminal, the UI and the run's page."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from flows.blocks import Block, Cell, Note, Table, count, duration, number, text
from flows.exhibits import Told

HEADS: Final = ("Part", "When", "One time", "An epoch", "Share")
NUMBERS: Final = frozenset(HEADS[2:])
WHEN: Final = {
    "once": "once in a training",
    "beside": "by the host, beside the devices",
    "step": "in every training step",
    "epoch": "once an epoch",
}
REST: Final = (
    "Each part was measured alone: its inputs are copied and its outputs read once more than in training, so that parts may add up to more "
    "than a step. What they do not account for is the last row: below zero for that reason or where they share work, above it where they "
    "stand in each other's way."
)


def sentence(told: Mapping[str, Any]) -> str:  # Any: plain JSON
    """For a person.

    >>> told = {"epoch_seconds": 4.2, "steps": 434, "measured_steps": 128, "step_seconds": 0.0095, "batch": 64}
    >>> sentence(told | {"windows_a_second": 6736.8, "targets_a_second": 1.6e6, "device": "cpu x 2"})
    'an epoch takes 4.20 s on cpu x 2: 434 steps of 64 windows, of which 128 were run; 6,737 windows and 1,600,000 targets a second'
    """
    run = f", of which {count(told['measured_steps'])} were run" if told["measured_steps"] < told["steps"] else ""
    of = f"{count(told['steps'])} steps of {count(told['batch'])} windows{run}"
    speed = f"{count(told['windows_a_second'])} windows and {count(told['targets_a_second'])} targets a second"
    return f"an epoch takes {duration(told['epoch_seconds'])} on {told['device']}: {of}; {speed}"


def cells(told: Mapping[str, Any]) -> list[tuple[str, ...]]:  # Any: plain JSON
    """The parts as text, in the columns of HEADS."""
    return [
        (
            text(part["name"]),
            WHEN.get(part["when"], text(part["when"])),
            _took(part["seconds"]),
            "" if part["epoch_seconds"] is None else _took(part["epoch_seconds"]),
            "" if part["share"] is None else f"{100 * part['share']:.1f} %",
        )
        for part in told["parts"]
    ]


def section(told: Told) -> Iterator[Block]:
    """The parts of an epoch with a bar for the share of each, and how fast it is as a whole."""
    profile = told.summary.get("profile")
    if not isinstance(profile, Mapping) or not profile.get("parts"):
        return
    yield Note(text=f"{sentence(profile)[:1].upper()}{sentence(profile)[1:]}.")
    yield Table(
        caption="Where the time of a training goes",
        columns=HEADS,
        rows=tuple(_row(part, row) for part, row in zip(profile["parts"], cells(profile), strict=True)),
        numbers=NUMBERS - {HEADS[-1]},
    )
    yield Note(text=REST)


def _row(part: Mapping[str, Any], told: tuple[str, ...]) -> tuple[Cell, ...]:  # Any: plain JSON
    share = number(part["share"])
    bar = None if share is None else min(max(share, 0.0), 1.0)
    return (*(Cell(text=cell) for cell in told[:-1]), Cell(text=told[-1], share=bar))


def _took(seconds: float) -> str:
    """In the unit that a person would choose; below zero where a rest is.

    >>> _took(0.0000412), _took(0.0123), _took(-0.5), _took(12.3)
    ('0.04 ms', '12.30 ms', '-500.00 ms', '12.3 s')
    """
    return f"{1000 * seconds:.2f} ms" if abs(seconds) < 1 else f"{'-' * (seconds < 0)}{duration(abs(seconds))}"
