"""Groups are what staff/roles.py says, after every migration and by command; docs/staff.md says the same."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command

from staff import roles

ROOT = Path(__file__).resolve().parent.parent.parent


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("roles", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_what_was_given_by_hand_is_taken_again() -> None:
    viewer = Group.objects.get(name="viewer")
    viewer.permissions.add(Permission.objects.get(codename="approve_release"))
    viewer.permissions.remove(Permission.objects.get(codename="view_release"))
    assert said("sync") == "viewer: 1 permission(s) given, 1 taken\n"
    assert said("sync") == "Every role was as the table says\n"


@pytest.mark.django_db
def test_a_role_that_is_gone_comes_back_and_other_groups_stay() -> None:
    Group.objects.get(name="auditor").delete()
    other = Group.objects.create(name="interns")
    other.permissions.add(Permission.objects.get(codename="view_room"))
    assert said("sync").startswith("auditor: ")
    assert other.permissions.count() == 1


@pytest.mark.django_db(transaction=True)
def test_roles_are_there_after_a_flush() -> None:
    call_command("flush", interactive=False, verbosity=0)
    assert set(Group.objects.values_list("name", flat=True)) == roles.ROLES.keys()
    assert roles.sync() == {}


def test_the_page_for_people_has_the_table() -> None:
    page = (ROOT / "docs" / "staff.md").read_text(encoding="utf-8")
    assert roles.markdown() in page, "paste what `manage.py roles table` prints into docs/staff.md"
    for role, what in roles.ROLES.items():
        assert f"| {role} | {what} |" in page
