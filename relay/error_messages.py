"""Telling a sender that its message was not delivered: a message from Dmr. Source: CONTRACTS.md, section 1."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from participants import directory, names
from participants.models import DEFAULT_TIME_TO_LIVE
from relay import metrics
from relay.delivery import wake
from relay.envelope import DEFAULT_CONTENT_TYPE
from relay.models import ERROR_TYPE, Delivery, Message

MODEL_TYPE = f"{ERROR_TYPE};version=1"
TIME_TO_LIVE = timedelta(seconds=DEFAULT_TIME_TO_LIVE)


def tell_sender(message: Message, status: int, reason: str) -> Message | None:
    """Stores the error message, in the transaction that ends the delivery; None where nobody is to be told.

    Never for a message that is itself an error, nor for one of our own.
    """
    if message.is_error or message.sent_by == names.DMR:
        return None
    now = timezone.now()
    written_id = str(uuid.uuid4())
    body = base64.b64encode(json.dumps({"message": reason, "status": status}, ensure_ascii=False).encode())
    error = Message.objects.create(
        sender=directory.relay(),
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
    Delivery.objects.create(
        message=error,
        recipient=message.sender,
        recipient_name=message.sender.name,
        due_at=now,
        accepted_at=now,
        expires_at=error.expires_at,
    )
    metrics.ERRORS_SENT.inc()
    transaction.on_commit(wake.pump)
    return error
