"""relay.delivery.retry: an outcome in, a verdict out."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.retry import MOST_ATTEMPTS, PAUSES, Outcome, decide, is_retryable, status_for_sender
from relay.models import State

ENDED = datetime(2026, 1, 1, tzinfo=timezone.utc)
FAR = ENDED + timedelta(days=30)


def outcome(status: int | None = 503, *, ok: bool = False, retry_after: float | None = None) -> Outcome:
    return Outcome(ok, status, "" if ok else "it failed", 0.1, retry_after)


@pytest.mark.parametrize(
    ("status", "again"),
    [(None, True), (408, True), (425, True), (429, True), (500, True), (503, True), (599, True)]
    + [(status, False) for status in (100, 199, 300, 301, 302, 304, 400, 401, 403, 404, 409, 413, 422, 499, 600)],
)
def test_retries_what_may_do_better_later(status: int | None, again: bool) -> None:
    assert is_retryable(status) is again
    verdict = decide(outcome(status), attempts=1, ended_at=ENDED, expires_at=FAR)
    assert verdict.state == (State.PENDING if again else State.DEAD)


@pytest.mark.parametrize(
    ("attempt", "seconds"), list(enumerate([1, 5, 30, 120, 600, 3600, 10800, 21600, 43200], start=1))
)
def test_pauses_grow(attempt: int, seconds: int) -> None:
    for chance, factor in ((0.0, 1.0), (1.0, 1.2)):
        verdict = decide(
            outcome(), attempts=attempt, ended_at=ENDED, expires_at=FAR, chance=lambda chance=chance: chance
        )
        assert verdict.due_at == ENDED + timedelta(seconds=seconds * factor)


def test_gives_up_after_ten_attempts() -> None:
    assert len(PAUSES) == MOST_ATTEMPTS - 1 == 9
    assert decide(outcome(), attempts=9, ended_at=ENDED, expires_at=FAR).state == State.PENDING
    verdict = decide(outcome(), attempts=10, ended_at=ENDED, expires_at=FAR)
    assert verdict.state == State.DEAD
    assert "10 attempts" in verdict.reason


@pytest.mark.parametrize(
    ("asked", "attempts", "paused"),
    [
        pytest.param(60.0, 1, 60.0, id="longer than ours"),
        pytest.param(0.0, 1, 1.0, id="shorter than ours"),
        pytest.param(60.0, 4, 120.0, id="shorter than a later one of ours"),
        pytest.param(7200.0, 1, 7200.0, id="hours"),
    ],
)
def test_honours_retry_after(asked: float, attempts: int, paused: float) -> None:
    verdict = decide(
        outcome(retry_after=asked), attempts=attempts, ended_at=ENDED, expires_at=FAR, chance=lambda: 0.0
    )
    assert verdict.due_at == ENDED + timedelta(seconds=paused)


def test_expires_where_the_next_attempt_would_be_too_late() -> None:
    for retry_after, lives, state in (
        (None, 1.0, State.EXPIRED),
        (None, 1.01, State.PENDING),
        (100.0, 99.0, State.EXPIRED),
        (100.0, 101.0, State.PENDING),
    ):
        verdict = decide(
            outcome(retry_after=retry_after),
            attempts=1,
            ended_at=ENDED,
            expires_at=ENDED + timedelta(seconds=lives),
            chance=lambda: 0.0,
        )
        assert verdict.state == state, (retry_after, lives)


def test_success_is_delivered_even_past_the_time_to_live() -> None:
    verdict = decide(outcome(202, ok=True), attempts=10, ended_at=ENDED, expires_at=ENDED - timedelta(hours=1))
    assert verdict.state == State.DELIVERED
    assert verdict.due_at is None


@given(
    status=st.one_of(st.none(), st.integers(100, 999)),
    attempts=st.integers(1, MOST_ATTEMPTS),
    retry_after=st.one_of(st.none(), st.floats(0, 1e9)),
    lives=st.integers(-1000, 100_000),
    chance=st.floats(0, 1),
)
def test_is_due_within_the_time_to_live_or_has_ended(
    status: int | None, attempts: int, retry_after: float | None, lives: int, chance: float
) -> None:
    expires_at = ENDED + timedelta(seconds=lives)
    verdict = decide(
        outcome(status, retry_after=retry_after),
        attempts=attempts,
        ended_at=ENDED,
        expires_at=expires_at,
        chance=lambda: chance,
    )
    if verdict.state == State.PENDING:
        assert verdict.due_at is not None
        assert ENDED < verdict.due_at < expires_at
        if retry_after:
            assert verdict.due_at >= ENDED + timedelta(seconds=retry_after)
    else:
        assert verdict.state in (State.DEAD, State.EXPIRED)
        assert verdict.reason


def test_sender_is_told_the_recipients_own_status() -> None:
    assert status_for_sender(413) == 413
    assert status_for_sender(None) == 504
