"""Waking a pump after a commit, without making anybody wait for the broker.

A thread of its own publishes, so accepting neither fails nor waits when the broker is slow or down. Wake-ups
are coalesced twice: in the process (at most one every PAUSE), and between processes by a mark in the cache
that says one is already under way. A pump takes the mark away before it claims, so whatever was committed
while the mark stood is seen by that claim. A mark that is lost, or left behind, costs at most MARK_SECONDS;
the sweep of beat is the net beneath.
"""

from __future__ import annotations

import logging
import threading
import time

from django.core.cache import cache

from dmr_project.lib.log import event
from relay import metrics

PAUSE = 0.02  # seconds
MARK_SECONDS = 3
MARK = "pump-is-being-woken"

logger = logging.getLogger(__name__)

_wanted = threading.Event()
_starting = threading.Lock()
_publisher: threading.Thread | None = None


def pump() -> None:
    """Asks for a pump; returns at once. Call it after the commit."""
    global _publisher
    _wanted.set()
    if _publisher is None or not _publisher.is_alive():  # none yet, or lost in a fork
        with _starting:
            if _publisher is None or not _publisher.is_alive():
                _publisher = threading.Thread(target=_publish_forever, name="wake", daemon=True)
                _publisher.start()


def heard() -> None:
    """A pump is about to claim: from here on another wake-up is worth sending."""
    try:
        cache.delete(MARK)
    except Exception as error:  # the cache is down: the mark runs out by itself
        event(logger, "wake_mark_not_removed", logging.WARNING, error=type(error).__name__)


def _publish_forever() -> None:
    while True:
        _wanted.wait()
        _wanted.clear()
        metrics.WAKES.labels(result=publish()).inc()
        time.sleep(PAUSE)


def publish() -> str:
    """Publishes one wake-up, unless one is under way. Returns `sent`, `coalesced` or `failed`."""
    from relay.tasks import pump as task

    try:
        if not cache.add(MARK, 1, timeout=MARK_SECONDS):
            return "coalesced"
    except Exception as error:  # without the cache one wake-up too many is better than one too few
        event(logger, "wake_mark_not_set", logging.WARNING, error=type(error).__name__)
    try:
        task.apply_async()
    except Exception as error:  # the broker is down: the sweep finds what is due
        event(logger, "wake_not_sent", logging.WARNING, error=type(error).__name__)
        heard()
        return "failed"
    return "sent"
