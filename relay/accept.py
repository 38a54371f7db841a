"""Accepting a message: validate, dedupe, store, route, in one transaction; 202 only after its commit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from dmr_project.lib.body import PayloadTooLarge
from dmr_project.lib.errors import Conflict, Forbidden
from participants import directory, names
from participants.directory import Entry
from participants.models import DEFAULT_TIME_TO_LIVE
from relay import error_messages, metrics
from relay.delivery import wake
from relay.envelope import Envelope
from relay.models import Delivery, Message, State
from relay.routing import DeadEnd, Route, route


class SenderMismatch(Forbidden):
    code = "sender-mismatch"
    title = "X-Sent-By is not the caller"


class SenderSuspended(Forbidden):
    code = "sender-suspended"
    title = "The sender may not send"


class MessageIdTaken(Conflict):
    code = "message-id-conflict"
    title = "The message id was used for another message"


@dataclass(frozen=True)
class Accepted:
    """The answer to a message, and the same to each repeat of it."""

    written_id: str
    accepted_at: datetime
    expires_at: datetime
    is_repeat: bool


def authorise(sender: Entry, sent_by: str) -> None:
    """Raises SenderSuspended, SenderMismatch."""
    if not sender.may_send:
        raise SenderSuspended(f"{sender.name} is {sender.status.lower()}, and may not send until that is lifted.")
    allowed = [sender.name, names.CLASSIFIER] if sender.is_classifier else [sender.name]
    if sent_by not in allowed:
        raise SenderMismatch(f"This key is {sender.name}'s: X-Sent-By must be {' or '.join(allowed)}.")


def accept(sender: Entry, envelope: Envelope, payload: bytes) -> Accepted:
    """Stores the message and its delivery, then wakes a pump.

    A recipient that cannot be is a dead letter at once, and its sender is told. Raises SenderSuspended,
    SenderMismatch, PayloadTooLarge, MessageIdTaken.
    """
    authorise(sender, envelope.sent_by)
    found = route(directory.current(), sender, envelope.send_to)
    if isinstance(found, Route) and len(payload) > found.policy.payload_limit:
        raise PayloadTooLarge(f"The payload has {len(payload)} bytes; the room allows {found.policy.payload_limit}.")
    now = timezone.now()
    message = Message(
        sender_id=sender.id,
        message_id=envelope.message_id,
        written_id=envelope.written_id,
        written_ref=envelope.written_ref,
        sent_by=envelope.sent_by,
        send_to=envelope.send_to,
        model_type=envelope.model_type,
        conversation=envelope.conversation,
        content_type=envelope.content_type,
        room_id=found.policy.room_id if isinstance(found, Route) else None,
        payload=payload,
        payload_size=len(payload),
        digest=envelope.digest(payload),
        accepted_at=now,
        expires_at=now + time_to_live(found, envelope),
    )
    try:
        with transaction.atomic():
            message.save(force_insert=True)
            _store_delivery(message, found)
    except IntegrityError:
        first = Message.objects.sent_by_participant(sender.id, envelope.message_id)
        if first is None:
            raise  # it was not about the id
        return _repeat(first, message.digest)
    metrics.ACCEPTED.inc()
    return Accepted(message.written_id, message.accepted_at, message.expires_at, is_repeat=False)


def time_to_live(found: Route | DeadEnd, envelope: Envelope) -> timedelta:
    """The room's, or less where the sender asks for less."""
    most = found.policy.time_to_live if isinstance(found, Route) else DEFAULT_TIME_TO_LIVE
    return timedelta(seconds=min(most, envelope.time_to_live or most))


def _store_delivery(message: Message, found: Route | DeadEnd) -> None:
    delivery = Delivery(
        message=message,
        recipient_name=message.send_to,
        conversation=message.conversation,
        due_at=message.accepted_at,
        accepted_at=message.accepted_at,
        expires_at=message.expires_at,
    )
    if isinstance(found, Route):
        delivery.recipient_id = found.recipient.id
        delivery.recipient_name = found.recipient.name
        delivery.save(force_insert=True)
    else:
        delivery.recipient_id = found.recipient.id if found.recipient else None
        delivery.state = State.DEAD
        delivery.ended_at = message.accepted_at
        delivery.last_error = found.reason[:255]
        delivery.save(force_insert=True)
        metrics.SETTLED.labels(state=State.DEAD.value).inc()
        error_messages.tell_sender(message, found.status, found.reason)
    transaction.on_commit(wake.pump)


def _repeat(first: Message, digest: str) -> Accepted:
    """The first answer again. Raises MessageIdTaken where the id was used for something else."""
    if first.digest != digest:
        raise MessageIdTaken(
            f"{first.written_id} was accepted at {first.accepted_at.isoformat()} with other content; "
            "use a new id for a new message."
        )
    metrics.REPEATED.inc()
    return Accepted(first.written_id, first.accepted_at, first.expires_at, is_repeat=True)
