"""Keys that nobody has, by the address they come from: after many of them, an address is not looked up for a while.

Who shares the address with a guesser (a proxy that is not in DMR_TRUSTED_PROXIES, a network behind one address) goes
on with keys that have been seen to be good.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dmr_project.lib.errors import DomainError
from dmr_project.lib.network import parse_address
from participants import metrics

MOST_BAD_KEYS = 100  # of one address, in each process, in WINDOW_SECONDS
WINDOW_SECONDS = 60.0
MOST_REMEMBERED = 50_000  # addresses, and good keys: beyond that all are forgotten


class TooManyBadKeys(DomainError):
    status = 429
    code = "too-many-bad-keys"
    title = "Too many keys that nobody has came from this address"

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(int(WINDOW_SECONDS))}


class Guesses:
    """Of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._bad: dict[str, tuple[float, int]] = {}  # address -> since when, how many
        self._good: set[str] = set()  # digests of keys

    def is_guess(self, address: str, digest: str) -> bool:
        """Has the address guessed too much for this key, which was not seen to be good, to be looked up?"""
        if not self._bad or digest in self._good:
            return False
        since, count = self._bad.get(network_of(address), (0.0, 0))
        return count >= MOST_BAD_KEYS and self._clock() - since < WINDOW_SECONDS

    def note_bad(self, address: str) -> None:
        metrics.BAD_KEYS.labels(result="unknown").inc()
        now, network = self._clock(), network_of(address)
        with self._lock:
            since, count = self._bad.get(network, (now, 0))
            if now - since >= WINDOW_SECONDS:
                since, count = now, 0
            if len(self._bad) >= MOST_REMEMBERED:
                self._bad.clear()
            self._bad[network] = (since, count + 1)

    def note_good(self, digest: str) -> None:
        if digest in self._good:
            return
        with self._lock:
            if len(self._good) >= MOST_REMEMBERED:
                self._good.clear()
            self._good.add(digest)

    def has_seen_good(self, digest: str) -> bool:
        return digest in self._good

    def forget(self) -> None:
        """For tests."""
        self._bad.clear()
        self._good.clear()


def network_of(address: str) -> str:
    """An IPv4 address, and of an IPv6 address the half that one subscriber has."""
    parsed = parse_address(address)
    return parsed.exploded[:19] if parsed is not None and parsed.version == 6 else address


guesses = Guesses()
