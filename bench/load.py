"""The load generator: the same messages, to the product or straight to the sink."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from dataclasses import dataclass

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
        self._turns = zip(itertools.cycle(senders), itertools.cycle(target.recipients), strict=False)

    async def send(self, session: aiohttp.ClientSession) -> None:
        (sender, key), recipient = next(self._turns)
        message_id = str(uuid.uuid4())
        headers = {
            "X-Api-Key": key,
            "X-Sent-By": sender,
            "X-Send-To": recipient,
            "X-Message-Id": message_id,
            "Content-Type": "text/plain",
        }
        self.recipients[message_id] = recipient
        self.sent[message_id] = time.time()
        async with session.post(self.target.url, data=PAYLOAD, headers=headers) as answer:
            await answer.read()
        if answer.status == 202:
            self.answered[message_id] = time.time()
        else:
            self.refused += 1

    async def closed(self, seconds: float, at_once: int) -> float:
        """As fast as answers come, `at_once` at a time. Returns the seconds it took."""
        began = time.monotonic()
        async with session() as http:

            async def one() -> None:
                while time.monotonic() - began < seconds:
                    await self.send(http)

            await asyncio.gather(*(one() for _ in range(at_once)))
        return time.monotonic() - began

    async def count(self, messages: int, at_once: int) -> float:
        """`messages` of them, as fast as answers come. Returns the seconds it took."""
        began = time.monotonic()
        left = itertools.count(messages, -1)
        async with session() as http:

            async def one() -> None:
                while next(left) > 0:
                    await self.send(http)

            await asyncio.gather(*(one() for _ in range(at_once)))
        return time.monotonic() - began

    async def steady(self, rate: float, seconds: float) -> None:
        """At `rate` messages a second, whatever the answers take."""
        began = time.monotonic()
        async with session() as http:
            tasks = []
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                tasks.append(asyncio.ensure_future(self.send(http)))
            await asyncio.gather(*tasks)


def session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def arrivals(sink: str) -> dict[str, float]:
    async with session() as http, http.get(f"{sink}/arrivals") as answer:
        found: dict[str, float] = await answer.json(content_type=None)
        return found


async def collect(sink: str, wanted: int, seconds: float) -> dict[str, float]:
    """Arrivals until there are `wanted`, or `seconds` have passed."""
    found: dict[str, float] = {}
    deadline = time.monotonic() + seconds
    while len(found) < wanted and time.monotonic() < deadline:
        for message_id, at in (await arrivals(sink)).items():
            found.setdefault(message_id, at)
        await asyncio.sleep(0.2)
    return found
