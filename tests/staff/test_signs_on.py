"""Single sign-on, against a provider that is a process of its own: who comes in, as whom, and what it says wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from io import StringIO
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import Client

from dmr_project import checks
from participants.models import Change
from staff import accounts, metrics, roles, sessions, throttle
from staff.models import Guesser, Identity
from staff.sign_on import flow, people, provider
from staff.sign_on.errors import ProviderFailed, Refused
from tests.staff import oidc_provider
from tests.staff.people import PASSWORD, browser, person
from tests.staff.provider import Process, running

BEGIN, DONE = "/admin/login/sign-on/", "/admin/login/sign-on/done/"
SUBJECT = oidc_provider.USER["sub"]


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with running() as process:
        yield process


@pytest.fixture
def idp(process: Process, settings: LazySettings) -> Process:
    settings.OIDC_ISSUER = process.issuer
    settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = oidc_provider.CLIENT, oidc_provider.SECRET
    process.tell(reset=True)
    provider.forget()
    return process


def go(client: Client, idp: Process, to: str = "/admin/") -> str:
    """To the provider; returns the address to which it sends the browser back."""
    away = client.post(BEGIN, {"next": to})
    assert away.status_code == 302
    parts = urlsplit(away["Location"])
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{idp.issuer}/authorize"
    status, back, _ = idp.call("GET", f"{parts.path}?{parts.query}")
    assert status == 302
    assert back.startswith(f"http://127.0.0.1:8000{DONE}?")
    return back.removeprefix("http://127.0.0.1:8000")


def sign_on(client: Client, idp: Process, to: str = "/admin/") -> HttpResponse:
    return client.get(go(client, idp, to))  # type: ignore[return-value]


def refused(why: str) -> float:
    value: float = metrics.SIGN_ONS.labels(result=why)._value.get()
    return value


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


@pytest.mark.django_db
def test_the_first_log_in_makes_an_account(idp: Process, settings: LazySettings) -> None:
    settings.REQUIRE_SECOND_FACTOR = ["all"]  # the provider's business
    client = Client()
    assert 'id="sign-on-form"' in client.get("/admin/login/").content.decode()
    assert sign_on(client, idp, "/admin/relay/delivery/")["Location"] == "/admin/relay/delivery/"
    assert is_in(client)
    user = User.objects.get()
    assert accounts.facts(user) == {
        "username": "mari.maasikas",
        "name": "Mari Maasikas",
        "email": "mari@example.ee",
        "active": True,
        "roles": ["viewer"],
    }
    assert (user.is_staff, user.is_superuser, user.has_usable_password()) == (True, False, False)
    assert (user.identity.issuer, user.identity.subject) == (idp.issuer, SUBJECT)  # type: ignore[attr-defined]
    added, came = Change.objects.filter(kind="user").order_by("number")
    assert (added.action, added.actor, added.actor_kind) == ("add account", "single sign-on", "system")
    assert (came.action, came.actor, came.after) == ("log in", "mari.maasikas", {"by": "single sign-on"})
    assert client.cookies[flow.COOKIE].value == "", "used up"


# What the provider is told → why nobody comes in by it.
MISBEHAVIOURS: dict[str, tuple[dict[str, Any], str]] = {
    "another nonce": ({"token": {"nonce": "of-somebody-else"}}, "token"),
    "no nonce": ({"token": {"nonce": None}}, "token"),
    "a nonce that is no text": ({"token": {"nonce": 1}}, "token"),
    "for another client": ({"token": {"aud": "another"}}, "token"),
    "for nobody": ({"token": {"aud": None}}, "token"),
    "for us and another": ({"token": {"aud": ["dmr", "another"]}}, "token"),
    "for us, given to another": ({"token": {"azp": "another"}}, "token"),
    "by another issuer": ({"token": {"iss": "https://evil.example"}}, "token"),
    "expired": ({"token": {"exp": 1_700_000_000}}, "token"),
    "without an end": ({"token": {"exp": None}}, "token"),
    "without a beginning": ({"token": {"iat": None}}, "token"),
    "not yet": ({"token": {"nbf": 4_000_000_000}}, "token"),
    "without a subject": ({"token": {"sub": None}}, "token"),
    "with an empty subject": ({"token": {"sub": ""}}, "token"),
    "with a long subject": ({"token": {"sub": "x" * 256}}, "token"),
    "with a subject that is no text": ({"token": {"sub": 7}}, "token"),
    "unsigned": ({"sign": "none"}, "token"),
    "signed with the public key as a secret": ({"sign": "HS256"}, "token"),
    "signed by a stranger under a known name": ({"sign": "strange"}, "token"),
    "signed by a key of another name": ({"kid": "unknown"}, "token"),
    "signed by a key for something else": ({"kid": "first-enc"}, "token"),
    "no token": ({"answer": {"id_token": "x.y.z"}}, "token"),
    "a token too long": ({"padding": 40_000}, "token"),
    "an answer too long": ({"padding": 70_000}, "provider"),
    "a token that is no text": ({"answer": {"id_token": 1}}, "provider"),
    "no code": ({"back": {"code": None}}, "provider"),
    "an error in place of a code": ({"back": {"code": None, "error": "access_denied"}}, "provider"),
    "a code of its own": ({"back": {"code": "made-up"}}, "provider"),
    "another state": ({"back": {"state": "of-somebody-else"}}, "state"),
    "no state": ({"back": {"state": None}}, "state"),
    "another issuer on the way back": ({"back": {"iss": "https://evil.example"}}, "state"),
    "no issuer on the way back": ({"back": {"iss": None}}, "state"),
    "no role": ({"user": {"roles": ["guest"]}}, "role"),
    "roles in another claim": ({"user": {"roles": None, "groups": ["viewer"]}}, "role"),
    "a name that can be none": (
        {"user": {"preferred_username": "a b", "email": None, "sub": "a b"}},
        "account",
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_whatever_is_wrong_lets_nobody_in(idp: Process, name: str) -> None:
    told, why = MISBEHAVIOURS[name]
    idp.tell(**told)
    before = refused(why)
    client = Client()
    answer = sign_on(client, idp)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/")
    assert refused(why) == before + 1
    assert not is_in(client)
    assert not User.objects.exists()
    assert client.cookies[flow.COOKIE].value == ""


@pytest.mark.django_db
@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_takes_signatures_of_these_kinds(idp: Process, algorithm: str) -> None:
    idp.tell(sign=algorithm)
    client = Client()
    sign_on(client, idp)
    assert is_in(client)


@pytest.mark.django_db
def test_a_code_counts_once_and_in_the_browser_that_began(idp: Process) -> None:
    victim, thief = Client(), Client()
    back = go(victim, idp)
    assert thief.get(back)["Location"] == "/admin/login/"
    go(thief, idp)  # a log-in of their own, with another state
    assert thief.get(back)["Location"] == "/admin/login/"
    assert not is_in(thief)
    victim.get(back)
    assert is_in(victim)
    victim.post("/admin/logout/")
    assert victim.get(back)["Location"] == "/admin/login/"


@pytest.mark.django_db
def test_new_keys_of_the_provider_count_at_once(idp: Process) -> None:
    sign_on(Client(), idp)
    assert idp.calls().count("/keys") == 1
    sign_on(Client(), idp)
    assert idp.calls().count("/keys") == 1, "kept"
    idp.tell(rotate=True)
    client = Client()
    sign_on(client, idp)
    assert is_in(client)
    assert idp.calls().count("/keys") == 2
    assert idp.calls().count("/.well-known/openid-configuration") == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "told",
    [
        {"down": True},
        {"moved": True},
        {"discovery": {"issuer": "https://evil.example"}},
        {"discovery": {"token_endpoint": None}},
        {"discovery": {"jwks_uri": "file:///etc/passwd"}},
        {"discovery": {"end_session_endpoint": "javascript:alert(1)"}},
    ],
)
def test_a_provider_that_is_away_or_odd_is_said_on_the_log_in_page(idp: Process, told: dict[str, Any]) -> None:
    idp.tell(**told)
    client = Client()
    answer = client.post(BEGIN, follow=True)
    assert answer.redirect_chain == [("/admin/login/", 302)]
    assert "Single sign-on did not work" in answer.content.decode()
    calls = idp.calls()
    client.post(BEGIN)
    assert idp.calls() == calls, "left alone for a moment"


@pytest.mark.django_db
def test_the_client_is_named_in_the_body_where_the_provider_wants_that(idp: Process) -> None:
    idp.tell(discovery={"token_endpoint_auth_methods_supported": ["client_secret_post"]})
    client = Client()
    sign_on(client, idp)
    assert is_in(client)


@pytest.mark.django_db
def test_a_wrong_client_secret_lets_nobody_in(idp: Process, settings: LazySettings) -> None:
    settings.OIDC_CLIENT_SECRET = "wrong"
    client = Client()
    sign_on(client, idp)
    assert not is_in(client)


@pytest.mark.django_db
def test_private_addresses_are_not_called_in_production(idp: Process, settings: LazySettings) -> None:
    settings.ALLOW_PRIVATE_ENDPOINTS = False
    assert Client().post(BEGIN)["Location"] == "/admin/login/"
    assert idp.calls() == []


@pytest.mark.django_db
def test_roles_are_what_the_provider_says_now(idp: Process) -> None:
    idp.tell(user={"roles": ["viewer", "approver", "unknown"]})
    first = Client()
    sign_on(first, idp)
    user = User.objects.get()
    assert accounts.roles_of(user) == ["approver", "viewer"]
    idp.tell(user={"roles": ["operator", "viewer"], "given_name": "Marianne"})
    second = Client()
    sign_on(second, idp)
    assert accounts.roles_of(user) == ["operator", "viewer"]
    assert is_in(second)
    assert not is_in(first), "a lost role ends other sessions"
    change = Change.objects.get(action="change account")
    assert (change.actor, change.before["roles"]) == ("single sign-on", ["approver", "viewer"])
    idp.tell(user={"roles": []})
    third = Client()
    answer = third.get(go(third, idp), follow=True)
    assert "You have no role in DMR." in answer.content.decode()
    assert accounts.roles_of(user) == []
    assert not is_in(second)


@pytest.mark.parametrize(
    ("claims", "claim", "mapping", "expected"),
    [
        ({"roles": ["viewer", "root"]}, "roles", {}, ["viewer"]),
        ({"roles": "viewer"}, "roles", {}, ["viewer"]),
        ({"roles": {"viewer": True}}, "roles", {}, []),
        ({"roles": [["viewer"], 1, None]}, "roles", {}, []),
        ({"realm_access": {"roles": ["auditor"]}}, "realm_access.roles", {}, ["auditor"]),
        ({"realm_access": ["auditor"]}, "realm_access.roles", {}, []),
        ({"https://x.ee/roles": ["auditor"]}, "https://x.ee/roles", {}, ["auditor"]),
        ({"groups": ["a", "b"]}, "groups", {"a": ["viewer", "operator"]}, ["operator", "viewer"]),
        ({"groups": ["administrator"]}, "groups", {"a": ["viewer"]}, []),
        ({"sub": "38001085718"}, "sub", {"38001085718": ["administrator"]}, ["administrator"]),
        ({}, "roles", {}, []),
    ],
)
def test_decides_which_roles_a_claim_gives(
    claims: dict[str, Any], claim: str, mapping: dict[str, list[str]], expected: list[str]
) -> None:
    assert people.roles_of(claims, claim, mapping) == expected


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("there", "is_refused"),
    [
        ({"name": "mari.maasikas"}, True),
        ({"name": "Mari.Maasikas"}, True),
        ({"name": "mm", "email": "MARI@example.ee"}, True),
        ({"name": "mm"}, False),
    ],
)
def test_nobody_takes_over_an_account_by_its_name_or_address(
    idp: Process, there: dict[str, str], is_refused: bool
) -> None:
    user = person(roles.ADMINISTRATOR, **there)  # type: ignore[arg-type]
    client = Client()
    answer = client.get(go(client, idp), follow=True)
    assert ("an administrator must link it first" in answer.content.decode()) is is_refused
    assert is_in(client) is not is_refused
    assert User.objects.count() == (1 if is_refused else 2), "nor has anybody two accounts"
    assert accounts.roles_of(user) == ["administrator"]


@pytest.mark.django_db
def test_an_unverified_address_is_none(idp: Process) -> None:
    person(roles.ADMINISTRATOR, name="mm", email="mari@example.ee")
    idp.tell(user={"email_verified": False})
    sign_on(Client(), idp)
    assert User.objects.get(username="mari.maasikas").email == ""


@pytest.mark.django_db
def test_the_same_subject_elsewhere_is_somebody_else(idp: Process, settings: LazySettings) -> None:
    other = person(roles.ADMINISTRATOR)
    people.link(other, "https://elsewhere.example", SUBJECT, "root")
    client = Client()
    sign_on(client, idp)
    assert client.session["_auth_user_id"] != str(other.pk)


@pytest.mark.django_db
def test_an_administrator_links_an_account(idp: Process) -> None:
    user = person(roles.AUDITOR, name="mari.maasikas")
    said = StringIO()
    call_command("staff", "link", "mari.maasikas", "--subject", SUBJECT, stdout=said)
    assert said.getvalue() == f"mari.maasikas is {SUBJECT} at {idp.issuer}\n"
    with pytest.raises(CommandError, match="linked already"):
        call_command("staff", "link", "mari.maasikas", "--subject", "another")
    client = Client()
    sign_on(client, idp)
    assert client.session["_auth_user_id"] == str(user.pk)
    assert accounts.roles_of(user) == ["viewer"], "of the provider now"
    call_command("staff", "unlink", "mari.maasikas", stdout=StringIO())
    assert not is_in(client)
    assert not Identity.objects.exists()


@pytest.mark.django_db
def test_an_inactive_account_stays_closed(idp: Process) -> None:
    sign_on(Client(), idp)
    User.objects.update(is_active=False)
    client = Client()
    assert sign_on(client, idp)["Location"] == "/admin/login/"
    assert not is_in(client)


@pytest.mark.django_db
def test_an_acr_that_was_asked_for_must_come(idp: Process, settings: LazySettings) -> None:
    settings.OIDC_ACR_VALUES = ["high"]
    client = Client()
    asked = parse_qs(urlsplit(client.post(BEGIN)["Location"]).query)
    assert asked["acr_values"] == ["high"]
    sign_on(client, idp)
    assert not is_in(client)
    idp.tell(token={"acr": "high"})
    sign_on(client, idp)
    assert is_in(client)


@pytest.mark.django_db
@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", ""])
def test_nobody_is_sent_elsewhere_in_the_end(idp: Process, to: str) -> None:
    assert sign_on(Client(), idp, to)["Location"] == "/admin/"


@pytest.mark.django_db
def test_logs_out_of_the_provider_too(idp: Process) -> None:
    client = Client()
    sign_on(client, idp)
    to = urlsplit(client.post("/admin/logout/")["Location"])
    assert to.path == "/realms/core/log-out"
    assert parse_qs(to.query) == {
        "client_id": ["dmr"],
        "post_logout_redirect_uri": ["http://127.0.0.1:8000/admin/login/"],
    }
    assert not is_in(client)
    assert browser(person(roles.VIEWER)).post("/admin/logout/").status_code == 200


@pytest.mark.django_db
def test_failed_ones_are_throttled_by_address(idp: Process) -> None:
    client = Client()
    client.get(f"{DONE}?state=x&code=y")
    row = Guesser.objects.get(key=throttle.of_address("127.0.0.1").text)
    assert row.failures == 1
    Guesser.objects.update(failures=99)
    before = refused("throttled")
    assert "Too many log-ins failed" in client.get(go(client, idp), follow=True).content.decode()
    assert refused("throttled") == before + 1
    assert not is_in(client)


@pytest.mark.django_db
def test_passwords_can_be_left_to_superusers(idp: Process, settings: LazySettings) -> None:
    settings.PASSWORD_LOG_IN = "superusers"
    emergency, other = person(name="root", is_superuser=True), person(roles.ADMINISTRATOR)
    for user, expected in ((emergency, 302), (other, 200)):
        form = {"username": user.username, "password": PASSWORD, "next": "/admin/"}
        assert Client().post("/admin/login/", form).status_code == expected


@pytest.mark.django_db
def test_without_a_provider_there_is_no_button_and_no_way() -> None:
    client = Client()
    assert 'id="sign-on-form"' not in client.get("/admin/login/").content.decode()
    for method, path in (("POST", BEGIN), ("GET", DONE)):
        assert client.generic(method, path)["Location"] == "/admin/login/"


@pytest.mark.django_db
def test_a_session_of_single_sign_on_says_so(idp: Process) -> None:
    client = Client()
    sign_on(client, idp)
    assert sessions.factor_of(client.session) == "sign-on"


def test_production_takes_no_provider_without_tls() -> None:
    document = {"issuer": "https://x.ee", "authorization_endpoint": "https://x.ee/a", "jwks_uri": "https://x.ee/k"}
    assert provider.parse({**document, "token_endpoint": "https://x.ee/t"}, "https://x.ee", is_production=True)
    with pytest.raises(Refused):
        provider.parse({**document, "token_endpoint": "http://x.ee/t"}, "https://x.ee", is_production=True)


CLIENT = {"OIDC_ISSUER": "https://x.ee", "OIDC_CLIENT_ID": "dmr", "OIDC_CLIENT_SECRET": "secret"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        (CLIENT, []),
        ({"OIDC_ISSUER": "https://x.ee"}, ["dmr.E007"]),
        ({**CLIENT, "OIDC_ISSUER": "http://x.ee", "IS_PRODUCTION": True}, ["dmr.E008"]),
        ({**CLIENT, "OIDC_ROLES": {"a": ["viewer", "root"]}}, ["dmr.E009"]),
        ({"PASSWORD_LOG_IN": "superusers"}, ["dmr.E010"]),
        ({**CLIENT, "OIDC_SCOPES": "profile"}, ["dmr.E011"]),
    ],
)
def test_bad_settings_are_refused(settings: LazySettings, given: dict[str, Any], expected: list[str]) -> None:
    for name, value in given.items():
        setattr(settings, name, value)
    assert [message.id for message in checks.check_sign_on()] == expected


def test_a_provider_that_hangs_is_left_alone_when_it_has_failed(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OIDC_ISSUER = "https://id.invalid"
    now, asked = [1000.0], []

    def hang(url: str) -> Any:
        asked.append(url)
        now[0] += 10  # as long as a call may last
        raise ProviderFailed("no answer within 10 s")

    monkeypatch.setattr(provider, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(provider, "_get", hang)
    kept = provider.Kept()
    for _ in range(3):  # as those threads do that waited for the first
        with pytest.raises(ProviderFailed):
            kept.provider()
    assert len(asked) == 1
    now[0] += provider.FAILED_SECONDS
    with pytest.raises(ProviderFailed, match="no answer"):
        kept.provider()


def test_keys_that_cannot_be_fetched_are_left_alone_too(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OIDC_ISSUER = "https://id.example"
    now, asked, is_dead = [1000.0], [], [False]

    def answer(url: str) -> Any:
        asked.append(url)
        if url.endswith("/keys"):
            if is_dead[0]:
                now[0] += 10
                raise ProviderFailed("no answer within 10 s")
            return {"keys": [{"kid": "one"}]}
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        return {"issuer": settings.OIDC_ISSUER} | dict.fromkeys(names, "https://id.example/keys")

    monkeypatch.setattr(provider, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(provider, "_get", answer)
    kept = provider.Kept()
    assert kept.keys() == [{"kid": "one"}]
    is_dead[0] = True
    for _ in range(3):
        with pytest.raises(ProviderFailed):
            kept.keys(is_anew=True)
    assert len([url for url in asked if url.endswith("/keys")]) == 2
    assert kept.keys() == [{"kid": "one"}], "what is known goes on"
    is_dead[0] = False
    now[0] += provider.FAILED_SECONDS
    assert kept.keys(is_anew=True) == [{"kid": "one"}]


def test_nobody_waits_for_what_another_log_in_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "WAIT_SECONDS", 0.05)
    is_asked, may_answer = threading.Event(), threading.Event()
    answers = iter(["first", "second"])

    def hang() -> str:
        is_asked.set()
        assert may_answer.wait(10)
        return next(answers)

    found = provider.Published(hang)
    one = threading.Thread(target=found.get)
    one.start()
    assert is_asked.wait(10)
    with pytest.raises(ProviderFailed, match="not answered another"):
        found.get()
    may_answer.set()
    one.join()
    assert found.get() == "first"
    is_asked.clear()
    may_answer.clear()
    one = threading.Thread(target=found.get, args=(True,))
    one.start()
    assert is_asked.wait(10)
    assert found.get() == "first", "what is known does"
    with pytest.raises(ProviderFailed, match="not answered another"):
        found.get(is_anew=True)
    may_answer.set()
    one.join()
    assert found.get() == "second"


def test_who_waits_gets_what_another_was_answered() -> None:
    is_asked, may_answer = threading.Event(), threading.Event()

    def answer() -> str:
        is_asked.set()
        assert may_answer.wait(10)
        return "found"

    found = provider.Published(answer)
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(found.get())) for _ in range(3)]
    threads[0].start()
    assert is_asked.wait(10)
    for thread in threads[1:]:
        thread.start()
    may_answer.set()
    for thread in threads:
        thread.join()
    assert seen == ["found"] * 3
