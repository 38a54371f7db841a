"""SIGTERM and SIGINT as an exception, raised only where nothing is half done.

The handler raises within `interruptible()` (waits, HTTP calls, health commands) and otherwise just notes the
request, so that a write of the journal is never cut through.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """Somebody asked the agent to end. Not an `Exception`, so that nothing takes it for a failed call."""


class Stop:
    def __init__(self) -> None:
        self.is_requested = False
        self._is_interruptible = False

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def check(self) -> None:
        if self.is_requested:
            raise Stopped

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        outer = self._is_interruptible
        self._is_interruptible = True
        try:
            self.check()
            yield
        finally:
            self._is_interruptible = outer

    def sleep(self, seconds: float) -> None:
        with self.interruptible():
            time.sleep(max(0.0, seconds))

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.is_requested = True
        if self._is_interruptible:
            self._is_interruptible = False  # once: the way out has its own work to finish
            raise Stopped
