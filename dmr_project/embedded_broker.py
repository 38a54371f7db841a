"""The broker that needs no server: kombu's filesystem transport, made to survive what happens to folders.

A message is a file in `DMR_DATA_DIR/broker/queue`. Files appear whole (written aside, then renamed), are
claimed by renaming, may be deleted by anybody at any moment, and are few: whatever travels here only wakes
somebody, so beyond MOST_WAITING another wake-up adds nothing.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from django.conf import settings
from kombu.transport import filesystem

MOST_WAITING = 200


def make_folders() -> Path:
    folder = Path(settings.BROKER_DIR, "queue")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


class Channel(filesystem.Channel):
    """A channel that needs no exchange tables: every message goes to the queue that its routing key names."""

    def _queue_bind(self, *args: Any) -> None:
        pass

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        return [routing_key]

    def _put(self, queue: str, message: Any, **_: Any) -> None:  # type: ignore[override]
        folder = make_folders()
        if self._size(queue) >= MOST_WAITING:
            return
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}"
        aside = folder / f"{name}.tmp"
        with contextlib.suppress(FileNotFoundError):  # the folder went between two lines: a lost wake-up
            aside.write_text(json.dumps(message), encoding="utf-8")
            aside.rename(folder / f"{name}.{queue}.msg")

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for path in sorted(make_folders().glob(f"*.{queue}.msg")):
            taken = path.with_suffix(".taken")
            try:
                path.rename(taken)
                payload = json.loads(taken.read_text(encoding="utf-8"))
            except (FileNotFoundError, ValueError):
                continue  # somebody else was quicker, or it is damaged
            finally:
                taken.unlink(missing_ok=True)
            return payload
        raise Empty

    def _size(self, queue: str) -> int:
        return sum(1 for _ in make_folders().glob(f"*.{queue}.msg"))

    def _purge(self, queue: str) -> int:
        found = list(make_folders().glob(f"*.{queue}.msg"))
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)


def install() -> None:
    """Makes `filesystem://` use this channel in this process."""
    make_folders()
    filesystem.Transport.Channel = Channel
