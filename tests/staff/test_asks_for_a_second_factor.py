"""Who has set up a second factor is asked for it at each log-in; who must, sees no other page before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from io import StringIO

import pytest
import time_machine
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from dmr_project import checks
from participants.models import Change
from staff import halfway, roles, second_factor, sessions, totp
from staff.models import RecoveryCode, SecondFactor
from staff.second_factor import Way
from staff.sessions import Standing
from tests.staff.people import PASSWORD, browser, person

START = datetime(2027, 1, 15, 8, tzinfo=timezone.utc)
SECRET = b"12345678901234567890"
PAGE, CODE_PAGE = "/admin/second-factor/", "/admin/login/code/"


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as clock:
        yield clock


def code(secret: bytes = SECRET) -> str:
    """What the app shows now."""
    return totp.code(secret, int(datetime.now(timezone.utc).timestamp()) // totp.STEP_SECONDS)


def wrong() -> str:
    return f"{(int(code()) + 1) % 10**6:06}"


def equipped(clock: time_machine.Traveller, *held: str, **fields: bool | str) -> tuple[User, list[str]]:
    """Somebody with a second factor, whose app shows the next code already; and their recovery codes."""
    user = person(*(held or (roles.VIEWER,)), **fields)  # type: ignore[arg-type]
    recovery = second_factor.set_up(user, SECRET, code())
    clock.shift(totp.STEP_SECONDS)
    return user, recovery


def give_password(client: Client, user: User, to: str = "/admin/") -> HttpResponse:
    form = {"username": user.username, "password": PASSWORD, "next": to}
    return client.post("/admin/login/", form)  # type: ignore[return-value]


def give_code(client: Client, typed: str) -> HttpResponse:
    return client.post(CODE_PAGE, {"code": typed})  # type: ignore[return-value]


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


@pytest.mark.django_db
def test_a_log_in_takes_two_steps(clock: time_machine.Traveller) -> None:
    user, _ = equipped(clock)
    client = Client()
    assert give_password(client, user, "/admin/relay/delivery/")["Location"] == CODE_PAGE
    assert not is_in(client), "the password alone opens nothing"
    assert "authenticator app" in client.get(CODE_PAGE).content.decode()
    assert give_code(client, wrong()).status_code == 200
    assert not is_in(client)
    assert give_code(client, f"{code()[:3]} {code()[3:]}")["Location"] == "/admin/relay/delivery/"
    assert is_in(client)
    assert Change.objects.get(action="log in").after == {"by": "password and code"}
    assert Change.objects.get(action="code refused").subject == user.username


@pytest.mark.django_db
def test_a_code_counts_once(clock: time_machine.Traveller) -> None:
    user, _ = equipped(clock)
    here, there = Client(), Client()
    for client in (here, there):
        give_password(client, user)
        give_code(client, code())
    assert is_in(here)
    assert not is_in(there)
    clock.shift(totp.STEP_SECONDS)
    give_code(there, code())
    assert is_in(there)


@pytest.mark.django_db
def test_the_code_that_set_it_up_is_used_up() -> None:
    user = person(roles.VIEWER)
    with time_machine.travel(START, tick=False):
        second_factor.set_up(user, SECRET, code())
        with pytest.raises(second_factor.WrongCode):
            second_factor.check(user, code())


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_with_one_code_one_is_right(clock: time_machine.Traveller) -> None:
    user, recovery = equipped(clock)

    def check(typed: str) -> bool:
        try:
            return bool(second_factor.check(user, typed))
        except second_factor.WrongCode:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(check, [code()] * 6)) == 1
        assert sum(threads.map(check, [recovery[0]] * 6)) == 1


@pytest.mark.django_db
def test_a_recovery_code_counts_once_and_is_not_kept(clock: time_machine.Traveller) -> None:
    user, recovery = equipped(clock)
    assert len(set(recovery)) == second_factor.RECOVERY_CODES
    assert not RecoveryCode.objects.filter(digest__in=recovery).exists()
    first = Client()
    give_password(first, user)
    give_code(first, recovery[3].upper().replace("-", " "))
    assert is_in(first)
    entry = Change.objects.get(action="use recovery code")
    assert (entry.actor, entry.after) == (user.username, {"left": 9})
    second = Client()
    give_password(second, user)
    give_code(second, recovery[3])
    assert not is_in(second)


@pytest.mark.django_db
@pytest.mark.parametrize("kept", [{}, {"at": -halfway.SECONDS}, {"password": "other"}, {"user": 10**6}])
def test_the_second_step_needs_the_first(clock: time_machine.Traveller, kept: dict[str, object]) -> None:
    user, _ = equipped(clock)
    client = Client()
    if kept:
        give_password(client, user)
        session = client.session
        if "at" in kept:
            kept = {"at": session[halfway.KEY]["at"] - halfway.SECONDS}
        session[halfway.KEY] = {**session[halfway.KEY], **kept}
        session.save()
    answer = give_code(client, code())
    assert answer["Location"] == "/admin/login/"
    assert not is_in(client)


@pytest.mark.django_db
def test_the_second_step_is_over_with_the_password_and_the_account(clock: time_machine.Traveller) -> None:
    user, _ = equipped(clock)
    for change in ({"password": "!"}, {"is_active": False}):
        client = Client()
        give_password(client, user)
        before = {name: getattr(user, name) for name in change}
        User.objects.filter(pk=user.pk).update(**change)
        assert give_code(client, code())["Location"] == "/admin/login/"
        User.objects.filter(pk=user.pk).update(**before)


@pytest.mark.django_db
def test_guessed_codes_are_throttled(clock: time_machine.Traveller) -> None:
    user, _ = equipped(clock)
    client = Client()
    give_password(client, user)
    for _ in range(5):
        assert give_code(client, wrong()).status_code == 200
    refused = give_code(client, code())
    assert (refused.status_code, refused["Retry-After"]) == (429, "2")
    assert "Too many log-ins failed" in refused.content.decode()
    assert give_password(Client(), user).status_code == 429, "nor does the password start anew"
    clock.shift(2)
    assert give_code(client, code()).status_code == 302


@pytest.mark.django_db
def test_it_is_set_up_on_a_page(clock: time_machine.Traveller) -> None:
    user = person(roles.VIEWER)
    client, elsewhere = browser(user), browser(user)
    answer = client.get(PAGE)
    page = answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert "<svg" in page
    shown = re.search(r"<code>([A-Z2-7 ]+)</code>", page)
    sealed = re.search(r'name="sealed" value="([^"]+)"', page)
    assert shown
    assert sealed
    import base64

    secret = base64.b32decode(shown[1].replace(" ", ""))
    again = client.post(PAGE, {"sealed": sealed[1], "code": "000000"}).content.decode()
    assert shown[1] in again, "the same secret after a mistake"
    assert "That is not the code" in again
    assert not SecondFactor.objects.exists()
    done = client.post(PAGE, {"sealed": sealed[1], "code": code(secret)})
    codes = re.findall(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){3}\b", done.content.decode())
    assert len(codes) == 10
    assert "no-store" in done["Cache-Control"]
    assert is_in(client)
    assert "second factor that you have set up" in elsewhere.get("/admin/", follow=True).content.decode()
    assert secret not in SecondFactor.objects.get().sealed_secret.encode()
    assert codes[0] not in client.get(PAGE).content.decode(), "shown once"


@pytest.mark.django_db
def test_nobody_sets_up_what_another_was_shown(clock: time_machine.Traveller) -> None:
    mallory, anna = browser(person(roles.VIEWER)), person(roles.VIEWER)
    page = mallory.get(PAGE).content.decode()
    sealed = re.search(r'name="sealed" value="([^"]+)"', page)
    shown = re.search(r"<code>([A-Z2-7 ]+)</code>", page)
    assert sealed
    assert shown
    answer = browser(anna).post(PAGE, {"sealed": sealed[1], "code": "123456"}).content.decode()
    assert shown[1] not in answer
    assert not SecondFactor.objects.exists()


@pytest.mark.django_db
def test_new_recovery_codes_take_a_code_and_end_the_old_ones(clock: time_machine.Traveller) -> None:
    user, old = equipped(clock)
    client = Client()
    give_password(client, user)
    give_code(client, code())
    assert "10 recovery codes are left" in client.get(PAGE).content.decode()
    assert "That is not the code" in client.post(PAGE, {"code": code()}).content.decode(), "used at the log-in"
    clock.shift(totp.STEP_SECONDS)
    new = re.findall(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){3}\b", client.post(PAGE, {"code": code()}).content.decode())
    assert len(new) == 10
    with pytest.raises(second_factor.WrongCode):
        second_factor.check(user, old[0])
    assert second_factor.check(user, new[0]) == Way.RECOVERY
    for _ in range(6):
        client.post(PAGE, {"code": wrong()})
    assert client.post(PAGE, {"code": wrong()}).status_code == 429


@pytest.mark.parametrize(
    ("setting", "held", "is_superuser", "expected"),
    [
        (["off"], ["administrator"], True, False),
        (["all"], ["viewer"], False, True),
        (["all"], [], False, True),
        (["administrator", "approver"], ["viewer", "approver"], False, True),
        (["administrator", "approver"], ["viewer"], False, False),
        (["administrator"], [], True, True),
    ],
)
def test_decides_who_must_have_one(
    settings: LazySettings, setting: list[str], held: list[str], is_superuser: bool, expected: bool
) -> None:
    settings.REQUIRE_SECOND_FACTOR = setting
    standing = Standing(0, frozenset(held), is_superuser, must_change_password=False)
    assert second_factor.is_required(standing) is expected


@pytest.mark.django_db
def test_who_must_and_has_not_can_do_nothing_else(clock: time_machine.Traveller, settings: LazySettings) -> None:
    settings.REQUIRE_SECOND_FACTOR = ["operator"]
    user = person(roles.OPERATOR)
    client = Client()
    assert give_password(client, user).status_code == 302
    for method, page in [
        ("GET", "/admin/"),
        ("GET", "/admin/relay/delivery/"),
        ("POST", "/admin/relay/delivery/"),
        ("GET", "/admin/password_change/"),
        ("GET", "/admin/jsi18n/"),
    ]:
        answer = client.generic(method, page)
        assert (answer.status_code, answer["Location"]) == (302, PAGE), page
    assert "with your roles a password alone does not do" in client.get("/admin/", follow=True).content.decode()
    assert client.post("/admin/logout/").status_code == 200
    assert is_in(browser(person(roles.VIEWER)))


@pytest.mark.django_db
def test_after_it_is_required_open_sessions_go_on_only_to_set_it_up(settings: LazySettings) -> None:
    client = browser(person(roles.VIEWER))
    assert is_in(client)
    settings.REQUIRE_SECOND_FACTOR = ["all"]
    assert client.get("/admin/")["Location"] == PAGE


@pytest.mark.django_db
def test_an_administrator_takes_it_away(clock: time_machine.Traveller) -> None:
    user, _ = equipped(clock)
    client = Client()
    give_password(client, user)
    give_code(client, code())
    administrator = browser(person(roles.ADMINISTRATOR, name="root"))
    page = reverse("admin:auth_user_change", args=[user.pk])
    assert "take-away-factor" in administrator.get(page).content.decode()
    administrator.post(reverse("admin:auth_user_do", args=[user.pk, "take-away-factor"]))
    assert not is_in(client), "sessions end"
    assert "take-away-factor" not in administrator.get(page).content.decode()
    entry = Change.objects.get(action="take away second factor")
    assert (entry.actor, entry.subject) == ("root", user.username)
    assert give_password(Client(), user)["Location"] == "/admin/"


@pytest.mark.django_db
def test_one_that_was_taken_away_between_the_steps_is_not_asked_for(clock: time_machine.Traveller) -> None:
    user, _ = equipped(clock)
    client = Client()
    give_password(client, user)
    second_factor.take_away(user, actor="root")
    assert client.get(CODE_PAGE)["Location"] == "/admin/login/"
    assert give_code(client, code())["Location"] == "/admin/login/"
    assert not is_in(client)
    with pytest.raises(second_factor.WrongCode):  # taken away after the page was asked for
        second_factor.check(user, code())


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["own", "superuser"])
def test_nobody_takes_away_their_own_or_a_superusers(clock: time_machine.Traveller, name: str) -> None:
    user, _ = equipped(clock, roles.ADMINISTRATOR, is_superuser=name == "superuser")
    client = browser(person(roles.ADMINISTRATOR))
    if name == "own":
        client = Client()
        give_password(client, user)
        give_code(client, code())
    answer = client.post(reverse("admin:auth_user_do", args=[user.pk, "take-away-factor"]))
    assert answer.status_code == 403
    assert SecondFactor.objects.filter(user=user).exists()


@pytest.mark.django_db
def test_the_last_administrator_is_helped_at_the_command_line(clock: time_machine.Traveller) -> None:
    user, _ = equipped(clock, roles.ADMINISTRATOR, name="root", is_superuser=True)
    said = StringIO()
    call_command("staff", "list", stdout=said)
    assert said.getvalue() == "root: superuser, administrator; second factor\n"
    call_command("staff", "take-away-factor", "root", stdout=StringIO())
    assert give_password(Client(), user)["Location"] == "/admin/"
    assert Change.objects.get(action="take away second factor").actor == "command line"


@pytest.mark.django_db
def test_it_outlives_a_new_secret_key(clock: time_machine.Traveller, settings: LazySettings) -> None:
    user, _ = equipped(clock)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-key-of-the-tests-and-quite-a-long-one"
    assert second_factor.reseal() == 1
    assert second_factor.reseal() == 0
    settings.SECRET_KEY_FALLBACKS = []
    assert second_factor.check(user, code()) == Way.CODE


@pytest.mark.django_db
def test_one_that_cannot_be_read_keeps_its_owner_out_and_not_everybody(
    clock: time_machine.Traveller, settings: LazySettings
) -> None:
    user, recovery = equipped(clock)
    settings.SECRET_KEY = "another-secret-key-of-the-tests-and-quite-a-long-one"
    assert second_factor.reseal() == 0
    client = Client()
    give_password(client, user)
    answer = give_code(client, recovery[0])
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:problem-type:dmr:secret-unreadable")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["off"], []),
        (["all"], []),
        (["approver", "auditor"], []),
        (["of"], ["dmr.E006"]),
        (["all", "auditor"], ["dmr.E006"]),
    ],
)
def test_a_setting_that_names_no_role_is_refused(
    settings: LazySettings, said: list[str], expected: list[str]
) -> None:
    settings.REQUIRE_SECOND_FACTOR = said
    assert [message.id for message in checks.check_second_factor()] == expected


@pytest.mark.django_db
def test_a_session_says_what_it_was_opened_with(clock: time_machine.Traveller) -> None:
    user, _ = equipped(clock)
    client = Client()
    give_password(client, user)
    give_code(client, code())
    assert sessions.factor_of(client.session) == "code"
