"""The keys that sign the list of participants, on their page in the admin."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from participants import signed_list
from participants.models import Change, ListKey, SigningKey
from staff import roles
from tests.staff.people import browser, person

pytestmark = pytest.mark.django_db
State = SigningKey.State
LIST = reverse("admin:participants_listkey_changelist")
ROTATE = reverse("admin:participants_listkey_rotate")


def states() -> list[State]:
    return [key.state(timezone.now()) for key in ListKey.objects.order_by("number")]


def test_one_button_rotates_with_overlap(admin_client: Client) -> None:
    signed_list.keys.ensure()
    page = admin_client.get(LIST).content.decode()
    assert "Rotate the list key" in page
    assert "signs after 24 h" in page
    said = admin_client.post(ROTATE, {"reason": "yearly"}, follow=True).content.decode()
    assert "is published, and signs from" in said
    assert states() == [State.SIGNING, State.NEXT]
    assert "replace it at once instead" in admin_client.post(ROTATE, {}, follow=True).content.decode()
    assert states() == [State.SIGNING, State.NEXT]


def test_another_replaces_at_once(admin_client: Client) -> None:
    signed_list.keys.ensure()
    said = admin_client.post(ROTATE, {"reason": "leak", "at_once": "on"}, follow=True).content.decode()
    assert "all others are revoked" in said
    assert states() == [State.REVOKED, State.SIGNING]


def test_it_is_in_the_history(admin_client: Client) -> None:
    signed_list.keys.ensure()
    admin_client.post(ROTATE, {"reason": "yearly"})
    said = Change.objects.get(kind="listkey", action="rotate")
    assert (said.actor, said.reason) == ("admin", "yearly")
    row = ListKey.objects.get(number=2)
    page = admin_client.get(reverse("admin:participants_listkey_history", args=[row.pk])).content.decode()
    assert "yearly" in page
    assert row.sealed not in page
    assert (
        row.sealed
        not in admin_client.get(reverse("admin:participants_listkey_change", args=[row.pk])).content.decode()
    )


def test_who_may_not_rotate_sees_no_button() -> None:
    signed_list.keys.ensure()
    viewer = browser(person(roles.VIEWER))
    assert "Rotate the list key" not in viewer.get(LIST).content.decode()
    assert viewer.post(ROTATE).status_code == 403
    assert viewer.get(ROTATE).status_code == 405
    assert ListKey.objects.count() == 1
