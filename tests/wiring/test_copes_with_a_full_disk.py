"""A disk that is full: 503 that says so and when to come back, nothing half stored, and /readyz knows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client

from dmr_project.lib import storage
from relay.models import Delivery, Message
from tests import factories


@contextmanager
def full_disk() -> Iterator[None]:
    """As far as the database can tell: SQLite may not grow, PostgreSQL fails as where it cannot extend a file."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA page_count")
            cursor.execute(f"PRAGMA max_page_count = {cursor.fetchone()[0]}")
        else:
            cursor.execute(
                """
                CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$
                """
            )
            cursor.execute("CREATE TRIGGER no_room BEFORE INSERT ON relay_message EXECUTE FUNCTION no_room()")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("PRAGMA max_page_count = 1073741823")
            else:
                cursor.execute("DROP FUNCTION no_room() CASCADE")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("send_to", ["the recipient", "nobody-here"])
def test_accepting_answers_503_and_stores_nothing(client: Client, send_to: str) -> None:
    sender, recipient = factories.participant(), factories.participant("the recipient")
    headers = {**sender.auth, "X-Sent-By": sender.name, "X-Send-To": send_to}

    def send(message_id: str) -> Any:
        named = {**headers, "X-Message-Id": message_id}
        return client.generic("POST", "/messages", b"x" * 1_000_000, content_type="text/plain", headers=named)

    ids = [str(factories.uuid.uuid4()) for _ in range(2)]
    assert send(ids[0]).status_code == 202
    assert client.get("/readyz").status_code == 200
    with full_disk():
        answer = send(ids[1])
        assert answer.status_code == 503
        assert answer["Retry-After"] == "30"
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:problem-type:dmr:storage-full"
        assert "nothing was stored" in answer.json()["detail"]
        assert not Message.objects.filter(message_id=ids[1]).exists()
        assert Delivery.objects.filter(recipient_name=send_to).count() == 1
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["status"] == "failed"
        assert ready.json()["checks"]["storage"] == storage.FULL
    assert send(ids[1]).status_code == 202, "with room again, and no restart"
    assert recipient.name == "the recipient"


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OperationalError("database or disk is full"), True),
        (OperationalError("disk I/O error"), False),
        (OperationalError("server closed the connection unexpectedly"), False),
        (ValueError("database or disk is full, they say"), False),
    ],
)
def test_a_full_disk_is_told_apart(error: Exception, is_full: bool) -> None:
    assert storage.is_full(error) is is_full


def test_it_is_remembered_for_half_a_minute_and_by_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not storage.was_full()
    storage.note_full()
    assert storage.was_full()
    storage.forget()
    assert storage.was_full(), "another process knows from the cache"
    cache.clear()
    assert not storage.was_full()


class Usage(NamedTuple):
    free: int


def test_the_embedded_databases_disk_is_looked_at(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.USES_SQLITE = True
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(storage.LEAST_FREE_BYTES - 1))
    assert storage.was_full()
    settings.USES_SQLITE = False
    assert not storage.was_full()


def test_a_cache_on_the_full_disk_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(type(cache), "set", fail, raising=False)
    monkeypatch.setattr(storage.cache, "set", fail)
    storage.note_full()
    assert storage.was_full()
