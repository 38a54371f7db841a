"""Handing messages out of the inbox, under a lease: one atomic statement, as a pump's claim is.

What is leased is in flight: nobody else gets it, and of a conversation there is never more than one. It ends when
its recipient acknowledges it, and is due again when it is handed back (relay.inbox.answers), or when its lease has
run out (relay.delivery.sweeper).
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, connection
from django.utils import timezone

from dmr_project.lib.errors import Conflict, Forbidden
from participants.directory import Entry
from relay import metrics, planning
from relay.delivery import claim, settle
from relay.delivery.claimed import Claimed, Lease, load
from relay.delivery.headers import attested_headers
from relay.delivery_keys import Keyring
from relay.models import State

MOST_BYTES = 4 * 1024 * 1024  # of payloads in one answer, but for a first one that is larger alone
MOST_ATTEMPTS_COUNTED = 30_000  # a lease that is lost every few seconds must not overflow the column
MOST_ROUNDS = 5

keyring = Keyring()  # of this process


class RecipientSuspended(Forbidden):
    code = "recipient-suspended"
    title = "The recipient may not receive"


class NotPulling(Conflict):
    code = "delivery-mode-is-push"
    title = "Messages are posted to the endpoint"


@dataclass(frozen=True)
class Handle:
    """Of a leased delivery, which its recipient settles it by: `<delivery>-<claim>`, opaque to participants."""

    delivery_id: int
    token: int

    def __str__(self) -> str:
        return f"{self.delivery_id:x}-{self.token:x}"


_HANDLE = re.compile(r"([0-9a-f]{1,15})-([0-9a-f]{1,16})")


def parse_handle(text: str) -> Handle | None:
    """None where the text is none."""
    match = _HANDLE.fullmatch(text)
    found = Handle(int(match[1], 16), int(match[2], 16)) if match else None
    return found if str(found) == text else None  # one way to write each


@dataclass(frozen=True)
class Leased:
    """A message handed out, and until when. `headers` are what a push would bear, the signature too."""

    claimed: Claimed
    until: datetime
    headers: dict[str, str]

    @property
    def handle(self) -> Handle:
        return Handle(self.claimed.id, self.claimed.token)


def authorise(recipient: Entry) -> None:
    """Raises RecipientSuspended: what waits is held until that is lifted."""
    if not recipient.may_send:
        raise RecipientSuspended(
            f"{recipient.name} is {recipient.status.lower()}: its messages are held until that is lifted."
        )


# -- handing out --

# Oldest first, of a conversation only its head, and no more than fit into one answer. What has expired is left to
# the sweeper, which tells its sender.
_LEASE_SOME = """
    WITH picked AS (
        SELECT one.id, one.due_at, m.payload_size FROM relay_delivery one
        JOIN relay_message m ON m.id = one.message_id
        WHERE one.recipient_id = %(recipient)s AND one.state = 'pending' AND one.due_at <= %(now)s
            AND one.expires_at > %(now)s AND {is_head}
        ORDER BY one.due_at, one.id LIMIT %(most)s {lock}
    ), sized AS (
        SELECT id, payload_size, sum(payload_size) OVER (ORDER BY due_at, id) AS so_far FROM picked
    )
    UPDATE relay_delivery
    SET state = 'delivering', lease_until = %(until)s, lease_token = %(token)s,
        attempts = CASE WHEN attempts < %(most_attempts)s THEN attempts + 1 ELSE attempts END
    WHERE state || '' = 'pending'
        AND id IN (SELECT id FROM sized WHERE so_far <= %(most_bytes)s OR so_far = payload_size)
"""
_LOCK = {"postgresql": "FOR UPDATE OF one SKIP LOCKED", "sqlite": ""}


def hand_out(recipient: Entry, *, most: int, seconds: int) -> list[Leased]:
    """Leases up to `most` of the recipient's due messages, for `seconds` from now.

    Raises RecipientSuspended, NotPulling, DeliveryKeyUnreadable.
    """
    authorise(recipient)
    if not recipient.pulls:
        raise NotPulling(
            f'Messages to {recipient.name} are posted to its endpoint; POST {{"mode": "pull"}} to '
            "/api/v1/my/delivery-mode to fetch them here."
        )
    signer = keyring.signer()
    for _ in range(MOST_ROUNDS):
        lease = Lease(random.getrandbits(62), timezone.now() + timedelta(seconds=seconds))
        count = _claim(recipient.id, most, lease)
        found = [each for each in load(lease) if not _end_without_payload(each)] if count else []
        if found or not count:
            metrics.INBOX_LEASED.inc(len(found))
            return [Leased(each, lease.until, attested_headers(each, signer)) for each in found]
    return []


def _claim(recipient_id: int, most: int, lease: Lease) -> int:
    adapt = connection.ops.adapt_datetimefield_value
    parameters = {
        "recipient": recipient_id,
        "now": adapt(timezone.now()),
        "most": most,
        "until": adapt(lease.until),
        "token": lease.token,
        "most_attempts": MOST_ATTEMPTS_COUNTED,
        "most_bytes": MOST_BYTES,
    }
    try:
        with planning.in_index_order(), connection.cursor() as cursor:
            cursor.execute(_LEASE_SOME.format(is_head=claim.IS_HEAD, lock=_LOCK[connection.vendor]), parameters)
            return claim.count_changed(cursor)
    except IntegrityError:
        # Somebody has claimed of the same conversation in the same moment; the next look sees it.
        return 0


def _end_without_payload(claimed: Claimed) -> bool:
    if claimed.payload_is_gone:
        ending = settle.Ending(State.DEAD, settle.PAYLOAD_GONE, 504)
        settle.end_unattempted(claimed, ending, timezone.now())
    return claimed.payload_is_gone


# Its first rows tell, and its last ones, which are new, however much waits: a conversation with thousands behind one
# that is leased must not cost each look thousands of look-ups. {ids} are numbers of ours.
_WITH_SOMETHING = """
    SELECT p.id FROM participants_participant p
    WHERE p.id IN ({ids}) AND p.status = 'Active' AND p.delivery_mode = 'pull' AND ({among_first} OR {among_last})
"""
_AMONG_SOME = """EXISTS (
        SELECT 1 FROM (
            SELECT d.id, d.recipient_id, d.conversation FROM relay_delivery d
            WHERE d.recipient_id = p.id AND d.state = 'pending' AND d.due_at <= %(now)s AND d.expires_at > %(now)s
            ORDER BY {order} LIMIT %(rows)s
        ) one WHERE {is_head}
    )
"""
ROWS_LOOKED_AT = 100


def with_something(recipient_ids: Collection[int]) -> set[int]:
    """Which of these participants have something to fetch now, in one query."""
    if not recipient_ids:
        return set()
    ids = ",".join(str(int(each)) for each in recipient_ids)
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with planning.in_index_order(), connection.cursor() as cursor:
        cursor.execute(
            _WITH_SOMETHING.format(
                ids=ids,
                among_first=_AMONG_SOME.format(order="d.due_at, d.id", is_head=claim.IS_HEAD),
                among_last=_AMONG_SOME.format(order="d.due_at DESC, d.id DESC", is_head=claim.IS_HEAD),
            ),
            {"now": now, "rows": ROWS_LOOKED_AT},
        )
        return {row[0] for row in cursor.fetchall()}
