"""Telling a sender that its message was not delivered: a message from Dmr. Source: CONTRACTS.md, section 1."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from participants import directory, names
from participants.models import DEFAULT_TIME_TO_LIVE, Participant
from relay import metrics
from relay.delivery import wake
from relay.envelope import DEFAULT_CONTENT_TYPE
from relay.models import ERROR_TYPE, Delivery, Message

MODEL_TYPE = f"{ERROR_TYPE};version=1"
TIME_TO_LIVE = timedelta(seconds=DEFAULT_TIME_TO_LIVE)


def is_told(message: Message) -> bool:
    """Not of a message that is itself an error, nor of one of our own."""
    return not message.is_error and message.sent_by != names.DMR


def tell_sender(message: Message, status: int, reason: str) -> Message | None:
    """Stores the error message, in the transaction that ends the delivery; None where nobody is to be told."""
    if not is_told(message):
        return None
    error, delivery = draft(message, status, reason, directory.relay())
    error.save(force_insert=True)
    delivery.save(force_insert=True)
    metrics.ERRORS_SENT.inc()
    transaction.on_commit(wake.pump)
    return error


def draft(message: Message, status: int, reason: str, relay: Participant) -> tuple[Message, Delivery]:
    """The error message and its delivery, to be stored one after the other. `relay`: our own entry."""
    now = timezone.now()
    written_id = str(uuid.uuid4())
    body = base64.b64encode(json.dumps({"message": reason, "status": status}, ensure_ascii=False).encode())
    error = Message(
        sender=relay,
        message_id=uuid.UUID(written_id),
        written_id=written_id,
        written_ref=message.written_id,
        sent_by=names.DMR,
        send_to=message.sender.name,
        model_type=MODEL_TYPE,
        content_type=DEFAULT_CONTENT_TYPE,
        payload=body,
        payload_size=len(body),
        digest="",
        accepted_at=now,
        expires_at=now + TIME_TO_LIVE,
    )
    delivery = Delivery(
        message=error,
        recipient=message.sender,
        recipient_name=message.sender.name,
        sender=relay,
        due_at=now,
        accepted_at=now,
        expires_at=error.expires_at,
    )
    return error, delivery
