"""CPU seconds of processes, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def seconds_by_kind() -> dict[str, float]:
    """CPU seconds so far of all processes on the machine that are ours, by what they are."""
    found = {"web": 0.0, "worker": 0.0, "postgresql": 0.0, "redis": 0.0}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        kind = kind_of(command)
        if kind:
            found[kind] += (int(fields[11]) + int(fields[12])) / TICKS
    return found


def kind_of(command: str) -> str:
    if "granian" in command or "multiprocessing" in command:
        return "web"
    if "celery" in command:
        return "worker"
    if command.startswith("postgres") or "/postgres " in command:
        return "postgresql"
    return "redis" if "redis-server" in command else ""
