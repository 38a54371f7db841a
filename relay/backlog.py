"""What waits for a few recipients: how much, and when the first of it is due. By an index, for pages of staff."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timezone

from django.db import connection

from relay import planning

# The states stand here in full and not as parameters, so that SQLite sees that its partial index will do; the order
# leads PostgreSQL to the index of what is due to a recipient.
_BACKLOG = """
    SELECT p.id, (
        SELECT count(*) FROM (
            SELECT 1 FROM relay_delivery d WHERE d.recipient_id = p.id AND d.state = 'pending'
            ORDER BY d.due_at, d.id LIMIT %s
        ) few
    ), (
        SELECT d.due_at FROM relay_delivery d WHERE d.recipient_id = p.id AND d.state = 'pending'
        ORDER BY d.due_at, d.id LIMIT 1
    )
    FROM participants_participant p WHERE p.id IN ({ids})
"""


@dataclass(frozen=True)
class Backlog:
    """Of one recipient: how much is pending, counted up to what was asked for, and when the first of it is due."""

    count: int = 0
    first_due_at: datetime | None = None


def backlogs(participant_ids: Collection[int], most: int) -> dict[int, Backlog]:
    """Of each of them, in one query; counted up to `most`."""
    if not participant_ids:
        return {}
    ids = ",".join(str(int(each)) for each in participant_ids)
    with planning.in_index_order(), connection.cursor() as cursor:
        cursor.execute(_BACKLOG.format(ids=ids), [most])
        return {pk: Backlog(count, _moment(first)) for pk, count, first in cursor.fetchall()}


def _moment(said: datetime | str | None) -> datetime | None:
    """SQLite keeps times as texts, in UTC, and its driver reads some of them."""
    at = datetime.fromisoformat(said) if isinstance(said, str) else said
    return at.replace(tzinfo=timezone.utc) if at is not None and at.tzinfo is None else at
