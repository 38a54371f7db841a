"""relay.delivery.bell: who rings learns whether anybody hears, and who listens hears at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.core.cache import cache

from relay import tasks
from relay.delivery import bell, wake
from relay.delivery.bell import Bell, PipeBell, RedisBell

# A bell, made anew each time, as each process makes its own.
Make = Callable[[], Bell]


@pytest.fixture(params=["pipe", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    if request.param == "pipe":
        return lambda: PipeBell(tmp_path / "bell")
    if not settings.REDIS_URL:
        pytest.skip("the run on Redis has it")
    monkeypatch.setattr(bell, "CHANNEL", f"test:{tmp_path}")
    return lambda: RedisBell(settings.REDIS_URL)


def heard_by(listening: Bell) -> tuple[threading.Event, Callable[[], bool]]:
    """Set once it listens, and a wait for the next ring."""
    ready, rings = threading.Event(), threading.Semaphore(0)

    def listen() -> None:
        listening.wait()
        ready.set()
        while True:
            listening.wait()
            rings.release()

    threading.Thread(target=listen, daemon=True).start()
    return ready, lambda: rings.acquire(timeout=5)


def test_nobody_hears_where_nobody_listens(make: Make) -> None:
    with contextlib.suppress(OSError):  # said by the pipe, which nobody has made or opened
        assert make().ring() is False


def test_every_ring_after_a_silence_is_heard(make: Make) -> None:
    ready, heard = heard_by(make())
    assert ready.wait(5)
    ringing = make()
    for _ in range(3):
        assert ringing.ring() is True
        assert heard()


def test_rings_while_nobody_reads_do_not_block(tmp_path: Path) -> None:
    listening, ringing = PipeBell(tmp_path / "bell"), PipeBell(tmp_path / "bell")
    listening.wait()  # opens it, and reads nothing
    assert all(ringing.ring() for _ in range(100_000))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    sent: list[int] = []
    monkeypatch.setattr(tasks.pump, "apply_async", lambda: sent.append(1))
    yield sent
    cache.delete(wake.MARK)


@pytest.mark.real_wake
@pytest.mark.parametrize(("is_heard", "said", "tasks_sent"), [(True, "rung", 0), (False, "sent", 1)])
def test_a_task_is_published_where_nobody_hears(
    published: list[int], monkeypatch: pytest.MonkeyPatch, is_heard: bool, said: str, tasks_sent: int
) -> None:
    monkeypatch.setattr(bell, "ring", lambda: is_heard)
    assert wake.publish() == said
    assert len(published) == tasks_sent


def test_a_bell_that_cannot_ring_says_that_nobody_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def ring(self) -> bool:
            raise self.error

    for error in (OSError("no"), redis.ConnectionError("no")):
        monkeypatch.setattr(bell, "bell", lambda error=error: Broken(error))
        assert bell.ring() is False
