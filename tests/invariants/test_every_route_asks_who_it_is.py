"""Every address asks for a credential, but for those that are named here."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from participants import registry, scopes
from participants.authentication import IsParticipant, IsStaffKey
from participants.scopes import Scope
from tests import factories

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")

# Each with why it is open.
OPEN = {
    "livez": "orchestrators ask whether the process is up",
    "readyz": "orchestrators ask whether it can serve",
    "healthz": "the network's own heartbeat, without a key by contract",
    "metrics": "Prometheus; operations.md says to keep it from the outside",
    "api/schema/": "what the API looks like is public",
    "api/docs/": "the same, for people",
    ".well-known/jwks.json": "public keys, for whoever verifies what we deliver",
    ".well-known/dmr-delivery-keys": "the same in another form",
    ".well-known/dmr-registry-keys": "public keys, for whoever verifies the list of participants",
    "admin/login/": "the way in",
    "join/": "anybody may apply to take part",
}
# Each opens with the link that was mailed, and with nothing else: a token of 256 random bits.
BY_LINK = {
    "join/<str:token>/": "the form for somebody who was invited",
    "join/status/<str:token>/": "how an application stands, for the applicant",
    "join/claim/<str:token>/": "a participant's key, once",
    "api/v1/outages/calendar/<str:token>.ics": "the calendar of outages, for programs that can send no key",
}
ONLY_READ = {"api/v1/outages/calendar/<str:token>.ics"}
# Django's own under /admin/ that show nothing: a redirect, a catalogue of texts, the way out.
ADMIN_OPEN = {"admin/jsi18n/", "admin/logout/"}
EXAMPLES = {"uuid": str(uuid.uuid4()), "id": str(uuid.uuid4()), "int": "1", "str": "x", "path": "1", "slug": "x"}


def views(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, Any]]:
    for each in resolver.url_patterns:
        route = before + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from views(each, route)
        else:
            assert isinstance(each, URLPattern)
            yield route, each.callback


def example(route: str) -> str:
    """An address that the route matches."""
    filled = re.sub(r"<(?:(\w+):)?\w+>", lambda found: EXAMPLES[found[1] or "str"], route)
    filled = re.sub(r"\(\?P<\w+>[^)]*\)", "participants", filled)
    return filled.replace("^", "").replace("$", "")


VIEWS = dict(views(get_resolver()))
ALL = sorted(VIEWS)
API = [route for route in ALL if not route.startswith("admin/") and route not in OPEN.keys() | BY_LINK.keys()]
ADMIN = [route for route in ALL if route.startswith("admin/") and route not in OPEN]
# What participants call, with the scope that their key needs; the rest of the API is for the staff key alone.
SCOPES = {route: view.cls.scope for route in API if IsStaffKey not in (view := VIEWS[route]).cls.permission_classes}
# Each with why a key of any scope may call it.
FOR_ANY_KEY = {
    "api/v1/keys": "whatever a key is for, it may be replaced in time",
    "api/v1/keys/revoke": "the same; it sees no other keys than itself and those beside it",
}


def test_the_walk_finds_the_routes() -> None:
    assert {"messages", "messages/<str:message_id>", "centops/public/participants", "admin/login/"} <= set(ALL)
    assert set(OPEN) - set(ALL) == set(), "open, but no longer there"
    assert set(BY_LINK) - set(ALL) == set()


@pytest.mark.django_db
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("key", ["", "unknown-key-0123456789"])
def test_api_routes_answer_401_without_a_key(client: Client, method: str, key: str) -> None:
    for route in API:
        headers = {"X-Api-Key": key} if key else {}
        answer = client.generic(method, f"/{example(route)}", b"{}", content_type="application/json", headers=headers)
        assert answer.status_code == 401, f"{method} {route}: {answer.status_code}"
        assert answer["Content-Type"] == "application/problem+json"
        assert answer["WWW-Authenticate"]


def test_every_route_says_what_a_key_must_be_for() -> None:
    assert set(SCOPES.values()) - {scopes.ANY} == set(Scope), "each scope opens something"
    assert {route for route, scope in SCOPES.items() if scope == scopes.ANY} == FOR_ANY_KEY.keys()
    for route in SCOPES:
        assert issubclass(VIEWS[route].cls.permission_classes[0], IsParticipant), f"{route} checks no scope"


@pytest.mark.django_db
@pytest.mark.parametrize("scope", Scope)
def test_a_key_for_something_else_is_refused(client: Client, scope: Scope) -> None:
    bot = factories.participant()
    _, for_it = registry.issue_key(bot.row, actor="tests", scopes=[scope])
    _, for_others = registry.issue_key(bot.row, actor="tests", scopes=scopes.ALL - {scope})
    for route, needed in SCOPES.items():
        if needed not in (scope, scopes.ANY):
            continue
        for method in METHODS:
            said = {
                key: client.generic(
                    method, f"/{example(route)}", b"{}", content_type="application/json", headers={"X-Api-Key": key}
                )
                for key in (for_it, for_others)
            }
            assert b"scope-missing" not in said[for_it].content, f"{method} {route}"
            assert said[for_it].status_code != 401
            if needed == scope:
                assert said[for_others].status_code == 403, f"{method} {route}"
            if needed == scope and method != "HEAD":
                assert said[for_others].json()["type"] == "urn:problem-type:dmr:scope-missing"
                assert f"for {scope.value}" in said[for_others].json()["detail"]
            if needed == scopes.ANY:
                assert b"scope-missing" not in said[for_others].content, f"{method} {route}"


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_admin_routes_send_to_the_login(client: Client, method: str) -> None:
    assert len(ADMIN) > 20
    for route in ADMIN:
        answer = client.generic(method, f"/{example(route)}")
        if route in ADMIN_OPEN:
            assert answer.status_code in (200, 302, 405), f"{method} {route}: {answer.status_code}"
            continue
        assert answer.status_code == 302, f"{method} {route}: {answer.status_code}"
        assert answer["Location"].startswith("/admin/login/"), f"{method} {route}: {answer['Location']}"


@pytest.mark.django_db
def test_open_routes_answer(client: Client) -> None:
    for route in OPEN:
        assert client.get(f"/{route}").status_code == 200, route


@pytest.mark.django_db
@pytest.mark.parametrize("method", METHODS)
def test_routes_by_link_open_with_no_other(client: Client, method: str) -> None:
    for route in BY_LINK:
        answer = client.generic(method, f"/{example(route)}")
        known = ("GET", "HEAD") if route in ONLY_READ else ("GET", "HEAD", "POST")
        assert answer.status_code == (404 if method in known else 405), f"{method} {route}"


@pytest.mark.django_db
def test_every_answer_names_our_version(client: Client) -> None:
    for path in (
        "/livez",
        "/messages",
        "/nothing-here",
        "/admin/",
        "/centops/public/participants",
        "/static/none.css",
    ):
        answer = client.get(path)
        assert answer["X-Byk-DMR-Version"] == settings.VERSION, path


@pytest.mark.django_db
def test_what_is_not_there_is_a_problem(client: Client) -> None:
    for path in ("/nothing-here", "/centops/", "/centops/public/participants/not-an-id", "/api/v1/nothing"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:problem-type:dmr:not-found"
