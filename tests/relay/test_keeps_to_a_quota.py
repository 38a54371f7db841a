"""A quota of stored bytes for each sender: counted behind the scenes, freed by retention, corrected by recounting."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone

from participants import registry
from relay import retention, stored_bytes
from relay.delivery import claim, dead_letter, settle
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.models import Delivery, Message, PayloadDue, StoredBytes
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import Post
from tests.relay.test_takes_batches import record

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quota(settings: Any) -> None:
    settings.STORED_BYTES_PER_PARTICIPANT = 1000


@pytest.fixture
def sender() -> Registered:
    return factories.participant()


@pytest.fixture
def recipient() -> Registered:
    return factories.participant()


def row(of: Registered) -> int:
    return StoredBytes.objects.get(pk=of.row.pk).size


def another_process() -> None:
    """From here on we are one that knows nothing yet."""
    stored_bytes.flush()
    stored_bytes.forget()


def test_beyond_the_quota_nothing_is_accepted(post: Post, sender: Registered, recipient: Registered) -> None:
    assert post(sender, recipient.name, b"x" * 600).status_code == 202
    answer = post(sender, recipient.name, b"x" * 401)
    assert answer.status_code == 429
    problem = answer.json()
    assert problem["type"] == "urn:problem-type:dmr:quota-reached"
    assert "has 600 bytes of payload stored, of 1000" in problem["detail"]
    assert "these would be 401 more" in problem["detail"]
    assert "dead letters" in problem["detail"]
    assert int(answer["Retry-After"]) > 0
    assert Message.objects.count() == 1
    assert post(sender, recipient.name, b"x" * 400).status_code == 202, "what fits is accepted"
    assert post(recipient, sender.name, b"x" * 401).status_code == 202, "another sender has its own"


def test_what_other_processes_accepted_counts(
    post: Post, sender: Registered, recipient: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(sender, recipient.name, b"x" * 500)
    another_process()
    assert post(sender, recipient.name, b"x" * 501).status_code == 429, "the row is read when first asked about"
    stored_bytes.add({sender.row.pk: 400})  # by yet another
    assert post(sender, recipient.name, b"x" * 1).status_code == 202
    stored_bytes.flush()
    assert post(sender, recipient.name, b"x" * 100).status_code == 429, "and again with each flush"
    assert row(sender) == 901
    monkeypatch.setattr(stored_bytes, "KEEP_SECONDS", 0.0)
    stored_bytes.flush()
    assert not stored_bytes._totals, "not for ever"
    assert post(sender, recipient.name, b"x" * 100).status_code == 429


def test_a_known_sender_costs_no_query(
    post: Post, sender: Registered, recipient: Registered, django_assert_num_queries: Any
) -> None:
    post(sender, recipient.name)
    with django_assert_num_queries(0):
        assert stored_bytes.of(sender.row.pk) == len(b"payload")


def test_a_repeat_and_a_refusal_count_nothing(post: Post, sender: Registered, recipient: Registered) -> None:
    written = str(factories.uuid.uuid4())
    for status in (202, 202):
        assert post(sender, recipient.name, b"x" * 300, X_Message_Id=written).status_code == status
    assert post(sender, recipient.name, b"y" * 300, X_Message_Id=written).status_code == 409
    stored_bytes.flush()
    assert row(sender) == 300


def test_batches_and_dead_letters_count(client: Client, post: Post, sender: Registered) -> None:
    other = factories.participant()
    again = str(factories.uuid.uuid4())
    body = b"".join(record(sender, other.name, b"x" * 100, X_Message_Id=each) for each in (again, again))
    body += record(sender, "nobody-here", b"x" * 100) + record(sender, other.name, b"x" * 100, X_Sent_By="wrong")
    assert client.generic("POST", "/api/v1/messages/batch", body, headers=sender.auth).status_code == 202
    stored_bytes.flush()
    assert row(sender) == 200, "two of the four are stored"
    assert not StoredBytes.objects.exclude(pk=sender.row.pk).exclude(size=0).exists(), "error messages are ours"
    body = b"".join(record(sender, other.name, b"x" * 100) for _ in range(9))
    assert client.generic("POST", "/api/v1/messages/batch", body, headers=sender.auth).status_code == 429


def deliver() -> None:
    now = timezone.now()
    settle.settle([Attempted(each, Outcome(True, 202, "", 0.1), now) for each in claim.claim(100)])


def test_retention_makes_room(post: Post, sender: Registered, recipient: Registered) -> None:
    assert post(sender, recipient.name, b"x" * 1000).status_code == 202
    assert post(sender, recipient.name, b"x").status_code == 429
    deliver()
    stored_bytes.flush()
    assert post(sender, recipient.name, b"x").status_code == 429, "delivered, but its retention is not over"
    PayloadDue.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert retention.run() == (1, 0)
    stored_bytes.flush()
    assert row(sender) == 0
    assert post(sender, recipient.name, b"x" * 1000).status_code == 202
    PayloadDue.objects.create(message=Message.objects.earliest("id"), due_at=timezone.now() - timedelta(seconds=1))
    retention.run()
    stored_bytes.flush()
    assert row(sender) == 1000, "what is gone is not taken off again"


def test_retention_may_come_before_the_flush(post: Post, sender: Registered, recipient: Registered) -> None:
    post(sender, recipient.name, b"x" * 500)
    deliver()
    PayloadDue.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    retention.run()
    assert row(sender) == -500
    stored_bytes.flush()
    assert row(sender) == 0


def test_discarding_a_dead_letter_makes_room(post: Post, sender: Registered, recipient: Registered) -> None:
    post(sender, recipient.name, b"x" * 1000)
    stored_bytes.flush()
    dead_letter.discard(Delivery.objects.filter(recipient=recipient.row))
    PayloadDue.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    retention.run()
    assert row(sender) == 0


def test_old_messages_take_their_payloads_with_them(post: Post, sender: Registered, recipient: Registered) -> None:
    post(sender, recipient.name, b"x" * 700)
    stored_bytes.flush()
    Delivery.objects.update(state="dead")
    Message.objects.update(accepted_at=timezone.now() - timedelta(days=91))
    assert retention.delete_messages() == 1
    assert row(sender) == 0


@pytest.mark.parametrize(("own", "status"), [(None, 429), (5000, 202), (10, 429), (0, 202)])
def test_staff_give_a_participant_a_quota_of_its_own(
    post: Post, sender: Registered, recipient: Registered, own: int | None, status: int
) -> None:
    sender.row.stored_bytes_limit = own
    registry.update(sender.row, actor="tests")
    assert post(sender, recipient.name, b"x" * 1001).status_code == status


def test_zero_is_no_quota(settings: Any, post: Post, sender: Registered, recipient: Registered) -> None:
    settings.STORED_BYTES_PER_PARTICIPANT = 0
    assert post(sender, recipient.name, b"x" * 2000).status_code == 202


def test_a_recount_corrects_what_a_kill_lost(post: Post, sender: Registered, recipient: Registered) -> None:
    post(sender, recipient.name, b"x" * 600)
    stored_bytes.forget()  # killed before it wrote that down
    post(sender, recipient.name, b"x" * 50)
    stored_bytes.flush()
    assert row(sender) == 50
    assert stored_bytes.recount() >= 2
    assert row(sender) == 650
    assert row(recipient) == 0
    StoredBytes.objects.filter(pk=sender.row.pk).update(size=1)
    assert stored_bytes.recount() == 0, "once a day is enough"
    StoredBytes.objects.update(counted_at=timezone.now() - timedelta(days=1, seconds=1))
    stored_bytes.recount()
    assert row(sender) == 650


def test_what_cannot_be_written_is_written_later(
    post: Post, sender: Registered, recipient: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(sender, recipient.name, b"x" * 600)

    def broken(sizes: object) -> dict[int, int]:
        raise DatabaseError("away")

    with monkeypatch.context() as patch:
        patch.setattr(stored_bytes, "add", broken)
        with pytest.raises(DatabaseError):
            stored_bytes.flush()
    assert stored_bytes.of(sender.row.pk) == 600
    post(sender, recipient.name, b"x" * 50)
    stored_bytes.flush()
    assert row(sender) == 650
    assert stored_bytes.of(sender.row.pk) == 650


def test_what_was_written_is_not_written_again(
    post: Post, sender: Registered, recipient: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the connection breaks between writing and reading what others have stored."""
    stored_bytes.of(recipient.row.pk)
    post(sender, recipient.name, b"x" * 600)

    def broken(**_: object) -> None:
        raise DatabaseError("away")

    with monkeypatch.context() as patch:
        patch.setattr(StoredBytes.objects, "filter", broken)
        with pytest.raises(DatabaseError):
            stored_bytes.flush()
    stored_bytes.flush()
    assert row(sender) == 600
    assert stored_bytes.of(sender.row.pk) == 600
