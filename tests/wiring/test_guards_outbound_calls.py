"""The outbound client against real sockets: which addresses it calls, and how much it takes of whom it calls."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import aiohttp
import pytest

from dmr_project.lib import http, loops
from dmr_project.lib.http import AddressGuard, AddressRefused, EndpointRefused, Terms, open_session

Writes = Callable[[asyncio.StreamWriter], Awaitable[None]]
PRODUCTION = AddressGuard(private_allowed=False)
OPEN = AddressGuard(private_allowed=True)


async def accept(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")


@dataclass
class Endpoint:
    """A server that counts who connects, reads each request, and answers with `writes`."""

    writes: Writes = accept
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    port: int = 0
    serving: set[Any] = field(default_factory=set)

    @asynccontextmanager
    async def running(self, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Endpoint]:
        server = await asyncio.start_server(self._serve, address, port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self.serving:
                task.cancel()
            await asyncio.gather(*self.serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.serving.add(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self.writes(writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def post(guard: AddressGuard, url: str, terms: Terms | None = None, seconds: float = 5.0) -> http.Answer:
    async with open_session(guard, connections=10, per_host=0, total_seconds=seconds) as session:
        return await http.post(session, url, b"body", {}, terms)


@pytest.fixture
def first_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 stands for a public address, so that a test can call one; the rest of 127.0.0.0/8 is private."""
    monkeypatch.setattr(http, "is_public", lambda address: address == ip_address("127.0.0.1"))


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What DNS answers, by name; other names are asked of the system."""
    names: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def answer(host: Any, port: Any, *arguments: Any, **more: Any) -> Any:
        if host not in names:
            return real(host, port, *arguments, **more)
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            if ":" not in each
            else (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0))
            for each in names[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return names


# -- addresses --


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "169.254.1.1",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "100.100.100.200",
        "168.63.129.16",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fc00::1]",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_what_is_not_public_is_not_called(host: str) -> None:
    async def scenario() -> None:
        async with Endpoint().running() as endpoint:
            # An odd spelling may be refused before it comes to an address, by aiohttp or by the C library.
            is_odd = host in ("127.1", "2130706433", "0x7f000001", "0177.0.0.1")
            other = (aiohttp.InvalidURL, aiohttp.ClientConnectorDNSError) if is_odd else ()
            with pytest.raises((AddressRefused, *other)):
                await post(PRODUCTION, f"http://{host}:{endpoint.port}/messages")
            assert endpoint.connections == 0

    loops.run(scenario())


@pytest.mark.parametrize(
    "address",
    ["127.0.0.2", "::ffff:127.0.0.2", "::1", "169.254.169.254", "fd00:ec2::254", "fe80::1", "64:ff9b::7f00:2"],
)
def test_a_name_counts_by_what_it_resolves_to(
    resolver: dict[str, list[str]], first_is_public: None, address: str
) -> None:
    async def scenario() -> None:
        async with Endpoint().running() as endpoint:
            resolver["bot.test"] = ["127.0.0.1"]
            assert (await post(PRODUCTION, f"http://bot.test:{endpoint.port}/")).status == 202
            resolver["bot.test"] = [address]
            with pytest.raises(AddressRefused):
                await post(PRODUCTION, f"http://bot.test:{endpoint.port}/")
            assert endpoint.connections == 1

    loops.run(scenario())


def test_dns_that_changes_is_checked_at_each_connection(
    resolver: dict[str, list[str]], first_is_public: None
) -> None:
    """One session, one name: public at first, then private. The check is on the address that is connected to."""

    async def close(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with Endpoint(close).running() as public:
            async with Endpoint().running("127.0.0.2", public.port) as private:
                async with open_session(PRODUCTION, connections=10, per_host=0) as session:
                    url = f"http://bot.test:{public.port}/"
                    resolver["bot.test"] = ["127.0.0.1"]
                    assert (await http.post(session, url, b"body", {})).status == 202
                    resolver["bot.test"] = ["127.0.0.2"]
                    session.connector.clear_dns_cache()  # type: ignore[union-attr]
                    with pytest.raises(AddressRefused):
                        await http.post(session, url, b"body", {})
                assert (public.connections, private.connections) == (1, 0)

    loops.run(scenario())


@pytest.mark.parametrize("answer", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
def test_of_several_addresses_no_private_one_is_connected_to(
    resolver: dict[str, list[str]], first_is_public: None, answer: list[str]
) -> None:
    async def scenario() -> None:
        async with Endpoint().running("127.0.0.2") as private:
            resolver["bot.test"] = answer  # nothing listens on the public one
            with pytest.raises((AddressRefused, aiohttp.ClientConnectorError)):
                await post(PRODUCTION, f"http://bot.test:{private.port}/")
            assert private.connections == 0

    loops.run(scenario())


def test_a_redirect_is_not_followed() -> None:
    async def scenario() -> None:
        async with Endpoint().running() as inside:

            async def redirect(writer: asyncio.StreamWriter) -> None:
                where = f"http://127.0.0.1:{inside.port}/"
                writer.write(f"HTTP/1.1 307 Go\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode())

            async with Endpoint(redirect).running() as outside:
                answer = await post(OPEN, f"http://127.0.0.1:{outside.port}/")
        assert answer.status == 307
        assert (outside.connections, inside.connections) == (1, 0)

    loops.run(scenario())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://user:secret@127.0.0.1:{port}/", "user name or password"),
        ("http://user@127.0.0.1:{port}/", "user name or password"),
        ("http://:secret@127.0.0.1:{port}/", "user name or password"),
        ("tcp://127.0.0.1:{port}/", "not an http or https URL"),
        ("ws://127.0.0.1:{port}/", "not an http or https URL"),
        ("ftp://127.0.0.1:{port}/", "not an http or https URL"),
        ("gopher://127.0.0.1:{port}/", "not an http or https URL"),
        ("file:///etc/passwd", "not an http or https URL"),
        ("unix:///run/socket", "not an http or https URL"),
        ("//127.0.0.1:{port}/", "not an http or https URL"),
        ("127.0.0.1:{port}", "not an http or https URL"),
        ("http:///messages", "not a"),
        ("http://[::1/", "not a URL"),
        ("http://127.0.0.1:99999/", "not a URL"),
    ],
)
def test_other_schemes_and_user_names_are_refused(url: str, said: str) -> None:
    async def scenario() -> None:
        async with Endpoint().running() as endpoint:
            with pytest.raises(EndpointRefused, match=said) as refused:
                await post(OPEN, url.format(port=endpoint.port))
            assert "secret" not in str(refused.value)
            assert endpoint.connections == 0

    loops.run(scenario())


# -- time and size --


def test_names_that_hang_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    real = socket.getaddrinfo

    def answer(host: Any, *arguments: Any, **more: Any) -> Any:
        if str(host).startswith("hangs"):
            is_over.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1" if host == "bot.test" else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)

    async def scenario() -> None:
        async with Endpoint().running() as endpoint, open_session(OPEN, connections=100, per_host=0) as session:
            url = f"http://bot.test:{endpoint.port}/"
            names = [f"http://hangs-{number}.test/" for number in range(99)]
            hanging = [asyncio.ensure_future(http.post(session, name, b"body", {})) for name in names]
            await asyncio.sleep(0)
            try:
                answer = await asyncio.wait_for(http.post(session, url, b"body", {}), 3)
            finally:
                is_over.set()
            await asyncio.gather(*hanging, return_exceptions=True)
        assert answer.status == 202

    loops.run(scenario())


def answering(head: bytes, chunk: bytes, pause: float, times: int) -> Writes:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(times):
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause)

    return write


@pytest.mark.parametrize(
    "writes",
    [
        pytest.param(answering(b"", b"", 60, 1), id="nothing at all"),
        pytest.param(answering(b"HTTP/1.1 202 Accepted\r\nX-A: ", b"b", 0.05, 1000), id="a head, byte by byte"),
        pytest.param(answering(b"HTTP/1.1 202 Accepted\r\n", b"X-A: b\r\n", 0.05, 1000), id="headers without end"),
        pytest.param(answering(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05, 1000), id="one 100 after the other"),
        pytest.param(
            answering(b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n", b"", 60, 1), id="a head and no body"
        ),
    ],
)
def test_an_answer_that_drips_ends_at_the_limit(writes: Writes) -> None:
    async def scenario() -> None:
        async with Endpoint(writes).running() as endpoint:
            began = time.monotonic()
            with pytest.raises((asyncio.TimeoutError, TimeoutError)):
                await post(OPEN, f"http://127.0.0.1:{endpoint.port}/", seconds=0.5)
            assert time.monotonic() - began < 3

    loops.run(scenario())


def test_the_limit_is_ten_seconds() -> None:
    async def scenario() -> None:
        async with open_session(OPEN, connections=1, per_host=0) as session:
            assert session.timeout.total == 10
            assert session.timeout.sock_connect == 3

    loops.run(scenario())


def test_a_body_that_drips_is_cut_after_its_first_bytes() -> None:
    head = b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n"

    async def scenario() -> None:
        async with Endpoint(answering(head, b"x", 0.05, 1000)).running() as endpoint:
            answer = await post(OPEN, f"http://127.0.0.1:{endpoint.port}/")
            assert answer.status == 202
            assert len(answer.body) < 1000

    loops.run(scenario())


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_a_huge_answer_is_cut(framing: bytes) -> None:
    sent = [0]

    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 202 Accepted\r\n" + framing + b"\r\n")
        piece = b"x" * 65536
        if b"chunked" in framing:
            piece = b"10000\r\n" + piece + b"\r\n"
        while sent[0] < 1_000_000_000:
            writer.write(piece)
            await writer.drain()
            sent[0] += len(piece)

    async def scenario() -> None:
        async with Endpoint(flood).running() as endpoint:
            answer = await post(OPEN, f"http://127.0.0.1:{endpoint.port}/")
            assert len(answer.body) <= http.ANSWER_BYTES
        assert sent[0] < 50_000_000, "the connection was cut"

    loops.run(scenario())


def test_a_head_without_end_is_refused() -> None:
    async def scenario() -> None:
        head = b"HTTP/1.1 202 Accepted\r\nX-Long: "
        async with Endpoint(answering(head, b"x" * 65536, 0, 1000)).running() as endpoint:
            with pytest.raises(aiohttp.ClientError):
                await post(OPEN, f"http://127.0.0.1:{endpoint.port}/")

    loops.run(scenario())


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_a_compressed_answer_is_not_inflated(coding: str) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 202 Accepted\r\nContent-Encoding: {coding}\r\nContent-Length: {len(bomb)}\r\n\r\n"

    async def scenario() -> None:
        async with Endpoint(answering(head.encode(), bomb, 0, 1)).running() as endpoint:
            answer = await post(OPEN, f"http://127.0.0.1:{endpoint.port}/")
            assert answer.body
            assert bomb.startswith(answer.body)
        assert b"accept-encoding: identity\r\n" in endpoint.requests[0].lower()

    loops.run(scenario())


# -- an endpoint's own terms --


@pytest.fixture
def loopback_may_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for a private network, which a test has none of."""
    monkeypatch.setattr(http, "may_be_allowed", lambda address: True)


def test_an_allowed_network_is_allowed_to_its_endpoint_alone(loopback_may_be_allowed: None) -> None:
    """On one session and one address: neither gets to use the connection that the other's terms have opened."""
    allowed = Terms(AddressGuard(False, [ip_network("127.0.0.0/8")]))
    elsewhere = Terms(AddressGuard(False, [ip_network("10.0.0.0/8")]))

    async def scenario() -> None:
        async with Endpoint().running() as endpoint:
            url = f"http://127.0.0.1:{endpoint.port}/"
            async with open_session(PRODUCTION, connections=10, per_host=0) as session:
                for _ in range(2):
                    assert (await http.post(session, url, b"body", {}, allowed)).status == 202
                    for terms in (None, elsewhere):
                        with pytest.raises(AddressRefused):
                            await http.post(session, url, b"body", {}, terms)
            assert (endpoint.connections, len(endpoint.requests)) == (1, 2)

    loops.run(scenario())


def test_terms_at_the_same_time_do_not_mix(loopback_may_be_allowed: None) -> None:
    allowed = Terms(AddressGuard(False, [ip_network("127.0.0.0/8")]))

    async def scenario() -> None:
        async with Endpoint().running() as endpoint:
            url = f"http://127.0.0.1:{endpoint.port}/"
            async with open_session(PRODUCTION, connections=100, per_host=0) as session:
                given = [allowed if number % 2 else None for number in range(40)]
                posts = (http.post(session, url, b"body", {}, terms) for terms in given)
                done = await asyncio.gather(*posts, return_exceptions=True)
            for terms, outcome in zip(given, done, strict=True):
                assert isinstance(outcome, http.Answer if terms else AddressRefused)

    loops.run(scenario())


def test_no_terms_reach_ourselves() -> None:
    for network in ("127.0.0.0/8", "0.0.0.0/0", "::/0", "169.254.0.0/16", "100.64.0.0/10", "168.63.0.0/16"):
        guard = AddressGuard(False, [ip_network(network)])
        for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "fd00:ec2::254",
                        "100.100.100.200", "168.63.129.16", "0.0.0.0", "64:ff9b::7f00:1"):  # fmt: skip
            with pytest.raises(AddressRefused):
                guard.check(address)
    AddressGuard(False, [ip_network("100.64.0.0/10")]).check("100.64.0.1")
    AddressGuard(False, [ip_network("fd00::/8")]).check("fd00::1")


def test_certificates_are_verified_by_default() -> None:
    assert Terms(OPEN).tls.verify_mode == ssl.CERT_REQUIRED
    assert Terms(OPEN).tls.check_hostname
