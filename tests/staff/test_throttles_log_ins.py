"""Who fails to log in waits ever longer, whether there is such an account or not; who was here before does not wait
for what strangers did."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import reverse

from participants import failures
from participants.models import Change
from staff import known_browsers, metrics, roles, tasks, throttle
from staff.models import Guesser
from tests.staff.people import PASSWORD, browser, person

START = datetime(2027, 1, 15, 8, tzinfo=timezone.utc)
FREE = throttle.PATIENCE["account"].free
ALSO_FREE = throttle.PATIENCE["address"].free


def attempt(client: Client, name: str, password: str = "wrong", address: str = "198.51.100.7") -> HttpResponse:
    form = {"username": name, "password": password, "next": "/admin/"}
    return client.post("/admin/login/", form, REMOTE_ADDR=address)  # type: ignore[return-value]


def fail(name: str, times: int, address: str = "198.51.100.7") -> None:
    """As strangers do it, and with all the patience that is asked for."""
    for _ in range(times):
        assert throttle.take([throttle.of_account(name), throttle.of_address(address)]) == 0


@pytest.mark.parametrize(
    ("failures", "expected"),
    [(0, 0), (5, 0), (6, 2), (7, 4), (8, 8), (14, 512), (15, 900), (40, 900), (10**9, 900)],
)
def test_each_failure_doubles_the_pause(failures: int, expected: int) -> None:
    assert throttle.pause_after(failures, free=5) == expected


@pytest.mark.parametrize(
    ("kind", "failures", "ago", "expected"),
    [
        ("account", 5, 0, (5, 0.0)),
        ("account", 8, 3, (8, 5.0)),
        ("account", 8, 8, (8, 0.0)),
        ("account", 99, 24 * 3600 - 1, (99, 0.0)),
        ("account", 99, 24 * 3600, (0, 0.0)),
        ("browser", 99, 24 * 3600, (0, 0.0)),
        ("address", 20, 0, (20, 0.0)),
        ("address", 21, 0, (21, 2.0)),
        ("address", 99, 3600, (0, 0.0)),
        ("address", 8, -60, (8, 0.0)),  # the clock was set back
    ],
)
def test_failures_are_forgotten(kind: str, failures: int, ago: int, expected: tuple[int, float]) -> None:
    key = throttle.Key.of(kind, "x")
    assert throttle.standing(key, failures, START - timedelta(seconds=ago), START) == expected


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["anna", "nobody-of-that-name"])
def test_who_fails_waits_whether_there_is_such_an_account_or_not(name: str) -> None:
    person(roles.VIEWER, name="anna")
    with time_machine.travel(START, tick=False) as clock:
        client = Client()
        for _ in range(FREE + 1):
            assert attempt(client, name).status_code == 200
        refused = attempt(client, name)
        assert (refused.status_code, refused["Retry-After"]) == (429, "2")
        assert "Too many log-ins failed. Try again at 10:00:02 (in 1 minute)." in refused.content.decode()
        clock.shift(2)
        assert attempt(client, name).status_code == 200
        assert attempt(client, name)["Retry-After"] == "4"


@pytest.mark.django_db
def test_the_right_password_is_not_even_looked_at_before_time() -> None:
    user = person(roles.VIEWER)
    with time_machine.travel(START, tick=False) as clock:
        fail(user.username, FREE + 1)
        client = Client()
        assert attempt(client, user.username, PASSWORD).status_code == 429
        assert "_auth_user_id" not in client.session
        clock.shift(2)
        assert attempt(client, user.username, PASSWORD).status_code == 302
        assert not Guesser.objects.filter(key=throttle.of_account(user.username).text).exists(), "forgiven"


@pytest.mark.django_db
def test_a_known_browser_does_not_wait_for_what_strangers_did() -> None:
    user = person(roles.VIEWER)
    with time_machine.travel(START, tick=False) as clock:
        known = Client()
        assert attempt(known, user.username, PASSWORD, "203.0.113.9").status_code == 302
        for each in range(30):
            fail(user.username, 1, f"198.51.100.{each}")
            clock.shift(throttle.LONGEST_PAUSE)
        fail(user.username, 1)
        assert attempt(Client(), user.username, PASSWORD, "203.0.113.9")["Retry-After"] == "900"
        known.post("/admin/logout/")
        assert attempt(known, user.username, PASSWORD, "203.0.113.9").status_code == 302


@pytest.mark.django_db
def test_a_known_browser_is_counted_by_itself() -> None:
    user, other = person(roles.VIEWER), person(roles.VIEWER)
    with time_machine.travel(START, tick=False):
        known = Client()
        attempt(known, user.username, PASSWORD)
        for _ in range(FREE + 1):
            assert attempt(known, user.username).status_code == 200
        assert attempt(known, user.username).status_code == 429
        assert throttle.held_for(user.username) == 0, "others may try"
        assert attempt(Client(), user.username, PASSWORD).status_code == 302
        assert attempt(known, other.username, PASSWORD).status_code == 302, "known to one account, strange to another"


@pytest.mark.django_db
@pytest.mark.parametrize("damage", [lambda value: value[:-1], lambda _: "x", lambda _: ""])
def test_nobody_makes_a_known_browser_up(damage: Any) -> None:
    user = person(roles.VIEWER)
    known = Client()
    attempt(known, user.username, PASSWORD)
    cookie = known.cookies[known_browsers.COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/admin/login/")
    stranger = Client()
    stranger.cookies[known_browsers.COOKIE] = damage(cookie.value)
    fail(user.username, FREE + 1)
    assert attempt(stranger, user.username, PASSWORD).status_code == 429


@pytest.mark.django_db
def test_a_browser_knows_a_few_people() -> None:
    shared = Client()
    people = [person(roles.VIEWER) for _ in range(known_browsers.MOST_PEOPLE + 1)]
    for user in people:
        attempt(shared, user.username, PASSWORD)
        shared.post("/admin/logout/")
    request = HttpRequest()
    request.COOKIES = {known_browsers.COOKIE: shared.cookies[known_browsers.COOKIE].value}
    marks = [known_browsers.mark_of(request, user.username) for user in people]
    assert [bool(mark) for mark in marks] == [False] + [True] * known_browsers.MOST_PEOPLE
    assert len(set(marks)) == len(marks)


@pytest.mark.django_db
def test_an_address_that_tries_many_names_waits() -> None:
    user = person(roles.VIEWER)
    with time_machine.travel(START, tick=False):
        for number in range(ALSO_FREE + 1):
            assert attempt(Client(), f"name-{number}", address="2001:db8::1").status_code == 200
        before = metrics.LOG_INS_THROTTLED.labels(by="address")._value.get()
        assert attempt(Client(), user.username, PASSWORD, "2001:db8::ffff").status_code == 429, "of one subscriber"
        assert metrics.LOG_INS_THROTTLED.labels(by="address")._value.get() == before + 1
        assert attempt(Client(), user.username, PASSWORD, "2001:db8:1::1").status_code == 302


@pytest.mark.django_db
def test_an_account_of_ones_own_gives_an_address_no_more_guesses() -> None:
    mallory = person(roles.VIEWER, name="mallory")
    with time_machine.travel(START, tick=False):
        for number in range(ALSO_FREE):
            assert attempt(Client(), f"name-{number}").status_code == 200
            assert attempt(Client(), mallory.username, PASSWORD).status_code == 302
        assert attempt(Client(), "one-more").status_code == 200
        assert attempt(Client(), "and-one-more").status_code == 429


@pytest.mark.django_db
def test_what_was_not_tried_is_in_the_audit_log_too() -> None:
    with time_machine.travel(START, tick=False):
        fail("anna", FREE + 1)
        assert attempt(Client(), "anna").status_code == 429
        failures.flush()
    entry = Change.objects.get(action="log-in refused")
    assert (entry.subject, entry.after, entry.address) == ("anna", {"times": 1}, "198.51.100.7")


@pytest.mark.django_db
def test_an_administrator_lets_somebody_in_again() -> None:
    user, administrator = person(roles.VIEWER), browser(person(roles.ADMINISTRATOR, name="root"))
    page = reverse("admin:auth_user_change", args=[user.pk])
    assert "let-in" not in administrator.get(page).content.decode()
    fail(user.username, FREE + 1)
    shown = administrator.get(page).content.decode()
    assert "let-in" in shown
    assert "have to wait 2 s" in shown
    administrator.post(reverse("admin:auth_user_do", args=[user.pk, "let-in"]))
    assert throttle.held_for(user.username) == 0
    assert Change.objects.get(action="let in again").actor == "root"


@pytest.mark.django_db
def test_the_command_line_lets_somebody_in_again() -> None:
    user = User.objects.create_superuser("root")
    fail(user.username, FREE + 1)
    said = StringIO()
    call_command("staff", "let-in", "root", stdout=said)
    assert said.getvalue() == "root may log in at once\n"
    assert throttle.held_for(user.username) == 0
    assert Change.objects.get(action="let in again").actor == "command line"


@pytest.mark.django_db
def test_names_and_addresses_are_not_kept_and_old_counts_are_deleted() -> None:
    with time_machine.travel(START, tick=False) as clock:
        fail("my-password-by-mistake", 1)
        assert {row.key.partition(":")[0] for row in Guesser.objects.all()} == {"account", "address"}
        assert not Guesser.objects.filter(key__contains="mistake").exists()
        clock.shift(3600)
        tasks.forget()
        assert [row.key.partition(":")[0] for row in Guesser.objects.all()] == ["account"]
        clock.shift(23 * 3600)
        tasks.forget()
        assert not Guesser.objects.exists()


@pytest.mark.django_db
def test_sessions_that_are_over_are_deleted() -> None:
    from django.contrib.sessions.models import Session

    with time_machine.travel(START, tick=False) as clock:
        browser(person(roles.VIEWER))
        tasks.forget()
        assert Session.objects.count() == 1
        clock.shift(8 * 3600 + 1)
        tasks.forget()
        assert Session.objects.count() == 0
