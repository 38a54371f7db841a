"""Waking a pump after a commit, without making anybody wait for the broker.

A thread of its own rings the bell, which every worker process hears. Where there is none to hear it, the thread
publishes a task, coalesced between processes by a mark in the cache that says one is already under way. A pump
takes the mark away before it claims, so whatever was committed while the mark stood is seen by that claim. A ring
that is lost, and a mark that is lost or left behind, cost a few seconds: the sweep of beat is the net beneath.
"""

from __future__ import annotations

import logging
import threading
import time

from django.core.cache import cache

from dmr_project.lib.log import event
from relay import metrics
from relay.delivery import bell

RING_PAUSE = 0.005  # seconds after a ring, in which others are one with the next
TASK_PAUSE = 0.02  # the same after a task, which costs more
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
        result = publish()
        metrics.WAKES.labels(result=result).inc()
        time.sleep(RING_PAUSE if result == "rung" else TASK_PAUSE)


def publish() -> str:
    """One wake-up: a ring, or a task unless one is under way. Returns `rung`, `sent`, `coalesced` or `failed`."""
    from relay.tasks import pump as task

    if bell.ring():
        return "rung"
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
