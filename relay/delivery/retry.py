"""What to do after an attempt. Pure: outcome in, verdict out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from dmr_project.lib.sentences import Sentence
from relay.models import State

MOST_ATTEMPTS = 10
PAUSES = (1, 5, 30, 120, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600)  # seconds, from the end of the attempt before
JITTER = 0.2  # of the pause, only ever added
UNREACHABLE = 504
GONE = 410  # final, and parks the recipient; see breaker

# Answers after which another attempt may do better. 5xx are added by is_retryable.
RETRYABLE = frozenset({408, 425, 429})


_FINAL = Sentence("%(error)s, which is final")
_GIVEN_UP = Sentence("%(error)s; gave up after %(attempts)s attempts")
_NO_TIME_LEFT = Sentence("%(error)s; its time to live ends before attempt %(number)s is due")


@dataclass(frozen=True)
class Outcome:
    """What came of one attempt.

    `status` is the recipient's answer, None where there was none; `error` says in a line what went wrong,
    empty on success; `retry_after` is what the recipient asks for, in seconds; `answer` is the beginning of what
    it said when it failed, fit to be shown (see answers).
    """

    is_success: bool
    status: int | None
    error: str
    seconds: float
    retry_after: float | None = None
    answer: str = ""


@dataclass(frozen=True)
class Verdict:
    """The delivery's next state; `due_at` where it is pending again."""

    state: State
    due_at: datetime | None = None
    reason: str = ""


def is_retryable(status: int | None) -> bool:
    """No answer at all, 408, 425, 429 and every 5xx."""
    return status is None or status in RETRYABLE or 500 <= status <= 599


def decide(
    outcome: Outcome,
    *,
    attempts: int,
    ended_at: datetime,
    expires_at: datetime,
    chance: Callable[[], float] = random.random,
) -> Verdict:
    """The verdict after attempt number `attempts`, which ended at `ended_at`."""
    if outcome.is_success:
        return Verdict(State.DELIVERED)
    if not is_retryable(outcome.status):
        return Verdict(State.DEAD, reason=_FINAL(error=outcome.error))
    if attempts >= MOST_ATTEMPTS:
        return Verdict(State.DEAD, reason=_GIVEN_UP(error=outcome.error, attempts=attempts))
    pause = PAUSES[attempts - 1] * (1 + JITTER * chance())
    if outcome.retry_after is not None:
        pause = max(pause, outcome.retry_after)
    # Compared as numbers: what a recipient asks for may lie beyond all dates.
    if pause >= (expires_at - ended_at).total_seconds():
        return Verdict(State.EXPIRED, reason=_NO_TIME_LEFT(error=outcome.error, number=attempts + 1))
    return Verdict(State.PENDING, due_at=ended_at + timedelta(seconds=pause))


def status_for_sender(last_status: int | None) -> int:
    """The status that the error message names: the recipient's own, else 504."""
    return last_status if last_status is not None else UNREACHABLE
