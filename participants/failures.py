"""What strangers can do without end, counted here and noted now and then: keys and log-ins that were refused.

Counting costs a request nothing but memory, of which it takes a bounded amount. A thread of the process writes what
was counted into the audit log: the first time a second after it began, and then once a minute, one entry for each
address (and for each known key or claimed name there). A process that is killed takes the counts
of that minute along.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import Any

from django.db import DatabaseError, connection

from dmr_project.lib import origin
from dmr_project.lib.log import event
from participants import history
from participants.keys import refusal
from participants.models import ApiKey

logger = logging.getLogger(__name__)

KEY, LOG_IN = "key", "log-in"
FIRST_SECONDS, SECONDS = 1.0, 60.0
MOST_ADDRESSES = 20  # between two flushes, in each process; what comes from more is counted together
MOST_WHATS = 10  # keys or names of one address, likewise
ELSEWHERE = "many addresses"
OTHERS = "…"

_lock = threading.Lock()
_counted: dict[tuple[str, str], Counter[str]] = {}  # (KEY or LOG_IN, address) -> digest or name -> how often
_is_running = False


def count(kind: str, what: str) -> None:
    """One refusal, from where the request comes; `what` is the key's digest, or the name that was claimed."""
    global _is_running
    place = (kind, origin.current())
    with _lock:
        if place not in _counted and len(_counted) >= MOST_ADDRESSES:
            place = (kind, ELSEWHERE)
        whats = _counted.setdefault(place, Counter())
        whats[what if what in whats or len(whats) < MOST_WHATS else OTHERS] += 1
        if _is_running:
            return
        _is_running = True
    start()


def start() -> None:
    threading.Thread(target=_flush_now_and_then, name="failures", daemon=True).start()


def _flush_now_and_then() -> None:
    """Until nothing was counted since the last time."""
    global _is_running
    pause = FIRST_SECONDS
    try:
        while True:
            time.sleep(pause)
            with _lock:
                if not _counted:
                    return
            flush()
            connection.close()
            pause = SECONDS
    finally:
        with _lock:
            _is_running = False


def flush() -> int:
    """Notes what was counted, and forgets it. Returns how many refusals that were."""
    with _lock:
        counted = dict(_counted)
        _counted.clear()
    total = sum(sum(whats.values()) for whats in counted.values())
    try:
        with history.atomic():
            for (kind, address), whats in counted.items():
                (_note_keys if kind == KEY else _note_names)(address, whats)
    except DatabaseError as error:
        event(logger, "refusals_not_noted", logging.ERROR, count=total, error=type(error).__name__)
    return total


def _note_names(address: str, whats: Counter[str]) -> None:
    for name, times in whats.items():
        history.note(
            "log-in refused", history.NOBODY, kind="user", subject=name, after={"times": times}, address=address
        )


def _note_keys(address: str, whats: Counter[str]) -> None:
    """One entry for each key that is or was somebody's, and one for all that never were."""
    rows = ApiKey.objects.filter(digest__in=list(whats)).select_related("participant__institution")
    known = {row.digest: row for row in rows}
    unknown = sum(times for digest, times in whats.items() if digest not in known)
    said: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (
            {"subject": str(row), "subject_id": str(row.pk), "institution": row.participant.institution},
            {"why": refusal(row), "times": whats[digest]},
        )
        for digest, row in known.items()
    ]
    if unknown:
        said.append(({}, {"why": "unknown", "times": unknown}))
    for about, after in said:
        history.note("key refused", history.NOBODY, kind="apikey", after=after, address=address, **about)
