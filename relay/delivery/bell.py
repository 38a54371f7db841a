"""Tells every worker process that something is due: quicker and cheaper than a task through the broker.

Whoever rings learns whether anybody is there to hear it. With Redis a ring is a message on a channel; without, a
byte in a named pipe of each process that listens, in a folder in the data folder.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import redis
from django.conf import settings

from dmr_project.lib.log import event

CHANNEL = "dmr:bell"
PIPES = "bells"
RETRY_SECONDS = 2.0

logger = logging.getLogger(__name__)

Heard = Callable[[], None]


class Bell(Protocol):
    def ring(self) -> bool:
        """Returns at once: is there anybody to hear it? Raises OSError, RedisError."""

    def wait(self) -> None:
        """Returns when it has been rung; after an error it may be called again."""


class RedisBell:
    def __init__(self, url: str) -> None:
        self._ringing: Any = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
        self._hearing: Any = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=1)
        self._heard: Any = None

    def ring(self) -> bool:
        return bool(self._ringing.publish(CHANNEL, b""))

    def wait(self) -> None:
        try:
            if self._heard is None:
                self._heard = self._hearing.pubsub(ignore_subscribe_messages=True)
                self._heard.subscribe(CHANNEL)
                return  # whoever rang before may not have been heard
            while self._heard.get_message(timeout=None) is None:
                pass
        except Exception:
            self._heard = None
            raise


class PipeBell:
    """A pipe for each that listens: with one for all one alone would hear a ring, and may be about to end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reading = -1
        self._writing: dict[Path, int] = {}

    def ring(self) -> bool:
        pipes = [Path(each) for each in os.scandir(self._folder) if not each.name.startswith(".")]
        for gone in self._writing.keys() - pipes:
            os.close(self._writing.pop(gone))
        heard = [self._ring(pipe) for pipe in pipes]
        return any(heard)

    def _ring(self, pipe: Path) -> bool:
        try:
            if pipe not in self._writing:
                # Fails where nobody has it open to read.
                self._writing[pipe] = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            os.write(self._writing[pipe], b"\n")
        except BlockingIOError:
            pass  # full: it rings already
        except OSError:  # whoever listened has died
            if pipe in self._writing:
                os.close(self._writing.pop(pipe))
            pipe.unlink(missing_ok=True)
            return False
        return True

    def wait(self) -> None:
        if self._reading < 0:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            # Whoever rings does not see it before it is open.
            name = secrets.token_hex(8)
            hidden = self._folder / f".{name}"
            os.mkfifo(hidden, mode=0o600)
            # To write too, so that it does not end when a ringing process does.
            self._reading = os.open(hidden, os.O_RDWR)
            hidden.rename(self._folder / name)
            return
        os.read(self._reading, 65536)


_bell: Bell | None = None
_making = threading.Lock()


def bell() -> Bell:
    """The bell of this process, made when first asked for."""
    global _bell
    with _making:
        if _bell is None:
            _bell = RedisBell(settings.REDIS_URL) if settings.REDIS_URL else PipeBell(settings.DATA_DIR / PIPES)
        return _bell


def ring() -> bool:
    """Rings; False where nobody is there to hear it."""
    try:
        return bell().ring()
    except (OSError, redis.RedisError):
        return False


def listen(heard: Heard) -> None:
    """Calls `heard` at each ring from now on, on a thread of its own."""
    threading.Thread(target=_listen_forever, args=(heard,), name="bell", daemon=True).start()


def _listen_forever(heard: Heard) -> None:
    while True:
        try:
            bell().wait()
        except (OSError, redis.RedisError, ValueError) as error:
            event(logger, "bell_not_heard", logging.DEBUG, error=type(error).__name__)
            time.sleep(RETRY_SECONDS)
            continue
        heard()
