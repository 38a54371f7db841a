"""HTTP to a recipient, and its answer as an Outcome."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import aiohttp

from dmr_project.lib import http
from dmr_project.lib.http import Terms
from dmr_project.lib.sentences import Sentence
from participants.endpoint_terms import Unusable
from participants.names import is_success
from relay.delivery import answers, failures
from relay.delivery.claimed import Claimed
from relay.delivery.headers import attested_headers
from relay.delivery.retry import Outcome
from relay.delivery_keys import Signer

ANSWERED = Sentence("the recipient answered %(status)s")
SHORT_PAYLOAD = 16 * 1024  # bytes, found or not in a moment
_looking = ThreadPoolExecutor(1, thread_name_prefix="looking")  # one alone, which shares the processor with the loop
MOST_RETRY_AFTER = 1e9  # seconds; far beyond every time to live


async def attempt(
    session: http.Session, claimed: Claimed, signer: Signer, terms: Terms | Unusable | None = None
) -> Outcome:
    """One attempt. Whatever goes wrong on the way is an Outcome, never an exception but cancellation."""
    began = time.monotonic()
    if isinstance(terms, Unusable):
        return _failure(began, terms.reason)
    try:
        headers, until = attested_headers(claimed, signer), claimed.expires_at.timestamp()
        answer = await http.post(session, claimed.host, claimed.payload, headers, terms, until)
    except (http.EndpointRefused, asyncio.TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        limit, is_tls = session.timeout.total or http.TOTAL_SECONDS, claimed.host.lower().startswith("https:")
        return _failure(began, failures.sentence(error, limit, is_tls=is_tls))
    seconds = time.monotonic() - began
    if is_success(answer.status, claimed.success_statuses):
        return Outcome(True, answer.status, "", seconds)
    return Outcome(
        False,
        answer.status,
        ANSWERED(status=answer.status),
        seconds,
        retry_after=parse_retry_after(answer.headers.get("retry-after", ""), datetime.now(timezone.utc)),
        answer=await _kept(answer.body, claimed.payload),
    )


async def _kept(body: bytes, payload: bytes) -> str:
    """To look for a long payload in it takes time, which nobody else's attempts are to wait for."""
    if not body or len(payload) <= SHORT_PAYLOAD:
        return answers.kept(body, payload)
    return await asyncio.get_running_loop().run_in_executor(_looking, answers.kept, body, payload)


def _failure(began: float, error: str) -> Outcome:
    return Outcome(False, None, error, time.monotonic() - began)


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Seconds from now, out of a Retry-After header (seconds, or an HTTP date); None where it is neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(MOST_RETRY_AFTER, float(value[:12]))
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):  # it is the recipient's to write, and may be anything
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    return min(MOST_RETRY_AFTER, max(0.0, (at - now).total_seconds()))
