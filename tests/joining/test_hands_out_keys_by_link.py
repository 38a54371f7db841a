"""The claim link: it shows a key that works, once, and only to somebody who presses the button."""

from __future__ import annotations

import re
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dmr_project.lib.errors import DomainError, InvalidInput
from participants import applications, claims, registry
from participants.models import Application, Change, Claim, Mail
from tests import factories
from tests.joining.conftest import FORM, Outbox, browser, link_in, send, to
from tests.staff import people

pytestmark = pytest.mark.django_db


@pytest.fixture
def link(application: Application, approver: User, letters: Outbox) -> str:
    applications.approve(application, approver)
    return link_in(to(letters(), "tonu@amet.test").body)


def shown(page: bytes) -> str:
    (key,) = re.findall(rb'<input id="key"[^>]* value="([^"]+)"', page)
    return str(key.decode())


def test_the_key_is_shown_once_and_works(link: str, client: Client) -> None:
    for _ in range(3):
        assert browser().get(link).status_code == 200, "what follows links in mails uses nothing up"
    assert not Claim.objects.get().claimed_at
    answer = send(browser(), link, {})
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert b"hreflang" not in answer.content, "a link that would lose the key"
    key = shown(answer.content)
    assert client.get("/centops/public/participants", headers={"X-Api-Key": key}).status_code == 200
    for answer in (browser().get(link), Client().post(link)):
        assert answer.status_code == 410
        assert b'id="key"' not in answer.content
    (row,) = Claim.objects.get().participant.keys.all()
    assert row.note == "fetched by its link"
    entries = Change.objects.filter(actor="claim link").order_by("number")
    assert list(entries.values_list("action", flat=True)) == ["claim", "issue key"]


def test_no_key_is_in_any_mail(link: str, approver: User) -> None:
    key = shown(send(browser(), link, {}).content)
    token = link.rstrip("/").rpartition("/")[2]
    for table in (Mail, Claim, Change, Application):
        for row in table.objects.all():  # type: ignore[attr-defined]
            said = str({field.name: field.value_from_object(row) for field in row._meta.concrete_fields})
            assert key not in said
            assert token not in said, "nor the link, once the mail has left"


def test_a_mail_that_waits_tells_nothing_to_who_reads_the_table(application: Application, approver: User) -> None:
    applications.approve(application, approver)
    waits = Mail.objects.get(to="tonu@amet.test")
    assert waits.sealed_text
    assert "join/claim" not in waits.sealed_text


def test_it_needs_the_forms_token(link: str) -> None:
    assert browser().post(link).status_code == 403
    assert Claim.objects.get().is_open


def test_it_expires(link: str) -> None:
    Claim.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert browser().get(link).status_code == 410
    assert Client().post(link).status_code == 410
    assert not Claim.objects.get().participant.keys.exists()


def test_it_is_gone_with_its_participant(link: str) -> None:
    registry.remove_participant(Claim.objects.get().participant, actor="tests")
    assert Client().post(link).status_code == 410


def test_a_new_link_takes_the_place_of_the_old(link: str, letters: Outbox) -> None:
    row = Application.objects.get()
    url = reverse("admin:participants_application_do", args=[row.pk, "link"])
    assert people.browser(people.person("approver")).post(url).status_code == 403, "it is as good as a key"
    people.browser(people.person("registrar", "approver")).post(url)
    again = link_in(to(letters(), "tonu@amet.test").body)
    assert browser().get(link).status_code == 410
    assert browser().get(again).status_code == 200
    assert shown(send(browser(), again, {}).content)


def test_a_participant_without_a_contact_gets_none() -> None:
    with pytest.raises(InvalidInput):
        claims.offer(factories.participant().row, actor="tests")


@pytest.mark.django_db(transaction=True)
def test_two_at_once_get_one_key(approver: User) -> None:
    participant = applications.approve(applications.apply(Application(**FORM)), approver)
    row = Claim.objects.select_related("participant__institution").get()
    came: list[str] = []
    gate = threading.Barrier(4)

    def fetch() -> None:
        try:
            gate.wait()
            claims.claim(row)
            came.append("key")
        except DomainError as error:
            came.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came) == ["key", "link-gone", "link-gone", "link-gone"]
    assert participant.keys.count() == 1
