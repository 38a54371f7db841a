"""How long the disk takes to keep a page, while something else is measured: what no figure of ours can be below."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator

PAGE = b"x" * 8192
PAUSE_SECONDS = 0.05


class Disk:
    """Milliseconds of each write with fdatasync, as PostgreSQL makes it at a commit."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def percentile(self, share: float) -> float:
        return sorted(self.waits)[int(len(self.waits) * share)]


@contextlib.contextmanager
def watched() -> Iterator[Disk]:
    """Writes a page now and then, on the disk of temporary files, where the bench's database is too."""
    disk, is_over = Disk(), threading.Event()
    with tempfile.TemporaryFile() as file:
        file.write(PAGE)
        os.fsync(file.fileno())

        def watch() -> None:
            while not is_over.wait(PAUSE_SECONDS):
                began = time.perf_counter()
                os.pwrite(file.fileno(), PAGE, 0)
                os.fdatasync(file.fileno())
                disk.waits.append(1000 * (time.perf_counter() - began))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield disk
        finally:
            is_over.set()
            watching.join()
