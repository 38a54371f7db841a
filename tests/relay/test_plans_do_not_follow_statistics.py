"""What picks or changes deliveries goes by keys and by the index made for it, also where statistics mislead.

They do after a quiet time: nothing is pending when PostgreSQL takes them, and then a backlog comes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from observability import collectors, traffic
from relay import dead_letter_jobs, dead_letters, planning, retention
from relay.dead_letters import Scope, Why
from relay.delivery import claim, conversations, settle, sweeper
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.inbox import answers, leases
from relay.models import Delivery, Message, PayloadDue
from tests import factories

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="it is about PostgreSQL's planner"),
]
OF_DELIVERIES = {each.name for each in Delivery._meta.indexes} | {
    "relay_delivery_pkey",
    "one_in_flight_per_conversation",
}
BY_KEY = {"delivery_due", "relay_delivery_pkey", "delivery_conversation"}  # the last within a conversation alone


@pytest.fixture
def after_a_quiet_time() -> None:
    """Many deliveries, all ended, and statistics that say so."""
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    Delivery.objects.filter(pk=delivery.pk).update(state="delivered", ended_at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO relay_delivery (message_id, recipient_id, recipient_name, sender_id, conversation, state,
                due_at, attempts, expires_at, accepted_at, ended_at, last_error)
            SELECT message_id, recipient_id, recipient_name, sender_id, conversation, state, due_at, attempts,
                expires_at, accepted_at, ended_at, last_error
            FROM relay_delivery, generate_series(1, 50000)
            """
        )
        cursor.execute("VACUUM ANALYZE relay_delivery")


@pytest.fixture(params=["after a quiet time", "while it was nearly empty"])
def as_a_pump(request: pytest.FixtureRequest) -> Iterator[None]:
    """Plans are kept: what was planned while there were few rows runs when there are many."""
    if request.param == "after a quiet time":
        request.getfixturevalue("after_a_quiet_time")
    else:
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE relay_delivery")  # gives back what other tests' rows took
    claim.prepare_connection()
    yield
    with connection.cursor() as cursor:
        for setting in planning.OFF:
            cursor.execute(f"RESET {setting}")


@contextmanager
def explained() -> Iterator[list[set[str]]]:
    """Of each statement within that reads or changes deliveries: the indexes by which it does."""
    found: list[set[str]] = []

    def explain(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        if re.search(r"(FROM|UPDATE) \"?relay_delivery\b", sql):
            execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters, many, context)
            (said,) = context["cursor"].fetchone()
            found.append(set(read_by(said if isinstance(said, list) else json.loads(said))))
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(explain):
        yield found


def read_by(plan: Any) -> Iterator[str]:
    """Names of indexes, and of what is read without one."""
    if isinstance(plan, list):
        for each in plan:
            yield from read_by(each)
    elif isinstance(plan, dict):
        if plan.get("Relation Name") == "relay_delivery" and "Scan" in plan["Node Type"]:
            yield plan.get("Index Name", plan["Node Type"])
        elif plan.get("Node Type") == "Bitmap Index Scan" and plan["Index Name"] in OF_DELIVERIES:
            yield plan["Index Name"]
        for each in plan.values():
            yield from read_by(each)


def test_a_claim_reads_each_recipients_few_oldest(as_a_pump: None) -> None:
    sender = factories.participant()
    for _ in range(3):
        factories.message(sender, factories.participant().name)
    with explained() as plans:
        claimed = claim.claim(100)
    assert len(claimed) == 3
    assert plans[0] <= BY_KEY
    assert plans[1] == {"delivery_lease"}


def test_settling_reads_what_it_settles(as_a_pump: None) -> None:
    sender, recipient = factories.participant(), factories.participant()
    factories.message(sender, recipient.name)
    (claimed,) = claim.claim(100)
    with explained() as plans:
        settle.settle([Attempted(claimed, Outcome(True, 202, "", 0.01), timezone.now())])
    assert plans == [{"relay_delivery_pkey"}]
    assert Delivery.objects.get(pk=claimed.id).state == "delivered"


@pytest.mark.parametrize("status", [400, 500])
def test_settling_what_failed_reads_what_it_settles(as_a_pump: None, status: int) -> None:
    factories.message(factories.participant(), factories.participant().name)
    (claimed,) = claim.claim(100)
    with explained() as plans:
        settle.settle([Attempted(claimed, Outcome(False, status, "no", 0.01), timezone.now())])
    assert plans == [{"relay_delivery_pkey"}]


def some_for(recipient: factories.Registered, count: int = 3) -> None:
    sender = factories.participant()
    for number in range(count):
        factories.message(sender, recipient.name, conversation="c" if number else "")


def test_handing_out_reads_the_recipients_oldest(after_a_quiet_time: None) -> None:
    recipient = factories.participant(delivery_mode="pull")
    some_for(recipient)
    with explained() as plans:
        assert leases.with_something([recipient.row.pk]) == {recipient.row.pk}
        leased = leases.hand_out(recipient.entry, most=10, seconds=60)
    assert len(leased) == 2
    looked, claimed, loaded = plans
    assert looked <= {"delivery_due", "delivery_conversation"}
    assert claimed <= BY_KEY
    assert loaded == {"delivery_lease"}


@pytest.mark.parametrize("is_taken", [True, False])
def test_what_recipients_say_reads_what_they_name(after_a_quiet_time: None, is_taken: bool) -> None:
    recipient = factories.participant(delivery_mode="pull")
    some_for(recipient)
    held = [str(each.handle) for each in leases.hand_out(recipient.entry, most=10, seconds=60)]
    with explained() as plans:
        if is_taken:
            answers.acknowledge(recipient.entry, held)
        else:
            answers.refuse(recipient.entry, held, answers.Refusal(is_final=True))
    assert plans
    assert all(plan == {"relay_delivery_pkey"} for plan in plans), plans


def test_the_sweep_reads_what_has_run_out(after_a_quiet_time: None) -> None:
    recipient = factories.participant()
    some_for(recipient)
    claim.claim(1)
    past = timezone.now() - timedelta(seconds=1)
    Delivery.objects.filter(state="delivering").update(lease_until=past)
    Delivery.objects.filter(state="pending").update(expires_at=past)
    with explained() as plans:
        swept = sweeper.sweep()
    assert (swept.returned, swept.expired) == (1, 2)
    returned, (*expired, of_the_gone, fetched, long) = plans[:2], plans[2:]
    assert of_the_gone == fetched == {"delivery_due"}
    assert long <= BY_KEY
    assert all(plan == {"delivery_lease"} for plan in returned), plans
    assert expired[0] == {"delivery_expiry"}
    assert all(plan == {"relay_delivery_pkey"} for plan in expired[1:]), plans


def test_putting_off_reads_the_conversation(after_a_quiet_time: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "LEFT_DUE", 1)
    some_for(factories.participant(), count=4)
    with explained() as plans:
        assert conversations.put_off() == 2
    looked, behind, changed, looked_again = plans
    assert looked == looked_again == {"delivery_due", "delivery_conversation"}
    assert behind == {"delivery_conversation"}
    assert changed == {"relay_delivery_pkey"}


def test_forgetting_reads_what_is_due(after_a_quiet_time: None) -> None:
    recipient = factories.participant()
    some_for(recipient, count=1)
    (claimed,) = claim.claim(1)
    settle.settle([Attempted(claimed, Outcome(True, 202, "", 0.01), timezone.now())])
    PayloadDue.objects.update(due_at=timezone.now())
    with explained() as plans:
        assert retention.delete_payloads() == 1
    assert all(each.startswith("relay_delivery_message_id") for plan in plans for each in plan), plans


@pytest.mark.parametrize(
    ("scope", "index"),
    [
        ({"recipient": "some-bot"}, "dead_letters_to_recipient"),
        ({"sender_id": 1}, "dead_letters_of_sender"),
        ({}, "dead_letters_by_end"),
    ],
)
@pytest.mark.parametrize("action", ["requeue", "discard"])
def test_a_job_reads_its_dead_letters(
    after_a_quiet_time: None, action: str, scope: dict[str, Any], index: str
) -> None:
    recipient = factories.participant("some-bot")
    some_for(recipient)
    sender = Message.objects.latest("pk").sender
    Delivery.objects.filter(state="pending").update(state="dead", ended_at=timezone.now())
    since = timezone.now() - timedelta(hours=1)
    wanted = Scope(**{**scope, **({"sender_id": sender.pk} if "sender_id" in scope else {})}, since=since)
    with explained() as plans:
        assert dead_letters.page(wanted, Why(), None, 10).letters
        page, letters, *_ = plans
        plans.clear()
        assert dead_letter_jobs.start(action, wanted, actor="tests").done == 3
    assert page == {index}
    assert letters == {"relay_delivery_pkey"}
    _, picked, *changed = plans
    assert picked == {index}
    assert all(plan == {"relay_delivery_pkey"} for plan in changed), plans


def test_gauges_read_the_first_of_each_recipient(after_a_quiet_time: None) -> None:
    recipient = factories.participant()
    some_for(recipient)
    with explained() as plans:
        collectors.oldest_due(timezone.now())
        assert traffic.backlogs([recipient.row.pk]) == {recipient.row.pk: 3}
    oldest, backlog = plans
    assert oldest <= {"delivery_due", "delivery_conversation"}
    assert backlog == {"delivery_due"}
