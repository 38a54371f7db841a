"""What one sender may take of everybody's: messages a second, and bytes stored. Asked before a message is accepted.

Neither limit makes accepting wait for the broker or read the database: see token_bucket and stored_bytes.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from functools import lru_cache

from django.conf import settings

from dmr_project.lib.errors import DomainError
from dmr_project.lib.log import event
from participants.directory import Entry
from relay import metrics, stored_bytes
from relay.shared_bucket import InFile, InRedis
from relay.token_bucket import Buckets, Rate, Spent

logger = logging.getLogger(__name__)

POLICY = '"messages"'  # its name in the headers
QUOTA_RETRY_SECONDS = 60
TELL_SECONDS = 60.0


class TooManyMessages(DomainError):
    status = 429
    code = "too-many-messages"
    title = "The sender sends too fast"

    def __init__(self, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self._headers = headers

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers


class QuotaReached(DomainError):
    status = 429
    code = "quota-reached"
    title = "The sender has too much stored"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(QUOTA_RETRY_SECONDS)}


def spend(sender: Entry, messages: int, size: int) -> Mapping[str, str]:
    """Takes so many messages, with `size` bytes of payload in all, off what the sender may send now.

    Returns the RateLimit headers that the answer bears. Raises QuotaReached, TooManyMessages; then nothing was
    taken. What is stored in the end is told to stored_bytes.note.
    """
    _check_quota(sender, size)
    rate = rate_of(sender)
    if rate is None:
        return {}
    spent = buckets().spend(sender.id, rate, messages)
    if spent is None:
        metrics.RATE_LIMIT_UNAVAILABLE.inc(messages)
        return {}
    if spent.is_allowed:
        return _headers_with_some_left(rate, spent)
    wait = max(1, math.ceil(spent.wait))
    _tell(sender, TooManyMessages.code)
    raise TooManyMessages(
        f"{sender.name} may send {rate.per_second} messages a second, and {rate.burst} at once after a pause. "
        f"Send the same again in {wait} s, with the same message id; or ask Core for a higher rate.",
        {"Retry-After": str(wait), **_headers(rate, spent, wait)},
    )


def spend_at_hand(sender: Entry, messages: int, size: int) -> Mapping[str, str] | None:
    """The same without asking anybody; None, with nothing taken, where that does not do. Raises QuotaReached."""
    _check_quota(sender, size)
    rate = rate_of(sender)
    if rate is None:
        return {}
    spent = buckets().spend_at_hand(sender.id, rate, messages)
    return None if spent is None else _headers_with_some_left(rate, spent)


def _check_quota(sender: Entry, size: int) -> None:
    quota = quota_of(sender)
    if quota is None:
        return
    stored = stored_bytes.of(sender.id)
    if stored + size > quota:
        _tell(sender, QuotaReached.code)
        raise QuotaReached(
            f"{sender.name} has {stored} bytes of payload stored, of {quota} that it may have; these would be {size} "
            "more. Room comes when its messages are delivered and their retention is over, and when staff discard "
            "its dead letters; or ask Core for a higher quota."
        )


def _tell(sender: Entry, code: str) -> None:
    """In the log, once a minute for each sender and process: the metric of refusals names nobody."""
    now = time.monotonic()
    if now - _told.get((sender.id, code), -math.inf) >= TELL_SECONDS:
        _told[sender.id, code] = now
        event(logger, "sender_limited", logging.WARNING, sender=sender.id, participant=sender.name, code=code)


def rate_of(sender: Entry) -> Rate | None:
    """The sender's own, else the default; None where there is no limit."""
    own = sender.messages_per_second
    per_second: int = settings.MESSAGES_PER_SECOND if own is None else own
    if not per_second:
        return None
    burst: int | None = sender.messages_burst
    if burst is None:
        burst = settings.MESSAGES_BURST if own is None else own * settings.BURST_SECONDS
    return _rate(per_second, burst)


def quota_of(sender: Entry) -> int | None:
    """Bytes; None where there is no limit."""
    own = sender.stored_bytes_limit
    quota: int = settings.STORED_BYTES_PER_PARTICIPANT if own is None else own
    return quota or None


@lru_cache(maxsize=1000)
def _rate(per_second: int, burst: int) -> Rate:
    return Rate(per_second, burst)


@lru_cache(maxsize=1000)
def _policy(rate: Rate) -> str:
    return f"{POLICY};q={rate.burst};w={math.ceil(rate.burst / rate.per_second)}"


def _headers_with_some_left(rate: Rate, spent: Spent) -> dict[str, str]:
    return _headers(rate, spent, math.ceil(rate.seconds_until(spent.left, rate.burst)))


def _headers(rate: Rate, spent: Spent, seconds: int) -> dict[str, str]:
    """As in draft-ietf-httpapi-ratelimit-headers-10: what is left, and in how many seconds all of it is back."""
    return {"RateLimit-Policy": _policy(rate), "RateLimit": f"{POLICY};r={spent.left};t={seconds}"}


_told: dict[tuple[int, str], float] = {}  # (sender, code) -> when
_buckets: Buckets | None = None
_making = threading.Lock()


def buckets() -> Buckets:
    """Of this process, made when first asked for."""
    global _buckets
    if _buckets is None:
        with _making:
            if _buckets is None:
                url: str = settings.REDIS_URL
                _buckets = Buckets(InRedis(url) if url else InFile(settings.DATA_DIR / "rates"))
    return _buckets


def forget() -> None:
    """Drops what this process knows, and fills the embedded buckets; for tests."""
    global _buckets
    _buckets = None
    _told.clear()
    (settings.DATA_DIR / "rates").unlink(missing_ok=True)
    stored_bytes.forget()
