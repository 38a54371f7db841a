"""A few processes kept running together: started again when they die, stopped together, none left behind.

Why our own: of the runners on PyPI, honcho ends all when one dies, and supervisord leaves the grandchildren of
a killed child (granian's workers keep serving the port) and its own children when it is killed itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType

from dmr_project.processes import die_with_parent

FIRST_PAUSE = 0.5  # seconds before a dead child is started again; doubles while it keeps dying
LONGEST_PAUSE = 4.0
STEADY_SECONDS = 10.0  # a child that lived this long starts anew with FIRST_PAUSE
STOP_SECONDS = 8.0  # from SIGTERM to SIGKILL


@dataclass
class Child:
    """A program of our own session and process group."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause: float = FIRST_PAUSE
    start_at: float = field(default=0.0)

    def start(self) -> None:
        # A session of its own, so that Ctrl-C reaches us alone, and all it starts can be killed at once.
        self.process = subprocess.Popen(
            self.command, env=self.environment, start_new_session=True, preexec_fn=die_with_parent
        )
        self.started_at = time.monotonic()

    def kill_group(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """Runs children until SIGTERM or SIGINT."""

    def __init__(self, children: list[Child]) -> None:
        self.children = children
        self._is_stopping = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)

    def run(self) -> int:
        """Returns 0 once all have stopped."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, self._on_child)
        signal.set_wakeup_fd(self._wake_write)
        while not self._is_stopping:
            self._start_due()
            self._wait(0.5)
            self._bury_dead()
        self._stop_all()
        return 0

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        """Only wakes the loop, through the wake-up descriptor."""

    def _wait(self, seconds: float) -> None:
        select.select([self._wake_read], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 512):
                pass

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self.children:
            if child.process is None and child.start_at <= now and not self._is_stopping:
                child.start()

    def _bury_dead(self) -> None:
        for child in self.children:
            if child.process is None or child.process.poll() is None:
                continue
            child.kill_group()  # what it started itself
            now = time.monotonic()
            child.pause = FIRST_PAUSE if now - child.started_at > STEADY_SECONDS else child.pause
            child.start_at = now + child.pause
            if not self._is_stopping:
                status = child.process.returncode
                print(f"{child.name} ended ({status}); starting it again in {child.pause:.1f} s", file=sys.stderr)
            child.pause = min(child.pause * 2, LONGEST_PAUSE)
            child.process = None

    def _stop_all(self) -> None:
        running = [child for child in self.children if child.process is not None]
        for child in running:
            assert child.process is not None
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in running:
            assert child.process is not None
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
        for child in running:
            child.kill_group()
            assert child.process is not None
            child.process.wait()
