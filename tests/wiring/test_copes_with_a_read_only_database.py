"""A database that takes no writes: a standby that is not promoted yet, or one that protects itself from a full disk.

It is one that is away: senders get 503 and come again, the pump keeps what is in flight, /readyz knows. A session
that began meanwhile stays read-only for ever, so none outlives the refusal.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, close_old_connections, connection
from django.test import Client

from dmr_project.lib import http, storage
from relay.delivery import engine as engine_module
from relay.delivery.engine import Engine
from relay.models import Delivery, Message, State
from tests import factories
from tests.integration.product import wait_until
from tests.relay.conftest import Edge, edge, engine  # noqa: F401

of_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no sessions to set")


@contextmanager
def read_only() -> Iterator[None]:
    """Every session, as after a failover: those that stood are ended, and new ones may not write."""
    there = connection.get_connection_params()
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    own = {key: there[key] for key in ("dbname", "user", "password", "host", "port") if key in there}
    with psycopg.connect(**own, autocommit=True) as staff:
        staff.execute("SET default_transaction_read_only = off")
        staff.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            end_sessions(staff)
            connection.close()
            yield
        finally:
            staff.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


def end_sessions(staff: psycopg.Connection[Any]) -> None:
    staff.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


@of_postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("send_to", ["the recipient", "nobody-here"])
def test_accepting_answers_503_and_stores_nothing(client: Client, send_to: str) -> None:
    sender = factories.participant()
    factories.participant("the recipient")
    message_id = str(uuid.uuid4())
    headers = {**sender.auth, "X-Sent-By": sender.name, "X-Send-To": send_to, "X-Message-Id": message_id}

    def send() -> Any:
        try:
            return client.generic("POST", "/messages", b"payload", content_type="text/plain", headers=headers)
        finally:
            close_old_connections()  # as dmr_project.rsgi does

    with read_only():
        answer = send()
        assert answer.status_code == 503
        assert answer["Retry-After"] == "5"
        assert answer.json()["type"] == "urn:problem-type:dmr:unavailable"
        assert "read-only" in answer.json()["detail"]
        assert "nothing was stored" in answer.json()["detail"]
        assert client.get(f"/messages/{message_id}", headers=sender.auth).status_code == 404, "reading goes on"
        connection.ensure_connection()  # a session that will not be told when it is over
    assert send().status_code in (202, 503)
    assert send().status_code == 202, "it is refused once more at most, without a restart"
    assert Message.objects.filter(message_id=message_id).count() == 1


@of_postgresql
@pytest.mark.django_db(transaction=True)
def test_readyz_says_so(client: Client) -> None:
    with read_only():
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "failed")
        assert answer.json()["checks"]["database"] == storage.READ_ONLY
        assert client.get("/livez").status_code == 200
    close_old_connections()
    assert client.get("/readyz").status_code == 200


@of_postgresql
@pytest.mark.django_db(transaction=True)
def test_pages_that_change_something_answer_503(admin_client: Client) -> None:
    institution = {"name": "Ministry of Silence", "status": "Active"}
    admin_client.raise_request_exception = False
    with read_only():
        answer = admin_client.post("/admin/participants/institution/add/", institution)
        assert answer.status_code == 503
        assert "read-only" in answer.content.decode()
    close_old_connections()
    assert admin_client.get("/admin/").status_code == 200


@of_postgresql
@pytest.mark.django_db(transaction=True)
def test_the_pump_keeps_what_is_in_flight_and_settles_it_later(
    engine: Engine,  # noqa: F811
    edge: Edge,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(engine_module, "RECONNECT_SECONDS", 0.05)
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    may_answer = threading.Event()

    async def post(*arguments: Any) -> http.Answer:
        answer = await edge.post(*arguments)
        while not may_answer.is_set():
            await asyncio.sleep(0.01)
        return answer

    monkeypatch.setattr(http, "post", post)
    engine.rung()
    wait_until(lambda: edge.posted, 5, "it is in flight")
    with read_only():
        may_answer.set()
        wait_until(lambda: "pump_lost_database" in caplog.text, 10, "the pump has seen it")
        assert Delivery.objects.get().state == State.DELIVERING
    wait_until(lambda: Delivery.objects.get(pk=delivery.pk).state == State.DELIVERED, 10, "it is settled")
    assert "pump_broke" not in caplog.text
    assert len(edge.posted) == 1
    connection.close()


@of_postgresql
@pytest.mark.django_db(transaction=True)
def test_a_claim_gives_up_until_the_sweep(
    engine: Engine,  # noqa: F811
    edge: Edge,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    factories.delivery(factories.participant(), factories.participant())
    with read_only():
        assert engine.pump() is False
        assert not edge.posted
        assert "pump_broke" not in caplog.text
    engine.pump()
    assert len(edge.posted) == 1
    connection.close()


@pytest.mark.parametrize(
    ("error", "is_read_only"),
    [
        (storage.ReadOnly("cannot execute UPDATE in a read-only transaction"), True),
        (OperationalError("attempt to write a readonly database"), True),  # SQLite's
        (OperationalError("server closed the connection unexpectedly"), False),
        (ValueError("attempt to write a readonly database, they say"), False),
    ],
)
def test_a_read_only_database_is_told_apart(error: Exception, is_read_only: bool) -> None:
    assert storage.is_read_only(error) is is_read_only
