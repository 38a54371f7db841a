"""Whatever is approved is approved by somebody else than who brought it: every approval there is, by every way."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.urls import reverse

from staff import roles
from tests.staff.people import browser, person
from tests.updates.staff import Staff
from updates import releases
from updates.models import Release

pytestmark = pytest.mark.django_db


def own_release(user: User) -> Release:
    staff = Staff()
    staff.anna = user
    return staff.draft()


def release_by_button(user: User) -> bool:
    row = own_release(user)
    browser(user).post(reverse("admin:updates_release_do", args=[row.pk, "approve"]))
    return Release.objects.get(pk=row.pk).state == "approved"


def release_in_the_list(user: User) -> bool:
    row = own_release(user)
    fields = {"action": "approve", "_selected_action": [str(row.pk)]}
    browser(user).post(reverse("admin:updates_release_changelist"), fields)
    return Release.objects.get(pk=row.pk).state == "approved"


def release_by_command(user: User) -> bool:
    row = own_release(user)
    with pytest.raises(CommandError, match="somebody else must approve"):
        call_command("release", "approve", row.version, "--user", user.username, stdout=StringIO())
    return Release.objects.get(pk=row.pk).state == "approved"


def release_in_the_domain(user: User) -> bool:
    row = own_release(user)
    with pytest.raises(releases.OwnWork):
        releases.approve(row, user)
    return Release.objects.get(pk=row.pk).state == "approved"


# The permission of each approval → every way to it. Each returns whether somebody approved what is their own.
WAYS: dict[str, list[Callable[[User], bool]]] = {
    "updates.approve_release": [
        release_by_button,
        release_in_the_list,
        release_by_command,
        release_in_the_domain,
    ],
}


def test_every_approval_is_here() -> None:
    rows = Permission.objects.filter(codename__startswith="approve_")
    found = {f"{each.content_type.app_label}.{each.codename}" for each in rows.select_related("content_type")}
    assert found == WAYS.keys(), "an approval by whoever brought it must be refused, and tested here"


@pytest.mark.parametrize("way", [way for ways in WAYS.values() for way in ways])
@pytest.mark.parametrize("is_superuser", [False, True])
def test_nobody_approves_their_own(way: Callable[[User], bool], is_superuser: bool) -> None:
    user = person(*roles.ROLES, name="both", is_superuser=is_superuser)
    assert not way(user)


def test_somebody_else_does() -> None:
    row = own_release(person(roles.OPERATOR))
    browser(person(roles.APPROVER)).post(reverse("admin:updates_release_do", args=[row.pk, "approve"]))
    assert Release.objects.get(pk=row.pk).state == "approved"
