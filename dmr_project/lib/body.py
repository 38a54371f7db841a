"""Request bodies as they really are: whole, within the limit, and in time.

The HTTP server hands over a body cut short as if it were complete, waits without end for one that stalls,
and cannot tell a broken chunked body from a whole one. So the length is checked here, reading happens under
a time limit, and chunked bodies are refused.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from typing import Any, Protocol

from dmr_project.lib.errors import DomainError

STALL_SECONDS = 10.0
# A client that is sending too much reads our answer only after it has sent everything, up to this.
DRAIN_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 256 * 1024

# A read that stalls keeps its thread until the client goes, so there are more of them than web threads.
_readers = ThreadPoolExecutor(max_workers=256, thread_name_prefix="body")


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


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class Body:
    """A `wsgi.input` of `length` bytes that raises rather than ends early.

    Raises BodyCutShort, BodyStalled.
    """

    def __init__(self, source: Readable, length: int) -> None:
        self.source = source
        self.length = length
        self.remaining = length

    def read(self, size: int = -1) -> bytes:
        wanted = self.remaining if size < 0 else min(size, self.remaining)
        if not wanted:
            return b""
        try:
            data = _readers.submit(self.source.read, wanted).result(STALL_SECONDS)
        except NotInTime:
            raise BodyStalled(f"No more of the body arrived within {STALL_SECONDS:.0f} s.") from None
        if len(data) < wanted:
            got = self.length - self.remaining + len(data)
            raise BodyCutShort(f"Content-Length says {self.length} bytes, but only {got} arrived.")
        self.remaining -= len(data)
        return data

    def readline(self, size: int = -1) -> bytes:
        """The rest; what reads a body line by line is not in use, but WSGI asks for the method."""
        return self.read(size)

    def drain(self) -> None:
        """Takes what the client still sends, so that it comes to read our answer."""
        if self.remaining > DRAIN_BYTES:
            return
        while self.read(CHUNK_BYTES):
            pass


def declared_length(environ: dict[str, Any]) -> int:
    """The Content-Length of a WSGI request, 0 where there is none. Raises LengthRequired for a chunked body."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        raise LengthRequired("Send the body with a Content-Length, not with Transfer-Encoding.")
    value = environ.get("CONTENT_LENGTH") or "0"
    return int(value) if value.isascii() and value.isdigit() else 0


def read_whole(environ: dict[str, Any], limit: int) -> bytes:
    """The whole body, at most `limit` bytes.

    Raises LengthRequired, PayloadTooLarge, BodyCutShort, BodyStalled.
    """
    length = declared_length(environ)
    source = environ["wsgi.input"]
    if length > limit:
        refuse_too_large(environ, limit)
    return bytes(source.read(length)) if length else b""


def refuse_too_large(environ: dict[str, Any], limit: int) -> None:
    """Raises PayloadTooLarge, after taking what is still under way."""
    source = environ["wsgi.input"]
    if isinstance(source, Body):
        source.drain()
    length = declared_length(environ)
    raise PayloadTooLarge(f"The payload has {length} bytes; at most {limit} are allowed here.")
