"""One HTTP call with an end to it: time and size limited, no redirect followed, no proxy.

Over `http.client` and not `urllib.request`, which follows redirects (with the API key) and takes proxies from
the environment unless told otherwise. TLS certificates are checked against the system's authorities, or those
that the variables SSL_CERT_FILE and SSL_CERT_DIR name.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from dmr_agent.errors import AgentError

CHUNK = 1 << 16


class CallFailed(AgentError):
    """No whole answer came: refused, timed out, cut short, too long, or not HTTP."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


def call(
    method: str,
    url: str,
    *,
    timeout: float,
    limit: int,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Any status is an answer. `timeout`: seconds to connect, and again for what follows; `limit`: bytes."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    done = threading.Event()
    try:
        connection.connect()
        # The socket's own timeout is for each read: a server that drips would hold us for hours.
        threading.Thread(target=_cut_off, args=(connection.sock, done, timeout), daemon=True).start()
        until = time.monotonic() + timeout
        connection.request(method, target, body=body, headers=dict(headers or {}))
        with connection.getresponse() as response:
            return Answer(response.status, _read(response, limit, until))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CallFailed(f"{type(error).__name__}: {error}") from error
    finally:
        done.set()
        connection.close()


def _read(response: http.client.HTTPResponse, limit: int, until: float) -> bytes:
    if response.length is not None and response.length > limit:
        raise CallFailed(f"the answer is longer than {limit} bytes")
    content = bytearray()
    while chunk := response.read1(CHUNK):
        content += chunk
        if len(content) > limit:
            raise CallFailed(f"the answer is longer than {limit} bytes")
        if time.monotonic() > until:
            raise CallFailed("the answer took too long")
    if response.length:
        raise CallFailed("the answer was cut short")
    return bytes(content)


def _cut_off(connected: socket.socket, done: threading.Event, timeout: float) -> None:
    if not done.wait(timeout):
        # Not through ssl's own method, which is no thread's business but the reader's.
        with contextlib.suppress(OSError):  # the other side, or we, closed it just now
            socket.socket.shutdown(connected, socket.SHUT_RDWR)
