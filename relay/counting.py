"""Counting messages and deliveries by room and participant type, with labels whose number is bounded.

Rooms go by their names, which staff give: the MOST_ROOMS oldest have a label of their own, the same in every
process, and all others share one. Counters are looked up once for each set of labels.
"""

from __future__ import annotations

import contextlib
import logging
import time
from functools import lru_cache

from django.db import DatabaseError, connection, transaction
from prometheus_client import Counter, Histogram

from dmr_project.lib.log import event
from participants.models import Room
from relay import metrics
from relay.models import Delivery, State

logger = logging.getLogger(__name__)

MOST_ROOMS = 50
KEEP_SECONDS = 60.0  # a room's new name counts within that
NONE, OTHER = "none", "other"

_names: dict[int, str] = {}  # key -> name, of the rooms that have a label of their own
_read_at = float("-inf")


def accepted(room_id: int | None, sender_type: str) -> None:
    _counter(metrics.ACCEPTED, room(room_id), sender_type).inc()


def repeated(room_id: int | None, sender_type: str) -> None:
    _counter(metrics.REPEATED, room(room_id), sender_type).inc()


def took_to_accept(request: str, seconds: float) -> None:
    """`request`: `one` or `batch`."""
    _accept_latency(request).observe(seconds)


def attempted(succeeded: int, failed: int) -> None:
    if succeeded:
        _counter(metrics.ATTEMPTS, "success").inc(succeeded)
    if failed:
        _counter(metrics.ATTEMPTS, "failure").inc(failed)


def settled(state: State, room_id: int | None, recipient_type: str | None, count: int = 1) -> None:
    """`recipient_type` is None where the name addressed is nobody's."""
    _counter(metrics.SETTLED, state.value, room(room_id), recipient_type or NONE).inc(count)


def ended(state: State, delivery: Delivery) -> None:
    """The same of a row, with its message and recipient."""
    settled(state, delivery.message.room_id, delivery.recipient.type if delivery.recipient else None)


def room(room_id: int | None) -> str:
    """The label of a room; NONE for what was posted to no room, and what we say ourselves."""
    if room_id is None:
        return NONE
    age = time.monotonic() - _read_at
    may_be_new = room_id not in _names and len(_names) < MOST_ROOMS
    if may_be_new or age > KEEP_SECONDS:
        _read()
    return _names.get(room_id, OTHER)


def forget() -> None:
    """Drops what was read; for tests."""
    global _names, _read_at
    _names, _read_at = {}, float("-inf")


def _read() -> None:
    global _names, _read_at
    _read_at = time.monotonic()
    # A transaction that is open outlives a query that fails.
    open_already = transaction.atomic() if connection.in_atomic_block else contextlib.nullcontext()
    try:
        with open_already:
            _names = dict(Room.objects.order_by("pk").values_list("pk", "name")[:MOST_ROOMS])
    except DatabaseError as error:  # what is counted has happened all the same
        event(logger, "rooms_not_readable", logging.WARNING, error=type(error).__name__)


@lru_cache(maxsize=2)
def _accept_latency(request: str) -> Histogram:
    return metrics.ACCEPT_LATENCY.labels(request)


@lru_cache(maxsize=4096)
def _counter(metric: Counter, *labels: str) -> Counter:
    return metric.labels(*labels)
