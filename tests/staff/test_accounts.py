"""Administrators make accounts, give and take roles, and never their own."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from participants.models import Change
from staff import accounts, roles
from tests.staff.people import PASSWORD, browser, person

pytestmark = pytest.mark.django_db
LOG_IN = "/admin/login/"


@pytest.fixture
def administrator() -> User:
    return person(roles.ADMINISTRATOR, name="ada")


@pytest.fixture
def ada(administrator: User) -> Client:
    return browser(administrator)


def page_of(user: User) -> str:
    return reverse("admin:auth_user_change", args=[user.pk])


def log_in(name: str, password: str) -> Client:
    client = Client()
    answer = client.post(LOG_IN, {"username": name, "password": password, "next": "/admin/"})
    assert answer.status_code == 302, answer.content.decode()
    return client


def add(ada: Client, name: str, *wanted: str) -> str:
    """The password, from the page that shows it once."""
    fields = {"username": name, "email": f"{name}@core.test", "roles": list(wanted)}
    answer = ada.post(reverse("admin:auth_user_add"), fields)
    assert "no-store" in answer["Cache-Control"]
    found = re.search(r'id="password"[^>]* value="([^"]+)"', answer.content.decode())
    assert found is not None, answer.content.decode()
    return found[1]


def test_a_new_account_has_its_roles_and_chooses_a_password_of_its_own(ada: Client) -> None:
    password = add(ada, "newcomer", "viewer", "operator")
    user = User.objects.get(username="newcomer")
    assert accounts.roles_of(user) == ["operator", "viewer"]
    assert user.is_staff
    client = log_in("newcomer", password)
    answer = client.get("/admin/relay/delivery/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/password_change/")
    assert "choose one of your own" in client.get(answer["Location"]).content.decode()
    new = {"new_password1": "quiet-river-of-the-north", "new_password2": "quiet-river-of-the-north"}
    answer = client.post("/admin/password_change/", {"old_password": password, **new})
    assert answer.status_code == 302
    assert client.get("/admin/relay/delivery/").status_code == 200
    said = Change.objects.filter(kind="user", subject="newcomer").exclude(action__startswith="log")
    assert [(each.actor, each.action) for each in said.order_by("number")] == [
        ("ada", "add account"),
        ("newcomer", "change password"),
    ]
    assert not any(password in f"{each.before}{each.after}" for each in said)


def test_a_name_that_is_taken_is_refused_in_the_form(ada: Client) -> None:
    person(roles.VIEWER, name="taken")
    page = ada.post(reverse("admin:auth_user_add"), {"username": "taken"}).content.decode()
    assert "already exists" in page


def test_changed_roles_leave_who_and_what(ada: Client) -> None:
    user = person(roles.VIEWER, roles.APPROVER, name="bert")
    fields = {"email": "bert@core.test", "is_active": "on", "roles": ["viewer", "auditor"]}
    assert ada.post(page_of(user), fields).status_code == 302
    assert accounts.roles_of(user) == ["auditor", "viewer"]
    said = Change.objects.get(action="change account")
    assert (said.actor, said.subject, said.subject_id) == ("ada", "bert", str(user.pk))
    assert said.before["roles"] == ["approver", "viewer"]
    assert said.after["roles"] == ["auditor", "viewer"]


def test_nobody_changes_their_own_account(ada: Client, administrator: User) -> None:
    answer = ada.post(page_of(administrator), {"is_active": "on", "roles": list(roles.ROLES)})
    assert answer.status_code == 403
    assert accounts.roles_of(administrator) == ["administrator"]
    assert ada.post(reverse("admin:auth_user_do", args=[administrator.pk, "reset-password"])).status_code == 403
    with pytest.raises(accounts.OwnAccount):
        accounts.change(administrator, list(roles.ROLES), actor=administrator)
    page = ada.get(page_of(administrator)).content.decode()
    assert "Save" not in page


def test_a_superuser_is_changed_by_superusers_only(ada: Client) -> None:
    root = User.objects.create_superuser("root", password=PASSWORD)
    assert ada.post(page_of(root), {"is_active": ""}).status_code == 403
    assert ada.post(reverse("admin:auth_user_do", args=[root.pk, "reset-password"])).status_code == 403
    page = ada.post(
        reverse("admin:auth_user_changelist"),
        {"action": "end_sessions", "_selected_action": [str(root.pk)], "confirmed": "yes"},
        follow=True,
    ).content.decode()
    assert "Only a superuser" in page
    other = browser(User.objects.create_superuser("other", password=PASSWORD))
    assert other.post(page_of(root), {"is_active": "on", "roles": []}).status_code == 302


def test_nobody_becomes_a_superuser_by_form(ada: Client) -> None:
    user = person(roles.VIEWER)
    permission = user.groups.get().permissions.first()
    assert permission is not None
    fields = {"is_active": "on", "roles": ["viewer"], "is_superuser": "on", "user_permissions": [permission.pk]}
    ada.post(page_of(user), fields)
    user = User.objects.get(pk=user.pk)
    assert not user.is_superuser
    assert not user.user_permissions.exists()


def test_accounts_are_made_inactive_and_never_deleted(ada: Client) -> None:
    user = person(roles.VIEWER)
    theirs = browser(user)
    assert ada.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"}).status_code == 403
    assert ada.post(page_of(user), {"is_active": "", "roles": ["viewer"]}).status_code == 302
    assert theirs.get("/admin/").status_code == 302
    answer = Client().post(LOG_IN, {"username": user.username, "password": PASSWORD})
    assert answer.status_code == 200
    # Active again, it does not get its old sessions back.
    ada.post(page_of(user), {"is_active": "on", "roles": ["viewer"]})
    assert theirs.get("/admin/").status_code == 302


def test_a_reset_password_is_new_and_ends_sessions(ada: Client) -> None:
    user = person(roles.VIEWER, name="bert")
    theirs = browser(user)
    answer = ada.post(reverse("admin:auth_user_do", args=[user.pk, "reset-password"]))
    found = re.search(r'id="password"[^>]* value="([^"]+)"', answer.content.decode())
    assert found is not None
    assert theirs.get("/admin/").status_code == 302
    assert Client().post(LOG_IN, {"username": "bert", "password": PASSWORD}).status_code == 200
    assert log_in("bert", found[1]).get("/admin/")["Location"] == "/admin/password_change/"
    assert Change.objects.get(action="reset password").actor == "ada"


def test_groups_that_are_no_roles_are_left_alone(ada: Client) -> None:
    from django.contrib.auth.models import Group

    user = person(roles.VIEWER)
    user.groups.add(Group.objects.create(name="choir"))
    ada.post(page_of(user), {"is_active": "on", "roles": ["auditor"]})
    assert accounts.roles_of(user) == ["auditor", "choir"]


def test_an_auditor_sees_accounts_and_changes_none() -> None:
    user = person(roles.VIEWER, name="bert")
    client = browser(person(roles.AUDITOR))
    page = client.get(page_of(user)).content.decode()
    assert "bert" in page
    assert "Save" not in page
    assert "/do/" not in page
