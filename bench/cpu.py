"""CPU seconds of processes, from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    parent: int
    command: str
    seconds: float


def seconds_by_kind() -> dict[str, float]:
    """CPU seconds so far of the processes that we have started, by what they are."""
    found = {"web": 0.0, "worker": 0.0, "postgresql": 0.0, "redis": 0.0}
    processes = all_processes()
    for pid, process in processes.items():
        kind = kind_of(process.command)
        if kind and is_ours(pid, processes):
            found[kind] += process.seconds
    return found


def all_processes() -> dict[int, Process]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(folder.name)] = Process(int(fields[1]), command, (int(fields[11]) + int(fields[12])) / TICKS)
    return found


def is_ours(pid: int, processes: dict[int, Process]) -> bool:
    while pid in processes:
        if pid == os.getpid():
            return True
        pid = processes[pid].parent
    return False


def kind_of(command: str) -> str:
    if "granian" in command or "multiprocessing" in command:
        return "web"
    if "celery" in command:
        return "worker"
    if command.startswith("postgres") or "/postgres " in command:
        return "postgresql"
    return "redis" if "redis-server" in command else ""
