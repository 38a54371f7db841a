"""Request bodies as they really are: whole, within the limit, and in time.

The HTTP server hands over a body cut short as if it were complete, waits without end for one that stalls, and
cannot tell a broken chunked body from a whole one. So the length is checked here, reading happens under a time
limit, and chunked bodies are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

from dmr_project.lib.errors import DomainError
from dmr_project.lib.timeouts import timeout

STALL_SECONDS = 10.0  # without a byte
TOTAL_SECONDS = 60.0  # for all of it
MOST_BYTES = 16 * 1024 * 1024  # the most that a room may allow; what is longer is not read


class BodyCutShort(DomainError):
    code = "body-cut-short"
    title = "The body is shorter than its Content-Length"


class BodyStalled(DomainError):
    status = 408
    code = "body-stalled"
    title = "The body did not arrive in time"


class LengthRequired(DomainError):
    status = 411
    code = "length-required"
    title = "A Content-Length is required"


class PayloadTooLarge(DomainError):
    status = 413
    code = "payload-too-large"
    title = "The payload is too large"


class Chunks(Protocol):
    def __aiter__(self) -> AsyncIterator[bytes]: ...


async def collect(chunks: Chunks, length: int) -> bytes:
    """The body, of exactly `length` bytes. Raises BodyCutShort, BodyStalled."""
    found = bytearray()
    if not length:
        return b""
    loop = asyncio.get_running_loop()
    end = loop.time() + TOTAL_SECONDS
    source = chunks.__aiter__()
    while len(found) < length:
        try:
            async with timeout(min(STALL_SECONDS, max(0.0, end - loop.time()))):
                chunk = await source.__anext__()
        except StopAsyncIteration:
            break
        except (asyncio.TimeoutError, TimeoutError):
            raise BodyStalled(
                f"Only {len(found)} of {length} bytes arrived; a pause may last {STALL_SECONDS:.0f} s, "
                f"and all of it {TOTAL_SECONDS:.0f} s."
            ) from None
        found += chunk
    if len(found) < length:
        raise BodyCutShort(f"Content-Length says {length} bytes, but only {len(found)} arrived.")
    return bytes(found)


def declared_length(environ: dict[str, Any]) -> int:
    """The Content-Length of a WSGI request, 0 where there is none. Raises LengthRequired for a chunked body."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        raise LengthRequired("Send the body with a Content-Length, not with Transfer-Encoding.")
    value = (environ.get("CONTENT_LENGTH") or "0").lstrip("0") or "0"
    if not (value.isascii() and value.isdigit()):
        return 0
    if len(value) > 18:
        raise PayloadTooLarge("The Content-Length is beyond everything that is allowed.")
    return int(value)


def check_length(environ: dict[str, Any], limit: int) -> int:
    """The declared length, at most `limit` bytes. Raises LengthRequired, PayloadTooLarge."""
    length = declared_length(environ)
    if length > limit:
        raise PayloadTooLarge(f"The payload has {length} bytes; at most {limit} are allowed here.")
    return length


def read_whole(environ: dict[str, Any], limit: int) -> bytes:
    """The whole body of a WSGI request. Raises LengthRequired, PayloadTooLarge, BodyCutShort."""
    length = check_length(environ, limit)
    found = bytes(environ["wsgi.input"].read(length)) if length else b""
    if len(found) < length:
        raise BodyCutShort(f"Content-Length says {length} bytes, but only {len(found)} arrived.")
    return found


def read_once(environ: dict[str, Any], limit: int) -> bytes:
    """As read_whole, for who may come back to the same request."""
    if "dmr.body" not in environ:
        environ["dmr.body"] = read_whole(environ, limit)
    check_length(environ, limit)
    found: bytes = environ["dmr.body"]
    return found
