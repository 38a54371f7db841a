"""Places for large bodies, each of which is in memory until its answer: few in all, and fewer of one caller, so that
who sends them slowly keeps nobody but itself waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

MOST = 16
MOST_OF_ONE = 4


@dataclass
class _Own:
    """The places of one caller."""

    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_OF_ONE))
    users: int = 0  # who hold one, or wait for one


class Places:
    """Of one event loop."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(MOST)
        self._own: dict[str, _Own] = {}

    @asynccontextmanager
    async def one_of(self, caller: str) -> AsyncIterator[None]:
        """Held from the first byte of a body to its answer."""
        own = self._own.setdefault(caller, _Own())
        own.users += 1
        try:
            async with own.free, self._all:  # the own one first: who waits for it is in nobody's way
                yield
        finally:
            own.users -= 1
            if not own.users:
                del self._own[caller]
