"""HTTP to a recipient, and its answer as an Outcome."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import aiohttp

from dmr_project.lib import http
from participants.names import is_success
from relay.delivery import answers
from relay.delivery.claim import Claimed
from relay.delivery.headers import attested_headers
from relay.delivery.retry import Outcome
from relay.delivery_keys import Signer

MOST_RETRY_AFTER = 1e9  # seconds; far beyond every time to live


async def attempt(session: aiohttp.ClientSession, claimed: Claimed, signer: Signer) -> Outcome:
    """One attempt. Whatever goes wrong on the way is an Outcome, never an exception but cancellation."""
    began = time.monotonic()
    try:
        answer = await http.post(session, claimed.host, claimed.payload, attested_headers(claimed, signer))
    except http.AddressRefused as refused:
        return _failure(began, str(refused))
    except (asyncio.TimeoutError, TimeoutError) as late:
        is_connecting = isinstance(late, aiohttp.ConnectionTimeoutError)
        limit = http.CONNECT_SECONDS if is_connecting else http.TOTAL_SECONDS
        return _failure(began, f"{'no connection' if is_connecting else 'no answer'} within {limit:.0f} s")
    except aiohttp.InvalidURL:
        return _failure(began, "the endpoint is not a URL")
    except aiohttp.ClientConnectorDNSError:
        return _failure(began, "the endpoint's host name cannot be resolved")
    except aiohttp.ClientConnectorCertificateError:
        return _failure(began, "the endpoint's certificate is not valid")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return _failure(began, _connection_error(error))
    seconds = time.monotonic() - began
    if is_success(answer.status, claimed.success_statuses):
        return Outcome(True, answer.status, "", seconds)
    return Outcome(
        False,
        answer.status,
        f"the recipient answered {answer.status}",
        seconds,
        retry_after=parse_retry_after(answer.headers.get("retry-after", ""), datetime.now(timezone.utc)),
        answer=answers.kept(answer.body, claimed.payload),
    )


def _failure(began: float, error: str) -> Outcome:
    return Outcome(False, None, error, time.monotonic() - began)


def _connection_error(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, ConnectionRefusedError):
        return "the recipient refused the connection"
    if isinstance(cause, (ConnectionResetError, aiohttp.ServerDisconnectedError)):
        return "the recipient broke the connection"
    return f"the connection failed ({type(cause).__name__})"


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
