"""A training in a process of its own, which may be killed: `child.py PANEL CHECKPOINTS`, network and settings as JSON on stdin.

Prints `begins after N` where it goes on after a checkpoint, `epoch N` of every epoch (those that a checkpoint tells of, too), and at last
the digest of the weights. CHECKPOINTS may be `-`: none are kept.
"""

import json
import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, 4)))

from models import train  # noqa: E402  (the environment is set first)
from models.config import Network, Training  # noqa: E402
from telemetry import panel as panels  # noqa: E402
from tests.benchmarks.learner.digests import digest  # noqa: E402


class _Kept(logging.Handler):
    """Tells when a training goes on after a checkpoint."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("going on after epoch"):
            print(f"begins after {record.getMessage().split()[-1]}", flush=True)


def main() -> int:
    """Train."""
    told = json.load(sys.stdin)
    logger = logging.getLogger(train.__name__)
    logger.setLevel(logging.INFO)
    logger.addHandler(_Kept())
    logger.propagate = False
    trained = train.fit(
        panels.load(Path(sys.argv[1])),
        network=Network.from_dict(told["network"]),
        training=Training(**told["training"]),
        on_epoch=lambda epoch: print(f"epoch {epoch.number}", flush=True),
        checkpoints=None if sys.argv[2] == "-" else Path(sys.argv[2]),
    )
    print(digest(trained.weights), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
