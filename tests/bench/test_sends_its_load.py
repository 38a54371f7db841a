"""The load generator: each message once, its answer noted, connections used again or made anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from bench.disk import watched
from bench.load import Load, Target, collect
from bench.product import running_sink


@pytest.fixture
def sink() -> Iterator[str]:
    with running_sink() as url:
        yield url


def test_all_that_is_sent_arrives_once(sink: str) -> None:
    load = Load(Target(f"{sink}/a", {}, ["one", "two"]))
    asyncio.run(load.count(50, 4))
    arrived = asyncio.run(collect(sink, 50, 5))
    assert arrived.keys() == load.answered.keys() == load.sent.keys()
    assert len(arrived) == 50
    assert load.refused == 0
    assert set(load.recipients.values()) == {"one", "two"}


def test_what_is_refused_is_counted_and_a_closed_connection_is_made_anew() -> None:
    async def sent() -> Load:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\nX-Api-Key: its key\r\n" in head
            await reader.readexactly(1024)
            writer.write(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\n")
            await writer.drain()
            writer.write(b"wait")  # in a piece of its own
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        load = Load(Target(f"http://127.0.0.1:{port}/messages", {"sender": "its key"}, ["one"]))
        await load.steady(rate=50, seconds=0.1)
        server.close()
        return load

    load = asyncio.run(sent())
    assert (load.refused, load.answered) == (5, {})


def test_the_disk_is_watched_meanwhile() -> None:
    with watched() as disk:
        while len(disk.waits) < 3:
            time.sleep(0.01)
    assert disk.percentile(0.5) > 0
