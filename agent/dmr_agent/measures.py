"""How the machine is: uptime, load, memory, disk. None where the system doesn't tell."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PROC = Path("/proc")


def measures(folder: Path) -> dict[str, float | int | None]:
    """`uptimeSeconds`, `load1`, `memoryUsedBytes`, and `diskFreeBytes` of the disk that `folder` is on."""
    return {
        "uptimeSeconds": _uptime_seconds(),
        "load1": _load1(),
        "memoryUsedBytes": _memory_used_bytes(),
        "diskFreeBytes": _disk_free_bytes(folder),
    }


def _uptime_seconds() -> int | None:
    try:
        return int(float((PROC / "uptime").read_text("ascii").split()[0]))
    except (OSError, ValueError, IndexError):
        return None


def _load1() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def _memory_used_bytes() -> int | None:
    try:
        lines = (PROC / "meminfo").read_text("ascii").splitlines()
        kibibytes = {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}
        return (kibibytes["MemTotal"] - kibibytes["MemAvailable"]) * 1024
    except (OSError, ValueError, IndexError, KeyError):
        return None


def _disk_free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
