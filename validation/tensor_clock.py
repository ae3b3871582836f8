"""What is wrong with a panel's sense of time: by how many hours its calendar is off, and how a newcomer's flag is wrong."""

from collections.abc import Callable

import numpy as np

from validation.tensor_causes import MOST, Cause, Flags, Floats


def zone(calendar: Floats, *, right: Floats, expected: Callable[[int], Floats]) -> str:
    """By how many hours the calendar's clock is ahead of UTC, e.g. `+2 h`; empty where no such number explains it.

    Args:
        calendar: f64[T, 8], which is not right.
        right: what it should be.
        expected: f64[T, 8], the calendar of a clock that is so many minutes ahead of UTC.
    """
    utc = expected(0)
    turn = np.arctan2(calendar[:, 2], calendar[:, 3]) - np.arctan2(utc[:, 2], utc[:, 3])
    minutes = np.rint(turn / (2 * np.pi) * 1440) % 1440
    found, counts = np.unique(minutes[np.isfinite(minutes)], return_counts=True)
    if not len(found):
        return ""
    usual = [int(each) for each in found[np.argsort(-counts)][:2]]
    elsewhere = bool((np.abs(right - utc) > 1e-4).any())  # only where another clock is right can that of UTC be wrong
    shifts = [shift for each in usual for shift in (each, each - 1440) if (shift or elsewhere) and abs(shift) <= 14 * 60]
    hits = {shift: (np.abs(calendar - expected(shift)) <= 1e-4).all(axis=1) for shift in shifts}
    for shift, hit in hits.items():
        if hit.mean() >= MOST:
            return _hours(shift)
    for shift, hit in hits.items():
        for other, also in hits.items():
            if abs(shift - other) == 60 and shift < other and (hit | also).mean() >= MOST:
                return f"{_hours(shift)} or {_hours(other)} by summer time"
    if usual[0] == 0 and shifts:  # half of the year at UTC itself
        same = (np.abs(calendar - utc) <= 1e-4).all(axis=1)
        return next((f"0 h or {_hours(shift)} by summer time" for shift, hit in hits.items() if (hit | same).mean() >= MOST), "")
    return ""


def _hours(minutes: int) -> str:
    """How far ahead, in hours.

    >>> _hours(330), _hours(-120)
    ('+5.5 h', '-2 h')
    """
    return f"{minutes / 60:+g} h"


def newcomer(flagged: Flags, *, young: Flags) -> Cause:
    """What is wrong with an entity's newcomer flag."""
    if not flagged.any():
        return Cause(kind="never flagged")
    if not young.any():
        return Cause(kind="flagged though none", of=str(int(flagged.sum())))
    if flagged.all():
        return Cause(kind="always flagged")
    if (flagged != young).all():
        return Cause(kind="turned around")
    starts = int(np.flatnonzero(flagged)[0]) == int(np.flatnonzero(young)[0])
    return Cause(kind="of another length" if starts else "at another time", of=str(int(flagged.sum())))
