"""Who is who and who may speak to whom, as the hot path needs it: cached in the process, never stale.

One query a request reads the registry's version; as long as it stands, what was looked up is reused.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from django.conf import settings
from django.db import connection
from django.utils import timezone

from participants import keys, names, scopes, statuses
from participants.models import DEFAULT_PAYLOAD_LIMIT, ApiKey, Membership, Participant, Room
from participants.reach import Way
from participants.scopes import Scope

MOST_ENTRIES = 50_000

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Entry:
    """A participant, as much of it as the relay needs."""

    id: int
    public_id: str
    name: str
    type: str
    status: str
    source_networks: str = ""  # from which it is believed without a key
    # Its own limits; None where those of all hold, 0 where there is none. See relay.limits.
    messages_per_second: int | None = None
    messages_burst: int | None = None
    stored_bytes_limit: int | None = None
    delivery_mode: str = Participant.DeliveryMode.PUSH
    sends_from: datetime | None = None  # where a suspension ends by itself, and it is active again
    held_from: datetime | None = None  # its outage, now or next
    held_until: datetime | None = None

    # DRF asks its users this.
    is_authenticated = True
    is_staff = False

    @property
    def may_send(self) -> bool:
        """Is it active, if only since a moment ago?"""
        is_over = self.sends_from is not None and self.sends_from <= timezone.now()
        return is_over or self.status in statuses.SENDING

    @property
    def is_away(self) -> bool:
        """Is it in an outage?"""
        if self.held_from is None or self.held_until is None:
            return False
        return self.held_from <= timezone.now() < self.held_until

    @property
    def is_known(self) -> bool:
        """May others write to it, so that it is delivered now or later?"""
        return self.status not in statuses.UNKNOWN

    @property
    def is_reachable(self) -> bool:
        """Are messages to it tried now? Otherwise they are held, where it is known at all."""
        return self.may_send and not self.is_away

    @property
    def pulls(self) -> bool:
        """Does it fetch its messages from its inbox?"""
        return self.delivery_mode == Participant.DeliveryMode.PULL

    @property
    def is_classifier(self) -> bool:
        return self.type == Participant.Type.CLASSIFIER


@dataclass(frozen=True)
class Credential:
    """A valid key and whose it is."""

    key_id: int
    expires_at: datetime | None
    participant: Entry
    scopes: frozenset[Scope]


@dataclass(frozen=True)
class Policy:
    """What the room that sender and recipient share says of their messages."""

    room_id: int
    payload_limit: int  # bytes
    time_to_live: int  # seconds


class Bounded(dict[Key, Value], Generic[Key, Value]):
    """A dict that forgets everything rather than grow beyond MOST_ENTRIES: callers choose some of the keys."""

    def keep(self, key: Key, value: Value) -> Value:
        if len(self) >= MOST_ENTRIES:
            self.clear()
        self[key] = value
        return value


@dataclass(frozen=True)
class Recipient:
    """A member of a room, or whoever else is told something."""

    id: int
    name: str


class Directory:
    """Look-ups that are good for one version of the registry."""

    def __init__(self, version: int) -> None:
        self.version = version
        self._credentials: Bounded[str, Credential] = Bounded()
        self._names: Bounded[str, Entry] = Bounded()
        self._ways: Bounded[tuple[int, int], tuple[tuple[Way, ...], dict[int, Policy]]] = Bounded()
        self._classifiers: Bounded[int, list[Entry]] = Bounded()
        self._payload_limits: Bounded[int, int] = Bounded()
        self._rooms: Bounded[tuple[int, str], tuple[Policy, bool]] = Bounded()
        self._members: Bounded[int, list[Recipient]] = Bounded()

    def credential(self, key: str) -> Credential | None:
        """Whose key this is; None where it is unknown, revoked or expired."""
        digest = keys.digest(key)
        found = self._credentials.get(digest)
        if found is None:
            row = (
                ApiKey.objects.valid()
                .filter(digest=digest, participant__deleted_at=None)
                .exclude(participant__status__in=statuses.VOID)
                .select_related("participant")
                .first()
            )
            if row is None:
                return None  # not kept: anybody can make up keys without end
            credential = Credential(row.pk, row.expires_at, entry_of(row.participant), scopes.parse(row.scopes))
            found = self._credentials.keep(digest, credential)
        if found.expires_at is not None and found.expires_at <= timezone.now():
            return None
        return found

    def named(self, name: str) -> Entry | None:
        """The participant of that name, unless deleted or revoked."""
        found = self._names.get(name)
        if found is None and len(name) <= names.LONGEST:
            row = Participant.objects.present().exclude(status__in=statuses.VOID).filter(name=name).first()
            # Only what is there is kept: anybody can make up names without end.
            found = self._names.keep(name, entry_of(row)) if row else None
        return found

    def classifiers_for(self, sender: Entry) -> list[Entry]:
        """Classifiers that `sender` reaches: the active ones that are there, else those that are held for now."""
        found = self._classifiers.get(sender.id)
        if found is None:
            rows = (
                Participant.objects.known()
                .filter(
                    type=Participant.Type.CLASSIFIER,
                    # As in reach.decide, for all of them at once.
                    memberships__listens=True,
                    memberships__room__memberships__participant=sender.id,
                    memberships__room__memberships__may_speak=True,
                )
                .exclude(pk=sender.id)
                .distinct()
                .order_by("id")
            )
            entries = [entry_of(row) for row in rows]
            active = [entry for entry in entries if entry.may_send]
            found = self._classifiers.keep(sender.id, active or entries)
        return [entry for entry in found if not entry.is_away] or found

    def ways(self, sender: Entry, recipient: Entry) -> tuple[tuple[Way, ...], dict[int, Policy]]:
        """The rooms that the two share, for reach.decide, and the policy of each."""
        pair = (sender.id, recipient.id)
        found = self._ways.get(pair)
        if found is None:
            rows = Membership.objects.filter(participant=sender.id, room__memberships__participant=recipient.id)
            shared = rows.values_list(
                "room_id", "room__name", "may_speak", "room__memberships__listens",
                "room__payload_limit", "room__time_to_live",
            )  # fmt: skip
            ways = tuple(Way(room_id, name, speaks, listens) for room_id, name, speaks, listens, *_ in shared)
            policies = {room_id: Policy(room_id, *policy) for room_id, _, _, _, *policy in shared}
            found = self._ways.keep(pair, (ways, policies))
        return found

    def room(self, member: Entry, name: str) -> tuple[Policy, bool] | None:
        """The policy of the room of that name, and whether `member` may speak there; None where it is not in it."""
        found = self._rooms.get((member.id, name))
        if found is None and len(name) <= names.LONGEST:
            membership = (
                Membership.objects.filter(room__name=name, participant=member.id).select_related("room").first()
            )
            if membership is not None:
                said = _policy(membership.room), membership.may_speak
                found = self._rooms.keep((member.id, name), said)
        return found

    def listeners(self, room_id: int, *, but: int) -> list[Recipient]:
        """All that listen in a room but one, and but our own entry and those that nobody knows."""
        found = self._members.get(room_id)
        if found is None:
            listening = Membership.objects.filter(room=room_id, listens=True).values("participant")
            rows = Participant.objects.known().filter(pk__in=listening).exclude(name=names.RELAY).order_by("id")
            found = self._members.keep(room_id, [Recipient(*row) for row in rows.values_list("id", "name")])
        return [member for member in found if member.id != but]

    def payload_limit(self, sender: Entry) -> int:
        """The most that any of the sender's rooms takes, in bytes: what is worth reading at all."""
        found = self._payload_limits.get(sender.id)
        if found is None:
            limits = Room.objects.filter(members=sender.id).values_list("payload_limit", flat=True)
            found = self._payload_limits.keep(sender.id, max(limits, default=DEFAULT_PAYLOAD_LIMIT))
        return found


def _policy(room: Room) -> Policy:
    return Policy(room.pk, room.payload_limit, room.time_to_live)


def entry_of(row: Participant) -> Entry:
    """As much of it as decisions are made by."""
    resumes = row.status == Participant.Status.SUSPENDED and row.resumes_as == Participant.Status.ACTIVE
    return Entry(
        row.pk,
        str(row.public_id),
        row.name,
        row.type,
        row.status,
        row.source_networks,
        row.messages_per_second,
        row.messages_burst,
        row.stored_bytes_limit,
        row.delivery_mode,
        row.suspended_until if resumes else None,
        row.held_from,
        row.held_until,
    )


_current = Directory(version=-1)
_lock = threading.Lock()


def current() -> Directory:
    """The directory as of now: one short query, and a new one where the registry has changed."""
    global _current
    version = registry_version()
    found = _current
    if found.version != version:
        with _lock:
            if _current.version != version:
                _current = Directory(version)
            found = _current
    return found


def last_seen() -> Directory | None:
    """The directory as this process last saw it, without a query: for who checks its version before it counts."""
    return _current if _current.version >= 0 else None


def registry_version() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM participants_registryversion WHERE id = 1")
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def forget() -> None:
    """Drops what is cached; for tests, which roll versions back."""
    global _current
    _current = Directory(version=-1)


def relay_host() -> str:
    """Where participants post to us."""
    return f"{settings.PUBLIC_URL}/messages"


def relay() -> Participant:
    """Our own entry, in whose name error messages go out."""
    return Participant.objects.present().get(name=names.RELAY)
