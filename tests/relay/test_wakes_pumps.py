"""relay.delivery.wake: publishing never hurts whoever accepts."""

from __future__ import annotations

import threading
import time

import pytest
from django.core.cache import cache

from relay import tasks
from relay.delivery import wake

pytestmark = pytest.mark.real_wake


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a task was handed to the broker."""
    sent: list[float] = []
    monkeypatch.setattr(tasks.pump, "apply_async", lambda: sent.append(time.monotonic()))
    return sent


def test_publishes_once_until_it_is_heard(published: list[float]) -> None:
    assert [wake.publish() for _ in range(3)] == ["sent", "coalesced", "coalesced"]
    wake.heard()
    assert wake.publish() == "sent"
    assert len(published) == 2


def test_broker_that_fails_is_tried_again(published: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ConnectionError("no broker")

    with monkeypatch.context() as broken:
        broken.setattr(tasks.pump, "apply_async", fail)
        assert [wake.publish(), wake.publish()] == ["failed", "failed"]
    assert wake.publish() == "sent"


def test_cache_that_fails_costs_a_wake_up_too_many(published: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ConnectionError("no cache")

    monkeypatch.setattr(cache, "add", fail, raising=False)
    monkeypatch.setattr(cache, "delete", fail, raising=False)
    wake.heard()
    assert [wake.publish(), wake.publish()] == ["sent", "sent"]


def test_asking_returns_at_once_and_a_busy_moment_is_one_wake_up(
    published: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the broker is: 200 askers in all wait for nothing."""
    release = threading.Event()
    calls: list[int] = []

    def slow() -> str:
        calls.append(1)
        release.wait(5)
        return "sent"

    monkeypatch.setattr(wake, "publish", slow)
    began = time.monotonic()
    for _ in range(200):
        wake.pump()
    assert time.monotonic() - began < 0.1
    release.set()
    time.sleep(0.2)
    assert 1 <= len(calls) <= 3
