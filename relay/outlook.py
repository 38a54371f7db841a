"""What a delivery that has not ended waits for, and until when: said as delivery.claim would decide it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from django.db import connection

from participants import statuses
from participants.models import Participant
from relay import planning
from relay.models import Breaker, Delivery, State


class Why(Enum):
    ENDED = "it has ended"
    UNDER_WAY = "a worker is at it"
    FETCHED = "its recipient has it, and has not acknowledged it yet"
    STATUS = "its recipient is suspended, disabled or not active yet"
    OUTAGE = "an outage of its recipient"
    CONVERSATION = "an older message of its conversation goes first"
    INBOX = "its recipient is to fetch it"
    PARKED = "its recipient said 410, and staff have not closed its breaker"
    BREAKER = "its recipient fails, and is tried by one message at a time"
    TURN = "its own next attempt"


@dataclass(frozen=True)
class Ahead:
    """The delivery that goes before another one of its conversation."""

    delivery_id: int
    written_id: str


@dataclass(frozen=True)
class Outlook:
    """`at`: when it goes on; None where that depends on somebody."""

    why: Why
    at: datetime | None = None
    ahead: Ahead | None = None


def decide(row: Delivery, now: datetime, ahead: Ahead | None = None) -> Outlook:
    """Of a row with its recipient and that one's breaker. Pure."""
    recipient = row.recipient
    pulls = recipient is not None and recipient.delivery_mode == Participant.DeliveryMode.PULL
    if row.state == State.DELIVERING:
        return Outlook(Why.FETCHED if pulls else Why.UNDER_WAY, row.lease_until)
    if row.state != State.PENDING or recipient is None:
        return Outlook(Why.ENDED)
    if recipient.status in statuses.HELD:
        return Outlook(Why.STATUS, recipient.suspended_until)
    if not pulls and recipient.is_held(now):
        return Outlook(Why.OUTAGE, recipient.held_until)
    if ahead is not None:
        return Outlook(Why.CONVERSATION, ahead=ahead)
    if pulls:
        return Outlook(Why.INBOX, row.due_at)
    breaker: Breaker | None = getattr(recipient, "breaker", None)
    if breaker is not None and breaker.state == Breaker.State.PARKED:
        return Outlook(Why.PARKED)
    if breaker is not None and breaker.probe_at is not None and row.due_at <= max(now, breaker.probe_at):
        return Outlook(Why.BREAKER, breaker.probe_at)
    return Outlook(Why.TURN, row.due_at)


# The states stand here in full, for SQLite's partial index; delivery.claim.IS_HEAD asks the same.
_AHEAD = """
    SELECT one.id, first.id, m.written_id
    FROM relay_delivery one
    JOIN relay_delivery first ON first.id = (
        SELECT other.id FROM relay_delivery other
        WHERE other.recipient_id = one.recipient_id AND other.conversation = one.conversation
            AND other.state IN ('pending', 'delivering') AND other.conversation <> ''
            AND other.id <> one.id AND (other.id < one.id OR other.state = 'delivering')
        ORDER BY other.id LIMIT 1
    )
    JOIN relay_message m ON m.id = first.message_id
    WHERE one.id IN ({ids})
"""


def ahead_of(rows: Collection[Delivery]) -> dict[int, Ahead]:
    """What goes before each of these that waits in a conversation, in one query; not of those that go first."""
    waiting = [row.pk for row in rows if row.conversation and row.state == State.PENDING]
    if not waiting:
        return {}
    ids = ",".join(str(int(each)) for each in waiting)
    with planning.in_index_order(), connection.cursor() as cursor:
        cursor.execute(_AHEAD.format(ids=ids))
        return {one: Ahead(first, str(written_id)) for one, first, written_id in cursor.fetchall()}
