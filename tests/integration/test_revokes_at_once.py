"""A revoked key opens nothing within 5 s: in no process, not for a poll that waits, not for a body on its way."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from typing import Any

from dmr_project.server import WEB_WORKERS
from tests.integration.product import Participant, Product, call, wait_until

UNREACHABLE = "http://127.0.0.1:9/messages"
LARGE = 256 * 1024  # beyond what is read before its sender is known
SECONDS = 5


def revoke(product: Product, who: Participant) -> float:
    """By another of its keys; returns when."""
    made = product.call("/api/v1/keys", "POST", b"{}", X_Api_Key=who.key).json()
    said = json.dumps({"id": made["replaces"], "reason": "it leaked"}).encode()
    answer = product.call("/api/v1/keys/revoke", "POST", said, X_Api_Key=made["key"])
    assert answer.status == 200, answer
    return time.monotonic()


def test_no_process_takes_it_any_more(product: Product) -> None:
    who = product.register(UNREACHABLE)
    for _ in range(8 * WEB_WORKERS):  # so that each has it in its cache
        assert product.call("/api/v1/my/delivery-mode", X_Api_Key=who.key).status == 200
    revoke(product, who)
    for _ in range(8 * WEB_WORKERS):
        assert product.call("/api/v1/my/delivery-mode", X_Api_Key=who.key).status == 401
        assert product.post(who, who.name).status == 401


def test_a_poll_that_waits_with_it_ends(product: Product) -> None:
    who = product.register(UNREACHABLE)
    assert product.call("/api/v1/my/delivery-mode", "POST", b'{"mode": "pull"}', X_Api_Key=who.key).status == 200
    answers: list[tuple[float, int]] = []

    def poll() -> None:
        answer = call(f"{product.url}/api/v1/inbox?wait=25", headers={"X-Api-Key": who.key}, timeout=40)
        answers.append((time.monotonic(), answer.status))

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    wait_until(lambda: product.metric("dmr_inbox_waiting") == 1, 10)
    revoked_at = revoke(product, who)
    thread.join(30)
    ((answered_at, status),) = answers
    assert status == 401
    assert answered_at - revoked_at < SECONDS


def test_a_poll_that_waits_while_its_key_expires_ends(product: Product) -> None:
    """Nothing changes then, of which a process could be told."""
    who = product.register(UNREACHABLE)
    assert product.call("/api/v1/my/delivery-mode", "POST", b'{"mode": "pull"}', X_Api_Key=who.key).status == 200
    lasts = 6
    product.shell(
        "from datetime import timedelta; from django.utils import timezone; from participants import history;"
        "from participants.models import ApiKey;"
        f"ApiKey.objects.filter(participant__name={who.name!r})"
        f".update(expires_at=timezone.now() + timedelta(seconds={lasts}));"
        "history.advance_version()"
    )
    expires_at = time.monotonic() + lasts  # at the latest
    answer = call(f"{product.url}/api/v1/inbox?wait=25", headers={"X-Api-Key": who.key}, timeout=40)
    assert answer.status == 401
    assert time.monotonic() - expires_at < SECONDS


def test_a_large_body_that_was_on_its_way_is_not_taken(product: Product) -> None:
    who = product.register(UNREACHABLE)
    headers: dict[str, Any] = {
        "Host": "dmr.test",
        "X-Api-Key": who.key,
        "X-Sent-By": who.name,
        "X-Send-To": who.name,
        "X-Message-Id": str(uuid.uuid4()),
        "Content-Length": LARGE,
        "Connection": "close",
    }
    head = "POST /messages HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    with socket.create_connection(("127.0.0.1", product.port), timeout=20) as client:
        client.sendall(head.encode() + b"x" * (LARGE // 2))
        revoke(product, who)
        client.sendall(b"x" * (LARGE - LARGE // 2))
        assert client.recv(100).startswith(b"HTTP/1.1 401")
