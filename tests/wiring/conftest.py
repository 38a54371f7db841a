"""The application that granian serves, asked as granian asks it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from relay import insert
from tests.factories import Registered


class Pairs:
    """Headers as granian hands them over."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def items(self) -> list[tuple[str, str]]:
        return [(name.lower(), value) for name, value in self._headers.items()]

    def keys(self) -> list[str]:
        return [name.lower() for name in self._headers]


class Scope:
    scheme, http_version = "http", "1.1"
    client, server = "192.0.2.7:40000", "127.0.0.1:8000"

    def __init__(self, headers: dict[str, str], query: str, method: str, path: str) -> None:
        self.headers = Pairs(headers)
        self.query_string, self.method, self.path = query, method, path


class Exchange:
    """`arrives` is awaited before the body comes."""

    def __init__(self, body: bytes, arrives: asyncio.Event | None = None) -> None:
        self._arrives = arrives
        self._body = body
        self.is_read = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.said = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.is_read = True
        if self._arrives is not None:
            await self._arrives.wait()
        yield self._body

    async def client_disconnect(self) -> None:
        await asyncio.Event().wait()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.said = status, dict(headers), body

    def json(self) -> Any:
        return json.loads(self.said)


class Web:
    """The application on a loop, and whether Django was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor) -> None:
        from dmr_project import rsgi

        self._rsgi = rsgi
        self.asked_django = 0
        respond = rsgi.respond

        def counted(environ: dict[str, Any]) -> Any:
            self.asked_django += 1
            return respond(environ)

        monkeypatch.setattr(rsgi, "respond", counted)
        monkeypatch.setattr(rsgi, "_threads", threads)

    def post(self, headers: dict[str, str], payload: bytes = b"payload", query: str = "") -> Exchange:
        return self.ask("POST", "/messages", headers, payload, query)

    def ask(self, method: str, path: str, headers: dict[str, str], payload: bytes = b"", query: str = "") -> Exchange:
        exchange = Exchange(payload)
        asyncio.run(self.respond(exchange, headers, payload, query, method, path))
        return exchange

    async def respond(
        self,
        exchange: Exchange,
        headers: dict[str, str],
        payload: bytes,
        query: str = "",
        method: str = "POST",
        path: str = "/messages",
    ) -> None:
        scope: Any = Scope({"Content-Length": str(len(payload)), **headers}, query, method, path)
        await self._rsgi.application(scope, exchange)

    def is_quick(self, headers: dict[str, str], payload: bytes = b"payload") -> bool:
        """Is it answered 202, and without Django?"""
        before = self.asked_django
        return self.post(headers, payload).status == 202 and self.asked_django == before


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with ThreadPoolExecutor(1) as threads:
        yield Web(monkeypatch, threads)
        for each in (threads, insert._thread):
            each.submit(lambda: connection.close()).result()  # its own


def message(sender: Registered, recipient: Registered) -> dict[str, str]:
    return {
        "X-Api-Key": sender.key,
        "X-Sent-By": sender.name,
        "X-Send-To": recipient.name,
        "X-Message-Id": str(uuid.uuid4()),
    }
