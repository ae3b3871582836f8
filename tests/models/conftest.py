"""Small panels of scaled telemetry."""

from collections.abc import Callable

import pytest

from telemetry.panel import Panel
from tests.models.panels import make_panel

PanelFactory = Callable[..., Panel]


@pytest.fixture(scope="session")
def panel_of() -> PanelFactory:
    return make_panel
