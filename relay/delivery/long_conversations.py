"""What waits in a long conversation is due bit by bit, so that claims need not look at all of it.

A claim takes a few due rows of each recipient, and of a conversation only the oldest that has not ended: it passes by
what is behind that. Thousands behind one that fails, or in one that is worked off, would cost each claim, and so
everybody, thousands of look-ups. The sweep puts off all but the first ones, in their order: each is due when all
before it can have gone at PER_SECOND. What goes first is never put off.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from dmr_project.lib.log import event
from relay import planning
from relay.models import Delivery, State

LOOKED_AT = 200  # of each recipient's due rows; a conversation that has LEFT_DUE of them is a long one
LEFT_DUE = 50  # of a long conversation; fewer than relay.inbox.leases looks at
PER_SECOND = 100
LONGEST_WAIT = timedelta(seconds=60)  # for a first one that waits longer: it may end before, if somebody ends it
MOST_RECIPIENTS = 1_000  # of one sweep; the next one goes on with the others
MOST_PUT_OFF = 5_000  # of one conversation in one sweep

logger = logging.getLogger(__name__)

_reached = 0  # the last recipient of the sweep before, where there were more

_FEW_OF_EACH = {
    "postgresql": """
        CROSS JOIN LATERAL (
            SELECT d.conversation FROM relay_delivery d
            WHERE d.recipient_id = waiting.recipient_id AND d.state = 'pending' AND d.due_at <= %(now)s
            ORDER BY d.due_at, d.id LIMIT %(looked_at)s
        ) few
    """,
    "sqlite": """
        JOIN relay_delivery few ON few.id IN (
            SELECT d.id FROM relay_delivery d
            WHERE d.recipient_id = waiting.recipient_id AND d.state = 'pending' AND d.due_at <= %(now)s
            ORDER BY d.due_at, d.id LIMIT %(looked_at)s
        )
    """,
}
_LONG = """
    WITH RECURSIVE waiting(recipient_id, number) AS (
        SELECT (SELECT recipient_id FROM relay_delivery
                WHERE state = 'pending' AND recipient_id > %(after)s ORDER BY recipient_id LIMIT 1), 1
        UNION ALL
        SELECT (SELECT d.recipient_id FROM relay_delivery d
                WHERE d.state = 'pending' AND d.recipient_id > waiting.recipient_id ORDER BY d.recipient_id LIMIT 1),
            number + 1
        FROM waiting WHERE waiting.recipient_id IS NOT NULL AND number < %(most)s
    )
    SELECT waiting.recipient_id, number, few.conversation, count(*)
    FROM waiting {few_of_each}
    WHERE waiting.recipient_id IS NOT NULL
    GROUP BY waiting.recipient_id, number, few.conversation
"""
# By the conversation's own index, in the order of the keys.
_BEHIND = """
    SELECT id, place FROM (
        SELECT id, due_at, row_number() OVER (ORDER BY id) - 1 AS place FROM relay_delivery
        WHERE recipient_id = %(recipient)s AND conversation = %(conversation)s AND conversation <> ''
            AND state = 'pending'
    ) ordered
    WHERE due_at <= %(now)s AND place >= %(left_due)s ORDER BY place LIMIT %(most)s
"""


def put_off() -> int:
    """Harmless when two do it at once. Returns how many deliveries."""
    now = timezone.now()
    return sum(_put_off(recipient_id, conversation, now) for recipient_id, conversation in _long(now))


def _long(now: datetime) -> list[tuple[int, str]]:
    global _reached
    statement = _LONG.format(few_of_each=_FEW_OF_EACH[connection.vendor])
    known = {"now": _adapted(now), "after": _reached, "most": MOST_RECIPIENTS, "looked_at": LOOKED_AT}
    with planning.in_index_order(), connection.cursor() as cursor:
        cursor.execute(statement, known)
        rows = cursor.fetchall()
    _reached = max((row[0] for row in rows), default=0) if any(row[1] >= MOST_RECIPIENTS for row in rows) else 0
    return [(recipient_id, said) for recipient_id, _, said, count in rows if said and count > LEFT_DUE]


def _put_off(recipient_id: int, conversation: str, now: datetime) -> int:
    under_way = Delivery.objects.filter(
        recipient_id=recipient_id, conversation=conversation, state__in=(State.PENDING, State.DELIVERING)
    )
    known = {"recipient": recipient_id, "conversation": conversation, "now": _adapted(now)}
    with planning.in_index_order(), transaction.atomic(), connection.cursor() as cursor:
        first_due: datetime = under_way.exclude(conversation="").order_by("id").values_list("due_at", flat=True)[0]
        begins_at = max(now, min(first_due, now + LONGEST_WAIT))
        cursor.execute(_BEHIND, {**known, "left_due": LEFT_DUE, "most": MOST_PUT_OFF})
        behind = cursor.fetchall()
        for second, rows in groupby(behind, key=lambda row: row[1] // PER_SECOND):
            due_at = begins_at + timedelta(seconds=second + 1)
            Delivery.objects.filter(id__in=[pk for pk, _ in rows]).in_state(State.PENDING).update(due_at=due_at)
    event(logger, "long_conversation", recipient=recipient_id, put_off=len(behind))
    return len(behind)


def _adapted(at: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(at)
