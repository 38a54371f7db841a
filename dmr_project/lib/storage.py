"""A disk that is full, which is remembered for whoever asks how we are, and a database that takes no writes.

Both are told apart from a database that is away.
"""

from __future__ import annotations

import logging
import shutil
import time

from django.conf import settings
from django.core.cache import cache
from django.db import OperationalError

from dmr_project.lib.log import event

REMEMBERED_SECONDS = 30
LEAST_FREE_BYTES = 16 * 1024 * 1024  # of the embedded database's disk: with less, the next message may not fit
FULL = "the disk is full: nothing more can be stored"
READ_ONLY = "read-only: nothing can be stored"

_MARK = "storage-is-full"
_DISK_FULL = "53100"  # PostgreSQL's SQLSTATE

logger = logging.getLogger(__name__)

_noted_at = float("-inf")


class ReadOnly(OperationalError):
    """PostgreSQL takes no writes just now: it is a standby, or protects itself. See dmr_project.lib.postgresql."""


def is_read_only(error: BaseException) -> bool:
    """Did the database fail because it takes no writes? It is to be treated as one that is away."""
    return isinstance(error, ReadOnly) or str(error).strip().lower() == "attempt to write a readonly database"


def is_full(error: BaseException) -> bool:
    """Did the database fail because its disk is full? (Its driver's own error is the cause of Django's.)"""
    said = str(error).strip().lower()
    return getattr(error.__cause__, "sqlstate", None) == _DISK_FULL or said == "database or disk is full"


def note_full() -> None:
    """Remembers it, in this process and, if that can be, for the others."""
    global _noted_at
    _noted_at = time.monotonic()
    event(logger, "storage_full", logging.ERROR)
    try:
        cache.set(_MARK, 1, timeout=REMEMBERED_SECONDS)
    except Exception as error:  # the cache may well be on the same disk
        event(logger, "storage_mark_not_set", logging.WARNING, error=type(error).__name__)


def was_full() -> bool:
    """Was it lately, or is it (nearly) now?"""
    if time.monotonic() - _noted_at < REMEMBERED_SECONDS:
        return True
    if settings.USES_SQLITE and shutil.disk_usage(settings.DATA_DIR).free < LEAST_FREE_BYTES:
        return True
    try:
        return cache.get(_MARK) is not None
    except Exception as error:  # the check of the cache says that it is away
        event(logger, "storage_mark_not_read", logging.WARNING, error=type(error).__name__)
        return False


def forget() -> None:
    """For tests."""
    global _noted_at
    _noted_at = float("-inf")
