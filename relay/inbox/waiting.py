"""Polls that wait for a message: on the web process's event loop, holding neither a thread nor a connection.

A place is taken by the view (in a thread) and waited in by dmr_project.rsgi (on the loop). One look into the
database every LOOK_SECONDS, for all that wait in this process, tells who is to be woken; whoever is asks the view
again. Nothing is leased before that, so a client that has hung up has nothing leased for it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from django.db import Error

from dmr_project.lib.log import event
from relay import metrics

logger = logging.getLogger(__name__)

MOST_WAITING = 512  # polls of one process; its server holds twice as many requests
MOST_OF_ONE = 2  # polls of one participant: one that was broken off may not be noticed yet
LOOK_SECONDS = 0.25
LOOK_SHARE = 0.1  # of the time that may go into looking, unless that means to look less often than
LONGEST_PAUSE = 1.0  # seconds

Look = Callable[[Collection[int]], Awaitable[set[int]]]


@dataclass(eq=False)
class Place:
    """Of one poll that waits. `until`: monotonic."""

    recipient_id: int
    until: float
    key_id: int | None = None  # by which it was let in
    woken: asyncio.Future[None] | None = None


class Polls:
    """Those that wait in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: set[Place] = set()
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False

    # -- from any thread --

    def take(self, recipient_id: int, seconds: float, key_id: int | None = None) -> Place | None:
        """A place for so long; None where there is none left. Whoever takes one must leave it."""
        with self._lock:
            of_one = sum(1 for place in self._places if place.recipient_id == recipient_id)
            if self._is_closed or len(self._places) >= MOST_WAITING or of_one >= MOST_OF_ONE:
                return None
            place = Place(recipient_id, time.monotonic() + seconds, key_id)
            self._places.add(place)
            metrics.INBOX_WAITING.set(len(self._places))
        return place

    def leave(self, place: Place) -> None:
        with self._lock:
            self._places.discard(place)
            metrics.INBOX_WAITING.set(len(self._places))

    def keys(self) -> set[int]:
        """By which those that wait were let in."""
        with self._lock:
            return {place.key_id for place in self._places if place.key_id is not None}

    # -- on the event loop --

    async def wait(self, place: Place, look: Look, gone: asyncio.Future[None]) -> bool:
        """True as soon as there seems to be something; False when its time is over, its client is `gone`, or the
        process ends.
        """
        woken = place.woken = asyncio.get_running_loop().create_future()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look_while_somebody_waits(look))
        try:
            if not self._is_closed:
                left = max(0.0, place.until - time.monotonic())
                await asyncio.wait({woken, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            is_woken = woken.done() and not gone.done() and not self._is_closed
        finally:
            place.woken = None
        if not is_woken:
            metrics.INBOX_POLLS.labels(result="gone" if gone.done() else "empty").inc()
        return is_woken

    def close(self) -> None:
        """The process ends: whoever waits is answered now, and nobody waits any more."""
        self._is_closed = True
        for place in self._waiting():
            self._wake(place)

    async def _look_while_somebody_waits(self, look: Look) -> None:
        while self._waiting():
            began = time.monotonic()
            try:
                found = await look({place.recipient_id for place in self._waiting()})
            except Error as error:  # the polls that come then are told 503
                event(logger, "inbox_look_failed", logging.WARNING, error=type(error).__name__)
                found = set()
            for place in self._waiting():
                if place.recipient_id in found:
                    self._wake(place)
            seconds = time.monotonic() - began
            await asyncio.sleep(max(LOOK_SECONDS, min(LONGEST_PAUSE, seconds / LOOK_SHARE)))

    def _waiting(self) -> list[Place]:
        with self._lock:
            return [place for place in self._places if place.woken is not None]

    def _wake(self, place: Place) -> None:
        if place.woken is not None and not place.woken.done():
            place.woken.set_result(None)


polls = Polls()
