"""In admin: a page to requeue or discard many, one that shows how far it is, and acts that say who did them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from participants.models import Change
from relay import admin, dead_letter_jobs, tasks
from relay.models import DeadLetterJob, Delivery, Message, State
from staff import roles
from tests import factories
from tests.staff.people import browser, chosen, person

pytestmark = pytest.mark.django_db
ADD = "admin:relay_deadletterjob_add"
CHANGE = "admin:relay_deadletterjob_change"
NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_jobs, "BATCH", 2)


def letters(count: int) -> list[Delivery]:
    sender, recipient = factories.participant(), factories.participant()
    return [
        factories.delivery(sender, recipient, state=State.DEAD, ended_at=NOON + timedelta(minutes=minute))
        for minute in range(count)
    ]


def ask(client: Client, **fields: str) -> Any:
    """Asks, looks at what would be done, and says yes."""
    first = foresee(client, **fields)
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', first.content.decode()))
    return client.post(reverse(ADD), hidden, follow=True) if "confirmed" in hidden else first


def foresee(client: Client, **fields: str) -> Any:
    known = {"action": "requeue", "recipient_name": "", "since_0": "", "since_1": "", "until_0": "", "until_1": ""}
    return client.post(reverse(ADD), known | fields, follow=True)


def test_it_first_shows_what_it_would_do(admin_client: Client) -> None:
    dead = letters(3)
    Message.objects.filter(pk=dead[0].message_id).update(payload_deleted_at=NOON)
    page = foresee(admin_client, recipient_name=dead[0].recipient_name).content.decode()
    assert "3 dead letters are found." in page
    assert "Nothing is done yet." in page
    assert page.count("tried at once") == 2
    assert "left alone: its payload was deleted" in page
    assert not DeadLetterJob.objects.exists()
    assert Delivery.objects.filter(state=State.DEAD).count() == 3


def test_the_form_offers_nothing_but_to_show_it(admin_client: Client) -> None:
    page = admin_client.get(reverse(ADD)).content.decode()
    form = page.partition('id="deadletterjob_form"')[2].partition("</form>")[0]
    assert 'type="submit" class="default" value="Show what would be done"' in form
    assert "_addanother" not in page
    assert "_continue" not in page


def test_what_died_after_it_was_shown_is_not_among_it(admin_client: Client) -> None:
    dead = letters(2)
    with time_machine.travel(NOON + timedelta(hours=1), tick=False) as clock:
        first = foresee(admin_client, recipient_name=dead[0].recipient_name).content.decode()
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', first))
        clock.shift(60)
        Delivery.objects.filter(pk=dead[1].pk).update(ended_at=NOON + timedelta(hours=1, seconds=30))
        admin_client.post(reverse(ADD), hidden)
    assert DeadLetterJob.objects.get().done == 1


def test_where_none_is_found_there_is_nothing_to_start(admin_client: Client) -> None:
    page = foresee(admin_client, action="discard", recipient_name="nobody").content.decode()
    assert "0 dead letters are found." in page
    assert 'type="submit" class="default"' not in page


def test_who_may_not_start_is_shown_nothing() -> None:
    client = browser(person(roles.VIEWER))
    assert foresee(client, recipient_name="anybody").status_code == 403


def test_requeues_many_and_shows_how_far_it_is(admin_client: Client) -> None:
    dead = letters(5)
    page = ask(admin_client, recipient_name=dead[0].recipient_name)
    job = DeadLetterJob.objects.get()
    assert page.redirect_chain == [(reverse(CHANGE, args=[job.pk]), 302)]
    assert b"2 of 5 requeued" in page.content
    assert b'data-live="3"' in page.content
    assert b"Stop" in page.content
    tasks.dead_letters()
    page = admin_client.get(reverse(CHANGE, args=[job.pk]))
    assert b"5 of 5 requeued" in page.content
    assert b'data-live="3"' not in page.content
    job.refresh_from_db()
    assert (job.requested_by, job.state) == ("admin", "done")
    assert b"5 of 5 requeued" in admin_client.get(reverse("admin:relay_deadletterjob_changelist")).content
    history = admin_client.get(reverse("admin:relay_deadletterjob_history", args=[job.pk]), follow=True)
    assert history.status_code == 200
    assert str(job).encode() in history.content


def test_since_a_time_on_the_wall(admin_client: Client) -> None:
    dead = letters(3)
    ask(
        admin_client,
        action="discard",
        since_0="2026-11-24",
        since_1="14:01:00",
        until_0="2026-11-24",
        until_1="14:01",
    )
    assert list(Delivery.objects.exclude(discarded_at=None)) == [dead[1]]


def test_all_at_once_is_refused_beside_the_form(admin_client: Client) -> None:
    letters(1)
    page = ask(admin_client)
    assert b"Name a recipient, or since when." in page.content
    assert ask(admin_client, since_0="soon").status_code == 200
    assert not DeadLetterJob.objects.exists()


def test_stop(admin_client: Client) -> None:
    ask(admin_client, recipient_name=letters(5)[0].recipient_name)
    job = DeadLetterJob.objects.get()
    url = reverse("admin:relay_deadletterjob_stop", args=[job.pk])
    assert admin_client.get(url).status_code == 405
    assert b"Stopped" in admin_client.post(url, follow=True).content
    assert b"over already" in admin_client.post(url, follow=True).content
    tasks.dead_letters()
    assert Delivery.objects.dead_letters().count() == 3


def test_whoever_may_only_look_cannot_ask(client: Client) -> None:
    job_of = letters(1)[0].recipient_name
    staff = User.objects.create_user("looker", is_staff=True)
    client.force_login(staff)
    assert ask(client, recipient_name=job_of).status_code == 403
    assert client.post(reverse("admin:relay_deadletterjob_stop", args=[1])).status_code == 403
    assert not DeadLetterJob.objects.exists()


def test_acts_on_chosen_ones_are_written_down(admin_client: Client) -> None:
    dead = letters(3)
    for action, rows in (("requeue", dead[:2]), ("discard", dead[2:])):
        chosen(admin_client, reverse("admin:relay_delivery_changelist"), action, rows)
    changes = {change.action: change for change in Change.objects.filter(kind="delivery")}
    assert {change.actor for change in changes.values()} == {"admin"}
    assert changes["requeue"].after["count"] == 2
    assert set(changes["requeue"].after["messages"]) == {row.message.written_id for row in dead[:2]}
    assert changes["discard"].subject == dead[2].message.written_id


def test_more_than_a_request_should_do_is_left_to_a_job(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin.DeliveryAdmin, "most_chosen", 2)
    data = {"action": "requeue", "_selected_action": [row.pk for row in letters(3)]}
    page = admin_client.post(reverse("admin:relay_delivery_changelist"), data, follow=True)
    assert reverse(ADD).encode() in page.content
    assert Delivery.objects.dead_letters().count() == 3
