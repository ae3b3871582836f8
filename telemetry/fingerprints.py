"""By what a part is known again: its content, and what the contract reads from it."""

import hashlib
import json
from typing import Any

from telemetry.contract import Contract

_MEANT = {"entity", "time", "files", "layout", "units", "new_columns", "label_column"}
"""Sections that decide how a part's values become readings."""


def fingerprint(content_digest: str, *, contract: Contract, of_path: dict[str, str]) -> str:
    """SHA-256 (hex) of a part: the same under any name, and another one where its rows would become other readings.

    Args:
        content_digest: tells one content from another: a hash, or a store's own tag of a version.
        contract: what is read, in which units, zone and layout; its gates, windows and thresholds do not matter.
        of_path: key columns that the part's name tells.
    """
    told = json.dumps([content_digest, read_as(contract), of_path], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()


def read_as(contract: Contract) -> dict[str, Any]:  # Any: JSON
    """What of the contract decides how values become readings."""
    told = contract.model_dump(mode="json", include=_MEANT)
    parameters = {name: [each.column, each.source_unit, each.unit] for name, each in contract.parameters.items()}
    return told | {"parameters": parameters}
