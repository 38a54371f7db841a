"""How many bytes of payload each sender has stored: one row each, brought up to date behind the scenes.

Accepting only adds in memory. A thread of each web process adds that to the rows every FLUSH_SECONDS, and reads what
they say of the senders that it has to do with; retention takes off in the transaction that deletes payloads. What a
process that was killed had not added yet is found again by the recount, which sums up a sender's rows once a day.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Length
from django.utils import timezone

from dmr_project.lib.log import event
from participants import names
from participants.models import Participant
from relay.models import Message, StoredBytes

FLUSH_SECONDS = 1.0
KEEP_SECONDS = 60.0  # that a sender's row is read again and again after we were last asked about it
RECOUNT_AFTER = timedelta(days=1)
RECOUNT_SECONDS = 2.0  # for a run; the next one goes on
MOST_RECOUNTED = 200  # in a run

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_totals: dict[int, int] = {}  # what the rows said when last read
_new: Counter[int] = Counter()  # accepted here since, not in the rows yet
_being_added: Counter[int] = Counter()  # on its way into the rows
_asked: dict[int, float] = {}  # when we were last asked about each sender in _totals
_thread: threading.Thread | None = None


def of(participant_id: int) -> int:
    """How many bytes of the sender's payloads are stored; what other processes accepted counts within 2 s.

    A query the first time in a while, none after that.
    """
    start()
    if participant_id not in _totals:
        row = StoredBytes.objects.filter(pk=participant_id).values_list("size", flat=True).first()
        with _lock:
            _totals.setdefault(participant_id, row or 0)
    with _lock:
        _asked[participant_id] = time.monotonic()
        found = _totals.get(participant_id, 0) + _new[participant_id] + _being_added[participant_id]
    return max(0, found)


def note(participant_id: int, size: int) -> None:
    """So many more bytes are stored."""
    with _lock:
        _new[participant_id] += size


def start() -> None:
    """Begins to keep the rows up to date, unless that goes on already."""
    global _thread
    if _thread is None or not _thread.is_alive():  # none yet, or lost in a fork
        with _lock:
            if _thread is None or not _thread.is_alive():
                _thread = threading.Thread(target=_flush_forever, name="stored-bytes", daemon=True)
                _thread.start()


def _flush_forever() -> None:
    while True:
        time.sleep(FLUSH_SECONDS)
        try:
            flush()
        except (DatabaseError, InterfaceError) as error:  # it is tried again with the next
            event(logger, "stored_bytes_not_written", logging.WARNING, error=type(error).__name__)
            connection.close()


def flush() -> None:
    """Adds what was accepted here to the rows, and reads those of all senders that we were asked about lately."""
    global _new, _being_added
    until = time.monotonic() - KEEP_SECONDS
    with _lock:
        _being_added, _new = _new, Counter()
        for each in [each for each, at in _asked.items() if at < until]:
            del _asked[each]
            _totals.pop(each, None)
        kept = set(_asked)
    try:
        found = add(_being_added)
    except BaseException:
        with _lock:
            _new.update(_being_added)
            _being_added = Counter()
        raise
    with _lock:  # it is in the rows now, whatever comes
        _totals.update({each: size for each, size in found.items() if each in _asked})
        _being_added = Counter()
    left = kept - found.keys()
    if left:
        read = dict(StoredBytes.objects.filter(pk__in=left).values_list("pk", "size"))
        with _lock:
            _totals.update({each: size for each, size in read.items() if each in _asked})


def add(sizes: Mapping[int, int]) -> dict[int, int]:
    """Adds to the rows (or takes off), and returns what they say then. One statement; rows in order of their ids."""
    given = [(participant_id, size) for participant_id, size in sorted(sizes.items()) if size]
    if not given:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO relay_storedbytes (participant_id, size) VALUES {", ".join(["(%s, %s)"] * len(given))}
            ON CONFLICT (participant_id) DO UPDATE SET size = relay_storedbytes.size + excluded.size
            RETURNING participant_id, size
            """,
            [value for row in given for value in row],
        )
        return dict(cursor.fetchall())


def take_off(deleted: list[tuple[int, str, int]]) -> None:
    """Payloads are gone: (sender, sent by, bytes) each. Call it in the transaction that deletes them."""
    sizes: Counter[int] = Counter()
    for sender_id, sent_by, size in deleted:
        if sent_by != names.DMR:  # what we say ourselves is not counted
            sizes[sender_id] -= size
    add(sizes)


def recount() -> int:
    """Sums up the rows of senders not counted for RECOUNT_AFTER, for RECOUNT_SECONDS. Returns how many senders."""
    until = time.monotonic() + RECOUNT_SECONDS
    before = timezone.now() - RECOUNT_AFTER
    # Without a row there is no time either.
    due = Participant.objects.filter(Q(stored_bytes__counted_at=None) | Q(stored_bytes__counted_at__lt=before))
    longest_ago = due.exclude(name=names.RELAY).order_by(F("stored_bytes__counted_at").asc(nulls_first=True), "pk")
    count = 0
    for participant_id in list(longest_ago.values_list("pk", flat=True)[:MOST_RECOUNTED]):
        if time.monotonic() > until:
            break
        _recount(participant_id, timezone.now())
        count += 1
    return count


def _recount(participant_id: int, now: datetime) -> None:
    with transaction.atomic():
        StoredBytes.objects.get_or_create(pk=participant_id)
        row = StoredBytes.objects.select_for_update().get(pk=participant_id)
        # By its length, which is known without reading it; a deleted one has none.
        found = Message.objects.filter(sender=participant_id).aggregate(size=Sum(Length("payload")))["size"] or 0
        if row.counted_at is not None and row.size != found:
            event(logger, "stored_bytes_corrected", participant=participant_id, by=found - row.size)
        StoredBytes.objects.filter(pk=participant_id).update(size=found, counted_at=now)


def forget() -> None:
    """Drops what this process knows; for tests."""
    with _lock:
        for known in (_totals, _new, _being_added, _asked):
            known.clear()
