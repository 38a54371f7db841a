"""Claiming what is due: one atomic statement with a lease, fair to all recipients, on both databases.

The statement walks the recipients that have something pending (one index look-up each, however much history
there is), takes the few oldest due rows of each, and marks them. Where it stopped, the next claim goes on, so
that no recipient is always last.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import F
from django.utils import timezone

from participants.models import Participant
from relay.models import Delivery, State

LEASE = timedelta(seconds=30)
ROWS_OF_EACH = 8  # that one claim takes of one recipient

# What waits for these stays pending: they may come back within its time to live.
HELD = (Participant.Status.SUSPENDED.value, Participant.Status.DISABLED.value)


@dataclass(frozen=True)
class Claimed:
    """A claimed delivery with all that an attempt needs."""

    id: int
    token: int
    attempts: int  # this one included
    recipient_id: int
    recipient_is_gone: bool
    host: str
    success_statuses: str
    message_pk: int
    sent_by: str
    send_to: str
    written_id: str
    written_ref: str
    model_type: str
    content_type: str
    payload: bytes
    accepted_at: datetime
    expires_at: datetime


# PostgreSQL locks what it picks and skips what another pump has locked. SQLite has one writer at a time.
_LOCK = {"postgresql": "FOR UPDATE SKIP LOCKED", "sqlite": ""}
# SQLite has no LATERAL, but lets a subquery look at the row beside it.
_FEW_OF_EACH = {
    "postgresql": """
        CROSS JOIN LATERAL (
            SELECT id FROM relay_delivery
            WHERE recipient_id = p.id AND state = 'pending' AND due_at <= %(now)s
            ORDER BY due_at, id LIMIT %(of_each)s {lock}
        ) d
    """,
    "sqlite": """
        JOIN relay_delivery d ON d.id IN (
            SELECT id FROM relay_delivery
            WHERE recipient_id = p.id AND state = 'pending' AND due_at <= %(now)s
            ORDER BY due_at, id LIMIT %(of_each)s
        )
    """,
}
_CLAIM = """
    WITH RECURSIVE waiting(recipient_id) AS (
        SELECT (SELECT recipient_id FROM relay_delivery
                WHERE state = 'pending' AND recipient_id > %(after)s ORDER BY recipient_id LIMIT 1)
        UNION ALL
        SELECT (SELECT d.recipient_id FROM relay_delivery d
                WHERE d.state = 'pending' AND d.recipient_id > waiting.recipient_id ORDER BY d.recipient_id LIMIT 1)
        FROM waiting WHERE waiting.recipient_id IS NOT NULL
    ), picked AS (
        SELECT d.id FROM waiting
        JOIN participants_participant p ON p.id = waiting.recipient_id
            AND p.status NOT IN ('Suspended', 'Disabled') {not_busy}
        {few_of_each}
        LIMIT %(most)s
    )
    UPDATE relay_delivery
    SET state = 'delivering', attempts = attempts + 1, lease_until = %(lease_until)s, lease_token = %(token)s
    WHERE id IN (SELECT id FROM picked) AND state = 'pending'
    RETURNING id, recipient_id
"""


def claim(most: int, busy: Collection[int] = (), after: int = 0) -> list[Claimed]:
    """Claims up to `most` due deliveries, at most ROWS_OF_EACH of one recipient, none of the `busy` ones.

    Begins with the recipient after number `after`, and goes round once.
    """
    token = random.getrandbits(62)
    ids = _claim_ids(most, busy, after, token)
    if after and len(ids) < most:
        ids += _claim_ids(most - len(ids), busy, 0, token)
    return load(ids, token) if ids else []


def _claim_ids(most: int, busy: Collection[int], after: int, token: int) -> list[int]:
    now = timezone.now()
    vendor = connection.vendor
    adapt = connection.ops.adapt_datetimefield_value
    parameters = {
        "after": after,
        "now": adapt(now),
        "lease_until": adapt(now + LEASE),
        "token": token,
        "most": most,
        "of_each": ROWS_OF_EACH,
    }
    not_busy = f"AND p.id NOT IN ({','.join(str(int(each)) for each in busy)})" if busy else ""
    statement = _CLAIM.format(not_busy=not_busy, few_of_each=_FEW_OF_EACH[vendor].format(lock=_LOCK[vendor]))
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [row[0] for row in cursor.fetchall()]


def load(ids: list[int], token: int) -> list[Claimed]:
    """What the attempts need of the claimed rows, oldest first."""
    rows = (
        Delivery.objects.filter(id__in=ids, lease_token=token, state=State.DELIVERING)
        .order_by("due_at", "id")
        .values_list(
            "id",
            "lease_token",
            "attempts",
            "recipient_id",
            "recipient__deleted_at",
            "recipient__host",
            "recipient__success_statuses",
            "message_id",
            "message__sent_by",
            "message__send_to",
            "message__written_id",
            "message__written_ref",
            "message__model_type",
            "message__content_type",
            "message__payload",
            "accepted_at",
            "expires_at",
        )
    )
    return [
        Claimed(*row[:4], row[4] is not None, *row[5:14], bytes(row[14]), *row[15:])  # type: ignore[arg-type]
        for row in rows
    ]


def hand_back(claimed: Collection[Claimed]) -> int:
    """Gives up claims whose attempt did not end: due again at once, the attempt not counted."""
    by_token: dict[int, list[int]] = {}
    for each in claimed:
        by_token.setdefault(each.token, []).append(each.id)
    return sum(
        Delivery.objects.filter(id__in=ids, lease_token=token, state=State.DELIVERING).update(
            state=State.PENDING, lease_until=None, lease_token=None, attempts=F("attempts") - 1
        )
        for token, ids in by_token.items()
    )


def next_due(after: datetime, within: timedelta) -> datetime | None:
    """When the first delivery becomes due that the claim at `after` could not take yet; None if not `within` that."""
    return (
        Delivery.objects.filter(state=State.PENDING, due_at__gt=after, due_at__lte=after + within)
        .exclude(recipient__status__in=HELD)
        .order_by("due_at")
        .values_list("due_at", flat=True)
        .first()
    )
