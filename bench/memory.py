"""What memory each kind of process takes, at rest and under load, from /proc (Linux)."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from bench import cpu
from bench.load import Load, collect
from bench.product import Product, targets

KINDS = {
    "PostgreSQL": "postgres",  # before ours: it has workers too
    "the supervisor": "dmr_project.server",
    "web": "granian",
    "worker": " worker ",
    "beat": " beat ",
    "Redis": "redis-server",
}
REST_SECONDS = 3.0


def at_rest_and_under_load(product: Product, sink: str, seconds: float) -> dict[str, dict[str, float]]:
    """By kind: how many processes, and the MB of all of them. PSS counts what processes share once."""
    time.sleep(REST_SECONDS)
    rest = now()
    most = {kind: dict(found) for kind, found in rest.items()}
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.5):
            for kind, found in now().items():
                known = most.setdefault(kind, found)
                most[kind] = {name: max(known[name], value) for name, value in found.items()}

    watching = threading.Thread(target=watch)
    watching.start()
    load = Load(targets(product, sink)[0])
    try:
        asyncio.run(load.closed(seconds, 16))
    finally:
        is_over.set()
        watching.join()
    asyncio.run(collect(sink, len(load.answered), 60))
    return {
        kind: {
            "pss": most[kind]["pss"],
            "reference_pss, at rest": found["pss"],
            "ratio": most[kind]["pss"] / found["pss"],
            "rss": most[kind]["rss"],
            "reference_rss, at rest": found["rss"],
            "processes": most[kind]["processes"],
        }
        for kind, found in rest.items()
        if found["pss"]
    }


def now() -> dict[str, dict[str, float]]:
    processes = cpu.all_processes()
    found = {kind: {"processes": 0.0, "pss": 0.0, "rss": 0.0} for kind in KINDS}
    for pid, process in processes.items():
        kind = kind_of(process.command)
        if kind is None or not cpu.is_ours(pid, processes):
            continue
        try:
            said = (Path("/proc") / str(pid) / "smaps_rollup").read_text()
        except OSError:  # ended meanwhile, or another user's
            continue
        of_each = found[kind]
        of_each["processes"] += 1
        for name in ("pss", "rss"):
            of_each[name] += megabytes(said, name.capitalize())
    return found


def kind_of(command: str) -> str | None:
    return next((kind for kind, part in KINDS.items() if part in f"{command} "), None)


def megabytes(said: str, name: str) -> float:
    return next(int(line.split()[1]) / 1024 for line in said.splitlines() if line.startswith(f"{name}:"))
