"""The one outbound HTTP client: limits on time, size, redirects and addresses.

The address check happens on the resolved address when the socket is made, so neither DNS that changes,
nor an address written in an odd way, gets past it.

An endpoint can have Terms of its own (whom it is believed by, what we show it, where it may lie). Connections are
kept alive by host, port and TLS context, and each Terms has a context of its own, also for plain http: so no
connection is ever used under other terms than those it was made under.

aiohttp opens, keeps and closes connections, and parses what comes back. What is said over them is written here: its
ClientSession costs two thirds of a delivery's time for things that we do not want (see docs/adr/0014).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import aiohttp
from aiohttp import StreamReader
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

from dmr_project.lib import loops
from dmr_project.lib.env import Network
from dmr_project.lib.network import is_public, is_within, may_be_allowed, parse_address
from dmr_project.lib.sentences import Sentence
from dmr_project.lib.timeouts import timeout

CONNECT_SECONDS = 3.0  # TLS included
TOTAL_SECONDS = 10.0
ANSWER_BYTES = 64 * 1024  # read to keep the connection alive; more closes it
REST_SECONDS = (
    0.25  # for the rest of a body that has begun: it often comes in pieces, the end of the last chunk alone
)
MOST_ANNOUNCED = 32  # answers that only announce another
MOST_SPOILT = 5  # connections that are given up before one request
MOST_KNOWN = 10_000  # endpoints whose address, written out, is kept
# Ends the head of each request; nothing is to be inflated.
_SAME_OF_ALL = "User-Agent: dmr-relay\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\r\n"


_NO_ADDRESS = Sentence("%(address)s is not an address")
_PRIVATE = Sentence("the endpoint lies at a private address, which DMR does not call")
_NO_URL = Sentence("the endpoint is not a URL")
_NO_HTTP_URL = Sentence("the endpoint is not an http or https URL")
_WITH_PASSWORD = Sentence("the endpoint holds a user name or password, which DMR does not send")


class EndpointRefused(Exception):
    """We do not call it; the text says why, for staff and sender."""


class AddressRefused(EndpointRefused):
    """The host resolves to an address that we may not call."""


@dataclass(frozen=True)
class AddressGuard:
    """Which addresses may be called: public ones, `allowed` networks, and all when `private_allowed`."""

    private_allowed: bool
    allowed: Sequence[Network] = ()

    def check(self, address: str) -> None:
        """Raises AddressRefused."""
        parsed = parse_address(address)
        if parsed is None:
            raise AddressRefused(_NO_ADDRESS(address=address))
        if self.private_allowed or is_public(parsed) or (is_within(parsed, self.allowed) and may_be_allowed(parsed)):
            return
        raise AddressRefused(_PRIVATE())

    def open_socket(self, address_info: Any) -> socket.socket:
        """A socket for one resolved address, as aiohttp's connector asks for one. Raises AddressRefused."""
        family, kind, protocol, _, address = address_info
        self.check(address[0])
        return socket.socket(family=family, type=kind, proto=protocol)


@dataclass(frozen=True, eq=False)
class Terms:
    """How one endpoint is called, where that differs from all others."""

    guard: AddressGuard
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)


# Of the attempt that opens a connection: the connector is shared, and does not hand on what a request is for.
_guard: ContextVar[AddressGuard | None] = ContextVar("guard", default=None)


class Session:
    """The connections of one event loop. `timeout.total` is that of an exchange, connecting included."""

    def __init__(self, connector: aiohttp.TCPConnector, timeout: aiohttp.ClientTimeout) -> None:
        self.connector = connector
        self.timeout = timeout
        # What the connector wants to know of where to connect.
        self._requests: dict[tuple[URL, ssl.SSLContext | bool], aiohttp.ClientRequest] = {}

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.connector.close()

    async def connect(self, to: URL, tls: ssl.SSLContext | bool) -> Connection:
        """A connection that was kept alive, or a new one. Raises aiohttp.ClientError, AddressRefused."""
        request = self._requests.get((to, tls))
        if request is None:
            if len(self._requests) >= MOST_KNOWN:
                self._requests.clear()
            request = aiohttp.ClientRequest("POST", to, loop=asyncio.get_running_loop(), ssl=tls)
            self._requests[to, tls] = request
        for _ in range(MOST_SPOILT):
            try:
                connection = await self.connector.connect(request, [], self.timeout)
            except asyncio.TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError(f"no connection to {to.host_port_subcomponent}") from error
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()  # something came while nothing was asked: it would be taken for our answer
        raise AnswerUnreadable("it speaks before it is asked")


def open_session(
    guard: AddressGuard, connections: int, per_host: int, total_seconds: float = TOTAL_SECONDS
) -> Session:
    """A session to keep for the life of the process; must be made on the event loop that uses it.

    Names are resolved in the loop's default executor, which gets a thread for each connection: of the few that
    asyncio would have, some names whose servers do not answer would take all, and all others would wait for them.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(connections, thread_name_prefix="resolving"))

    def open_socket(address_info: Any) -> socket.socket:
        return (_guard.get() or guard).open_socket(address_info)

    connector = aiohttp.TCPConnector(
        limit=connections,
        limit_per_host=per_host,
        ttl_dns_cache=10,
        keepalive_timeout=30,
        ssl=ssl.create_default_context(),
        socket_factory=open_socket,
    )
    return Session(connector, aiohttp.ClientTimeout(total=total_seconds, connect=None, sock_connect=CONNECT_SECONDS))


@dataclass(frozen=True)
class Answer:
    """What the other side said: status, headers, and the first bytes of the body."""

    status: int
    headers: dict[str, str]
    body: bytes


class TooLate(aiohttp.ClientError):
    """There was no connection before the request's time was over: it was not sent."""


class AnswerUnreadable(aiohttp.ClientError):
    """What came back is not HTTP."""


@lru_cache(maxsize=MOST_KNOWN)
def target(url: str) -> URL:
    """The URL, if it is one that we call. Raises EndpointRefused."""
    try:
        parsed = URL(url)
    except ValueError:
        raise EndpointRefused(_NO_URL()) from None
    if parsed.scheme not in ("http", "https") or not parsed.raw_host:
        raise EndpointRefused(_NO_HTTP_URL())
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise EndpointRefused(_WITH_PASSWORD())
    return parsed


@contextmanager
def _under(terms: Terms | None) -> Iterator[ssl.SSLContext | bool]:
    """What aiohttp is to be told about TLS, the terms' guard being in force within."""
    if terms is None:
        yield True
        return
    before = _guard.set(terms.guard)
    try:
        yield terms.tls
    finally:
        _guard.reset(before)


async def post(
    session: Session,
    url: str,
    body: bytes,
    headers: dict[str, str],
    terms: Terms | None = None,
    until: float | None = None,
) -> Answer:
    """POSTs `body` as it is; follows no redirect. `until`: it is not begun to be sent then or later (s since 1970).

    Raises aiohttp.ClientError, TimeoutError, EndpointRefused, TooLate; ValueError for a header that cannot be sent.
    """
    to = target(url)
    request = head(to, headers, len(body)) + body
    ends_at = asyncio.get_running_loop().time() + (session.timeout.total or TOTAL_SECONDS)
    async with timeout(session.timeout.total):
        with _under(terms) as tls:
            connection = await session.connect(to, tls)
        if until is not None and time.time() >= until:
            connection.release()
            raise TooLate
        try:
            answer, is_over = await _exchange(connection, request, ends_at)
        except BaseException:
            _cut(connection)
            raise
        if is_over:
            connection.release()  # for the next one, unless the other side wants it closed
        else:
            _cut(connection)
        return answer


def _cut(connection: Connection) -> None:
    """Closes it without waiting for the other side to take what is left of the request."""
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()


def head(to: URL, headers: dict[str, str], length: int) -> bytes:
    """The head of a request. Raises ValueError where a header would end its line."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    written = "\r\n".join((*_beginning(to), *lines, f"Content-Length: {length}", _SAME_OF_ALL))
    if "\0" in written or not written.count("\r") == written.count("\n") == len(lines) + _LINES_OF_ALL:
        raise ValueError("a header holds a line break or NUL")
    return written.encode()


@lru_cache(maxsize=MOST_KNOWN)
def _beginning(to: URL) -> tuple[str, str]:
    return f"POST {to.raw_path_qs} HTTP/1.1", f"Host: {to.host_port_subcomponent}"


# Of every head: its beginning, the length, and what ends it.
_LINES_OF_ALL = 3 + _SAME_OF_ALL.count("\n")


async def _exchange(connection: Connection, request: bytes, ends_at: float) -> tuple[Answer, bool]:
    """Sends the request, and reads the answer to it, until the loop's time `ends_at`. Is all sent, and all read?"""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None:  # closed again in the moment that it was made
        raise aiohttp.ServerDisconnectedError
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    transport.write(request)
    for _ in range(MOST_ANNOUNCED + 1):
        try:
            message, content = await protocol.read()
        except HttpProcessingError as error:
            raise AnswerUnreadable(error.message) from error
        if not 100 <= message.code < 200 or message.code == 101:  # others announce the answer
            break
    else:
        raise AnswerUnreadable("it announces one answer after the other")
    said = await content.read(ANSWER_BYTES)
    if not content.at_eof() and len(said) < ANSWER_BYTES:
        said += await _rest(content, ANSWER_BYTES - len(said), ends_at)
    names = {name.lower(): value for name, value in message.headers.items()}
    is_over = content.at_eof() and not transport.get_write_buffer_size()
    return Answer(status=message.code, headers=names, body=said), is_over


async def _rest(content: StreamReader, most: int, ends_at: float) -> bytes:
    """What comes of it in a moment. The status counts already: nothing that fails here is an error."""
    said = b""
    left = ends_at - asyncio.get_running_loop().time()
    with suppress(asyncio.TimeoutError, TimeoutError, aiohttp.ClientError, HttpProcessingError):
        async with timeout(min(REST_SECONDS, left / 2)):
            while len(said) < most and not content.at_eof():
                said += await content.read(most - len(said))
    return said


class CallFailed(Exception):
    """No answer; the text says why, in the words of the client."""


def call_once(
    guard: AddressGuard, method: str, url: str, headers: dict[str, str], body: bytes | None = None
) -> Answer:
    """One call by somebody who has no event loop, and waits; follows no redirect. Raises CallFailed, EndpointRefused.

    The body of the answer is cut after ANSWER_BYTES.
    """
    return loops.run(_call_once(guard, method, target(url), headers, body))


async def _call_once(
    guard: AddressGuard, method: str, to: URL, headers: dict[str, str], body: bytes | None
) -> Answer:
    session = open_session(guard, connections=1, per_host=1)
    client = aiohttp.ClientSession(
        connector=session.connector,
        timeout=session.timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "dmr-relay", "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    )
    said = b""
    try:
        async with client, client.request(method, to, data=body, headers=headers, allow_redirects=False) as response:
            while len(said) <= ANSWER_BYTES and (piece := await response.content.readany()):
                said += piece
            names = {name.lower(): value for name, value in response.headers.items()}
            return Answer(status=response.status, headers=names, body=said[:ANSWER_BYTES])
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        raise CallFailed(str(error) or type(error).__name__) from None
