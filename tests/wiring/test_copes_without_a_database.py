"""Pages for staff say 503 while the database is away, wherever it is noticed, and never 500."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper
from django.test import Client


@pytest.fixture
def without_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a server that has gone away: no statement succeeds any more."""

    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(CursorWrapper, "execute", fail)


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/", "/admin/participants/participant/", "/admin/relay/delivery/1/change/"])
def test_pages_of_the_admin_answer_503(admin_client: Client, path: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("without_database")
    admin_client.raise_request_exception = False  # as for a browser: what fails in middleware is answered too
    answer = admin_client.get(path)
    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert answer["Cache-Control"] == "no-store"
    assert answer["X-Byk-DMR-Version"]
    assert "cannot reach its database" in answer.content.decode()


@pytest.mark.django_db
def test_the_log_in_answers_503(client: Client, without_database: None) -> None:
    answer = client.post("/admin/login/", {"username": "anna", "password": "whatever-it-is"})
    assert answer.status_code == 503
    assert "cannot reach its database" in answer.content.decode()


@pytest.mark.django_db
def test_what_fails_in_middleware_is_503_too(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.contrib.sessions.middleware import SessionMiddleware

    def fail(*_: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(SessionMiddleware, "process_response", fail)
    admin_client.raise_request_exception = False  # as for a browser
    answer = admin_client.get("/admin/")
    assert answer.status_code == 503


@pytest.mark.django_db
def test_other_errors_stay_500(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.contrib.admin.sites import AdminSite

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(AdminSite, "each_context", fail)
    admin_client.raise_request_exception = False
    assert admin_client.get("/admin/").status_code == 500
