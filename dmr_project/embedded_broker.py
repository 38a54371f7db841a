"""The broker that needs no server: kombu's filesystem transport, made to survive what happens to folders.

A message is a file in `DMR_DATA_DIR/broker/queue`. Files appear whole (written aside, then renamed), are
claimed by renaming, may be deleted by anybody at any moment, and are few: whatever travels here only wakes
somebody, so beyond MOST_WAITING another wake-up adds nothing.

The folder may be away, as a server may be down: whoever looks finds nothing and looks again, whoever publishes is
told what kombu says of a lost connection, and it is made again by the next message.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from django.conf import settings
from kombu.exceptions import ConnectionError as BrokerAway
from kombu.transport import filesystem

from dmr_project.lib.log import event

MOST_WAITING = 200

logger = logging.getLogger(__name__)


def queue_folder() -> Path:
    return Path(settings.BROKER_DIR, "queue")


def make_folders() -> Path:
    folder = queue_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


class Channel(filesystem.Channel):
    """A channel that needs no exchange tables: every message goes to the queue that its routing key names."""

    is_unreadable = False  # the folder, for all channels of this process, when it was last looked at

    def _queue_bind(self, *args: Any) -> None:
        pass

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        return [routing_key]

    def _put(self, queue: str, message: Any, **_: Any) -> None:  # type: ignore[override]
        try:
            folder = make_folders()
            if self._size(queue) >= MOST_WAITING:
                return
            name = f"{time.time_ns():020d}-{uuid.uuid4().hex}"
            aside = folder / f"{name}.tmp"
            with contextlib.suppress(FileNotFoundError):  # the folder went between two lines: a lost wake-up
                aside.write_text(json.dumps(message), encoding="utf-8")
                aside.rename(folder / f"{name}.{queue}.msg")
        except OSError as error:
            raise BrokerAway(f"{error.filename} cannot be written: {error.strerror}") from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for path in self._waiting(queue):
            taken = path.with_suffix(".taken")
            try:
                path.rename(taken)
            except OSError:
                continue  # somebody else was quicker
            try:
                return json.loads(taken.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # it is damaged
            finally:
                with contextlib.suppress(OSError):
                    taken.unlink()
        raise Empty

    def _size(self, queue: str) -> int:
        return len(self._waiting(queue))

    def _purge(self, queue: str) -> int:
        found = self._waiting(queue)
        for path in found:
            with contextlib.suppress(OSError):
                path.unlink()
        return len(found)

    def _waiting(self, queue: str) -> list[Path]:
        """What waits in that queue, oldest first; nothing where the folder cannot be read, which is logged once.

        Never raises: an OSError of a poll would end the worker.
        """
        folder = queue_folder()
        try:
            names = os.listdir(folder)
        except FileNotFoundError:  # nothing has been put there yet
            names = []
        except OSError as error:
            if not Channel.is_unreadable:
                Channel.is_unreadable = True
                event(logger, "broker_folder_unreadable", logging.WARNING, error=error.strerror)
            return []
        Channel.is_unreadable = False
        return [folder / name for name in sorted(names) if name.endswith(f".{queue}.msg")]


def install() -> None:
    """Makes `filesystem://` use this channel in this process. The folder may be away: it is made when needed."""
    filesystem.Transport.Channel = Channel
