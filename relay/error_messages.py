"""Telling a sender that its message was not delivered: a message from Dmr. Source: CONTRACTS.md, section 1."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from participants import directory, names
from participants.models import Participant
from relay import metrics, own_messages
from relay.delivery import wake
from relay.models import ERROR_TYPE, Delivery, Message

MODEL_TYPE = f"{ERROR_TYPE};version=1"


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
    return own_messages.draft(
        relay,
        to_id=message.sender_id,
        to_name=message.sender.name,
        ref=message.written_id,
        model_type=MODEL_TYPE,
        said={"message": reason, "status": status},
        at=timezone.now(),
    )
