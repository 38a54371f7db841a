"""Rows for tests, made through the registry's and the relay's own capabilities."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from participants import directory, outages, registry, rooms
from participants.models import Institution, Membership, Outage, Participant, Room
from relay import accept
from relay.envelope import DEFAULT_CONTENT_TYPE, Envelope
from relay.models import Delivery, Message

ACTOR = "tests"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Registered:
    """A participant and its key in clear."""

    row: Participant
    key: str

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def entry(self) -> directory.Entry:
        found = directory.current().named(self.name)
        assert found is not None
        return found

    @property
    def auth(self) -> dict[str, str]:
        """For the `headers` of Django's test client."""
        return {"X-Api-Key": self.key}


def institution(name: str = "", **fields: Any) -> Institution:
    return registry.add(Institution(name=name or f"Ministry {next(_numbers)}", **fields), actor=ACTOR)


def participant(
    name: str = "", *, key: str | None = None, rooms: list[Room] | None = None, **fields: Any
) -> Registered:
    """A chatbot in the room `national`, or in `rooms` where they are given."""
    registry.ensure_own_entries()
    number = next(_numbers)
    fields.setdefault("host", f"http://bot{number}.invalid/messages")
    row = Participant(
        name=name or f"bot-{number}", institution=fields.pop("institution", None) or institution(), **fields
    )
    clear = registry.register(row, actor=ACTOR, key=key)
    if rooms is not None:
        Membership.objects.filter(participant=row).delete()
        for each in rooms:
            join(each, row)
    return Registered(row, clear)


def room(name: str = "", *members: Registered, **policy: Any) -> Room:
    row = registry.add(Room(name=name or f"room {next(_numbers)}", **policy), actor=ACTOR)
    for member in members:
        join(row, member.row)
    return row


def outage(*members: Registered, begins_in: float = 0, seconds: float | None = 3600, **fields: Any) -> Outage:
    """Of those, from `begins_in` seconds from now on, for so long; None: open."""
    begins_at = timezone.now() + timedelta(seconds=begins_in)
    kind = Outage.Kind.UNPLANNED if seconds is None else Outage.Kind.PLANNED
    ends_at = None if seconds is None else begins_at + timedelta(seconds=seconds)
    known = {"kind": kind, "begins_at": begins_at, "ends_at": ends_at, "text_en": "The database is upgraded."}
    affected = [each.row for each in members]
    return outages.announce(Outage(**{**known, **fields}), actor=ACTOR, participants=affected)


def join(room: Room, row: Participant, **terms: Any) -> None:
    """`terms`: may_speak, listens."""
    rooms.join(room, row, actor=ACTOR, **terms)


def envelope(sender: Registered, send_to: str, **fields: Any) -> Envelope:
    message_id = fields.pop("message_id", None) or uuid.uuid4()
    known = {
        "message_id": message_id,
        "written_id": str(message_id),
        "sent_by": sender.name,
        "send_to": send_to,
        "written_ref": "",
        "model_type": "",
        "content_type": DEFAULT_CONTENT_TYPE,
        "time_to_live": None,
    }
    return Envelope(**{**known, **fields})


def message(sender: Registered, send_to: str, payload: bytes = b"payload", **fields: Any) -> Message:
    """Accepted as by POST /messages; `fields` are the envelope's."""
    written = envelope(sender, send_to, **fields)
    accept.accept(directory.current(), sender.entry, written, payload)
    return Message.objects.get(sender=sender.row, message_id=written.message_id)


def delivery(sender: Registered, recipient: Registered, **columns: Any) -> Delivery:
    """A message's delivery, with `columns` put on it afterwards."""
    row = message(sender, recipient.name).deliveries.get()
    Delivery.objects.filter(pk=row.pk).update(**columns)
    row.refresh_from_db()
    return row
