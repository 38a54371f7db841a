"""`manage.py dead_letters`: what it says, and that it can be interrupted and run again."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError

from participants.models import Change
from relay import dead_letter_jobs, tasks
from relay.management.commands import dead_letters as command
from relay.models import DeadLetterJob, Delivery, Message, State
from tests import factories
from tests.factories import Registered

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)  # 14:00 on the wall


@pytest.fixture(autouse=True)
def anna(monkeypatch: pytest.MonkeyPatch) -> None:
    User.objects.create_user("anna")
    monkeypatch.setattr(dead_letter_jobs, "BATCH", 2)


def run(*arguments: str) -> list[str]:
    out = StringIO()
    call_command("dead_letters", *arguments, stdout=out)
    return out.getvalue().splitlines()


def dead(sender: Registered, recipient: Registered, minutes: int = 0, **columns: Any) -> Delivery:
    ended_at = NOON + timedelta(minutes=minutes)
    columns = {"state": State.DEAD, "ended_at": ended_at, "last_error": "no answer within 10 s", **columns}
    return factories.delivery(sender, recipient, **columns)


def written_id(letter: Delivery) -> str:
    return letter.message.written_id


def test_lists_why_and_since_when() -> None:
    sender, recipient, other = (factories.participant() for _ in range(3))
    first = dead(sender, recipient)
    second = dead(sender, other, 1, last_status=404, last_error="the recipient answered 404, which is final")
    lines = {
        letter: f"2026-11-24 14:0{minute}:00  {sender.name} -> {letter.recipient_name}  {written_id(letter)}  {why}"
        for letter, minute, why in (
            (first, 0, "-  no answer within 10 s"),
            (second, 1, "404  the recipient answered 404, which is final"),
        )
    }
    assert run("list") == [lines[second], lines[first], "2 dead letter(s)"]
    assert run("list", "--recipient", recipient.name) == [lines[first], "1 dead letter(s)"]
    assert run("list", "--since", "2026-11-24T14:01") == [lines[second], "1 dead letter(s)"]
    assert run("list", "--until", "2026-11-24T12:00:30Z") == [lines[first], "1 dead letter(s)"]
    assert run("list", "--since", "2026-11-25") == ["0 dead letter(s)"]
    assert run("list", "--status", "404", "--reason", "the") == [lines[second], "1 dead letter(s)"]
    assert run("list", "--limit", "1") == [lines[second], "1 dead letter(s), and there are more"]


def test_requeues_those_of_a_recipient_and_says_what_stayed() -> None:
    sender, recipient = factories.participant(), factories.participant()
    letters = [dead(sender, recipient, minute) for minute in range(5)]
    Message.objects.filter(deliveries=letters[0]).update(payload_deleted_at=NOON)
    said = run("requeue", "--recipient", recipient.name, "--user", "anna")
    assert said == ["4 requeued; 1 left alone: its payload was deleted"]
    assert Delivery.objects.filter(state=State.PENDING).count() == 4
    assert Change.objects.get(kind="deadletterjob", action="requeue").actor == "anna"


def test_discards_since_a_time() -> None:
    sender, recipient = factories.participant(), factories.participant()
    for minute in range(5):
        dead(sender, recipient, minute)
    assert run("discard", "--since", "2026-11-24T14:02", "--user", "anna") == ["3 discarded"]
    assert Delivery.objects.dead_letters().count() == 2


def test_one_message() -> None:
    sender, recipient = factories.participant(), factories.participant()
    one, other = (dead(sender, recipient) for _ in range(2))
    assert run("requeue", "--message", one.message.written_id, "--user", "anna") == ["1 requeued"]
    assert run("discard", "--message", other.message.written_id, "--user", "anna") == ["1 discarded"]
    assert set(Change.objects.filter(kind="delivery").values_list("action", "actor")) == {
        ("requeue", "anna"),
        ("discard", "anna"),
    }


def test_progress_is_told_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, recipient = factories.participant(), factories.participant()
    for minute in range(5):
        dead(sender, recipient, minute)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(command.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(dead_letter_jobs, "time", None)  # has no part in it
    said = run("requeue", "--recipient", recipient.name, "--user", "anna")
    assert said == ["4 of 5", "5 requeued"]


def test_interrupted_it_stops_and_run_again_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, recipient = factories.participant(), factories.participant()
    for minute in range(7):
        dead(sender, recipient, minute)
    arguments = ("requeue", "--recipient", recipient.name, "--user", "anna")
    advance, calls = dead_letter_jobs.advance, []

    def interrupted(pk: int) -> bool:
        calls.append(pk)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return advance(pk)

    with monkeypatch.context() as patch:
        patch.setattr(dead_letter_jobs, "advance", interrupted)
        assert run(*arguments) == ["4 requeued; stopped before the end, run it again to go on"]
    tasks.dead_letters()
    assert Delivery.objects.filter(state=State.PENDING).count() == 4, "it was to stop"
    assert run(*arguments) == ["3 requeued"]


def test_killed_its_job_is_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, recipient = factories.participant(), factories.participant()
    for minute in range(5):
        dead(sender, recipient, minute)
    with monkeypatch.context() as patch:
        patch.setattr(command.Command, "_work_off", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            run("requeue", "--recipient", recipient.name, "--user", "anna")
    tasks.dead_letters()
    job = DeadLetterJob.objects.get()
    assert (job.state, job.done) == ("done", 5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("requeue", "--user", "anna"), "Name a recipient, or since when"),
        (("requeue", "--recipient", "x", "--user", "boris"), "no user 'boris'"),
        (("requeue", "--recipient", "x"), "--user"),
        (("requeue", "--since", "soon", "--user", "anna"), "'soon' is not a time"),
        (("requeue", "--since", "2026-02-30", "--user", "anna"), "is not a time"),
        (("requeue", "--message", "x", "--user", "anna"), "'x' is not the id of a message"),
        (
            ("requeue", "--message", "6a9b1c3e-8d1f-4f62-9a55-0f3f1b7f0d11", "--user", "anna"),
            "There is no dead letter of a message",
        ),
    ],
)
def test_refusals_are_one_line(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError) as raised:
        run(*arguments)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
