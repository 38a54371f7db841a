"""The release that a bot runs: `release.json` in its folder, which an installer replaces. Read for every question."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

FILE = "release.json"
FIRST_VERSION = "1.0.0"

_started_ms = int(time.time() * 1000)


def ensure(folder: Path) -> None:
    """The first release, where there is none."""
    path = folder / FILE
    if not path.exists():
        path.write_text(json.dumps({"version": FIRST_VERSION}) + "\n")


def heartbeat(folder: Path, name: str) -> tuple[int, dict[str, Any]]:
    """`GET /healthz` in the network's shape, times in ms since 1970; 503 for a release that doesn't work."""
    path = folder / FILE
    packaged_ms, content = 0, None
    try:
        packaged_ms = int(path.stat().st_mtime * 1000)
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        pass  # said by the status
    release = content if isinstance(content, dict) else {"broken": True}
    body = {
        "appName": name,
        "version": str(release.get("version", "")),
        "packagingTime": packaged_ms,
        "appStartTime": _started_ms,
        "serverTime": int(time.time() * 1000),
    }
    return (503 if release.get("broken") or not body["version"] else 200), body
