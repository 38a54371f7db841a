"""The environment of a process that isn't the product's: it knows its own key and no other secret."""

from __future__ import annotations

import os


def plain() -> dict[str, str]:
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL") if name in os.environ}
    return {**keep, "PYTHONUNBUFFERED": "1"}
