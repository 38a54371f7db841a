"""`python -m demo` as a user starts it, and every process that came of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.servers import dies_with_us

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_OURS = ("DMR_", "DATABASE_URL", "REDIS_URL", "PROMETHEUS_", "DJANGO_", "TEST_", "PYTEST_", "COV_")


class Demo:
    """Has a folder for temporary files of its own, by whose name its processes are known."""

    def __init__(self, folder: Path, environment: dict[str, str], *arguments: str) -> None:
        self.folder = folder
        self.lines: list[str] = []
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo", *arguments],
            cwd=ROOT,
            env={**inherited, "TMPDIR": str(folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            preexec_fn=dies_with_us(signal.SIGTERM),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait(self, seconds: float) -> int:
        """Its exit status."""
        status = self.process.wait(seconds)
        self._reader.join(5)
        return status

    def wait_for(self, text: str, seconds: float) -> None:
        def is_there() -> bool:
            assert self.process.poll() is None, self.output
            return text in self.output

        assert within(seconds, is_there), f"{text!r} is not in: {self.output}"

    def processes(self) -> dict[int, str]:
        """Those that are alive, by id: what has our folder in its command or its environment."""
        mark, found = str(self.folder).encode(), {}
        for each in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if each.name.isdigit() and mark in (each / "cmdline").read_bytes() + (each / "environ").read_bytes():
                    command = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(each.name)] = command
        return found

    def end(self) -> None:
        """Whatever a test did to it: nothing of it is left."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(12)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)


def within(seconds: float, is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.05)
    return False
