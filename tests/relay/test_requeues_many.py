"""Requeues and discards of many: jobs in the database, done batch by batch, that survive whoever works at them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client

from participants import registry
from participants.models import Change, RegistryVersion
from relay import dead_letter_jobs, tasks
from relay.dead_letters import Scope
from relay.delivery import dead_letter
from relay.models import DeadLetterJob, Delivery, Message, State
from tests import factories
from tests.factories import Registered

pytestmark = pytest.mark.django_db
PATH = "/api/v1/dead-letters"
NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
Committed = Callable[[], Any]


@pytest.fixture
def staff(staff_key: str) -> dict[str, str]:
    return {"X-Api-Key": staff_key}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_jobs, "BATCH", 2)


def dead(sender: Registered, recipient: Registered, minutes: int = 0, **columns: Any) -> Delivery:
    columns = {"state": State.DEAD, "ended_at": NOON + timedelta(minutes=minutes), "attempts": 10, **columns}
    return factories.delivery(sender, recipient, **columns)


def ask(client: Client, headers: dict[str, str], act: str = "requeue", **body: Any) -> Any:
    return client.post(f"{PATH}/{act}", body, content_type="application/json", headers=headers)


def pending() -> set[int]:
    return set(Delivery.objects.filter(state=State.PENDING).values_list("pk", flat=True))


def keys(*letters: Delivery) -> set[int]:
    return {letter.pk for letter in letters}


# -- by API --


def test_those_of_a_recipient_since_a_time(client: Client, staff: dict[str, str], committed: Committed) -> None:
    sender, recipient, other = (factories.participant() for _ in range(3))
    before, at, after, last = (dead(sender, recipient, minute) for minute in (-1, 0, 1, 10))
    dead(sender, other, 1)
    asked = {"recipient": recipient.name, "since": "2026-11-24T12:00:00Z", "until": "2026-11-24T14:01:00+02:00"}
    with committed():
        answer = ask(client, staff, **asked)
    assert answer.status_code == 202
    said = answer.json()
    assert (said["action"], said["recipient"], said["requestedBy"]) == ("requeue", recipient.name, "staff key")
    assert (said["since"], said["until"]) == ("2026-11-24T12:00:00.000Z", "2026-11-24T12:01:00.000Z")
    assert (said["estimate"], said["done"], said["left"]) == (2, 2, {})
    tasks.dead_letters()
    assert client.get(f"{PATH}/requeues/{said['id']}", headers=staff).json()["state"] == "done"
    assert pending() == keys(at, after)
    at.refresh_from_db()
    assert (at.attempts, at.ended_at, at.discarded_at) == (0, None, None)
    assert Delivery.objects.dead_letters().filter(pk__in=keys(before, last)).count() == 2


def test_the_first_batch_is_done_at_once_and_the_rest_by_beats_task(
    client: Client, staff: dict[str, str], wakes: Any, committed: Committed
) -> None:
    sender, recipient = factories.participant(), factories.participant()
    letters = [dead(sender, recipient, minute) for minute in range(5)]
    with committed():
        said = ask(client, staff, recipient=recipient.name).json()
    assert (said["state"], said["estimate"], said["done"], said["finishedAt"]) == ("running", 5, 2, None)
    assert pending() == keys(*letters[:2])
    assert wakes.count >= 1
    tasks.dead_letters()
    said = client.get(f"{PATH}/requeues/{said['id']}", headers=staff).json()
    assert (said["state"], said["done"]) == ("done", 5)
    assert said["finishedAt"]
    assert pending() == keys(*letters)


def test_a_sender_requeues_only_its_own(client: Client, staff: dict[str, str]) -> None:
    sender, other, recipient = (factories.participant() for _ in range(3))
    own = [dead(sender, recipient, minute) for minute in range(3)]
    theirs = dead(other, recipient)
    said = ask(client, sender.auth, recipient=recipient.name).json()
    assert (said["estimate"], said["requestedBy"]) == (3, sender.name)
    assert client.get(f"{PATH}/requeues/{said['id']}", headers=other.auth).status_code == 404
    assert client.get(f"{PATH}/requeues/{said['id']}", headers=staff).status_code == 200
    again = ask(client, sender.auth, recipient=recipient.name)
    assert again.status_code == 409
    assert again.json()["type"] == "urn:problem-type:dmr:requeue-running"
    assert said["id"] in again.json()["detail"]
    assert ask(client, other.auth, recipient=recipient.name).status_code == 202, "one does not wait for another"
    tasks.dead_letters()
    assert pending() == keys(*own, theirs)
    assert client.get(f"{PATH}/requeues/{said['id']}", headers=sender.auth).json()["done"] == 3
    of_staff = [ask(client, staff, recipient="x" * 5).status_code for _ in range(2)]
    assert of_staff == [202, 202]


def test_one_message_at_once(client: Client, staff: dict[str, str]) -> None:
    sender, other, recipient = (factories.participant() for _ in range(3))
    letter, rest = dead(sender, recipient), dead(sender, recipient)
    for headers in (other.auth, recipient.auth):
        assert ask(client, headers, messageId=letter.message.written_id).status_code == 404
    answer = ask(client, sender.auth, messageId=letter.message.written_id.upper())
    assert (answer.status_code, answer.json()) == (200, {"done": 1, "left": {}})
    assert pending() == keys(letter)
    assert ask(client, sender.auth, messageId=letter.message.written_id).status_code == 404, "it is none any more"
    assert ask(client, staff, messageId=rest.message.written_id).json()["done"] == 1


def test_only_staff_discard(client: Client, staff: dict[str, str]) -> None:
    sender, recipient = factories.participant(), factories.participant()
    one, *many = (dead(sender, recipient, minute) for minute in range(4))
    waiting = factories.delivery(sender, recipient)
    for body in ({"messageId": one.message.written_id}, {"recipient": recipient.name}):
        assert ask(client, sender.auth, "discard", **body).status_code == 403
    answer = ask(client, staff, "discard", messageId=one.message.written_id)
    assert (answer.status_code, answer.json()) == (200, {"done": 1, "left": {}})
    said = ask(client, staff, "discard", recipient=recipient.name).json()
    assert (said["action"], said["done"]) == ("discard", 2)
    assert client.get(f"{PATH}/requeues/{said['id']}", headers=staff).status_code == 404
    assert client.get(f"{PATH}/discards/{said['id']}", headers=sender.auth).status_code == 403
    tasks.dead_letters()
    assert client.get(f"{PATH}/discards/{said['id']}", headers=staff).json()["done"] == len(many)
    assert not Delivery.objects.dead_letters().exists()
    assert pending() == keys(waiting)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"recipient": "x", "sinse": "2026-11-24T12:00:00Z"}, "sinse"),
        ({"recipient": 5}, "recipient"),
        ({"recipient": "\ud800"}, "recipient"),
        ({"since": "yesterday"}, "since"),
        ({"messageId": "none"}, "messageId"),
        ({"messageId": "6a9b1c3e-8d1f-4f62-9a55-0f3f1b7f0d11", "recipient": "x"}, "messageId"),
    ],
)
def test_a_bad_field_is_named(client: Client, staff: dict[str, str], body: dict[str, Any], field: str) -> None:
    answer = ask(client, staff, **body)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("body", [{}, {"until": "2026-11-24T12:00:00Z"}, {"recipient": ""}, {"recipient": None}])
def test_all_at_once_is_nobodys_intention(client: Client, staff: dict[str, str], body: dict[str, Any]) -> None:
    assert ask(client, staff, **body).status_code == 400
    assert not DeadLetterJob.objects.exists()


def test_a_suspended_sender_requeues_nothing(client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()
    letter = dead(sender, recipient)
    registry.set_status([sender.row], "Suspended", actor="tests")
    for body in ({"messageId": letter.message.written_id}, {"recipient": recipient.name}):
        assert ask(client, sender.auth, **body).status_code == 403
    assert client.get(PATH, headers=sender.auth).status_code == 200


# -- jobs --


def start(recipient: Registered, action: str = "requeue") -> DeadLetterJob:
    return dead_letter_jobs.start(action, Scope(recipient=recipient.name), actor="anna")


def test_what_has_an_obstacle_stays_and_is_counted() -> None:
    sender, recipient = factories.participant(), factories.participant()
    letters = [dead(sender, recipient, minute) for minute in range(7)]
    for letter in letters[1:4]:
        Message.objects.filter(deliveries=letter).update(payload_deleted_at=NOON)
    job = start(recipient)
    dead_letter_jobs.work_off()
    job.refresh_from_db()
    assert (job.state, job.estimate, job.done, job.left) == ("done", 7, 4, {"payload-deleted": 3})
    assert pending() == keys(letters[0], *letters[4:])
    registry.remove_participant(recipient.row, actor="tests")
    Delivery.objects.filter(state=State.PENDING).update(state=State.DEAD, ended_at=NOON)
    job = start(recipient)
    dead_letter_jobs.work_off()
    job.refresh_from_db()
    assert (job.done, job.left) == (0, {"recipient-gone": 7})


@pytest.mark.parametrize("breaks", ["before", "after"])
def test_a_crash_in_the_middle_loses_nothing_and_counts_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    """In the third batch, before and after its letters were moved; another job meanwhile goes on."""
    sender, recipient, other = (factories.participant() for _ in range(3))
    letters = [dead(sender, recipient, minute) for minute in range(9)]
    Message.objects.filter(deliveries=letters[0]).update(payload_deleted_at=NOON)
    others = [dead(sender, other, minute) for minute in range(5)]
    requeue, calls = dead_letter.requeue, []

    def breaking(rows: Any) -> int:
        if rows.filter(pk=letters[4].pk).exists():
            calls.append(1)
            if breaks == "after":
                requeue(rows)
            raise RuntimeError("the process dies")
        return requeue(rows)

    job, beside = start(recipient), start(other)
    monkeypatch.setattr(dead_letter, "requeue", breaking)
    tasks.dead_letters()
    tasks.dead_letters()
    job.refresh_from_db()
    beside.refresh_from_db()
    assert len(calls) == 2, "tried again at each run"
    assert (job.state, job.done, job.left) == ("running", 3, {"payload-deleted": 1})
    assert (beside.state, beside.done) == ("done", 5)
    monkeypatch.setattr(dead_letter, "requeue", requeue)
    tasks.dead_letters()
    job.refresh_from_db()
    assert (job.state, job.done, job.left) == ("done", 8, {"payload-deleted": 1})
    assert pending() == keys(*letters[1:], *others)


def test_a_job_whose_process_died_before_its_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, recipient = factories.participant(), factories.participant()
    dead(sender, recipient)
    with monkeypatch.context() as patch:
        patch.setattr(dead_letter_jobs, "advance", lambda pk: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            start(recipient)
    tasks.dead_letters()
    assert (DeadLetterJob.objects.get().state, DeadLetterJob.objects.get().done) == ("done", 1)


def test_what_dies_again_meanwhile_is_left_for_another_time() -> None:
    sender, recipient = factories.participant(), factories.participant()
    first, second, third = (dead(sender, recipient, minute) for minute in range(3))
    with time_machine.travel(NOON + timedelta(hours=1), tick=False) as clock:
        job = start(recipient)
        assert pending() == keys(first, second)
        clock.shift(1)
        again = datetime.now(timezone.utc)
        Delivery.objects.filter(pk=first.pk).update(state=State.DEAD, ended_at=again)
        newcomer = dead(sender, recipient, 61)
        dead_letter_jobs.work_off()
    job.refresh_from_db()
    assert (job.state, job.done) == ("done", 3)
    assert pending() == keys(second, third)
    assert set(Delivery.objects.dead_letters().values_list("pk", flat=True)) == keys(first, newcomer)


def test_many_that_ended_at_the_same_moment() -> None:
    sender, recipient = factories.participant(), factories.participant()
    letters = [dead(sender, recipient, 0) for _ in range(7)]
    job = start(recipient)
    dead_letter_jobs.work_off()
    job.refresh_from_db()
    assert job.done == 7
    assert pending() == keys(*letters)


def test_stopped_is_stopped() -> None:
    sender, recipient = factories.participant(), factories.participant()
    for minute in range(5):
        dead(sender, recipient, minute)
    job = start(recipient)
    assert dead_letter_jobs.stop(job, actor="boris")
    assert not dead_letter_jobs.stop(job, actor="boris")
    tasks.dead_letters()
    job.refresh_from_db()
    assert (job.state, job.done) == ("stopped", 2)
    assert Delivery.objects.dead_letters().count() == 3
    again = start(recipient)
    dead_letter_jobs.work_off()
    again.refresh_from_db()
    assert again.done == 3


def test_a_run_ends_when_its_time_is_over() -> None:
    sender, recipient = factories.participant(), factories.participant()
    for minute in range(5):
        dead(sender, recipient, minute)
    job = start(recipient)
    dead_letter_jobs.work_off(seconds=0)
    job.refresh_from_db()
    assert job.done == 2


def test_who_when_what_is_written_down(client: Client, staff: dict[str, str]) -> None:
    sender, recipient = factories.participant(), factories.participant()
    for minute in range(3):
        dead(sender, recipient, minute)
    one = dead(sender, recipient)
    version = RegistryVersion.objects.get().number
    job = start(recipient)
    dead_letter_jobs.work_off()
    changes = list(Change.objects.filter(kind="deadletterjob", subject_id=str(job.public_id)).order_by("id"))
    assert [(change.action, change.actor) for change in changes] == [("requeue", "anna"), ("finish", "system")]
    assert (changes[0].after["recipient"], changes[0].after["estimate"]) == (recipient.name, 4)
    assert changes[1].after["done"] == 4
    Delivery.objects.filter(pk=one.pk).update(state=State.DEAD, ended_at=NOON)
    ask(client, sender.auth, messageId=one.message.written_id)
    change = Change.objects.get(kind="delivery")
    assert (change.action, change.actor, change.actor_kind) == ("requeue", sender.name, "participant")
    assert change.subject == one.message.written_id
    assert RegistryVersion.objects.get().number == version, "nobody's cache of the registry is stale"


def test_jobs_are_forgotten_long_after_their_end() -> None:
    recipient = factories.participant()
    old, running = start(recipient), start(recipient)
    assert old.state == "done", "there was nothing to do"
    DeadLetterJob.objects.filter(pk=old.pk).update(finished_at=NOON - timedelta(days=400))
    DeadLetterJob.objects.filter(pk=running.pk).update(state="running", finished_at=None)
    young = start(recipient)
    tasks.forget()
    assert set(DeadLetterJob.objects.values_list("pk", flat=True)) == {running.pk, young.pk}


@pytest.mark.django_db(transaction=True)
def test_two_at_one_job_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And two jobs over the same letters: each letter is requeued once, and counted by one of them."""
    sender, recipient = factories.participant(), factories.participant()
    letters = [dead(sender, recipient, minute) for minute in range(20)]
    jobs = [start(recipient), start(recipient)]

    def work() -> None:
        try:
            for _ in range(100):
                dead_letter_jobs.work_off()
                if not DeadLetterJob.objects.filter(state="running").exists():
                    return
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for job in jobs:
        job.refresh_from_db()
    assert [job.state for job in jobs] == ["done", "done"]
    assert sum(job.done for job in jobs) == len(letters)
    assert pending() == keys(*letters)
