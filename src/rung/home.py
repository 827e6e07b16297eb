"""Where rung keeps what all tasks of a user share."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Folder for models and measurements: RUNG_HOME, or ~/.cache/rung."""
    return Path(os.environ.get("RUNG_HOME") or "~/.cache/rung").expanduser()
