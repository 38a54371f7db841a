"""What a claim took: each delivery with all that its attempt needs, loaded at once for all of a lease."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.db import connection
from django.utils import timezone

from participants import statuses
from participants.models import DEFAULT_RETENTION
from relay import receipts
from relay.models import Breaker, Delivery, State

LEASE = timedelta(seconds=30)


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
    is_gone = row["recipient__status"] in statuses.GONE
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
