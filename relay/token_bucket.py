"""A sender's rate: tokens that come back at a rate, up to a burst; spent in this process out of slices.

The bucket itself is shared by all web processes (relay.shared_bucket). A process takes a slice of it and spends that
by itself; what it has not spent runs out with it after a few seconds. So two processes together never let more
through than the bucket held, and a message seldom costs a trip to it. A slice is a hundredth of the burst, or of what
comes back while it lasts where that is less: what runs out does not empty the bucket of who sends less than its rate.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dmr_project.lib.log import event

SLICES = 100  # of a burst, or of what comes back in SLICE_SECONDS where that is less
SLICE_SECONDS = 10.0  # that a slice lasts
AWAY_SECONDS = 1.0  # that a shared bucket which could not be asked is left alone

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rate:
    """So many tokens a second, and at most `burst` at once."""

    per_second: int
    burst: int

    @property
    def slice(self) -> int:
        """So many tokens a process takes at a time, for SLICE_SECONDS."""
        return int(min(self.burst, self.per_second * SLICE_SECONDS)) // SLICES

    def refilled(self, tokens: float, seconds: float) -> float:
        return min(float(self.burst), tokens + max(0.0, seconds) * self.per_second)

    def seconds_until(self, tokens: float, wanted: float) -> float:
        """Until there are as many as wanted (or as there can be)."""
        return max(0.0, (min(wanted, self.burst) - tokens) / self.per_second)


def granted(tokens: float, least: int, want: int, burst: int) -> int:
    """How many a bucket with so many tokens gives: none, or at least `least` and at most `want`.

    More than a burst at once is granted to a full bucket, which then owes.
    """
    if tokens < min(least, burst):
        return 0
    return max(least, min(want, math.floor(tokens)))


@dataclass(frozen=True)
class Taken:
    """What the shared bucket gave, and what it has left."""

    granted: int
    left: float


class Unavailable(Exception):
    """The shared bucket cannot be asked."""


class Shared(Protocol):
    def take(self, key: int, rate: Rate, least: int, want: int) -> Taken:
        """Takes `want` tokens, or `least`, or none. Raises Unavailable."""


@dataclass(frozen=True)
class Spent:
    """What came of spending. `left`: about how many more there are; `wait`: seconds until as many as asked for."""

    is_allowed: bool
    left: int
    wait: float = 0.0


@dataclass
class _Slice:
    """What this process holds of one bucket, and what it knows of the rest."""

    rate: Rate
    tokens: int = 0
    until: float = 0.0
    left: float = 0.0  # in the shared bucket, at `left_at`
    left_at: float = 0.0
    refused: int = 0  # so many were asked for in vain, and will be until `refused_until`
    refused_until: float = 0.0


class Buckets:
    """All senders' rates, as this process sees them."""

    def __init__(self, shared: Shared, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = shared
        self._clock = clock
        self._lock = threading.Lock()
        self._slices: dict[int, _Slice] = {}
        self._away_until = 0.0

    def spend(self, key: int, rate: Rate, count: int) -> Spent | None:
        """Spends `count` tokens, all or none; None where the shared bucket is away, and so nothing is limited."""
        now = self._clock()
        with self._lock:
            known = self._slice(key, rate, now)
            if known.tokens >= count:
                known.tokens -= count
                return Spent(True, _left(known, now))
            if known.refused_until > now and count >= known.refused:
                return Spent(False, 0, known.refused_until - now)
            if now < self._away_until:
                return None
        try:
            # Not under the lock: whoever has tokens need not wait for whoever asks.
            taken = self._shared.take(key, rate, count, max(count, rate.slice))
        except Unavailable as error:
            with self._lock:
                self._away_until = now + AWAY_SECONDS
            event(logger, "rate_limit_unavailable", logging.WARNING, error=str(error))
            return None
        with self._lock:
            known.left, known.left_at = taken.left, now
            if not taken.granted:
                wait = rate.seconds_until(taken.left, count)
                known.refused, known.refused_until = count, now + wait
                return Spent(False, 0, wait)
            known.tokens += taken.granted - count
            known.until = now + SLICE_SECONDS
            return Spent(True, _left(known, now))

    def spend_at_hand(self, key: int, rate: Rate, count: int) -> Spent | None:
        """The same out of what this process holds; None, with nothing spent, where that does not do."""
        now = self._clock()
        with self._lock:
            known = self._slice(key, rate, now)
            if known.tokens < count:
                return None
            known.tokens -= count
            return Spent(True, _left(known, now))

    def _slice(self, key: int, rate: Rate, now: float) -> _Slice:
        known = self._slices.get(key)
        if known is None or known.rate != rate:
            known = self._slices[key] = _Slice(rate)
        if now >= known.until:
            known.tokens = 0
        return known


def _left(known: _Slice, now: float) -> int:
    shared = known.rate.refilled(known.left, now - known.left_at)
    return min(known.rate.burst, max(0, known.tokens + math.floor(shared)))
