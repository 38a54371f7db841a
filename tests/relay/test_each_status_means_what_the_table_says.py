"""docs/life.md has a table of what each status means. It is read here, and each cell is tried."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from participants import life, registry, statuses
from participants.models import Participant
from participants.statuses import Fate, Keys
from relay.delivery import sweeper
from relay.delivery.engine import Engine
from relay.models import Delivery, Message, State
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import Edge, Post

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "life.md"

pytestmark = pytest.mark.django_db(transaction=True)


def rows() -> dict[str, list[str]]:
    """Status → the other cells."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("| status |"))
    table = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return {status: cells for status, *cells in table}


TABLE = rows()
STATUSES = pytest.mark.parametrize("status", TABLE)

COME_INTO: dict[str, Callable[[Participant], Any]] = {
    # Nobody becomes pending; so that something can wait for one, it is made so behind the registry's back.
    "Pending": lambda row: Participant.objects.filter(pk=row.pk).update(status="Pending"),
    "Active": lambda row: None,
    "Suspended": lambda row: life.suspend([row], actor="anna", reason="it floods"),
    "Disabled": lambda row: registry.set_own_status(row.pk, "Disabled"),
    "Revoked": lambda row: life.revoke([row], actor="anna", reason="it left"),
    "Deleted": lambda row: registry.remove_participant(row, actor="anna"),
}


def come_into(status: str, bot: Registered) -> None:
    COME_INTO[status](bot.row)
    bot.row.refresh_from_db()
    assert bot.row.status == status


def registered_pending_or(status: str) -> Registered:
    """A participant in that status, by the steps that lead there."""
    if status == "Pending":
        return factories.participant(status="Pending")
    bot = factories.participant()
    come_into(status, bot)
    return bot


def fate(delivery: Delivery, sender: Registered, recipient: Registered, edge: Edge) -> str:
    """What has become of it, in the table's words."""
    delivery.refresh_from_db()
    if delivery.state == State.DELIVERED:
        assert [url for url, _, _ in edge.posted] == [recipient.row.host]
        return Fate.DELIVERED.value
    assert all(url != recipient.row.host for url, _, _ in edge.posted)
    assert delivery.attempts == 0
    if delivery.state == State.DEAD:
        (error,) = Message.objects.filter(deliveries__recipient=sender.row, sent_by="Dmr")
        assert json.loads(base64.b64decode(error.payload))["status"] == 404
        return Fate.RETURNED.value
    assert delivery.state == State.PENDING
    return Fate.HELD.value


def test_the_table_is_what_the_code_goes_by() -> None:
    assert {
        status: [
            str(each.sends), each.receives.value, each.waiting.value, each.keys.value,
            "yes" if each.is_listed else "no", each.shown_as,
        ]
        for status, each in statuses.MEANINGS.items()
    } == TABLE  # fmt: skip
    assert set(TABLE) == set(Participant.Status.values)


@STATUSES
def test_sending(post: Post, status: str) -> None:
    bot, other = registered_pending_or(status), factories.participant()
    assert post(bot, other.name).status_code == int(TABLE[status][0])


@STATUSES
def test_what_is_sent_to_it(engine: Engine, edge: Edge, status: str) -> None:
    sender, bot = factories.participant(), registered_pending_or(status)
    message = factories.message(sender, bot.name)
    engine.pump()
    assert fate(message.deliveries.get(), sender, bot, edge) == TABLE[status][1]


@pytest.mark.parametrize("mode", ["push", "pull"])
@STATUSES
def test_what_waits_for_it(engine: Engine, edge: Edge, status: str, mode: str) -> None:
    if status == "Active" and mode == "pull":
        return  # it fetches: tests/relay/test_inbox_hands_out_messages.py
    sender, bot = factories.participant(), factories.participant(delivery_mode=mode)
    delivery = factories.message(sender, bot.name).deliveries.get()
    come_into(status, bot)
    engine.pump()
    assert fate(delivery, sender, bot, edge) == TABLE[status][2]


@STATUSES
def test_its_keys(client: Client, status: str) -> None:
    bot = registered_pending_or(status)
    reads = client.get("/centops/public/participants", headers=bot.auth).status_code
    changes = client.post(
        "/api/v1/my/delivery-mode", {"mode": "push"}, content_type="application/json", headers=bot.auth
    ).status_code
    inbox = client.get("/api/v1/inbox?wait=0", headers=bot.auth).status_code
    expected = {
        Keys.WORK.value: (200, (200,), (200, 409)),
        # Whoever rests by itself may also change how it wants to be reached when it is back.
        Keys.READ.value: (200, (200,) if status == "Disabled" else (403,), (403,)),
        Keys.VOID.value: (401, (401,), (401,)),
    }[TABLE[status][3]]
    assert reads == expected[0]
    assert changes in expected[1]
    assert inbox in expected[2]


@STATUSES
def test_who_knows_it(client: Client, staff_key: str, status: str) -> None:
    bot, other = registered_pending_or(status), factories.participant()
    listed = client.get("/centops/public/participants", headers=other.auth).json()
    is_listed = bot.name in [each["name"] for each in listed]
    assert ("yes" if is_listed else "no") == TABLE[status][4]
    asked = client.get(f"/centops/public/participants/{bot.row.public_id}", headers=other.auth)
    assert (asked.status_code == 200) == (TABLE[status][1] != Fate.RETURNED.value)
    shown = client.get(f"/centops/admin/participants/{bot.row.public_id}", headers={"X-Api-Key": staff_key})
    if status == "Deleted":
        assert shown.status_code == 404
    else:
        assert shown.json()["status"] == TABLE[status][5]


@STATUSES
def test_a_room_reaches_who_is_known(status: str) -> None:
    bot, sender = registered_pending_or(status), factories.participant()
    members = [each.name for each in _members(sender)]
    assert (bot.name in members) == (TABLE[status][1] != Fate.RETURNED.value)


def _members(sender: Registered) -> list[Any]:
    from participants import directory

    registry_now = directory.current()
    found = registry_now.room(sender.entry, "national")
    assert found is not None
    return registry_now.listeners(found[0].room_id, but=sender.row.pk)


def test_what_waits_for_one_that_is_revoked_is_returned_though_its_breaker_is_open(
    engine: Engine, edge: Edge
) -> None:
    from relay.models import Breaker

    sender, bot = factories.participant(), factories.participant()
    deliveries = [factories.message(sender, bot.name).deliveries.get() for _ in range(3)]
    Breaker.objects.create(recipient=bot.row, state=Breaker.State.PARKED, failures=5)
    come_into("Revoked", bot)
    engine.pump()
    for each in deliveries:
        each.refresh_from_db()
        assert (each.state, each.attempts) == (State.DEAD, 0)


@pytest.mark.parametrize("mode", ["push", "pull"])
@pytest.mark.parametrize("status", ["Revoked", "Deleted"])
def test_what_waits_for_its_next_attempt_is_returned_at_once_too(
    engine: Engine, edge: Edge, status: str, mode: str
) -> None:
    """Not in six hours, and what is behind it in its conversation neither."""
    sender, bot = factories.participant(), factories.participant(delivery_mode=mode)
    alone = factories.message(sender, bot.name).deliveries.get()
    behind = [factories.message(sender, bot.name, conversation="c").deliveries.get() for _ in range(3)]
    later = timezone.now() + timedelta(hours=6)
    Delivery.objects.filter(pk__in=[alone.pk, *(each.pk for each in behind)]).update(due_at=later)
    come_into(status, bot)
    sweeper.sweep()
    for _ in behind:
        engine.pump()
    for each in (alone, *behind):
        each.refresh_from_db()
        assert (each.state, each.attempts) == (State.DEAD, 0)
    assert Message.objects.filter(deliveries__recipient=sender.row, sent_by="Dmr").count() == 4
    assert all(url != bot.row.host for url, _, _ in edge.posted)
