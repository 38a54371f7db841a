"""How often somebody may send a form from one address: counted in memory, in each web process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dmr_project.lib.errors import DomainError
from participants.guesses import network_of

MOST = 30  # of one address, in each process, in SECONDS
SECONDS = 3600.0
MOST_REMEMBERED = 10_000  # addresses: beyond that all are forgotten


class TooManyAttempts(DomainError):
    status = 429
    code = "too-many-attempts"
    title = "Too many forms came from this address"

    def __init__(self, detail: str, seconds: float) -> None:
        super().__init__(detail)
        self.seconds = seconds

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(int(self.seconds) + 1)}


class Attempts:
    """Of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._made: dict[str, tuple[float, int]] = {}  # network -> since when, how many

    def count(self, address: str) -> float:
        """One more. Returns for how many seconds the address has to wait; 0.0 where it need not."""
        now, network = self._clock(), network_of(address)
        with self._lock:
            since, made = self._made.get(network, (now, 0))
            if now - since >= SECONDS:
                since, made = now, 0
            if made >= MOST:
                return since + SECONDS - now
            if network not in self._made and len(self._made) >= MOST_REMEMBERED:
                self._made.clear()
            self._made[network] = (since, made + 1)
        return 0.0

    def forget(self) -> None:
        """For tests."""
        self._made.clear()


attempts = Attempts()
