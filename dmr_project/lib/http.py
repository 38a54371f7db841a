"""The one outbound HTTP client: limits on time, size, redirects and addresses.

The address check happens on the resolved address when the socket is made, so neither DNS that changes,
nor an address written in an odd way, gets past it.

An endpoint can have Terms of its own (whom it is believed by, what we show it, where it may lie). Connections are
kept alive by host, port and TLS context, and each Terms has a context of its own, also for plain http: so no
connection is ever used under other terms than those it was made under.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import aiohttp
from yarl import URL

from dmr_project.lib.env import Network
from dmr_project.lib.network import is_public, is_within, may_be_allowed, parse_address

CONNECT_SECONDS = 3.0  # TLS included
TOTAL_SECONDS = 10.0
ANSWER_BYTES = 64 * 1024  # read to keep the connection alive; more closes it
USER_AGENT = "dmr-relay"


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
            raise AddressRefused(f"{address} is not an address")
        if self.private_allowed or is_public(parsed) or (is_within(parsed, self.allowed) and may_be_allowed(parsed)):
            return
        raise AddressRefused("the endpoint lies at a private address, which DMR does not call")

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


def open_session(
    guard: AddressGuard, connections: int, per_host: int, total_seconds: float = TOTAL_SECONDS
) -> aiohttp.ClientSession:
    """A session to keep for the life of the process; must be made on the event loop that uses it."""

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
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=total_seconds, connect=None, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    )


@dataclass(frozen=True)
class Answer:
    """What the other side said: status, headers, and the first bytes of the body."""

    status: int
    headers: dict[str, str]
    body: bytes


@lru_cache(maxsize=10_000)
def target(url: str) -> URL:
    """The URL, if it is one that we call. Raises EndpointRefused."""
    try:
        parsed = URL(url)
    except ValueError:
        raise EndpointRefused("the endpoint is not a URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.raw_host:
        raise EndpointRefused("the endpoint is not an http or https URL")
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise EndpointRefused("the endpoint holds a user name or password, which DMR does not send")
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
    session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str], terms: Terms | None = None
) -> Answer:
    """POSTs `body` as it is; follows no redirect. Raises aiohttp.ClientError, TimeoutError, EndpointRefused."""
    with _under(terms) as tls:
        async with session.post(
            target(url),
            data=body,
            headers=headers,
            ssl=tls,
            allow_redirects=False,
            skip_auto_headers=("Content-Type",),
        ) as response:
            said = await response.content.read(ANSWER_BYTES)
            if not response.content.at_eof():
                response.close()
            names = {name.lower(): value for name, value in response.headers.items()}
            return Answer(status=response.status, headers=names, body=said)
