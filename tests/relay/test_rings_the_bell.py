"""relay.delivery.bell: who rings learns whether anybody hears, and who listens hears at once."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
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
        return lambda: PipeBell(tmp_path / "bells")
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


def test_every_ring_is_heard_by_all_who_listen(make: Make) -> None:
    """Whoever is about to end would keep it from the others else."""
    listening = [heard_by(make()) for _ in range(3)]
    assert all(ready.wait(5) for ready, _ in listening)
    ringing = make()
    for _ in range(3):
        assert ringing.ring() is True
        assert all(heard() for _, heard in listening)


LISTEN = """
import pathlib, sys
from relay.delivery.bell import PipeBell
bell = PipeBell(pathlib.Path(sys.argv[1]))
bell.wait()
print("listening", flush=True)
while True:
    bell.wait()
"""


@pytest.fixture
def another_process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """It listens."""
    command = [sys.executable, "-c", LISTEN, str(tmp_path / "bells")]
    with subprocess.Popen(command, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield process
        process.kill()


def test_a_process_that_stands_still_keeps_no_ring_from_the_others(
    tmp_path: Path, another_process: subprocess.Popen[str]
) -> None:
    another_process.send_signal(signal.SIGSTOP)
    ready, heard = heard_by(PipeBell(tmp_path / "bells"))
    assert ready.wait(5)
    ringing = PipeBell(tmp_path / "bells")
    for _ in range(20):
        assert ringing.ring() is True
        assert heard()


def test_a_process_that_was_killed_is_forgotten(tmp_path: Path, another_process: subprocess.Popen[str]) -> None:
    ringing = PipeBell(tmp_path / "bells")
    assert ringing.ring() is True
    another_process.kill()
    another_process.wait()
    assert ringing.ring() is False
    assert PipeBell(tmp_path / "bells").ring() is False
    assert list((tmp_path / "bells").iterdir()) == []
    ready, heard = heard_by(PipeBell(tmp_path / "bells"))
    assert ready.wait(5)
    assert ringing.ring() is True
    assert heard()


def test_rings_while_nobody_reads_do_not_block(tmp_path: Path) -> None:
    listening, ringing = PipeBell(tmp_path / "bells"), PipeBell(tmp_path / "bells")
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
