"""Tells every worker process that something is due: quicker and cheaper than a task through the broker.

Whoever rings learns whether anybody is there to hear it. With Redis a ring is a message on a channel; without, a
byte in a named pipe in the data folder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import redis
from django.conf import settings

from dmr_project.lib.log import event

CHANNEL = "dmr:bell"
PIPE = "bell"
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
    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading = -1
        self._writing = -1

    def ring(self) -> bool:
        if self._writing < 0:
            # Fails where nobody has opened it to read.
            self._writing = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(self._writing, b"\n")
        except BlockingIOError:
            pass  # full: it rings already
        except OSError:
            os.close(self._writing)
            self._writing = -1
            raise
        return True

    def wait(self) -> None:
        if self._reading < 0:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._path, mode=0o600)
            # To write too, so that it does not end when a ringing process does.
            self._reading = os.open(self._path, os.O_RDWR)
            return
        os.read(self._reading, 65536)


_bell: Bell | None = None
_making = threading.Lock()


def bell() -> Bell:
    """The bell of this process, made when first asked for."""
    global _bell
    with _making:
        if _bell is None:
            _bell = RedisBell(settings.REDIS_URL) if settings.REDIS_URL else PipeBell(settings.DATA_DIR / PIPE)
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
