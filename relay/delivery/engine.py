"""The pump: claim what is due, attempt many at once, settle in batches, until nothing is due.

One engine a process: an event loop on a thread of its own with one long-lived HTTP session, and one thread
for the database. A ring of the bell, or a Celery task (relay.tasks.pump), starts the pump or, while one is at work
here, makes that one look again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection
from django.utils import timezone

from dmr_project.lib.http import TOTAL_SECONDS, AddressGuard, Session, Terms, open_session
from dmr_project.lib.log import event
from participants import endpoint_terms
from participants.endpoint_terms import Unusable
from relay import metrics
from relay.delivery import claim, leases, settle, transport, wake
from relay.delivery.claimed import LEASE, Claimed
from relay.delivery.in_flight import part
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted, Ending
from relay.delivery_keys import DeliveryKeyUnreadable, Keyring, Signer

logger = logging.getLogger(__name__)

MOST_IN_FLIGHT = 1024
# Beyond so many each recipient gets one attempt at a time: many who do not answer leave room for the others, until
# their breakers open.
FREELY = 512
# A recipient's attempts in flight: beyond BUSY no more are claimed, so there are at most BUSY + ROWS_OF_EACH - 1.
BUSY = 9
PUMP_SECONDS = 20.0
LINGER = timedelta(seconds=6)  # a pump waits for what is due this soon; a little more than the sweep's period
# The more a turn had to do, the longer the next one gathers: one message alone waits for nothing.
TURN_SECONDS_EACH = 0.002
LONGEST_TURN = 0.02
LOOK_AGAIN_SECONDS = 0.25  # while attempts are in flight and nothing wakes us
LOOK_AGAIN = timedelta(seconds=LOOK_AGAIN_SECONDS)
CONNECTION_CHECK_SECONDS = 5.0
HAND_BACK_SECONDS = 4.0  # for attempts in flight when the process is asked to stop
LONGEST_CLOSE_SECONDS = 6.0  # for a pump to have handed back: a little less than the supervisor gives a process
RECONNECT_SECONDS = 0.5  # between two looks whether the database is back
OUTLAST_SECONDS = 600.0  # for so long outcomes are kept for a database that is away, or has no room
WRITE_AGAIN_SECONDS = 2.0  # between two tries to write down what there was no room for
# An attempt that begins later than this after its claim may outlast its lease.
LATEST_START = LEASE.total_seconds() - TOTAL_SECONDS

Result = TypeVar("Result")


class Engine:
    """The delivery engine of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_pumping = False
        self._is_wanted = False  # somebody woke us since the last claim
        self._is_stopping = False
        self._has_rested = threading.Event()  # nobody is the pump
        self._has_rested.set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._database = ThreadPoolExecutor(1, thread_name_prefix="delivery-database")
        self._session: Session | None = None
        self._keyring = Keyring()
        self._terms = endpoint_terms.Kept()
        self._woken: asyncio.Event | None = None
        self._in_flight: dict[asyncio.Task[Attempted], Claimed] = {}
        self._ended: list[asyncio.Task[Attempted]] = []  # of those in flight
        self._unwritten: list[asyncio.Task[Attempted]] = []  # ended, and there was no room to write down how
        self._write_again_at = 0.0
        self._has_left_some = False  # the last claim could not take all that was due
        self._cursor = 0  # where the next claim begins its round of the recipients
        self._claimed_at = timezone.now()
        self._connection_checked_at = 0.0
        self._tuned: object = None  # the connection that _prepare_connection has seen
        self._conversations_from = 0.0  # nothing of a conversation is claimed before; as time.monotonic()

    # -- from any thread --

    def pump(self) -> bool:
        """Works off what is due; returns when nothing is, or after PUMP_SECONDS as soon as nothing is in flight.

        True where more may be due (wake a successor). Where a pump is at work in this process already, that
        one is made to look again, and this returns False at once.
        """
        wake.heard()
        return self._begins("task") and self._run(time.monotonic() + PUMP_SECONDS).result()

    def rung(self) -> None:
        """The same, without waiting for its end."""
        if self._begins("bell"):
            self._run(math.inf)

    def _begins(self, woken_by: str) -> bool:
        """May the caller become the pump? If there is one already, that one looks again."""
        with self._lock:
            if self._is_stopping:
                return False
            self._is_wanted = True
            if self._is_pumping:
                self._notify()
                return False
            self._is_pumping = True
            self._has_rested.clear()
        metrics.PUMP_RUNS.labels(by=woken_by).inc()
        return True

    def stop(self) -> None:
        """Claims nothing more, and hands back what does not end within HAND_BACK_SECONDS."""
        with self._lock:
            self._is_stopping = True
            self._notify()

    def close(self) -> None:
        """The process ends: stops, and closes the connections to recipients when the pump has handed back.

        Not before: what is in flight would fail for our own doing, and count against its recipient.
        """
        self.stop()
        self._has_rested.wait(LONGEST_CLOSE_SECONDS)
        if self._loop is not None and self._session is not None:
            asyncio.run_coroutine_threadsafe(self._session.close(), self._loop).result(timeout=2)

    def _run(self, until: float) -> Future[bool]:
        return asyncio.run_coroutine_threadsafe(self._work(until), self._running_loop())

    def _notify(self) -> None:
        if self._loop is not None and self._woken is not None:
            self._loop.call_soon_threadsafe(self._woken.set)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="delivery", daemon=True).start()
            self._woken = asyncio.Event()
            self._loop = loop
        return self._loop

    # -- on the event loop --

    async def _work(self, until: float) -> bool:
        assert self._woken is not None
        if self._session is None:
            guard = AddressGuard(settings.ALLOW_PRIVATE_ENDPOINTS, settings.ALLOWED_PRIVATE_NETWORKS)
            self._session = open_session(guard, connections=MOST_IN_FLIGHT, per_host=0)
        try:
            while True:
                try:
                    return await self._pump(until)
                except (OperationalError, InterfaceError) as error:
                    event(logger, "pump_lost_database", logging.WARNING, error=type(error).__name__)
                    if self._is_stopping or not await self._outlast():
                        self._give_up()  # the sweep wakes us when the database is back
                        return False
        except Exception:  # a mistake of ours; who rang does not wait to see it
            logger.exception("pump_broke", extra={"facts": {"in_flight": len(self._in_flight)}})
            await self._let_end()
            self._give_up()
            raise
        except BaseException:
            self._give_up()
            raise

    async def _pump(self, until: float) -> bool:
        assert self._woken is not None
        while True:
            if self._is_stopping:
                await self._hand_back()
                self._end_pumping()
                return False
            if time.monotonic() > until and not self._in_flight:
                self._end_pumping()
                return True
            began = time.monotonic()
            done = await self._turn()
            if self._in_flight:
                with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), LOOK_AGAIN_SECONDS)
                await asyncio.sleep(began + min(LONGEST_TURN, done * TURN_SECONDS_EACH) - time.monotonic())
            elif not await self._wait_for_what_is_due(until) and self._end_pumping(unless_wanted=True):
                return False

    async def _turn(self) -> int:
        """Settles what has ended and claims what is due. Returns how many those were."""
        assert self._woken is not None
        self._woken.clear()
        settled = await self._settle_done()
        return settled + (await self._claim_and_start() if self._may_find_something() else 0)

    def _may_find_something(self) -> bool:
        """Is there reason to claim: a wake-up, or what the last claim had to leave?"""
        with self._lock:
            is_wanted, self._is_wanted = self._is_wanted, False
        return is_wanted or self._has_left_some or timezone.now() - self._claimed_at > LOOK_AGAIN

    async def _let_end(self) -> None:
        """What is under way has not broken: it ends, and is settled."""
        if self._in_flight:
            await asyncio.wait(set(self._in_flight), timeout=TOTAL_SECONDS)
        try:
            await self._settle_done()
        except Exception:
            logger.exception("pump_broke", extra={"facts": {"in_flight": len(self._in_flight)}})

    async def _outlast(self) -> bool:
        """The database is away: keeps what was attempted, and settles it when the database is back.

        Claims nothing meanwhile. A lease that has run out by then and passed to somebody else is left to them.
        False where nothing is in flight, or the database stays away for too long.
        """
        until = time.monotonic() + OUTLAST_SECONDS
        while self._in_flight and not self._is_stopping and time.monotonic() < until:
            await asyncio.sleep(RECONNECT_SECONDS)
            with contextlib.suppress(OperationalError, InterfaceError):
                await self._in_database(lambda: connection.ensure_connection())
                await self._settle_done()
                return True
        return False

    def _end_pumping(self, *, unless_wanted: bool = False) -> bool:
        """Stops being the pump. `unless_wanted`: not if somebody woke us since the last claim, in the same breath."""
        with self._lock:
            if unless_wanted and self._is_wanted:
                return False
            self._is_pumping = False
            self._has_rested.set()
            return True

    def _give_up(self) -> None:
        """Leaves what is in flight to whoever comes after the leases' end."""
        for task in self._in_flight:
            task.cancel()
        self._in_flight.clear()
        self._ended.clear()
        self._unwritten.clear()
        self._end_pumping()

    async def _claim_and_start(self) -> int:
        """Claims what there is room for, and starts the attempts. Returns how many were claimed."""
        is_crowded = len(self._in_flight) >= FREELY
        room = (MOST_IN_FLIGHT if is_crowded else FREELY) - len(self._in_flight)
        if room <= 0:
            self._has_left_some = True
            return 0
        load = Counter(each.recipient_id for each in self._in_flight.values())
        busy = [recipient for recipient, count in load.items() if is_crowded or count > BUSY - 1]
        rows = 1 if is_crowded else claim.ROWS_OF_EACH
        self._claimed_at = timezone.now()
        asked_at = time.monotonic()
        try:
            signer, claimed, terms = await self._in_database(lambda: self._claim(room, busy, rows))
        except DeliveryKeyUnreadable as error:  # unsigned, recipients might refuse for good: it waits for staff
            event(logger, "delivery_key_unreadable", logging.ERROR, hint=error.detail)
            self._has_left_some = False
            return 0
        if time.monotonic() - asked_at > LATEST_START:  # this process, or the database, stood still
            await self._in_database(lambda: leases.hand_back(claimed))
            self._has_left_some = True
            return 0
        parted = part(claimed, self._in_flight)
        self._in_flight.update(parted.taken_over)
        if parted.back:
            await self._in_database(lambda: leases.hand_back(parted.back))
        of_each = Counter(each.recipient_id for each in claimed)
        self._has_left_some = bool(busy) or len(claimed) >= room or max(of_each.values(), default=0) >= rows
        if claimed:
            self._cursor = max(of_each) if len(claimed) >= room else 0
        now = timezone.now()  # the claim may have taken its time
        endings = [(each, settle.ending(each, now)) for each in parted.fresh]
        for each, ending in endings:
            if ending is None:
                self._start(each, signer, terms.get(each.recipient_id))
        await self._end_for_a_moment([(each, ending) for each, ending in endings if ending is not None])
        return len(parted.fresh)

    def _claim(
        self, room: int, busy: list[int], rows: int
    ) -> tuple[Signer, list[Claimed], dict[int, Terms | Unusable | None]]:
        """What is due, the key that signs it, and the terms of those recipients that have any."""
        signer = self._keyring.signer()
        with_conversations = time.monotonic() >= self._conversations_from
        claimed = claim.claim(room, busy, self._cursor, with_conversations=with_conversations, of_each=rows)
        special = {each.recipient_id: each.terms_version for each in claimed if each.terms_version}
        return signer, claimed, {each: self._terms.of(each, version) for each, version in special.items()}

    def _start(self, claimed: Claimed, signer: Signer, terms: Terms | Unusable | None) -> None:
        task = asyncio.ensure_future(self._attempt(claimed, signer, terms))
        self._in_flight[task] = claimed
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[Attempted]) -> None:
        assert self._woken is not None
        self._ended.append(task)
        self._woken.set()

    async def _attempt(self, claimed: Claimed, signer: Signer, terms: Terms | Unusable | None) -> Attempted:
        assert self._session is not None
        began = time.monotonic()
        try:
            outcome = await transport.attempt(self._session, claimed, signer, terms)
        except Exception as error:  # a mistake of ours must not end the pump: it costs this delivery an attempt
            logger.exception("attempt_broke", extra={"facts": {"delivery": claimed.id}})
            reason = f"the attempt failed on our side ({type(error).__name__})"
            outcome = Outcome(False, None, reason, time.monotonic() - began)
        return Attempted(claimed, outcome, timezone.now())

    async def _end_for_a_moment(self, endings: list[tuple[Claimed, Ending]]) -> None:
        """Ends those that need no attempt, each in a transaction of its own; no delivery waits for all of them.

        What waited for a participant that is deleted may be thousands. The rest goes back, for the next turns.
        """
        until = time.monotonic() + LONGEST_TURN
        left = iter(endings)
        for claimed, ending in left:
            await self._end(claimed, ending)
            if time.monotonic() > until:
                break
        if back := [claimed for claimed, _ in left]:
            self._has_left_some = True
            await self._in_database(lambda: leases.hand_back(back))

    async def _end(self, claimed: Claimed, ending: Ending) -> None:
        now = timezone.now()
        try:
            await self._in_database(lambda: settle.end_unattempted(claimed, ending, now))
        except Exception as error:  # it costs the others nothing, and is tried again when its lease has run out
            if settle.is_away(error):
                raise
            logger.exception("delivery_not_ended", extra={"facts": {"delivery": claimed.id}})

    async def _settle_done(self) -> int:
        """Settles the attempts that have ended. Returns how many."""
        if self._is_stopping or time.monotonic() >= self._write_again_at:
            self._ended += self._unwritten
            self._unwritten.clear()
        ended = [task for task in self._ended if task in self._in_flight]
        self._ended.clear()
        if not ended:
            return 0
        attempted = [replace(task.result(), claimed=self._in_flight[task]) for task in ended]
        try:
            left = await self._in_database(lambda: self._settle(attempted))
        except BaseException:
            self._ended += ended
            raise
        for task in ended:
            if self._in_flight[task].id in left:
                self._unwritten.append(task)
            else:
                del self._in_flight[task]
        if left:
            self._write_again_at = time.monotonic() + WRITE_AGAIN_SECONDS
        # What waited for one of these, in its conversation or for its recipient's turn, may go now.
        if any(each.claimed.conversation or each.claimed.is_probe for each in attempted):
            self._has_left_some = True
        return len(ended) - len(left)

    def _settle(self, attempted: list[Attempted]) -> set[int]:
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

    async def _wait_for_what_is_due(self, until: float) -> bool:
        """True where something becomes due soon, after waiting for it (or for a wake-up)."""
        assert self._woken is not None
        claimed_at = self._claimed_at
        with self._lock:
            if self._is_wanted or self._has_left_some:
                return True
        due_at: datetime | None = await self._in_database(lambda: claim.next_due(claimed_at, LINGER))
        if due_at is None:
            return False
        pause = (due_at - timezone.now()).total_seconds()
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):  # the time has come
            await asyncio.wait_for(self._woken.wait(), max(0.0, min(pause, until - time.monotonic())))
        self._has_left_some = True
        return True

    async def _hand_back(self) -> None:
        """The process ends: gives attempts in flight a little time, then returns the rest to others."""
        if not self._in_flight:
            return
        await asyncio.wait(set(self._in_flight), timeout=HAND_BACK_SECONDS)
        for task in self._in_flight:
            task.cancel()
        await asyncio.wait(set(self._in_flight))  # what ended in the last moment has ended
        left = [self._in_flight.pop(task) for task in list(self._in_flight) if task.cancelled()]
        await self._settle_done()
        if left:
            await self._in_database(lambda: leases.hand_back(left))
            event(logger, "deliveries_handed_back", count=len(left))

    async def _in_database(self, work: Callable[[], Result]) -> Result:
        def fresh() -> Result:
            # Not each time: it asks the server whether the connection still stands.
            if time.monotonic() - self._connection_checked_at > CONNECTION_CHECK_SECONDS:
                close_old_connections()
                self._connection_checked_at = time.monotonic()
            try:
                self._prepare_connection()
                return work()
            except (OperationalError, InterfaceError):
                connection.close()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._database, fresh)

    def _prepare_connection(self) -> None:
        """This thread's, once. A crash of PostgreSQL may undo the last moment's claims and outcomes.

        Then they are attempted again, as after a lost lease; nothing accepted is lost. See docs/adr/0008. What is
        under way still is claimed anew, by each worker its own; until all of it must have ended, nothing else of a
        conversation is begun, by one that has just been started neither.
        """
        connection.ensure_connection()
        if connection.vendor == "postgresql" and connection.connection is not self._tuned:
            with connection.cursor() as cursor:
                cursor.execute("SET synchronous_commit = off")
            claim.prepare_connection()
            connection.close_at = None  # not replaced for its age: another one means that this one was lost
            if self._tuned is not None:
                self._conversations_from = time.monotonic() + TOTAL_SECONDS
                again = leases.take_again(list(self._in_flight.values()))
                event(logger, "pump_has_database_again", logging.WARNING, claimed_again=again)
            else:
                self._conversations_from = time.monotonic() + TOTAL_SECONDS - claim.seconds_since_crash()
            self._tuned = connection.connection


_engine: Engine | None = None
_making = threading.Lock()


def engine() -> Engine:
    """The engine of this process, made when first asked for."""
    global _engine
    with _making:
        if _engine is None:
            _engine = Engine()
        return _engine
