"""Many rows of everything that the admin shows, put into the tables as they are: for tests of what pages cost."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import rfc8785
from django.contrib.auth.models import Group, User
from django.utils import timezone

from observability.models import Alert, AlertChange, Component, StateChange, VitalSigns
from participants import history, registry
from participants.models import (
    Announcement,
    ApiKey,
    Application,
    EndpointTerms,
    Institution,
    Invitation,
    ListKey,
    Mail,
    Membership,
    Outage,
    Participant,
    PublicKey,
    Room,
)
from relay.models import Attempt, Breaker, DeadLetterJob, Delivery, DeliveryKey, Message, StoredBytes
from tests.updates.staff import manifest
from updates.models import Release, Report, Rollout, StaffKey, Target, TargetEvent, Wave

DAY = timedelta(days=1)


def fill(count: int) -> None:
    """`count` participants, and about as many rows of every other kind. Takes an empty database."""
    registry.ensure_own_entries()
    people = staff(count)
    participants = members(count)
    messages(participants)
    joining(people, count)
    releases(people, participants)
    watched(participants)
    told(participants)


def hexes(number: int) -> str:
    return f"{number:064x}"


def staff(count: int) -> list[User]:
    User.objects.bulk_create(User(username=f"person-{n}", is_staff=True, password="!") for n in range(count))
    people = list(User.objects.filter(username__startswith="person-").order_by("pk"))
    group = Group.objects.get(name="viewer")
    User.groups.through.objects.bulk_create(User.groups.through(user=each, group=group) for each in people)
    return people


def members(count: int) -> list[Participant]:
    """Each of an institution of its own, in three rooms, with a key, a breaker and terms."""
    now = timezone.now()
    Institution.objects.bulk_create(Institution(name=f"Ministry {n}") for n in range(count))
    owners = list(Institution.objects.filter(name__startswith="Ministry "))
    Participant.objects.bulk_create(
        Participant(name=f"bot-{n}", institution=owner, host=f"http://bot{n}.invalid/messages", terms_version=1)
        for n, owner in enumerate(owners)
    )
    found = list(Participant.objects.filter(name__startswith="bot-").order_by("pk").select_related("institution"))
    Room.objects.bulk_create(Room(name=f"room {n}") for n in range(count))
    rooms = list(Room.objects.order_by("pk"))
    Membership.objects.bulk_create(
        Membership(room=rooms[(n + step) % len(rooms)], participant=each)
        for n, each in enumerate(found)
        for step in range(3)
    )
    Membership.objects.bulk_create(
        [Membership(room=rooms[-1], participant=each) for each in found[: count // 2]], ignore_conflicts=True
    )
    ApiKey.objects.bulk_create(
        ApiKey(participant=each, digest=hexes(n), hint="abcd", expires_at=now + 5 * DAY)
        for n, each in enumerate(found)
    )
    PublicKey.objects.bulk_create(
        PublicKey(participant=each, kid=f"key-{n}", thumbprint=f"{n:043d}", kind="OKP", use="sig", members={"x": ""})
        for n, each in enumerate(found)
    )
    Breaker.objects.bulk_create(
        Breaker(recipient=each, state="open", failures=3, opened_at=now, probe_at=now) for each in found
    )
    StoredBytes.objects.bulk_create(StoredBytes(participant=each, size=1000) for each in found)
    EndpointTerms.objects.bulk_create(
        EndpointTerms(participant=each, version=1, allowed_networks="10.0.0.0/8", expires_at=now + 5 * DAY)
        for each in found
    )
    return found


def messages(participants: list[Participant]) -> None:
    """From each to the next, dead letters every other one; the first has failed often, and is sent most."""
    now = timezone.now()
    first = participants[0]
    pairs = [(each, participants[n - 1]) for n, each in enumerate(participants)]
    pairs += [(each, first) for each in participants] + [(first, each) for each in participants]
    written = [
        Message(
            sender=sender, message_id=(unique := uuid.uuid4()), written_id=str(unique), sent_by=sender.name,
            send_to=recipient.name, content_type="text/plain", payload=b"payload", payload_size=7,
            digest=hexes(n), accepted_at=now - DAY / 2, expires_at=now + DAY,
        )
        for n, (sender, recipient) in enumerate(pairs)
    ]  # fmt: skip
    Message.objects.bulk_create(written)
    Delivery.objects.bulk_create(
        Delivery(
            message=message, recipient=recipient, recipient_name=recipient.name, sender=sender,
            state="dead" if n % 2 else "pending", ended_at=now if n % 2 else None, due_at=now + DAY,
            accepted_at=now - DAY / 2, expires_at=now + DAY, attempts=2, last_error="503 from its endpoint",
        )
        for n, (message, (sender, recipient)) in enumerate(zip(written, pairs, strict=True))
    )  # fmt: skip
    fetches = participants[-1]
    Participant.objects.filter(pk=fetches.pk).update(delivery_mode="pull")
    Delivery.objects.filter(recipient=fetches, state="pending").update(due_at=now - DAY / 2)
    for row in (Delivery.objects.order_by("id").first(), Delivery.objects.order_by("id").last()):
        Attempt.objects.bulk_create(
            Attempt(delivery=row, number=n, at=now, seconds=1, status=503, error="503") for n in range(30)
        )
    DeadLetterJob.objects.bulk_create(
        DeadLetterJob(recipient_name=each.name, until=now, requested_by="mari", requested_at=now, estimate=5)
        for each in participants
    )
    DeliveryKey.objects.bulk_create(
        DeliveryKey(number=1000 + n, key_id=f"key-{n}", public_key="A" * 44, sealed="-", signs_from=now - DAY)
        for n in range(20)
    )
    ListKey.objects.bulk_create(
        ListKey(number=1000 + n, key_id=f"key-{n}", public_key="A" * 44, sealed="-", signs_from=now - DAY)
        for n in range(20)
    )


def joining(people: list[User], count: int) -> None:
    now = timezone.now()
    Invitation.objects.bulk_create(
        Invitation(
            email=f"who{n}@amet.test", token_digest=hexes(n), invited_by=people[n % len(people)], expires_at=now + DAY
        )
        for n in range(count)
    )
    Application.objects.bulk_create(
        Application(
            institution_name=f"Agency {n}", name=f"bot-of-{n}", host=f"http://new{n}.invalid/", contact_name="Mari",
            contact_email="m@amet.test", technical_name="Jaan", technical_email="j@amet.test",
            token_digest=hexes(n), entered_by=people[n % len(people)],
        )
        for n in range(count)
    )  # fmt: skip
    Mail.objects.bulk_create(Mail(to=f"who{n}@amet.test", subject="Welcome", state="failed") for n in range(count))


def releases(people: list[User], participants: list[Participant]) -> None:
    now = timezone.now()
    Release.objects.bulk_create(
        Release(
            version=f"1.{n}.0", sequence=n + 1, severity="optional",
            manifest=rfc8785.dumps(manifest(f"1.{n}.0", n + 1)), digest=f"sha256:{hexes(n)}", author=people[n],
        )
        for n in range(len(people))
    )  # fmt: skip
    StaffKey.objects.bulk_create(
        StaffKey(person=each, key_id=hexes(n), public_key="A" * 44) for n, each in enumerate(people)
    )
    written = list(Release.objects.order_by("pk"))
    Rollout.objects.bulk_create(
        Rollout(
            release=each, size=len(participants), started_by=people[n], started_at=now,
            state="running" if n == 0 else "paused",
        )
        for n, each in enumerate(written)
    )  # fmt: skip
    for rollout in (Rollout.objects.order_by("pk").first(), Rollout.objects.order_by("pk").last()):
        waves = [
            Wave(rollout=rollout, number=n, share=10 * n, size=len(participants) // 10 + 1) for n in range(1, 11)
        ]
        Wave.objects.bulk_create(waves)
        Target.objects.bulk_create(
            Target(rollout=rollout, wave=waves[n % 10], participant=each) for n, each in enumerate(participants)
        )
    for target in (Target.objects.order_by("pk").first(), Target.objects.order_by("pk").last()):
        assert target is not None
        TargetEvent.objects.bulk_create(
            TargetEvent(target=target, at=now, kind="contradiction", actor="agent") for n in range(60)
        )
        Report.objects.bulk_create(
            Report(target=target, nonce="n", sequence=n, state="installing", digest=hexes(n), at=now)
            for n in range(60)
        )


def watched(participants: list[Participant]) -> None:
    now = timezone.now()
    VitalSigns.objects.bulk_create(
        VitalSigns(
            participant=each, last_heard_at=now - DAY, told_at=now - DAY, sequence=1, agent_version="0.1.0",
            release_version=f"1.{n}.0", health="ok", inventory_digest=hexes(n), period=30, late_at=now - DAY,
            silent_at=now - DAY,
        )
        for n, each in enumerate(participants)
    )  # fmt: skip
    for each in participants[:2]:
        Component.objects.bulk_create(
            Component(participant=each, name=f"part-{n}", version="1", health="down", since=now) for n in range(60)
        )
        StateChange.objects.bulk_create(
            StateChange(participant=each, component=f"part-{n}", subject="health", at=now) for n in range(60)
        )
    Alert.objects.bulk_create(
        Alert(kind="silence", level="critical", participant=each, since=now, message=f"{each} is silent")
        for each in participants
    )
    for alert in (Alert.objects.order_by("pk").first(), Alert.objects.order_by("pk").last()):
        AlertChange.objects.bulk_create(
            AlertChange(alert=alert, step="opened", message="It is silent", at=now) for n in range(60)
        )


def told(participants: list[Participant]) -> None:
    """Outages, announcements, and what the audit log says of the first and the last."""
    now = timezone.now()
    Outage.objects.bulk_create(
        Outage(
            kind="planned", begins_at=now - DAY, ends_at=now + DAY, text_en="Maintenance", announced_by="mari",
            announced_by_kind="person", institution=None if n % 2 else each.institution,
        )
        for n, each in enumerate(participants)
    )  # fmt: skip
    Outage.participants.through.objects.bulk_create(
        Outage.participants.through(outage=outage, participant=each)
        for outage in Outage.objects.filter(institution=None)
        for each in participants[:5]
    )
    fields: dict[str, Any] = {
        "kind": Announcement.Kind.values[0],
        "body": {},
        "created_at": now,
        "expires_at": now + DAY,
    }
    Announcement.objects.bulk_create(
        Announcement(about=f"release 1.{n}.0", **fields) for n in range(len(participants))
    )
    with history.atomic():
        for each in participants:
            history.record("change", each, actor="mari", before={"host": "a"}, after={"host": "b"})
        for _ in participants:
            history.record("change", participants[0], actor="mari", before={"host": "a"}, after={"host": "b"})
