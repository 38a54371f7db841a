"""Telling a sender that wants to know that its message was delivered: a message from Dmr, which causes no other."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from django.db import transaction

from participants import directory, names
from participants.models import DEFAULT_TIME_TO_LIVE, Participant
from relay import bulk, metrics
from relay.delivery import wake
from relay.envelope import DEFAULT_CONTENT_TYPE
from relay.models import ERROR_TYPE, Delivery, Message

RECEIPT_TYPE = "application/vnd.dmr.receipt+json"
MODEL_TYPE = f"{RECEIPT_TYPE};version=1"
TIME_TO_LIVE = timedelta(seconds=DEFAULT_TIME_TO_LIVE)


@dataclass(frozen=True)
class Delivered:
    """A delivery that its message's sender wants to hear of."""

    written_id: str
    sender_id: int
    sender_name: str
    recipient: str
    at: datetime
    status: int | None  # the recipient's answer; None where it fetched the message


def is_wanted(sent_by: str, model_type: str) -> bool:
    """Of a sender that wants receipts: not of an error or a receipt, nor of what we say ourselves."""
    is_said_of_another = model_type.split(";")[0].strip().lower() in (ERROR_TYPE, RECEIPT_TYPE)
    return sent_by != names.DMR and not is_said_of_another


def store(delivered: Sequence[Delivered]) -> None:
    """Stores a receipt for each, in the transaction that settles them: two statements however many they are."""
    if not delivered:
        return
    relay = directory.relay()
    drafts = [_draft(each, relay) for each in delivered]
    bulk.insert_messages([message for message, _ in drafts])
    bulk.insert_deliveries([delivery for _, delivery in drafts])
    metrics.RECEIPTS_SENT.inc(len(drafts))
    transaction.on_commit(wake.pump)


def _draft(each: Delivered, relay: Participant) -> tuple[Message, Delivery]:
    written_id = str(uuid.uuid4())
    at = each.at.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    said = {"messageId": each.written_id, "recipient": each.recipient, "deliveredAt": at, "status": each.status}
    body = base64.b64encode(json.dumps(said, ensure_ascii=False).encode())
    message = Message(
        sender=relay,
        message_id=uuid.UUID(written_id),
        written_id=written_id,
        written_ref=each.written_id,
        sent_by=names.DMR,
        send_to=each.sender_name,
        model_type=MODEL_TYPE,
        content_type=DEFAULT_CONTENT_TYPE,
        payload=body,
        payload_size=len(body),
        digest="",
        accepted_at=each.at,
        expires_at=each.at + TIME_TO_LIVE,
    )
    delivery = Delivery(
        message=message,
        recipient_id=each.sender_id,
        recipient_name=each.sender_name,
        due_at=each.at,
        accepted_at=each.at,
        expires_at=message.expires_at,
    )
    return message, delivery
