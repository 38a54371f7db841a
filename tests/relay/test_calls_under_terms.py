"""The engine calls an endpoint under its participant's terms, as they are now, and all others under none."""

from __future__ import annotations

import pytest
from django.utils import timezone

from dmr_project.lib.http import Terms
from participants import endpoint_terms
from participants.endpoint_terms import Given
from participants.models import EndpointTerms
from relay.delivery.engine import Engine
from relay.models import Attempt, Delivery, State
from tests import factories
from tests.certificates import make
from tests.relay.conftest import Edge

pytestmark = pytest.mark.django_db(transaction=True)

AUTHORITY = make("our authority")


def test_terms_are_their_participants_alone(engine: Engine, edge: Edge) -> None:
    sender, one, other, plain = (factories.participant() for _ in range(4))
    for each in (one, other):
        endpoint_terms.change(each.row, Given(authority=AUTHORITY.pem), actor="tests")
    for each in (one, other, plain):
        factories.message(sender, each.name)
    engine.pump()
    assert edge.terms[plain.row.host] is None
    found = [edge.terms[each.row.host] for each in (one, other)]
    assert all(isinstance(each, Terms) for each in found)
    assert found[0] is not found[1]


def test_a_change_counts_for_the_next_attempt(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    seen = []
    for given in ("", AUTHORITY.pem, AUTHORITY.pem, make("another authority").pem, ""):
        endpoint_terms.change(recipient.row, Given(authority=given), actor="tests")
        factories.message(sender, recipient.name)
        engine.pump()
        terms = edge.terms[recipient.row.host]
        seen.append([each["subject"] for each in terms.tls.get_ca_certs()] if isinstance(terms, Terms) else None)
    ours, theirs = ((((("commonName", name),),),) for name in ("our authority", "another authority"))
    assert [each and tuple(each) for each in seen] == [None, ours, ours, theirs, None]


def test_terms_that_cannot_be_used_hold_back_and_say_why(engine: Engine, edge: Edge) -> None:
    """Nothing leaves without the certificate that staff have set; it is tried again, and staff can mend it."""
    sender, recipient = factories.participant(), factories.participant()
    own = make("dmr-relay", for_clients=True)
    given = Given(client_certificate=own.pem, client_key=own.key_pem)
    endpoint_terms.change(recipient.row, given, actor="tests")
    EndpointTerms.objects.update(sealed_key="v1:0123456789ab:AAAA")
    delivery = factories.delivery(sender, recipient)
    engine.pump()
    delivery.refresh_from_db()
    assert (edge.posted, delivery.state) == ([], State.PENDING)
    assert "staff must enter it again" in Attempt.objects.get().error
    endpoint_terms.change(recipient.row, given, actor="tests")
    Delivery.objects.update(due_at=timezone.now())
    engine.pump()
    delivery.refresh_from_db()
    assert delivery.state == State.DELIVERED
