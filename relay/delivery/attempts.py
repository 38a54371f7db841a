"""The attempts of this process, from their beginning until what came of them is written down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db import OperationalError
from django.utils import timezone

from dmr_project.lib.log import event
from relay.delivery import leases, settle
from relay.delivery.claimed import Claimed
from relay.delivery.database import DeliveryDatabase
from relay.delivery.in_flight import Parted, part
from relay.delivery.settle import Attempted

OUTLAST_SECONDS = 600.0  # for so long outcomes are kept for a database that is away, or has no room
WRITE_AGAIN_SECONDS = 2.0  # between two tries to write down what there was no room for

logger = logging.getLogger(__name__)

Attempt = asyncio.Task[Attempted]


class Attempts:
    """Those in flight, and those that have ended and are not written down. `note_end` is called at each end.

    Of one event loop.
    """

    def __init__(self, note_end: Callable[[], None]) -> None:
        self._note_end = note_end
        self._claims: dict[Attempt, Claimed] = {}
        self._ended: list[Attempt] = []
        self._unwritten: list[Attempt] = []  # ended, and there was no room to write down how
        self._write_again_at = 0.0

    def __len__(self) -> int:
        return len(self._claims)

    def claims(self) -> list[Claimed]:
        return list(self._claims.values())

    def part(self, claimed: Collection[Claimed]) -> Parted[Attempt]:
        """What of it is new, and what has to go back; what is under way already goes on under the new claim."""
        parted = part(claimed, self._claims)
        self._claims.update(parted.taken_over)
        return parted

    def begin(self, claimed: Claimed, attempt: Coroutine[Any, Any, Attempted]) -> None:
        task = asyncio.ensure_future(attempt)
        self._claims[task] = claimed
        task.add_done_callback(self._end)

    def _end(self, task: Attempt) -> None:
        self._ended.append(task)
        self._note_end()

    async def settle(self, database: DeliveryDatabase, *, is_last: bool = False) -> list[Attempted]:
        """Writes down what came of those that have ended, and returns these.

        What there was no room for is tried again after a while, or now if it `is_last`.
        Raises OperationalError, InterfaceError: the database is away, and nothing is forgotten.
        """
        if is_last or time.monotonic() >= self._write_again_at:
            self._ended += self._unwritten
            self._unwritten.clear()
        ended = [task for task in self._ended if task in self._claims]
        self._ended.clear()
        if not ended:
            return []
        attempted = [replace(task.result(), claimed=self._claims[task]) for task in ended]
        try:
            left = await database.do(lambda: _write(attempted))
        except BaseException:
            self._ended += ended
            raise
        if left:
            self._write_again_at = time.monotonic() + WRITE_AGAIN_SECONDS
        for task in ended:
            if self._claims[task].id in left:
                self._unwritten.append(task)
            else:
                del self._claims[task]
        return [each for each in attempted if each.claimed.id not in left]

    async def wait(self, seconds: float) -> None:
        """Until all have ended, but no longer."""
        if self._claims:
            await asyncio.wait(set(self._claims), timeout=seconds)

    async def break_off(self) -> list[Claimed]:
        """Ends those in flight, and returns them. What ended in the last moment is to be settled."""
        for task in self._claims:
            task.cancel()
        if self._claims:
            await asyncio.wait(set(self._claims))
        return [self._claims.pop(task) for task in list(self._claims) if task.cancelled()]

    def forget(self) -> None:
        """Leaves all of them to whoever comes after the leases' end."""
        for task in self._claims:
            task.cancel()
        self._claims.clear()
        self._ended.clear()
        self._unwritten.clear()


def _write(attempted: list[Attempted]) -> set[int]:
    """Returns the deliveries for whose outcome there is no room yet, and keeps their leases."""
    earliest = timezone.now() - timedelta(seconds=OUTLAST_SECONDS)
    left = [each.claimed for each in settle.settle(attempted) if each.ended_at > earliest]
    if left:
        event(logger, "outcomes_not_written", logging.ERROR, count=len(left))
        try:
            leases.renew(left)
        except OperationalError as error:
            if settle.is_away(error):
                raise
    return {each.id for each in left}
