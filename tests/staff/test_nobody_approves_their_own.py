"""Whatever is approved is approved by somebody else than who brought it: every approval there is, by every way."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.urls import reverse

from participants import applications, invitations
from participants.models import Application
from staff import roles
from tests.joining.conftest import FORM
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
    fields = {"action": "approve", "_selected_action": [str(row.pk)], "confirmed": "yes"}
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


def release_by_a_forged_form(user: User) -> bool:
    row = own_release(user)
    page = reverse("admin:updates_release_change", args=[row.pk])
    browser(user).post(page, {"state": "approved", "approver": str(user.pk), "author": "", "reason": "x"})
    return Release.objects.get(pk=row.pk).state == "approved"


def own_application(user: User) -> Application:
    return applications.apply(Application(**FORM, language="en"), entered_by=user)


def is_decided(row: Application) -> bool:
    return Application.objects.get(pk=row.pk).state != "received"


def application_by_button(user: User) -> bool:
    row = own_application(user)
    browser(user).post(reverse("admin:participants_application_do", args=[row.pk, "approve"]))
    return is_decided(row)


def application_rejected_by_button(user: User) -> bool:
    row = own_application(user)
    browser(user).post(reverse("admin:participants_application_do", args=[row.pk, "reject"]), {"reason": "because"})
    return is_decided(row)


def application_in_the_list(user: User) -> bool:
    row = own_application(user)
    fields = {"action": "approve", "_selected_action": [str(row.pk)], "confirmed": "yes"}
    browser(user).post(reverse("admin:participants_application_changelist"), fields)
    return is_decided(row)


def application_by_a_forged_form(user: User) -> bool:
    row = own_application(user)
    page = reverse("admin:participants_application_change", args=[row.pk])
    browser(user).post(
        page, {**FORM, "state": "approved", "decided_by": str(user.pk), "entered_by": "", "reason": "x"}
    )
    return is_decided(row)


def application_by_invitation(user: User) -> bool:
    """Whoever invited has brought it in, though somebody else filled the form in."""
    invitation = invitations.invite("mari@amet.test", user, language="en")
    row = applications.apply(Application(**FORM, language="en"), invitation=invitation)
    with pytest.raises(applications.OwnApplication):
        applications.approve(row, user)
    return is_decided(row)


def application_in_the_domain(user: User) -> bool:
    row = own_application(user)
    with pytest.raises(applications.OwnApplication):
        applications.approve(row, user)
    with pytest.raises(applications.OwnApplication):
        applications.reject(row, user, "because")
    return is_decided(row)


# The permission of each approval → every way to it. Each returns whether somebody approved what is their own.
WAYS: dict[str, list[Callable[[User], bool]]] = {
    "updates.approve_release": [
        release_by_button,
        release_in_the_list,
        release_by_a_forged_form,
        release_by_command,
        release_in_the_domain,
    ],
    "participants.decide_application": [
        application_by_button,
        application_rejected_by_button,
        application_in_the_list,
        application_by_a_forged_form,
        application_by_invitation,
        application_in_the_domain,
    ],
}


def test_every_approval_is_here() -> None:
    rows = Permission.objects.filter(codename__regex="^(approve|decide)_")
    found = {f"{each.content_type.app_label}.{each.codename}" for each in rows.select_related("content_type")}
    assert found == WAYS.keys(), "an approval by whoever brought it must be refused, and tested here"


@pytest.mark.parametrize("way", [way for ways in WAYS.values() for way in ways])
@pytest.mark.parametrize("is_superuser", [False, True])
def test_nobody_approves_their_own(way: Callable[[User], bool], is_superuser: bool) -> None:
    user = person(*roles.ROLES, name="both", is_superuser=is_superuser)
    assert not way(user)


@pytest.mark.parametrize("way", [application_by_button, application_rejected_by_button])
def test_behind_the_rule_there_is_the_database(way: Callable[[User], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applications, "_refuse_own", lambda *_: None)
    with pytest.raises(IntegrityError), transaction.atomic():
        way(person(*roles.ROLES, name="both"))


def test_somebody_else_does() -> None:
    row = own_release(person(roles.OPERATOR))
    browser(person(roles.APPROVER)).post(reverse("admin:updates_release_do", args=[row.pk, "approve"]))
    assert Release.objects.get(pk=row.pk).state == "approved"
