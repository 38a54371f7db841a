"""What cannot go yet, since something of its conversation goes first, is not due: claims need not look at it.

A claim takes a few due rows of each recipient, and of a conversation only the oldest that has not ended. It passes by
what is behind that: thousands behind those that have failed, or in one that is worked off, would cost each claim, and
so everybody, thousands of look-ups. The sweep puts them off in their order: what is behind one that waits until that
is due, and of a long conversation all but the first ones until those before them can have gone at PER_SECOND. What
goes first is never put off. What is behind one that somebody discards is due again at once: see call_back.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from dmr_project.lib.log import event
from relay import planning
from relay.models import Delivery, State

LOOKED_AT = 500  # of each recipient's due rows
LEFT_DUE = 20  # of a conversation whose first one is due, or under way
PER_SECOND = 100
SOON = timedelta(seconds=5)  # what waits no longer than this is not worth it: the next sweep comes then
MOST_RECIPIENTS = 1_000  # of one sweep; the next one goes on with the others
MOST_PUT_OFF = 5_000  # of one conversation at a time
MOST_ROUNDS = 10  # of one sweep, while there is something to put off

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
# Each recipient's conversations with due rows, how many these are, and when what goes first is due, if it is pending.
_CONVERSATIONS = """
    WITH RECURSIVE waiting(recipient_id, number) AS (
        SELECT (SELECT recipient_id FROM relay_delivery
                WHERE state = 'pending' AND recipient_id > %(after)s ORDER BY recipient_id LIMIT 1), 1
        UNION ALL
        SELECT (SELECT d.recipient_id FROM relay_delivery d
                WHERE d.state = 'pending' AND d.recipient_id > waiting.recipient_id ORDER BY d.recipient_id LIMIT 1),
            number + 1
        FROM waiting WHERE waiting.recipient_id IS NOT NULL AND number < %(most)s
    ), found AS (
        SELECT waiting.recipient_id, number, few.conversation, count(*) AS count
        FROM waiting {few_of_each}
        WHERE waiting.recipient_id IS NOT NULL
        GROUP BY waiting.recipient_id, number, few.conversation
    )
    SELECT recipient_id, number, conversation, count, (
        SELECT CASE WHEN one.state = 'pending' THEN one.due_at END FROM relay_delivery one
        WHERE one.recipient_id = found.recipient_id AND one.conversation = found.conversation
            AND one.state IN ('pending', 'delivering') AND one.conversation <> ''
        ORDER BY one.id LIMIT 1
    ) FROM found
"""
# By the conversation's own index, in the order of the keys.
_BEHIND = """
    SELECT id, place FROM (
        SELECT id, due_at, row_number() OVER (ORDER BY id) - 1 AS place FROM relay_delivery
        WHERE recipient_id = %(recipient)s AND conversation = %(conversation)s AND conversation <> ''
            AND state = 'pending'
    ) ordered
    WHERE due_at <= %(now)s AND place >= %(left)s ORDER BY place LIMIT %(most)s
"""


@dataclass(frozen=True)
class Rule:
    """Of what is pending in a conversation the first `left` stay as they are, the others are due from `begins_at`."""

    left: int
    begins_at: datetime
    is_behind: bool = False  # what goes first waits until then


def rule(due: int, first_due_at: datetime | None, now: datetime) -> Rule | None:
    """For a conversation with so many due rows; `first_due_at`: None where what goes first is under way. Pure."""
    if first_due_at is not None and first_due_at > now:
        return Rule(1, first_due_at, is_behind=True) if first_due_at > now + SOON else None
    return Rule(LEFT_DUE, now + timedelta(seconds=1)) if due > LEFT_DUE else None


def put_off() -> int:
    """Harmless when two do it at once. Returns how many deliveries."""
    global _reached
    after, total = _reached, 0
    for _ in range(MOST_ROUNDS):
        found, _reached = _conversations(after)
        count = sum(_put_off(recipient_id, conversation, each) for recipient_id, conversation, each in found)
        total += count
        if not count:
            break
    if total:
        event(logger, "put_off", count=total)
    return total


def call_back(conversations: Collection[tuple[int | None, str]]) -> int:
    """What went first in these (recipient, conversation) is gone: what was behind it is due again."""
    now = timezone.now()
    return sum(
        Delivery.objects.filter(
            recipient_id=recipient_id, conversation=conversation, state=State.PENDING, due_at__gt=now, attempts=0
        ).update(due_at=now)
        for recipient_id, conversation in sorted(set(conversations), key=str)
        if conversation
    )


def _conversations(after: int) -> tuple[list[tuple[int, str, Rule]], int]:
    """Of the recipients after that one, and which was the last where there are more, else 0."""
    now = timezone.now()
    known = {"now": _adapted(now), "after": after, "most": MOST_RECIPIENTS, "looked_at": LOOKED_AT}
    with planning.in_index_order(), connection.cursor() as cursor:
        cursor.execute(_CONVERSATIONS.format(few_of_each=_FEW_OF_EACH[connection.vendor]), known)
        rows = cursor.fetchall()
    found = []
    for recipient_id, _, conversation, due, first_due_at in rows:
        if conversation and (each := rule(due, _moment(first_due_at), now)):
            found.append((recipient_id, conversation, each))
    return found, max((row[0] for row in rows if row[1] >= MOST_RECIPIENTS), default=0)


def _put_off(recipient_id: int, conversation: str, given: Rule) -> int:
    known: dict[str, Any] = {
        "recipient": recipient_id,
        "conversation": conversation,
        "now": _adapted(timezone.now()),
        "left": given.left,
        "most": MOST_PUT_OFF,
    }
    with transaction.atomic(), planning.in_index_order(), connection.cursor() as cursor:
        if given.is_behind and not _waits(recipient_id, conversation, given.begins_at):
            return 0
        cursor.execute(_BEHIND, known)
        behind = cursor.fetchall()
        for second, rows in groupby(behind, key=lambda row: row[1] // PER_SECOND):
            due_at = given.begins_at + timedelta(seconds=second)
            Delivery.objects.filter(id__in=[pk for pk, _ in rows]).in_state(State.PENDING).update(due_at=due_at)
    return len(behind)


def _waits(recipient_id: int, conversation: str, until: datetime) -> bool:
    """Does what goes first still wait until then? It is locked: whoever discards it calls back what was put off."""
    first = Delivery.objects.filter(recipient_id=recipient_id, conversation=conversation, state=State.PENDING)
    rows = first.exclude(conversation="").order_by("id").select_for_update(of=("self",))
    due_at = rows.values_list("due_at", flat=True).first()
    return due_at is not None and due_at >= until


def _adapted(at: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(at)


def _moment(said: datetime | str | None) -> datetime | None:
    """SQLite keeps times as texts, in UTC."""
    return (
        datetime.fromisoformat(said).replace(tzinfo=timezone.get_fixed_timezone(0)) if isinstance(said, str) else said
    )
