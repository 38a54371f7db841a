"""The one outbound HTTP client: limits on time, size, redirects and addresses.

The address check happens on the resolved address when the socket is made, so neither DNS that changes,
nor an address written in an odd way, gets past it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from dmr_project.lib.env import Network
from dmr_project.lib.network import is_public, is_within, parse_address

CONNECT_SECONDS = 3.0
TOTAL_SECONDS = 10.0
ANSWER_BYTES = 64 * 1024  # read to keep the connection alive; more closes it
USER_AGENT = "dmr-relay"


class AddressRefused(Exception):
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
        if not (self.private_allowed or is_public(parsed) or is_within(parsed, self.allowed)):
            raise AddressRefused("the endpoint lies at a private address, which DMR does not call")

    def open_socket(self, address_info: Any) -> socket.socket:
        """A socket for one resolved address, as aiohttp's connector asks for one. Raises AddressRefused."""
        family, kind, protocol, _, address = address_info
        self.check(address[0])
        return socket.socket(family=family, type=kind, proto=protocol)


def open_session(guard: AddressGuard, connections: int, per_host: int) -> aiohttp.ClientSession:
    """A session to keep for the life of the process; must be made on the event loop that uses it."""
    connector = aiohttp.TCPConnector(
        limit=connections,
        limit_per_host=per_host,
        ttl_dns_cache=10,
        keepalive_timeout=30,
        ssl=ssl.create_default_context(),
        socket_factory=guard.open_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS, connect=None, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
        auto_decompress=False,
        trust_env=False,
    )


@dataclass(frozen=True)
class Answer:
    """What the other side said: status, headers, and the first bytes of the body."""

    status: int
    headers: dict[str, str]
    body: bytes


async def post(session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> Answer:
    """POSTs `body` as it is; follows no redirect. Raises aiohttp.ClientError, TimeoutError, AddressRefused."""
    async with session.post(
        url, data=body, headers=headers, allow_redirects=False, skip_auto_headers=("Content-Type",)
    ) as response:
        said = await response.content.read(ANSWER_BYTES)
        if not response.content.at_eof():
            response.close()
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(status=response.status, headers=names, body=said)
