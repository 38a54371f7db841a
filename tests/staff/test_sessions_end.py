"""A session ends when nothing was done, when it is old, when a role is gone, and when somebody ends it."""

from __future__ import annotations

from typing import Any

import pytest
import time_machine
from django.conf import LazySettings
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.test import Client

from staff import roles, sessions
from staff.sessions import End, Standing
from tests.staff.people import browser, person

START = 1_800_000_000
MARK = {"began": START, "seen": START, "epoch": 3, "roles": ["approver", "viewer"], "is_superuser": False}
STANDING = Standing(epoch=3, roles=frozenset({"approver", "viewer"}), is_superuser=False, must_change_password=False)


@pytest.mark.parametrize(
    ("mark", "now", "later", "expected"),
    [
        (MARK, STANDING, 0, None),
        (MARK, STANDING, 30 * 60 - 1, None),
        (MARK, STANDING, 30 * 60, End.IDLE),
        ({**MARK, "seen": START + 8 * 3600 - 60}, STANDING, 8 * 3600 - 1, None),
        ({**MARK, "seen": START + 8 * 3600 - 60}, STANDING, 8 * 3600, End.AGE),
        ({**MARK, "epoch": 2}, STANDING, 0, End.ENDED),
        ({**MARK, "roles": ["viewer"]}, STANDING, 0, None),
        ({**MARK, "roles": ["approver", "auditor"]}, STANDING, 0, End.ROLES),
        ({**MARK, "is_superuser": True}, STANDING, 0, End.ROLES),
        (None, STANDING, 0, End.UNKNOWN),
    ],
)
def test_decides_when_a_session_is_over(mark: Any, now: Standing, later: int, expected: End | None) -> None:
    assert sessions.why_over(mark, now, START + later) == expected


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


@pytest.mark.django_db
def test_a_session_that_is_used_goes_on_and_an_idle_one_ends(settings: LazySettings) -> None:
    with time_machine.travel(START, tick=False) as clock:
        client = browser(person(roles.VIEWER))
        for _ in range(4):
            clock.shift(25 * 60)
            assert is_in(client)
        clock.shift(30 * 60)
        answer = client.get("/admin/relay/delivery/", follow=True)
        assert answer.redirect_chain[-1][0].startswith("/admin/login/")
        assert "nothing was done for a while" in answer.content.decode()
        assert not Session.objects.filter(session_key=client.session.session_key).exists()


@pytest.mark.django_db
def test_no_session_lasts_longer_than_a_day_of_work() -> None:
    with time_machine.travel(START, tick=False) as clock:
        client = browser(person(roles.VIEWER))
        for _ in range(8 * 3):
            assert is_in(client)
            clock.shift(20 * 60)
        assert "lasted long enough" in client.get("/admin/", follow=True).content.decode()


@pytest.mark.django_db
def test_who_loses_a_role_is_logged_out_and_who_gets_one_is_not() -> None:
    user = person(roles.VIEWER, roles.APPROVER)
    client = browser(user)
    user.groups.add(Group.objects.get(name="auditor"))
    assert is_in(client)
    user.groups.remove(Group.objects.get(name="approver"))  # by whatever way: here past staff.accounts
    assert "your roles have changed" in client.get("/admin/", follow=True).content.decode()


@pytest.mark.django_db
def test_who_is_no_superuser_any_more_is_logged_out() -> None:
    user = User.objects.create_superuser("root")
    client = browser(user)
    assert is_in(client)
    User.objects.filter(pk=user.pk).update(is_superuser=False)
    assert not is_in(client)


@pytest.mark.django_db
def test_a_changed_password_ends_other_sessions_and_keeps_this_one() -> None:
    user = person(roles.VIEWER, password="the-old-long-password")
    here, there = browser(user), browser(user)
    new = {"new_password1": "the-new-long-password", "new_password2": "the-new-long-password"}
    here.post("/admin/password_change/", {"old_password": "the-old-long-password", **new})
    assert is_in(here)
    assert not is_in(there)


@pytest.mark.django_db
def test_an_inactive_account_is_out_at_once() -> None:
    user = person(roles.VIEWER)
    client = browser(user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert not is_in(client)


@pytest.mark.django_db
def test_a_session_without_a_mark_is_over() -> None:
    client = browser(person(roles.VIEWER))
    session = client.session
    del session[sessions.MARK]
    session.save()
    assert not is_in(client)


@pytest.mark.django_db
def test_a_session_is_not_written_with_every_page(django_assert_num_queries: Any) -> None:
    with time_machine.travel(START, tick=False) as clock:
        client = browser(person(roles.VIEWER))
        before = Session.objects.get().session_data
        clock.shift(30)
        is_in(client)
        assert Session.objects.get().session_data == before
        clock.shift(31)
        is_in(client)
        assert Session.objects.get().session_data != before


@pytest.mark.django_db
def test_the_limits_are_settings(settings: LazySettings) -> None:
    settings.SESSION_IDLE_MINUTES, settings.SESSION_HOURS = 5, 1
    assert sessions.why_over(MARK, STANDING, START + 5 * 60) == End.IDLE
    assert sessions.why_over({**MARK, "seen": START + 3599}, STANDING, START + 3600) == End.AGE
