"""Accepting a message: validate, dedupe, store, route, in one transaction; 202 only after its commit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from dmr_project.lib.body import PayloadTooLarge
from dmr_project.lib.errors import Conflict, Forbidden, NotFound
from participants import directory, names
from participants.directory import Directory, Entry, Policy
from participants.models import DEFAULT_TIME_TO_LIVE
from relay import counting, error_messages, insert, retention, stored_bytes
from relay.delivery import wake
from relay.envelope import Envelope
from relay.models import Delivery, Message, State
from relay.routing import DeadEnd, RoomRoute, Route, route, route_to_room


class SenderMismatch(Forbidden):
    code = "sender-mismatch"
    title = "X-Sent-By is not the caller"


class SenderSuspended(Forbidden):
    code = "sender-suspended"
    title = "The sender may not send"


class MayNotSpeak(Forbidden):
    code = "may-not-speak"
    title = "The sender may not speak in this room"


class MessageIdTaken(Conflict):
    code = "message-id-conflict"
    title = "The message id was used for another message"


Found = Route | RoomRoute | DeadEnd


class Outdated(Exception):
    """The registry has changed since `registry` was read: decide again by the new one."""


@dataclass(frozen=True)
class Accepted:
    """The answer to a message, and the same to each repeat of it."""

    written_id: str
    accepted_at: datetime
    expires_at: datetime
    is_repeat: bool


def check_may_send(sender: Entry) -> None:
    """Raises SenderSuspended."""
    if not sender.may_send:
        until = f", by itself at {sender.sends_from.isoformat()}" if sender.sends_from else ""
        raise SenderSuspended(
            f"{sender.name} is {sender.status.lower()}, and may not send until that is lifted{until}."
        )


def authorise(sender: Entry, sent_by: str) -> None:
    """Raises SenderSuspended, SenderMismatch."""
    check_may_send(sender)
    allowed = [sender.name, names.CLASSIFIER] if sender.is_classifier else [sender.name]
    if sent_by not in allowed:
        raise SenderMismatch(f"This key is {sender.name}'s: X-Sent-By must be {' or '.join(allowed)}.")


def accept(registry: Directory, sender: Entry, envelope: Envelope, payload: bytes) -> Accepted:
    """Stores the message and its delivery, then wakes a pump. `registry` is what holds for this request.

    A recipient that cannot be is a dead letter at once, and its sender is told. Raises SenderSuspended,
    SenderMismatch, PayloadTooLarge, MessageIdTaken, Outdated.
    """
    authorise(sender, envelope.sent_by)
    try:
        return _store(registry, sender, envelope, payload, route(registry, sender, envelope.send_to))
    except PayloadTooLarge:
        if (first := first_answer(sender, envelope, payload, is_to_room=False)) is None:
            raise
        return first


def accept_for_room(registry: Directory, sender: Entry, envelope: Envelope, payload: bytes) -> Accepted:
    """The same for every other member of the room that `envelope.send_to` names: one payload, a delivery each.

    Raises NotFound too, where the sender is in no such room, and MayNotSpeak.
    """
    authorise(sender, envelope.sent_by)
    try:
        return _store(registry, sender, envelope, payload, room_named(registry, sender, envelope.send_to))
    except (NotFound, MayNotSpeak, PayloadTooLarge):
        if (first := first_answer(sender, envelope, payload, is_to_room=True)) is None:
            raise
        return first


def room_named(registry: Directory, sender: Entry, name: str) -> RoomRoute:
    """Where a message to that room goes. Raises NotFound where the sender is in no such room, MayNotSpeak."""
    found = route_to_room(registry, sender, name)
    if isinstance(found, DeadEnd):
        raise NotFound(found.reason) if found.status == 404 else MayNotSpeak(found.reason)
    return found


def plain_row(registry: Directory, sender: Entry, envelope: Envelope, payload: bytes) -> insert.Row | None:
    """What `accept` would store of the usual message, one to one recipient; None where it is not that.

    Decides alone, and raises the same.
    """
    authorise(sender, envelope.sent_by)
    found = route(registry, sender, envelope.send_to)
    return _row(registry, values(sender, envelope, payload, found), found) if isinstance(found, Route) else None


async def accept_on_loop(sender: Entry, row: insert.Row) -> Accepted | None:
    """Stores a plain row as `accept` does, from an event loop. None where nothing was stored: `accept` knows why."""
    message = row.message

    def note() -> None:
        _note(message, sender)
        wake.pump()

    if await insert.store_on_loop(row, note) is not insert.Stored.NEW:
        return None
    return Accepted(message["written_id"], message["accepted_at"], message["expires_at"], is_repeat=False)


def _row(registry: Directory, message: dict[str, Any], found: Route) -> insert.Row:
    return insert.Row(message, found.recipient.id, found.recipient.name, registry.version)


def _note(message: dict[str, Any], sender: Entry) -> None:
    counting.accepted(message["room_id"], sender.type)
    stored_bytes.note(sender.id, message["payload_size"])


def _store(registry: Directory, sender: Entry, envelope: Envelope, payload: bytes, found: Found) -> Accepted:
    message = values(sender, envelope, payload, found)
    if not _insert(registry, message, found):
        first = Message.objects.get(sender=sender.id, message_id=envelope.message_id)
        return repeat(first, message["digest"], message["is_to_room"], sender)
    _note(message, sender)
    return Accepted(envelope.written_id, message["accepted_at"], message["expires_at"], is_repeat=False)


def values(sender: Entry, envelope: Envelope, payload: bytes, found: Found) -> dict[str, Any]:
    """The message as it is to be stored, accepted now: by column, since an instance costs more than all the rest.

    Raises PayloadTooLarge.
    """
    policy = None if isinstance(found, DeadEnd) else found.policy
    if policy is not None and len(payload) > policy.payload_limit:
        raise PayloadTooLarge(f"The payload has {len(payload)} bytes; the room allows {policy.payload_limit}.")
    now = timezone.now()
    return {
        "sender_id": sender.id,
        "message_id": envelope.message_id,
        "written_id": envelope.written_id,
        "written_ref": envelope.written_ref,
        "sent_by": envelope.sent_by,
        "send_to": envelope.send_to,
        "model_type": envelope.model_type,
        "conversation": envelope.conversation,
        "content_type": envelope.content_type,
        "is_to_room": isinstance(found, RoomRoute),
        "room_id": policy.room_id if policy else None,
        "payload": payload,
        "payload_deleted_at": None,
        "payload_size": len(payload),
        "digest": envelope.digest(payload),
        "accepted_at": now,
        "expires_at": now + time_to_live(policy, envelope),
    }


def time_to_live(policy: Policy | None, envelope: Envelope) -> timedelta:
    """The room's, or less where the sender asks for less."""
    most = policy.time_to_live if policy else DEFAULT_TIME_TO_LIVE
    return timedelta(seconds=min(most, envelope.time_to_live or most))


def _insert(registry: Directory, message: dict[str, Any], found: Found) -> bool:
    """Stores the message with its deliveries; False where the sender has used its id before. Raises Outdated."""
    if isinstance(found, Route):
        stored = insert.store(_row(registry, message, found))
        if stored is insert.Stored.OUTDATED:
            raise Outdated
        if stored is insert.Stored.NEW:
            transaction.on_commit(wake.pump)
        return stored is insert.Stored.NEW
    if registry.version != directory.registry_version():
        raise Outdated
    try:
        with transaction.atomic():
            _store_deliveries(Message.objects.create(**message), found)
    except IntegrityError:
        if not Message.objects.filter(sender=message["sender_id"], message_id=message["message_id"]).exists():
            raise  # it was not about the id
        return False
    return True


def _store_deliveries(message: Message, found: RoomRoute | DeadEnd) -> None:
    Delivery.objects.bulk_create(deliveries_of(message, found), batch_size=500)
    if isinstance(found, DeadEnd):
        counting.settled(State.DEAD, None, found.recipient.type if found.recipient else None)
        error_messages.tell_sender(message, found.status, found.reason)
    if is_for_nobody(found):
        retention.note_ended({message.pk: 0}, message.accepted_at)
    transaction.on_commit(wake.pump)


def deliveries_of(message: Message, found: Found) -> list[Delivery]:
    """A delivery for each recipient, to be stored with the message; of a dead end the dead letter."""
    if isinstance(found, Route):
        return [_delivery(message, found.recipient.id, found.recipient.name)]
    if isinstance(found, RoomRoute):
        return [_delivery(message, each.id, each.name) for each in found.recipients]
    dead = _delivery(message, found.recipient.id if found.recipient else None, message.send_to)
    dead.state = State.DEAD
    dead.ended_at = message.accepted_at
    dead.last_error = found.reason[:255]
    return [dead]


def is_for_nobody(found: Found) -> bool:
    """Can it never be delivered? Nobody has the recipient's name, or nobody else listens in the room."""
    return (isinstance(found, DeadEnd) and found.recipient is None) or (
        isinstance(found, RoomRoute) and not found.recipients
    )


def _delivery(message: Message, recipient_id: int | None, recipient_name: str) -> Delivery:
    return Delivery(
        message=message,
        recipient_id=recipient_id,
        recipient_name=recipient_name,
        sender_id=message.sender_id,
        conversation=message.conversation,
        due_at=message.accepted_at,
        accepted_at=message.accepted_at,
        expires_at=message.expires_at,
    )


def first_answer(sender: Entry, envelope: Envelope, payload: bytes, *, is_to_room: bool) -> Accepted | None:
    """To the very same message, where it was accepted before: then it is no matter why it would be refused now.

    Its sender may have left the room since, or staff have lowered its limit.
    """
    of_id = Message.objects.filter(sender=sender.id, message_id=envelope.message_id)
    first = of_id.filter(digest=envelope.digest(payload), is_to_room=is_to_room).defer("payload").first()
    return None if first is None else repeat(first, first.digest, is_to_room, sender)


def repeat(first: Message, digest: str, is_to_room: bool, sender: Entry) -> Accepted:
    """The first answer again. Raises MessageIdTaken where the id was used for something else."""
    if (first.digest, first.is_to_room) != (digest, is_to_room):
        raise MessageIdTaken(
            f"{first.written_id} was accepted at {first.accepted_at.isoformat()} with other content; "
            "use a new id for a new message."
        )
    counting.repeated(first.room_id, sender.type)
    return Accepted(first.written_id, first.accepted_at, first.expires_at, is_repeat=True)
