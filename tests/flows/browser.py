"""A page as a browser makes it: without a name that can be resolved, in a profile of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

needs_browser = pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="no Chromium here to draw pages with")
"""Skips where there is none, but never where the variable CI is set: there it must be."""


def opened(path: Path, *, profile: Path, size: tuple[int, int]) -> subprocess.CompletedProcess[str]:
    """What a browser makes of a file in a window of `size` pixels: its document on stdout, its console on stderr.

    Args:
        path: of the file.
        profile: folder of the browser's own, made where it is not there.
        size: width and height of the window, pixels.

    Raises:
        FileNotFoundError: there is no browser.
    """
    if CHROMIUM is None:
        raise FileNotFoundError("neither chromium nor google-chrome is on the path, and CI is set: pages must be drawn there")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        f"--user-data-dir={profile}",
        f"--window-size={size[0]},{size[1]}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        "--virtual-time-budget=15000",
        "--dump-dom",
    ]
    return subprocess.run([CHROMIUM, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
