"""Within a conversation, a recipient gets one message at a time, in the order of acceptance."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from django.db import IntegrityError, transaction

from relay.delivery import claim, settle
from relay.delivery.claimed import Claimed
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.models import Delivery, State
from tests import factories

pytestmark = pytest.mark.django_db


def settle_all(claimed: list[Claimed], *, status: int | None) -> None:
    is_success = status is not None and status < 300
    outcome = Outcome(is_success, status, "" if is_success else "it failed", 0.1)
    settle.settle([Attempted(each, outcome, datetime.now(timezone.utc)) for each in claimed])


def ids(claimed: list[Claimed]) -> list[str]:
    return [each.written_id for each in claimed]


def test_one_at_a_time_in_order() -> None:
    sender, recipient = factories.participant(), factories.participant()
    written = [factories.message(sender, recipient.name, conversation="c1").written_id for _ in range(3)]
    for expected in written:
        claimed = claim.claim(100)
        assert ids(claimed) == [expected]
        assert claim.claim(100) == []
        settle_all(claimed, status=202)


def test_a_failing_head_holds_back_only_its_conversation() -> None:
    sender, recipient = factories.participant(), factories.participant()
    head = factories.message(sender, recipient.name, conversation="c1").written_id
    factories.message(sender, recipient.name, conversation="c1")
    settle_all(claim.claim(1), status=500)
    other = factories.message(sender, recipient.name, conversation="c2").written_id
    plain = factories.message(sender, recipient.name).written_id
    assert ids(claim.claim(100)) == [other, plain]
    Delivery.objects.filter(message__written_id=head).update(due_at=datetime.now(timezone.utc))
    assert ids(claim.claim(100)) == [head]


@pytest.mark.parametrize("status", [202, 404])
def test_the_end_of_the_head_lets_the_next_go(status: int) -> None:
    sender, recipient = factories.participant(), factories.participant()
    factories.message(sender, recipient.name, conversation="c1")
    second = factories.message(sender, recipient.name, conversation="c1").written_id
    settle_all(claim.claim(1), status=status)
    assert second in ids(claim.claim(100))


def test_the_same_conversation_to_another_recipient_does_not_wait() -> None:
    sender, one, other = factories.participant(), factories.participant(), factories.participant()
    factories.message(sender, one.name, conversation="c1")
    factories.message(sender, other.name, conversation="c1")
    assert len(claim.claim(100)) == 2


def test_the_database_refuses_two_in_flight() -> None:
    sender, recipient = factories.participant(), factories.participant()
    lease = datetime.now(timezone.utc) + timedelta(seconds=30)
    factories.delivery(sender, recipient)
    for _ in range(2):
        factories.message(sender, recipient.name, conversation="c1")
    rows = Delivery.objects.filter(conversation="c1")
    with pytest.raises(IntegrityError), transaction.atomic():
        rows.update(state=State.DELIVERING, lease_until=lease, lease_token=1)
