"""Invariants 8 and 9: who may say what, and that every change says who made it."""

from __future__ import annotations

import json
import uuid

import pytest
from django.test import Client

from participants import registry, rooms
from participants.models import Change, Institution, Participant, RegistryVersion, Room
from tests import factories
from tests.factories import Registered


def post(client: Client, sender: Registered, send_to: str, **headers: str) -> int:
    named = {
        "X-Api-Key": sender.key,
        "X-Sent-By": sender.name,
        "X-Send-To": send_to,
        "X-Message-Id": str(uuid.uuid4()),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return client.post("/messages", b"hello", content_type="text/plain", headers=named).status_code


@pytest.mark.django_db
def test_invariant_8_nobody_speaks_for_somebody_else(client: Client, staff_key: str) -> None:
    alice, bob = factories.participant(), factories.participant()
    classifier = factories.participant(type="Classifier")
    assert post(client, alice, bob.name) == 202
    for name in (bob.name, alice.name.upper(), f"{alice.name} ", "Classifier", "Dmr", "dmr-relay"):
        assert post(client, alice, bob.name, X_Sent_By=name) == 403, name
    assert post(client, classifier, bob.name, X_Sent_By="Classifier") == 202
    assert post(client, classifier, bob.name) == 202
    assert post(client, alice, bob.name, X_Api_Key=bob.key) == 403
    assert post(client, alice, bob.name, X_Api_Key=staff_key) == 403
    assert post(client, alice, bob.name, X_Api_Key=alice.key + "x") == 401


@pytest.mark.django_db
def test_invariant_8_a_participant_sees_only_its_own_messages(client: Client) -> None:
    alice, bob, eve = (factories.participant() for _ in range(3))
    message = factories.message(alice, bob.name)
    told = factories.message(alice, "nobody")
    statuses = {
        (who.name, which.written_id): client.get(f"/messages/{which.written_id}", headers=who.auth).status_code
        for who in (alice, bob, eve)
        for which in (message, told)
    }
    assert [status for _, status in sorted(statuses.items(), key=lambda each: each[1])] == [
        200,
        200,
        200,
        404,
        404,
        404,
    ]
    assert statuses[bob.name, told.written_id] == 404
    # The same id from somebody else does not open it.
    factories.message(eve, alice.name, message_id=message.message_id)
    seen = client.get(f"/messages/{message.written_id}", headers=eve.auth).json()
    assert [each["recipient"] for each in seen["deliveries"]] == [alice.name]


@pytest.mark.django_db
def test_invariant_8_keys_open_only_their_own_part(client: Client, staff_key: str) -> None:
    alice = factories.participant()
    staff = {"X-Api-Key": staff_key}
    assert client.get("/centops/admin/participants", headers=alice.auth).status_code == 403
    assert client.get("/centops/public/participants", headers=staff).status_code == 403
    assert client.get("/centops/admin/participants", headers=staff).status_code == 200
    assert client.get("/centops/public/participants", headers=alice.auth).status_code == 200


@pytest.mark.django_db
def test_invariant_9_every_change_leaves_who_when_what(client: Client, staff_key: str) -> None:
    """Each capability of the registry writes one Change or more, and every cache hears of it."""
    owner = registry.add(Institution(name="Ministry of tests"), actor="anna")
    row = Participant(name="bot-of-tests", host="http://bot.invalid/", institution=owner)
    room = registry.add(Room(name="room of tests"), actor="anna")

    def renamed(row: Participant | Institution | Room, name: str) -> None:
        row.name = name
        registry.update(row, actor="boris")

    steps = {
        "register": lambda: registry.register(row, actor="boris"),
        "rename": lambda: renamed(row, "bot-renamed"),
        "rename institution": lambda: renamed(owner, "Ministry renamed"),
        "rename room": lambda: renamed(room, "room renamed"),
        "suspend": lambda: registry.set_status([row], "Suspended", actor="boris", reason="it misbehaves"),
        "activate": lambda: registry.set_status([row], "Active", actor="boris"),
        "own state": lambda: registry.set_own_status(row.pk, "Disabled"),
        "issue": lambda: registry.issue_key(row, actor="boris"),
        "revoke": lambda: registry.revoke_key(row.keys.valid().first(), actor="boris"),
        "join": lambda: rooms.join(room, row, actor="boris"),
        "leave": lambda: rooms.leave(room, row, actor="boris"),
        "remove": lambda: registry.remove_participant(row, actor="boris"),
        "remove institution": lambda: registry.remove_institution(owner, actor="boris"),
    }
    for name, step in steps.items():
        count, version = Change.objects.count(), RegistryVersion.objects.get().number
        step()
        assert Change.objects.count() > count, name
        assert RegistryVersion.objects.get().number > version, name
        change = Change.objects.first()
        assert change is not None
        who = ("bot-renamed", "participant") if name == "own state" else ("boris", "person")
        assert (change.actor, change.actor_kind) == who, name
        assert change.subject, name
        assert change.at, name
        assert change.before or change.after, name
    assert not any("digest" in change.after or "digest" in change.before for change in Change.objects.all())


@pytest.mark.django_db
def test_invariant_9_holds_over_the_api_too(client: Client, staff_key: str) -> None:
    staff = {"X-Api-Key": staff_key}
    made = client.post(
        "/centops/admin/institutions",
        json.dumps({"name": "Ministry of tests", "status": "Active"}),
        content_type="application/json",
        headers=staff,
    )
    assert made.status_code == 201
    assert Change.objects.get(subject="Ministry of tests").actor == "staff key"
    path = f"/centops/admin/institutions/{made.json()['id']}"
    assert client.delete(path, headers=staff).status_code == 204
    assert {change.action for change in Change.objects.filter(subject="Ministry of tests")} == {"add", "delete"}
