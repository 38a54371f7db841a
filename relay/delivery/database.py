"""The pump's database: one thread with one connection, prepared for claiming and settling.

Commits do not wait for the disk. A crash of PostgreSQL may undo the last moment's claims and outcomes: then they are
attempted again, as after a lost lease; nothing accepted is lost. See docs/adr/0008.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import InterfaceError, OperationalError, close_old_connections, connection

from dmr_project.lib.http import TOTAL_SECONDS
from dmr_project.lib.log import event
from relay.delivery import claim, leases
from relay.delivery.claimed import Claimed

CHECK_SECONDS = 5.0  # between two looks whether the connection still stands: each asks the server

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class DeliveryDatabase:
    """Does the pump's work with the database, a piece at a time. `under_way`: what is attempted just now."""

    def __init__(self, under_way: Callable[[], Collection[Claimed]]) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="delivery-database")
        self._under_way = under_way
        self._checked_at = 0.0
        self._prepared: object = None  # the connection that _prepare has seen
        self._conversations_from = 0.0  # as time.monotonic()

    async def do(self, work: Callable[[], Result]) -> Result:
        """Raises OperationalError, InterfaceError: the database is away."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, self._do, work)

    async def connect(self) -> None:
        """The same, where there is no other work."""
        await self.do(lambda: connection.ensure_connection())  # the thread's: `connection` is another in each

    def may_begin_conversations(self) -> bool:
        """May what is of a conversation be claimed? Call it in `do`."""
        return time.monotonic() >= self._conversations_from

    def _do(self, work: Callable[[], Result]) -> Result:
        if time.monotonic() - self._checked_at > CHECK_SECONDS:
            close_old_connections()
            self._checked_at = time.monotonic()
        try:
            self._prepare()
            return work()
        except (OperationalError, InterfaceError):
            connection.close()
            raise

    def _prepare(self) -> None:
        """Prepares a connection once.

        What is under way still, and a crash has undone, is claimed anew, by each worker its own. Until all of it must
        have ended nothing else of a conversation is begun, by a worker that has just been started neither.
        """
        connection.ensure_connection()
        if connection.vendor != "postgresql" or connection.connection is self._prepared:
            return
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
        claim.prepare_connection()
        connection.close_at = None  # not replaced for its age: another one means that this one was lost
        if self._prepared is not None:
            self._conversations_from = time.monotonic() + TOTAL_SECONDS
            again = leases.take_again(self._under_way())
            event(logger, "pump_has_database_again", logging.WARNING, claimed_again=again)
        else:
            self._conversations_from = time.monotonic() + TOTAL_SECONDS - claim.seconds_since_crash()
        self._prepared = connection.connection
