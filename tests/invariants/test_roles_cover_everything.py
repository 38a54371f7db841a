"""Whatever the admin shows or does belongs to a role: a new model, action, button or page asks for a line in
staff/roles.py, and for its permission where it is done."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Group, Permission, User
from django.test import RequestFactory

from staff import roles
from tests.staff.people import person

OURS = ("participants", "relay", "updates", "staff", "observability")
READERS = (roles.VIEWER, roles.AUDITOR)
GRANTED = {permission for grant in roles.GRANTS for permission in grant.permissions}
OF_DJANGO = ("changelist", "add", "history", "delete", "change")
# Pages beside Django's own → the permission they ask for (tried in tests/staff/test_roles_limit_what_staff_do.py).
PAGES = {
    "observability_instance_overview": "participants.view_participant",
    "participants_change_export": "participants.view_change",
    "participants_endpointterms_of": "participants.view_endpointterms",
    "participants_listkey_rotate": "participants.rotate_listkey",
    "participants_outage_calendar": "participants.view_outage",
    "participants_participant_export": "participants.export_participant",
    "participants_participant_import": "participants.import_participant",
    "participants_participant_issue_key": "participants.add_apikey",
    "participants_participant_life": "participants.suspend_participant",
    "participants_participant_reach": "participants.view_participant",
    "relay_deadletterjob_stop": "relay.add_deadletterjob",
    "relay_deliverykey_rotate": "relay.rotate_deliverykey",
}
STEERED = "_do"  # buttons; each has its own permission, see below

pytestmark = pytest.mark.django_db


def ours() -> list[Any]:
    return [model for model in apps.get_models() if model._meta.app_label in OURS]


def admins() -> list[Any]:
    return [each for model, each in admin.site._registry.items() if model._meta.app_label in (*OURS, "auth")]


def request_of(user: User) -> Any:
    request = RequestFactory().get("/admin/")
    request.user = user
    return request


def test_the_walks_find_something() -> None:
    assert len(ours()) > 20
    assert len(admins()) > 10


def test_every_model_is_granted_to_a_role_or_shown_nowhere() -> None:
    for model in ours():
        label, name = model._meta.label_lower, model._meta.model_name
        is_granted = any(each.startswith(f"{model._meta.app_label}.view_{name}") for each in GRANTED)
        assert is_granted != (label in roles.NOT_SHOWN), f"name {label} in staff/roles.py: in GRANTS or in NOT_SHOWN"
        assert not (label in roles.NOT_SHOWN and model in admin.site._registry), f"{label} has a page"
    assert roles.NOT_SHOWN.keys() <= {model._meta.label_lower for model in ours()}, "no longer there"


def test_every_permission_of_ours_is_granted_to_a_role() -> None:
    own = {f"{model._meta.app_label}.{name}" for model in ours() for name, _ in model._meta.permissions}
    assert "updates.approve_release" in own
    assert own - GRANTED == set(), "grant it to a role in staff/roles.py"


def test_every_granted_permission_exists() -> None:
    rows = Permission.objects.values_list("content_type__app_label", "codename")
    assert GRANTED - {f"{label}.{codename}" for label, codename in rows} == set()


def test_every_action_belongs_to_a_role_and_not_to_readers() -> None:
    people = {role: request_of(person(role)) for role in roles.ROLES}
    everything = request_of(User.objects.create_superuser("root"))
    found = 0
    for each in admins():
        for name in each.get_actions(everything):
            found += 1
            holders = {role for role, request in people.items() if name in each.get_actions(request)}
            assert holders, f"{each}.{name}: give the action permissions=[…] that a role in staff/roles.py has"
            assert holders.isdisjoint(READERS), f"{each}.{name} is open to {holders}"
    assert found > 8


def test_every_button_names_its_permission() -> None:
    steered = [each for each in admins() if hasattr(each, "buttons")]
    assert steered
    for each in steered:
        assert each.permissions, f"{each} has no permissions for its buttons"
        assert set(each.permissions.values()) <= GRANTED, each


def test_every_page_of_our_own_names_its_permission() -> None:
    for each in admins():
        prefix = f"{each.opts.app_label}_{each.opts.model_name}_"
        names = {url.name for url in each.get_urls() if getattr(url, "name", None)}
        extra = {name for name in names if name.removeprefix(prefix) not in OF_DJANGO and not name.endswith(STEERED)}
        assert extra <= PAGES.keys(), "name the page here with the permission it asks for"
    assert set(PAGES.values()) <= GRANTED


def test_the_migrations_make_the_roles() -> None:
    for role in roles.ROLES:
        held = Group.objects.get(name=role).permissions.values_list("content_type__app_label", "codename")
        assert {f"{label}.{codename}" for label, codename in held} == roles.permissions_of(role)


def test_readers_only_read() -> None:
    for role in READERS:
        assert {each for each in roles.permissions_of(role) if ".view_" not in each} == set()


def test_no_action_box_for_readers() -> None:
    """What a reader cannot do is not offered either."""
    for role in READERS:
        request = request_of(person(role))
        for each in admins():
            assert ACTION_CHECKBOX_NAME not in each.get_list_display(request)
            assert not each.get_actions(request)
