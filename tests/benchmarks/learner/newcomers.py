"""The two things that the pipeline does about newcomers, each of which can be switched off: the flag, and leaving their days out.

Both come from one array, `Panel.newcomer`: training neither learns from such steps nor looks at them, a forecast is told of them by the
flag, and of windows whose entity is hidden, training shows a half as a newcomer's, with a level and a spread of their own.

    left out, flagged      all of that, as it is
    left out alone         nobody is ever shown as a newcomer, neither in training nor in a forecast
    flagged alone          their days are learned from, under the flag, beside the windows that are shown as a newcomer's as it is
    neither                a newcomer is an entity like any other
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from models import sampling
from models.sampling import Sampler, Windows
from telemetry.panel import Panel


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What is done about newcomers."""

    flagged: bool
    left_out: bool

    def learned_from(self, panel: Panel) -> Panel:
        """The panel as training sees it."""
        return panel if self.left_out else _nobody(panel)

    def seen(self, panel: Panel) -> Panel:
        """The panel as a forecast sees it."""
        return panel if self.flagged else _nobody(panel)

    @contextmanager
    def in_training(self, panel: Panel) -> Iterator[None]:
        """While this lasts, windows are shown as a newcomer's only as this treatment has it. `panel` tells who is one."""
        newcomer = np.asarray(panel.newcomer)
        draw, validation = Sampler.draw, sampling.validation

        def shown(windows: Windows) -> Windows:
            if not self.flagged:
                return unflagged(windows)
            return windows if self.left_out else flagged(windows, newcomer=newcomer)

        def validated(judged: NDArray[np.bool_], **how: Any) -> Windows:  # Any: as sampling.validation has them
            return shown(validation(judged, **how))

        with (
            mock.patch.object(Sampler, "draw", lambda sampler, epoch: shown(draw(sampler, epoch))),
            mock.patch.object(sampling, "validation", validated),
        ):
            yield


def unflagged(windows: Windows) -> Windows:
    """None is shown as a newcomer's; a hidden entity is one of the fleet's, with its own scales."""
    rows = windows.rows.copy()
    rows[..., 3] = 0
    return windows._replace(rows=rows, gain=np.ones_like(windows.gain), shift=np.zeros_like(windows.shift))


def flagged(windows: Windows, *, newcomer: NDArray[np.bool_]) -> Windows:
    """Those that begin while their entity is a newcomer, bool[E, T], are shown as one's, beside those that are already."""
    rows = windows.rows.copy()
    rows[..., 3] |= newcomer[rows[..., 0], rows[..., 1]]
    return windows._replace(rows=rows)


def _nobody(panel: Panel) -> Panel:
    return replace(panel, newcomer=np.zeros(panel.newcomer.shape, dtype=np.bool_))
