"""The release that a bot runs: `release.json` in its folder, which an installer replaces. Read for every question."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from demo import manifest

FILE = "release.json"
FIRST_VERSION = "1.0.0"
FIRST = manifest.make(FIRST_VERSION, 1, "The first release.", "Esimene väljalase.")

_started_ms = int(time.time() * 1000)


def ensure(folder: Path) -> None:
    """The first release, where there is none."""
    if not (folder / FILE).exists():
        install(folder, FIRST)


def install(folder: Path, wanted: dict[str, Any]) -> None:
    """The release of that manifest, whole or not at all; twice is as good as once."""
    content: dict[str, Any] = {"version": wanted["version"], "sequence": wanted["sequence"]}
    if manifest.is_broken(wanted):
        content["broken"] = True
    aside = folder / f"{FILE}.new"
    aside.write_text(json.dumps(content) + "\n")
    aside.replace(folder / FILE)


def installed(folder: Path) -> tuple[str, int]:
    """Version and sequence; what can't be read is none."""
    content = _read(folder / FILE)
    sequence = content.get("sequence")
    return str(content.get("version", "")), sequence if isinstance(sequence, int) else 0


def heartbeat(folder: Path, name: str) -> tuple[int, dict[str, Any]]:
    """`GET /healthz` in the network's shape, times in ms since 1970; 503 for a release that doesn't work."""
    path = folder / FILE
    try:
        packaged_ms = int(path.stat().st_mtime * 1000)
    except OSError:
        packaged_ms = 0
    release = _read(path)
    body = {
        "appName": name,
        "version": str(release.get("version", "")),
        "packagingTime": packaged_ms,
        "appStartTime": _started_ms,
        "serverTime": int(time.time() * 1000),
    }
    return (503 if release.get("broken") or not body["version"] else 200), body


def _read(path: Path) -> dict[str, Any]:
    """A release that can't be read is a broken one."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {"broken": True}
    return content if isinstance(content, dict) else {"broken": True}
