"""Claiming what is due: one atomic statement with a lease, fair to all recipients, on both databases.

The statement walks the recipients that have something pending (one index look-up each, however much history
there is), takes the few oldest due rows of each, and marks them. Where it stopped, the next claim goes on, so
that no recipient is always last.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import IntegrityError, ProgrammingError, connection
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from dmr_project.lib.log import event
from participants import statuses
from participants.models import Participant
from relay import planning
from relay.delivery import breaker
from relay.delivery.claimed import Claimed, Lease, load
from relay.delivery.leases import hand_back
from relay.models import Delivery, State

logger = logging.getLogger(__name__)

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
