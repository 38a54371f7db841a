"""The load generator: the same messages, to the product or straight to the sink."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

PAYLOAD = b"x" * 1024


@dataclass(frozen=True)
class Target:
    """Where messages go: `url`, the senders' keys (empty straight at the sink), the recipients."""

    url: str
    keys: dict[str, str]
    recipients: list[str]


class Load:
    """Sends messages and remembers when each was sent off and answered."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.sent: dict[str, float] = {}
        self.answered: dict[str, float] = {}
        self.recipients: dict[str, str] = {}  # whom each was for
        self.refused = 0
        senders = list(target.keys.items()) or [("sender-0", "")]
        where = urlsplit(target.url)
        self._host, self._path = where.netloc, where.path
        self._turns = zip(itertools.cycle(senders), itertools.cycle(target.recipients), strict=False)

    async def send(self, lines: Lines) -> None:
        """One message, on a line that is free."""
        (sender, key), recipient = next(self._turns)
        message_id = str(uuid.uuid4())
        self.recipients[message_id] = recipient
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: text/plain\r\n"
            f"X-Api-Key: {key}\r\nX-Sent-By: {sender}\r\nX-Send-To: {recipient}\r\nX-Message-Id: {message_id}\r\n"
            f"Content-Length: {len(PAYLOAD)}\r\n\r\n"
        )
        self.sent[message_id] = time.time()
        if await lines.ask(head.encode("latin-1") + PAYLOAD) == 202:
            self.answered[message_id] = time.time()
        else:
            self.refused += 1

    async def closed(self, seconds: float, at_once: int) -> float:
        """As fast as answers come, `at_once` at a time. Returns the seconds it took."""
        began = time.monotonic()
        async with lines_to(self.target.url) as lines:

            async def one() -> None:
                while time.monotonic() - began < seconds:
                    await self.send(lines)

            await asyncio.gather(*(one() for _ in range(at_once)))
        return time.monotonic() - began

    async def count(self, messages: int, at_once: int) -> float:
        """`messages` of them, as fast as answers come. Returns the seconds it took."""
        began = time.monotonic()
        left = itertools.count(messages, -1)
        async with lines_to(self.target.url) as lines:

            async def one() -> None:
                while next(left) > 0:
                    await self.send(lines)

            await asyncio.gather(*(one() for _ in range(at_once)))
        return time.monotonic() - began

    async def steady(self, rate: float, seconds: float) -> None:
        """At `rate` messages a second, whatever the answers take."""
        began = time.monotonic()
        async with lines_to(self.target.url) as lines:
            tasks = []
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                tasks.append(asyncio.ensure_future(self.send(lines)))
            await asyncio.gather(*tasks)


class Line(asyncio.Protocol):
    """A kept-alive connection that asks one thing at a time, and reads no more of an answer than its end takes."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """The answer's status."""
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if end and len(rest) >= _length(head) and self._answer is not None:
            self._buffer = b""
            self._answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())


def _length(head: bytes) -> int:
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)


class Lines:
    """As many as are needed at once, each used again. (aiohttp's client took five times the processor time.)"""

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self._free: list[Line] = []

    async def ask(self, request: bytes) -> int:
        line = self._usable() or await self._open()
        status = await line.ask(request)
        self._free.append(line)
        return status

    def _usable(self) -> Line | None:
        while self._free:
            line = self._free.pop()
            if line.transport is not None:  # the server has not hung up
                return line
        return None

    async def _open(self) -> Line:
        _, line = await asyncio.get_running_loop().create_connection(Line, *self._where)
        return line

    def close(self) -> None:
        for line in self._free:
            if line.transport is not None:
                line.transport.close()


@contextlib.asynccontextmanager
async def lines_to(url: str) -> AsyncIterator[Lines]:
    where = urlsplit(url)
    lines = Lines(where.hostname or "", where.port or 80)
    try:
        yield lines
    finally:
        lines.close()


def session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def arrivals(sink: str) -> dict[str, float]:
    async with session() as http, http.get(f"{sink}/arrivals") as answer:
        found: dict[str, float] = await answer.json(content_type=None)
        return found


async def collect(sink: str, wanted: int | set[str], seconds: float) -> dict[str, float]:
    """Arrivals until there are `wanted`, or those with these ids among them, or `seconds` have passed."""
    found: dict[str, float] = {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if wanted <= found.keys() if isinstance(wanted, set) else len(found) >= wanted:
            break
        for message_id, at in (await arrivals(sink)).items():
            found.setdefault(message_id, at)
        await asyncio.sleep(0.2)
    return found
