"""Telling a sender that wants to know that its message was delivered: a message from Dmr, which causes no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from django.db import transaction

from participants import directory, names
from participants.models import Participant
from relay import bulk, metrics, own_messages
from relay.delivery import wake
from relay.models import ERROR_TYPE, Delivery, Message

RECEIPT_TYPE = "application/vnd.dmr.receipt+json"
MODEL_TYPE = f"{RECEIPT_TYPE};version=1"


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
    at = each.at.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return own_messages.draft(
        relay,
        to_id=each.sender_id,
        to_name=each.sender_name,
        ref=each.written_id,
        model_type=MODEL_TYPE,
        said={"messageId": each.written_id, "recipient": each.recipient, "deliveredAt": at, "status": each.status},
        at=each.at,
    )
