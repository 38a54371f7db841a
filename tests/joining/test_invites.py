"""Staff invite by mail; the link opens the form once, for a time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dmr_project.lib.errors import InvalidInput
from participants import applications, invitations
from participants.applications import OwnApplication
from participants.models import Application, Change, Invitation
from tests.joining.conftest import FORM, Outbox, browser, link_in, send, to
from tests.staff import people

pytestmark = pytest.mark.django_db


@pytest.fixture
def link(registrar: User, letters: Outbox) -> str:
    """Invited in the admin, in Estonian."""
    answer = people.browser(registrar).post(
        reverse("admin:participants_invitation_add"), {"email": "mari@amet.test", "language": "et"}, follow=True
    )
    assert "is on its way" in answer.content.decode()
    told = to(letters(), "mari@amet.test")
    assert told.subject == "Kutse liituda Bürokrati võrguga"
    return link_in(told.body)


def test_somebody_invited_applies_once(link: str, registrar: User) -> None:
    for _ in range(2):
        page = browser().get(link).content.decode()
        assert '<html lang="et">' in page
        assert 'value="mari@amet.test"' in page
    assert send(browser(), link, {**FORM, "name": "bot"}).status_code == 400
    assert Invitation.objects.get().is_open, "a mistake does not use it up"
    assert send(browser(), link, FORM).status_code == 200
    row = Application.objects.get()
    assert (row.invitation, row.entered_by, row.language) == (Invitation.objects.get(), registrar, "et")
    assert browser().get(link).status_code == 410
    assert Client().post(link, {**FORM, "name": "bot-2", "host": "https://2.test/"}).status_code == 410
    assert Application.objects.count() == 1
    assert Change.objects.get(action="invite").actor == "rita"


def test_a_double_application_does_not_use_it_up(link: str) -> None:
    applications.apply(Application(**FORM))
    assert send(browser(), link, FORM).status_code == 409
    assert Invitation.objects.get().is_open


def test_who_invited_does_not_approve(link: str, registrar: User, approver: User) -> None:
    send(browser(), link, FORM)
    with pytest.raises(OwnApplication):
        applications.approve(Application.objects.get(), registrar)
    applications.approve(Application.objects.get(), approver)


def test_it_expires(link: str) -> None:
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert browser().get(link).status_code == 410
    assert Client().post(link, FORM).status_code == 410
    assert not Application.objects.exists()


def test_it_is_revoked(link: str, registrar: User) -> None:
    row = Invitation.objects.get()
    people.browser(registrar).post(reverse("admin:participants_invitation_do", args=[row.pk, "revoke"]))
    assert browser().get(link).status_code == 410
    assert not invitations.revoke(row, registrar)


def test_a_newer_one_takes_its_place(link: str, registrar: User, letters: Outbox) -> None:
    invitations.invite("Mari@amet.test", registrar, language="en")
    told = to(letters(), "Mari@amet.test")
    assert browser().get(link).status_code == 410
    assert browser().get(link_in(told.body)).status_code == 200


def test_it_goes_to_an_address(registrar: User) -> None:
    with pytest.raises(InvalidInput):
        invitations.invite("mari", registrar)


def test_only_the_hash_is_kept(link: str) -> None:
    token = link.rstrip("/").rpartition("/")[2]
    assert len(Invitation.objects.get().token_digest) == 64
    assert token not in Invitation.objects.get().token_digest
    assert browser().get(f"/join/{token[:-1]}/").status_code == 404
