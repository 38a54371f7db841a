"""Whoever leaves the registry, or all at once: what was accepted stays, and ends as every message does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from participants import listing, registry
from participants.models import Institution, Participant
from relay import retention
from relay.delivery import sweeper
from relay.delivery.engine import Engine
from relay.models import Delivery, Message, State
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import Edge

Shrinks = Callable[[list[Registered]], object]


def suspend(bots: list[Registered]) -> None:
    registry.set_status([each.row for each in bots], Participant.Status.SUSPENDED, actor="tests")


def disable(bots: list[Registered]) -> None:
    for each in bots:
        registry.set_own_status(each.row.pk, "Disabled")


def remove(bots: list[Registered]) -> None:
    for each in bots:
        registry.remove_participant(each.row, actor="tests")


def remove_with_their_institutions(bots: list[Registered]) -> None:
    remove(bots)
    for institution in Institution.objects.filter(participants__in=[each.row for each in bots]).distinct():
        registry.remove_institution(institution, actor="tests")


def queued(count: int) -> list[Registered]:
    """Bots that have all written to one another, and nothing is delivered yet."""
    bots = [factories.participant() for _ in range(count)]
    for sender in bots:
        for recipient in bots:
            factories.message(sender, recipient.name, f"from {sender.name}".encode())
    return bots


def kept() -> list[tuple[int, bytes]]:
    """Each delivery with its payload."""
    return [
        (pk, bytes(payload)) for pk, payload in Delivery.objects.order_by("pk").values_list("pk", "message__payload")
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("shrink", [suspend, disable, remove, remove_with_their_institutions])
@pytest.mark.parametrize("left", [0, 2])
def test_what_is_queued_stays(shrink: Shrinks, left: int, client: Client) -> None:
    bots = queued(3)
    before = kept()
    assert len(before) == 9
    shrink(bots[left:])
    assert [each.row.name for each in listing.page(None, 99, listing.position()).changes if each.row] == [
        "dmr-relay", *(each.name for each in bots[:left]),
    ]  # fmt: skip
    sweeper.sweep()
    retention.run()
    assert kept() == before
    assert set(Delivery.objects.values_list("state", flat=True)) == {State.PENDING}
    if left:
        assert client.get("/api/v1/participants/changes", headers=bots[0].auth).json()["reset"] is True


@pytest.mark.django_db(transaction=True)
def test_what_was_for_those_who_are_gone_is_a_dead_letter_whose_sender_is_told(engine: Engine, edge: Edge) -> None:
    stays, goes = queued(2)
    remove([goes])
    engine.pump()
    engine.pump()
    to_the_gone = Delivery.objects.filter(recipient=goes.row, sender=stays.row).get()
    assert to_the_gone.state == State.DEAD
    assert bytes(to_the_gone.message.payload) == f"from {stays.name}".encode(), "staff may still look into it"
    assert Delivery.objects.get(sender=goes.row, recipient=stays.row).state == State.DELIVERED
    errors = [each for each in Message.objects.filter(sent_by="Dmr", send_to=stays.name) if each.is_error]
    assert [each.written_ref for each in errors] == [to_the_gone.message.written_id]


@pytest.mark.django_db(transaction=True)
def test_what_was_for_those_who_come_back_is_delivered(engine: Engine, edge: Edge) -> None:
    bots = queued(3)
    suspend(bots)
    engine.pump()
    assert edge.posted == []
    registry.set_status([each.row for each in bots], Participant.Status.ACTIVE, actor="tests")
    engine.pump()
    engine.pump()
    assert len(edge.posted) == 9
