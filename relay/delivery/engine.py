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
from concurrent.futures import Future
from datetime import datetime, timedelta

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from dmr_project.lib import loops
from dmr_project.lib.http import TOTAL_SECONDS, AddressGuard, Session, Terms, open_session
from dmr_project.lib.log import event
from participants import endpoint_terms
from participants.endpoint_terms import Unusable
from relay import metrics
from relay.delivery import claim, leases, settle, transport, wake
from relay.delivery.attempts import OUTLAST_SECONDS, Attempts
from relay.delivery.claimed import LEASE, Claimed
from relay.delivery.database import DeliveryDatabase
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
HAND_BACK_SECONDS = 4.0  # for attempts in flight when the process is asked to stop
LONGEST_CLOSE_SECONDS = 6.0  # for a pump to have handed back: a little less than the supervisor gives a process
RECONNECT_SECONDS = 0.5  # between two looks whether the database is back
# An attempt that begins later than this after its claim may outlast its lease.
LATEST_START = LEASE.total_seconds() - TOTAL_SECONDS


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
        self._attempts = Attempts(self._look_again)
        self._database = DeliveryDatabase(self._attempts.claims)
        self._session: Session | None = None
        self._keyring = Keyring()
        self._terms = endpoint_terms.Kept()
        self._woken: asyncio.Event | None = None
        self._has_left_some = False  # the last claim could not take all that was due
        self._cursor = 0  # where the next claim begins its round of the recipients
        self._claimed_at = timezone.now()

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
            loop = loops.new_event_loop()
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
            logger.exception("pump_broke", extra={"facts": {"in_flight": len(self._attempts)}})
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
            if time.monotonic() > until and not self._attempts:
                self._end_pumping()
                return True
            began = time.monotonic()
            done = await self._turn()
            if self._attempts:
                with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), LOOK_AGAIN_SECONDS)
                await asyncio.sleep(began + min(LONGEST_TURN, done * TURN_SECONDS_EACH) - time.monotonic())
            elif not await self._wait_for_what_is_due(until) and self._end_pumping(unless_wanted=True):
                return False

    async def _turn(self) -> int:
        """Settles what has ended and claims what is due. Returns how many those were."""
        assert self._woken is not None
        self._woken.clear()
        settled = await self._settle()
        return settled + (await self._claim_and_start() if self._may_find_something() else 0)

    def _may_find_something(self) -> bool:
        """Is there reason to claim: a wake-up, or what the last claim had to leave?"""
        with self._lock:
            is_wanted, self._is_wanted = self._is_wanted, False
        return is_wanted or self._has_left_some or timezone.now() - self._claimed_at > LOOK_AGAIN

    async def _let_end(self) -> None:
        """What is under way has not broken: it ends, and is settled."""
        await self._attempts.wait(TOTAL_SECONDS)
        try:
            await self._settle()
        except Exception:
            logger.exception("pump_broke", extra={"facts": {"in_flight": len(self._attempts)}})

    async def _outlast(self) -> bool:
        """The database is away: keeps what was attempted, and settles it when the database is back.

        Claims nothing meanwhile. A lease that has run out by then and passed to somebody else is left to them.
        False where nothing is in flight, or the database stays away for too long.
        """
        until = time.monotonic() + OUTLAST_SECONDS
        while self._attempts and not self._is_stopping and time.monotonic() < until:
            await asyncio.sleep(RECONNECT_SECONDS)
            with contextlib.suppress(OperationalError, InterfaceError):
                await self._database.connect()
                await self._settle()
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
        self._attempts.forget()
        self._end_pumping()

    async def _claim_and_start(self) -> int:
        """Claims what there is room for, and starts the attempts. Returns how many were claimed."""
        is_crowded = len(self._attempts) >= FREELY
        room = (MOST_IN_FLIGHT if is_crowded else FREELY) - len(self._attempts)
        if room <= 0:
            self._has_left_some = True
            return 0
        load = Counter(each.recipient_id for each in self._attempts.claims())
        busy = [recipient for recipient, count in load.items() if is_crowded or count > BUSY - 1]
        rows = 1 if is_crowded else claim.ROWS_OF_EACH
        self._claimed_at = timezone.now()
        asked_at = time.monotonic()
        try:
            signer, claimed, terms = await self._database.do(lambda: self._claim(room, busy, rows))
        except DeliveryKeyUnreadable as error:  # unsigned, recipients might refuse for good: it waits for staff
            event(logger, "delivery_key_unreadable", logging.ERROR, hint=error.detail)
            self._has_left_some = False
            return 0
        if time.monotonic() - asked_at > LATEST_START:  # this process, or the database, stood still
            await self._database.do(lambda: leases.hand_back(claimed))
            self._has_left_some = True
            return 0
        parted = self._attempts.part(claimed)
        if parted.back:
            await self._database.do(lambda: leases.hand_back(parted.back))
        of_each = Counter(each.recipient_id for each in claimed)
        self._has_left_some = bool(busy) or len(claimed) >= room or max(of_each.values(), default=0) >= rows
        if claimed:
            self._cursor = max(of_each) if len(claimed) >= room else 0
        now = timezone.now()  # the claim may have taken its time
        endings = [(each, settle.ending(each, now)) for each in parted.fresh]
        for each, ending in endings:
            if ending is None:
                self._attempts.begin(each, self._attempt(each, signer, terms.get(each.recipient_id)))
        await self._end_for_a_moment([(each, ending) for each, ending in endings if ending is not None])
        return len(parted.fresh)

    def _claim(
        self, room: int, busy: list[int], rows: int
    ) -> tuple[Signer, list[Claimed], dict[int, Terms | Unusable | None]]:
        """What is due, the key that signs it, and the terms of those recipients that have any."""
        signer = self._keyring.signer()
        may_be_of_one = self._database.may_begin_conversations()
        claimed = claim.claim(room, busy, self._cursor, with_conversations=may_be_of_one, of_each=rows)
        special = {each.recipient_id: each.terms_version for each in claimed if each.terms_version}
        return signer, claimed, {each: self._terms.of(each, version) for each, version in special.items()}

    def _look_again(self) -> None:
        assert self._woken is not None
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
            await self._database.do(lambda: leases.hand_back(back))

    async def _end(self, claimed: Claimed, ending: Ending) -> None:
        now = timezone.now()
        try:
            await self._database.do(lambda: settle.end_unattempted(claimed, ending, now))
        except Exception as error:  # it costs the others nothing, and is tried again when its lease has run out
            if settle.is_away(error):
                raise
            logger.exception("delivery_not_ended", extra={"facts": {"delivery": claimed.id}})

    async def _settle(self) -> int:
        """Writes down what has ended. Returns how many those were."""
        settled = await self._attempts.settle(self._database, is_last=self._is_stopping)
        # What waited for one of these, in its conversation or for its recipient's turn, may go now.
        if any(each.claimed.conversation or each.claimed.is_probe for each in settled):
            self._has_left_some = True
        return len(settled)

    async def _wait_for_what_is_due(self, until: float) -> bool:
        """True where something becomes due soon, after waiting for it (or for a wake-up)."""
        assert self._woken is not None
        claimed_at = self._claimed_at
        with self._lock:
            if self._is_wanted or self._has_left_some:
                return True
        due_at: datetime | None = await self._database.do(lambda: claim.next_due(claimed_at, LINGER))
        if due_at is None:
            return False
        pause = (due_at - timezone.now()).total_seconds()
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):  # the time has come
            await asyncio.wait_for(self._woken.wait(), max(0.0, min(pause, until - time.monotonic())))
        self._has_left_some = True
        return True

    async def _hand_back(self) -> None:
        """The process ends: gives attempts in flight a little time, then returns the rest to others."""
        await self._attempts.wait(HAND_BACK_SECONDS)
        left = await self._attempts.break_off()
        await self._settle()
        if left:
            await self._database.do(lambda: leases.hand_back(left))
            event(logger, "deliveries_handed_back", count=len(left))


_engine: Engine | None = None
_making = threading.Lock()


def engine() -> Engine:
    """The engine of this process, made when first asked for."""
    global _engine
    with _making:
        if _engine is None:
            _engine = Engine()
        return _engine
