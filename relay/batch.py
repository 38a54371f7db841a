"""Accepting many messages at once: each judged by itself, all that are good stored in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from dmr_project.lib.body import PayloadTooLarge
from dmr_project.lib.errors import DomainError
from participants import directory
from participants.directory import Directory, Entry
from participants.models import Participant
from relay import accept, bulk, counting, envelope, error_messages, metrics, records, retention, stored_bytes
from relay.accept import Accepted, Found
from relay.delivery import wake
from relay.envelope import Envelope
from relay.models import Delivery, Message, State
from relay.records import BatchTooLarge, Record
from relay.routing import DeadEnd, RoomRoute, route

MOST_DELIVERIES = 10_000  # of a batch's messages to rooms, which are all made in one transaction


@dataclass(frozen=True)
class Draft:
    """A message that may be stored, and where it goes."""

    message: Message
    found: Found


@dataclass(frozen=True)
class Result:
    """What became of one message: `written_id` as far as it can be read."""

    written_id: str | None
    outcome: Accepted | DomainError


def accept_all(registry: Directory, sender: Entry, given: Sequence[Record]) -> list[Result]:
    """Stores what can be accepted, durable on return, then wakes a pump. A result for each, in order.

    One that cannot be accepted costs the others nothing; the same rules hold as for one message alone. Raises
    SenderSuspended.
    """
    accept.check_may_send(sender)
    drafts = _bounded([_judge(registry, sender, record) for record in given])
    good = [each for each in drafts if isinstance(each, Draft)]
    first: dict[UUID, Draft] = {}
    for each in good:
        first.setdefault(each.message.message_id, each)
    with transaction.atomic():
        _store(sender, list(first.values()))
        known = _known(sender, [each.message for each in good])
    outcomes = [_outcome(sender, known, each.message) if isinstance(each, Draft) else each for each in drafts]
    new = [each.message for each in first.values() if each.message.pk is not None]
    _count(sender, new, outcomes)
    stored_bytes.note(sender.id, sum(each.payload_size for each in new))
    return [Result(_written_id(record), outcome) for record, outcome in zip(given, outcomes, strict=True)]


def _judge(registry: Directory, sender: Entry, record: Record) -> Draft | Accepted | DomainError:
    try:
        headers = records.headers(record)
        room = headers.get("HTTP_X_ROOM")
        written = envelope.read(headers, {"X-Send-To": room} if room else None)
        accept.authorise(sender, written.sent_by)
    except DomainError as error:
        return error
    try:
        return _draft(registry, sender, written, record.payload, is_to_room=bool(room))
    except DomainError as error:
        return accept.first_answer(sender, written, record.payload, is_to_room=bool(room)) or error


def _draft(registry: Directory, sender: Entry, written: Envelope, payload: bytes, *, is_to_room: bool) -> Draft:
    limit = registry.payload_limit(sender)
    if len(payload) > limit:
        raise PayloadTooLarge(f"The payload has {len(payload)} bytes; at most {limit} are allowed here.")
    found: Found = (accept.room_named if is_to_room else route)(registry, sender, written.send_to)
    return Draft(Message(**accept.values(sender, written, payload, found)), found)


def _bounded(drafts: list[Draft | Accepted | DomainError]) -> list[Draft | Accepted | DomainError]:
    """Refuses messages to rooms beyond MOST_DELIVERIES in all; the first is taken however large its room is."""
    total = 0
    for place, each in enumerate(drafts):
        if not isinstance(each, Draft) or not isinstance(each.found, RoomRoute):
            continue
        more = len(each.found.recipients)
        if total and total + more > MOST_DELIVERIES:
            said = f"This batch makes more than {MOST_DELIVERIES} deliveries to rooms; send the message in another."
            drafts[place] = BatchTooLarge(said)
        else:
            total += more
    return drafts


def _store(sender: Entry, drafts: list[Draft]) -> None:
    """Stores those whose ids are new, with their deliveries; senders of dead letters are told."""
    bulk.insert_messages([each.message for each in drafts])
    new = [each for each in drafts if each.message.pk is not None]
    if not new:
        return
    bulk.insert_deliveries([row for each in new for row in accept.deliveries_of(each.message, each.found)])
    _end_dead(sender, [(each.message, each.found) for each in new if isinstance(each.found, DeadEnd)])
    unneeded = [each.message.pk for each in new if accept.is_for_nobody(each.found)]
    retention.note_ended(dict.fromkeys(unneeded, 0), new[0].message.accepted_at)
    transaction.on_commit(wake.pump)


def _end_dead(sender: Entry, dead: list[tuple[Message, DeadEnd]]) -> None:
    if not dead:
        return
    relay, told = directory.relay(), Participant.objects.get(pk=sender.id)
    errors: list[tuple[Message, Delivery]] = []
    for message, found in dead:
        counting.settled(State.DEAD, None, found.recipient.type if found.recipient else None)
        message.sender = told
        if error_messages.is_told(message):
            errors.append(error_messages.draft(message, found.status, found.reason, relay))
    bulk.insert_messages([error for error, _ in errors])
    bulk.insert_deliveries([delivery for _, delivery in errors])
    metrics.ERRORS_SENT.inc(len(errors))


def _known(sender: Entry, messages: list[Message]) -> dict[UUID, Message]:
    """The stored message of each id: one of these, or one from before."""
    found = {each.message_id: each for each in messages if each.pk is not None}
    missing = [each.message_id for each in messages if each.message_id not in found]
    before = Message.objects.filter(sender=sender.id, message_id__in=missing).defer("payload") if missing else ()
    return found | {each.message_id: each for each in before}


def _outcome(sender: Entry, known: dict[UUID, Message], message: Message) -> Accepted | DomainError:
    first = known[message.message_id]
    if first is message:
        return Accepted(message.written_id, message.accepted_at, message.expires_at, is_repeat=False)
    try:
        return accept.repeat(first, message.digest, message.is_to_room, sender)
    except accept.MessageIdTaken as error:
        return error


def _count(sender: Entry, new: Sequence[Message], outcomes: Sequence[Accepted | DomainError]) -> None:
    for message in new:
        counting.accepted(message.room_id, sender.type)
    for each in outcomes:
        if isinstance(each, DomainError):
            metrics.REFUSED.labels(code=each.code).inc()


def _written_id(record: Record) -> str | None:
    said = next((value for name, value in record.said.items() if name.lower() == "x-message-id"), None)
    return said if isinstance(said, str) and said.isascii() and len(said) <= envelope.LONGEST else None
