"""When to call the server next: its own wish when it answers, growing pauses when it doesn't."""

from __future__ import annotations

import random
import time

DEFAULT_SECONDS = 60.0
LEAST_SECONDS, MOST_SECONDS = 1.0, 3600.0
JITTER = 0.1


class Schedule:
    """`due` is on the clock of `time.monotonic()`; the first call is due at once."""

    def __init__(self, min_pause: float, max_pause: float) -> None:
        self._min_pause, self._max_pause = min_pause, max_pause
        self._failures = 0
        self.due = 0.0

    @property
    def is_away(self) -> bool:
        """Did the last call fail?"""
        return self._failures > 0

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self.due

    def answered(self, wish: object) -> float:
        """The server answered, and wishes the next call in so many seconds. Returns the pause."""
        self._failures = 0
        return self._set(after_answer(wish, random.random()))

    def failed(self) -> float:
        """The server is away. Returns the pause."""
        self._failures += 1
        return self._set(after_failure(self._failures, self._min_pause, self._max_pause, random.random()))

    def bring_forward(self) -> None:
        """There is news: call at once, unless the server is away."""
        if not self._failures:
            self.due = 0.0

    def _set(self, pause: float) -> float:
        self.due = time.monotonic() + pause
        return pause


def after_answer(wish: object, chance: float) -> float:
    """Within 1 s and 1 h, and up to a tenth more, so that agents that were started together drift apart."""
    seconds = DEFAULT_SECONDS
    if isinstance(wish, (int, float)) and not isinstance(wish, bool):
        seconds = float(min(max(wish, LEAST_SECONDS), MOST_SECONDS))
    return seconds * (1 + JITTER * chance)


def after_failure(failures: int, min_pause: float, max_pause: float, chance: float) -> float:
    """Doubling from `min_pause` to `max_pause`; of each pause, at least half and at most all is waited."""
    ceiling = min(max_pause, min_pause * float(1 << min(failures, 30)))
    return max(min_pause, ceiling * (0.5 + 0.5 * chance))
