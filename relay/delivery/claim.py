"""Claiming what is due: one atomic statement with a lease, fair to all recipients, on both databases.

The statement walks the recipients that have something pending (one index look-up each, however much history
there is), takes the few oldest due rows of each, and marks them. Where it stopped, the next claim goes on, so
that no recipient is always last.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import F, QuerySet
from django.utils import timezone

from dmr_project.lib.log import event
from participants import statuses
from participants.models import DEFAULT_RETENTION, Participant
from relay import planning, receipts
from relay.delivery import breaker
from relay.models import Breaker, Delivery, State

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
ROWS_OF_EACH = 8  # that one claim takes of one recipient
MOST_TRIES = 3  # of a claim that meets another one
_LAST = 2**63 - 1  # no recipient has a greater number

# What waits for HELD stays pending: they may come back within its time to live. What waits for GONE is claimed,
# however and whether they are reached, to be ended.
HELD, GONE = statuses.HELD, statuses.GONE
# Of a participant p: is what waits for it claimed at %(now)s? Not while an outage of it lasts, either: that lies in
# the row (participants.outages), so that no other table is asked. observability.collectors asks the same.
IS_CLAIMED_OF = f"""
    (p.status IN ({statuses.in_sql(GONE)}) OR (
        p.status NOT IN ({statuses.in_sql(HELD)}) AND p.delivery_mode = 'push'
        AND (p.held_until IS NULL OR p.held_until <= %(now)s OR p.held_from > %(now)s)
    ))
"""


@dataclass(frozen=True)
class Claimed:
    """A claimed delivery with all that an attempt needs."""

    id: int
    token: int
    attempts: int  # this one included
    recipient_id: int
    recipient_type: str
    recipient_is_gone: bool
    host: str
    terms_version: int  # of the recipient's EndpointTerms; 0 where it has none
    success_statuses: str
    failures: int  # of the recipient, in a row
    is_probe: bool  # its breaker is open: this one attempt tells whether it is back
    message_pk: int
    room_id: int | None  # whose policy holds; None for what we say ourselves
    sent_by: str
    sender_name: str  # the participant's own, where sent_by is an alias
    sender_id: int
    wants_receipt: bool  # the sender, of this message
    send_to: str
    recipient_name: str  # now; send_to is what the sender wrote
    room: str  # that the message was posted to; empty where it was sent to the recipient alone
    written_id: str
    written_ref: str
    model_type: str
    content_type: str
    conversation: str
    payload: bytes
    payload_is_gone: bool  # deleted by retention; there is nothing to deliver
    retention: int  # seconds that it is kept after the end
    accepted_at: datetime
    expires_at: datetime

    def is_over(self, now: datetime) -> bool:
        """Is there nothing left to attempt?"""
        return self.payload_is_gone or self.expires_at <= now


@dataclass(frozen=True)
class Lease:
    """What one claim writes on each row that it takes."""

    token: int
    until: datetime

    @classmethod
    def from_now(cls) -> Lease:
        return cls(random.getrandbits(62), timezone.now() + LEASE)


# PostgreSQL locks what it picks and skips what another pump has locked. SQLite has one writer at a time.
_LOCK = {"postgresql": "FOR UPDATE SKIP LOCKED", "sqlite": ""}
# One text however many are busy: what is the same each time is planned once.
_NOT_BUSY = {
    "postgresql": "AND p.id <> ALL(%(busy)s::bigint[])",
    "sqlite": "AND p.id NOT IN (SELECT value FROM json_each(%(busy)s))",
}
# SQLite has no LATERAL, but lets a subquery look at the row beside it.
_FEW_OF_EACH = {
    "postgresql": """
        CROSS JOIN LATERAL (
            SELECT id FROM relay_delivery one
            WHERE recipient_id = p.id AND state = 'pending' AND due_at <= %(now)s
                AND (%(conversations)s OR one.conversation = '') AND {is_head}
            ORDER BY due_at, id LIMIT %(of_each)s {lock}
        ) d
    """,
    "sqlite": """
        JOIN relay_delivery d ON d.id IN (
            SELECT id FROM relay_delivery one
            WHERE recipient_id = p.id AND state = 'pending' AND due_at <= %(now)s
                AND (%(conversations)s OR one.conversation = '') AND {is_head}
            ORDER BY due_at, id LIMIT %(of_each)s
        )
    """,
}
# Within a conversation the oldest goes first, alone: what comes after it waits for its end.
IS_HEAD = """
    (one.conversation = '' OR NOT EXISTS (
        SELECT 1 FROM relay_delivery other
        WHERE other.recipient_id = one.recipient_id AND other.conversation = one.conversation
            AND other.state IN ('pending', 'delivering') AND other.conversation <> ''
            AND (other.id < one.id OR other.state = 'delivering')
    ))
"""
_CLAIM = """
    WITH RECURSIVE waiting(recipient_id) AS (
        SELECT (SELECT recipient_id FROM relay_delivery
                WHERE state = 'pending' AND recipient_id > %(after)s ORDER BY recipient_id LIMIT 1)
        UNION ALL
        SELECT (SELECT d.recipient_id FROM relay_delivery d
                WHERE d.state = 'pending' AND d.recipient_id > waiting.recipient_id ORDER BY d.recipient_id LIMIT 1)
        FROM waiting WHERE waiting.recipient_id < %(up_to)s
    ), picked AS (
        SELECT d.id FROM waiting
        JOIN participants_participant p ON p.id = waiting.recipient_id AND p.id <= %(up_to)s
            AND {is_claimed_of} {not_busy}
        LEFT JOIN relay_breaker b ON b.recipient_id = p.id AND b.state <> 'closed'
        {few_of_each}
        WHERE b.recipient_id IS NULL OR (b.state = 'open' AND b.probe_at <= %(now)s) OR p.status IN ({gone})
        LIMIT %(most)s
    )
    UPDATE relay_delivery
    SET state = 'delivering', attempts = attempts + 1, lease_until = %(lease_until)s, lease_token = %(token)s
    WHERE id IN (SELECT id FROM picked) AND state || '' = 'pending'
"""


def prepare_connection() -> None:
    """Call it once on a connection that claims. Statistics must not mislead the planner, however they come about.

    When they were taken nothing may have been pending. By them it would read all that is pending, by whatever
    partial index, for each recipient, and sort it; and again for each picked row, which `state || ''` above prevents.
    What has to be sorted after all looks so costly then that it would be compiled first.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for setting in planning.OFF:
                cursor.execute(f"SET {setting} = off")


SECONDS_SINCE_CRASH = "SELECT extract(epoch FROM now() - stats_reset) FROM pg_stat_bgwriter"


def seconds_since_crash() -> float:
    """Since PostgreSQL last came back from a crash, as far as it tells: with that its statistics begin anew."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(SECONDS_SINCE_CRASH)
            found = cursor.fetchone()
    except ProgrammingError as error:  # it does not tell us: no reason to deliver nothing
        event(logger, "crash_not_told", logging.WARNING, error=type(error).__name__)
        return math.inf
    return math.inf if found is None or found[0] is None else float(found[0])


def claim(
    most: int,
    busy: Collection[int] = (),
    after: int = 0,
    *,
    with_conversations: bool = True,
    of_each: int = ROWS_OF_EACH,
) -> list[Claimed]:
    """Claims up to `most` due deliveries, at most `of_each` of one recipient, none of the `busy` ones.

    Begins with the recipient after number `after`, and goes round once. `with_conversations`: also what is of one.
    """
    lease = Lease.from_now()
    count = _claim(most, busy, (after, _LAST), lease, with_conversations, of_each)
    if after and count < most:
        count += _claim(most - count, busy, (0, after), lease, with_conversations, of_each)
    taken = load(lease) if count else []
    found = keep_one_probe_of_each(taken)
    if found and len(found) < len(taken) >= most:  # what went back took the places of others: they are not to wait
        more_busy = [*busy, *{each.recipient_id for each in found}]
        found += claim(most - len(found), more_busy, after, with_conversations=with_conversations, of_each=of_each)
    return found


def _claim(
    most: int, busy: Collection[int], among: tuple[int, int], lease: Lease, with_conversations: bool, of_each: int
) -> int:
    """`among`: of the recipients after number one, up to number two."""
    now = timezone.now()
    vendor = connection.vendor
    adapt = connection.ops.adapt_datetimefield_value
    parameters = {
        "after": among[0],
        "up_to": among[1],
        "now": adapt(now),
        "lease_until": adapt(lease.until),
        "token": lease.token,
        "busy": list(busy) if vendor == "postgresql" else json.dumps(list(busy)),
        "most": most,
        "of_each": of_each,
        "conversations": with_conversations,
    }
    statement = _CLAIM.format(
        not_busy=_NOT_BUSY[vendor],
        few_of_each=_FEW_OF_EACH[vendor].format(lock=_LOCK[vendor], is_head=IS_HEAD),
        is_claimed_of=IS_CLAIMED_OF,
        gone=statuses.in_sql(GONE),
    )
    for _ in range(MOST_TRIES):
        # Another pump may have claimed of the same conversation in the same moment: a second look sees that.
        with suppress(IntegrityError), connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return count_changed(cursor)
    return 0


def count_changed(cursor: CursorWrapper) -> int:
    """How many rows the statement before has changed. SQLite's driver counts none where it begins with WITH."""
    if connection.vendor == "postgresql":
        return int(cursor.rowcount)
    cursor.execute("SELECT changes()")
    return int(cursor.fetchone()[0])


# Where each field of Claimed that is a column comes from: plain values cost a third of model instances.
_COLUMNS = {
    "id": "id",
    "token": "lease_token",
    "attempts": "attempts",
    "recipient_id": "recipient_id",
    "recipient_type": "recipient__type",
    "host": "recipient__host",
    "terms_version": "recipient__terms_version",
    "success_statuses": "recipient__success_statuses",
    "message_pk": "message_id",
    "room_id": "message__room_id",
    "sent_by": "message__sent_by",
    "sender_name": "message__sender__name",
    "sender_id": "message__sender_id",
    "recipient_name": "recipient__name",
    "written_id": "message__written_id",
    "written_ref": "message__written_ref",
    "model_type": "message__model_type",
    "content_type": "message__content_type",
    "conversation": "message__conversation",
    "accepted_at": "accepted_at",
    "expires_at": "expires_at",
}
_MORE = (
    "recipient__status",
    "message__sender__wants_receipts",
    "recipient__breaker__failures",
    "recipient__breaker__state",
    "recipient_name",
    "message__send_to",
    "message__is_to_room",
    "message__payload",
    "message__payload_deleted_at",
    "message__room__retention",
)
_FIELDS = (*_COLUMNS.values(), *_MORE)


def load(lease: Lease) -> list[Claimed]:
    """What the attempts need of the claimed rows, oldest first: one query over deliveries, messages, recipients.

    Found by the index of leases that run out.
    """
    if connection.vendor != "postgresql":
        return [_claimed(row) for row in _rows(lease)]
    with connection.cursor() as cursor:
        cursor.execute(_rows_statement(), _rows_parameters(lease))
        return [_claimed(dict(zip(_FIELDS, row, strict=True))) for row in cursor.fetchall()]


def _rows(lease: Lease) -> Any:
    held = Delivery.objects.filter(state=State.DELIVERING.value, lease_until=lease.until, lease_token=lease.token)
    return held.order_by("due_at", "id").values(*_FIELDS)


@lru_cache(maxsize=1)
def _rows_statement() -> str:
    """As Django makes it, once: that takes longer than the query of a few rows. No value needs to be converted."""
    lease = Lease.from_now()
    text, parameters = _rows(lease).query.sql_with_params()
    assert list(parameters) == _rows_parameters(lease)
    return str(text)


def _rows_parameters(lease: Lease) -> list[Any]:
    return [lease.token, lease.until, State.DELIVERING.value]  # Django has them by name


def _claimed(row: dict[str, Any]) -> Claimed:
    is_to_room = row["message__is_to_room"]
    kept = row["message__room__retention"]
    is_gone = row["recipient__status"] in GONE
    return Claimed(
        **{name: row[column] for name, column in _COLUMNS.items()},
        wants_receipt=row["message__sender__wants_receipts"]
        and receipts.is_wanted(row["message__sent_by"], row["message__model_type"]),
        recipient_is_gone=is_gone,
        failures=row["recipient__breaker__failures"] or 0,
        is_probe=row["recipient__breaker__state"] == Breaker.State.OPEN and not is_gone,
        send_to=row["recipient_name"] if is_to_room else row["message__send_to"],
        room=row["message__send_to"] if is_to_room else "",
        payload=bytes(row["message__payload"]),
        payload_is_gone=row["message__payload_deleted_at"] is not None,
        retention=DEFAULT_RETENTION if kept is None else kept,
    )


def keep_one_probe_of_each(claimed: list[Claimed]) -> list[Claimed]:
    """Of a recipient whose breaker is open, one attempt at a time among all pumps; the rest goes back.

    What is not attempted but ended takes nobody's turn: else a recipient whose oldest messages expire while they wait
    would hardly ever be tried.
    """
    kept, back = [], []
    probing: set[int] = set()
    now = timezone.now()
    for each in claimed:
        if not each.is_probe or each.is_over(now):
            kept.append(each)
        elif each.recipient_id not in probing and breaker.take_probe(each.recipient_id):
            probing.add(each.recipient_id)
            kept.append(each)
        else:
            back.append(each)
    if back:
        hand_back(back)
    return kept


def hand_back(claimed: Collection[Claimed]) -> int:
    """Gives up claims whose attempt did not end: due again at once, the attempt not counted."""
    return sum(
        rows.update(state=State.PENDING, lease_until=None, lease_token=None, attempts=F("attempts") - 1)
        for rows in _held_by(claimed)
    )


def take_again(claimed: Collection[Claimed]) -> int:
    """Claims anew, under the same leases, what a crash of the database has undone. Returns how many."""
    alike: dict[tuple[int, int], list[int]] = {}
    for each in claimed:
        alike.setdefault((each.token, each.attempts), []).append(each.id)
    return sum(_take_again(token, attempts, ids) for (token, attempts), ids in alike.items())


def _take_again(token: int, attempts: int, ids: list[int]) -> int:
    undone = Delivery.objects.filter(id__in=ids, attempts=attempts - 1).in_state(State.PENDING)
    until = timezone.now() + LEASE
    try:
        with transaction.atomic():
            return undone.update(state=State.DELIVERING, attempts=attempts, lease_until=until, lease_token=token)
    except IntegrityError:  # something else of the conversation is under a lease, which was not undone
        return sum(_take_again(token, attempts, [each]) for each in ids) if len(ids) > 1 else 0


def renew(claimed: Collection[Claimed]) -> int:
    """Their leases begin anew. Returns how many still were ours."""
    until = timezone.now() + LEASE
    return sum(rows.update(lease_until=until) for rows in _held_by(claimed))


def _held_by(claimed: Collection[Claimed]) -> Iterator[QuerySet[Delivery]]:
    by_token: dict[int, list[int]] = {}
    for each in claimed:
        by_token.setdefault(each.token, []).append(each.id)
    for token, ids in by_token.items():
        yield Delivery.objects.filter(id__in=ids, lease_token=token).in_state(State.DELIVERING)


def next_due(after: datetime, within: timedelta) -> datetime | None:
    """When there is something to claim that the claim at `after` could not take yet; None if not `within` that."""
    due_at = (
        Delivery.objects.filter(state=State.PENDING, due_at__gt=after, due_at__lte=after + within)
        .filter(recipient__delivery_mode=Participant.DeliveryMode.PUSH)
        .exclude(recipient__status__in=HELD)
        .exclude(recipient__held_from__lte=after, recipient__held_until__gt=after)
        .order_by("due_at")
        .values_list("due_at", flat=True)
        .first()
    )
    probe_at = breaker.next_probe(after, within)
    return min((at for at in (due_at, probe_at) if at is not None), default=None)
