"""The relay's tests: posting as a participant does, and an engine whose HTTP is played."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from prometheus_client import REGISTRY

from dmr_project.lib import http
from relay.delivery import claim
from relay.delivery import engine as engine_module
from relay.delivery.engine import Engine
from tests.factories import Registered

Post = Callable[..., Any]


@pytest.fixture
def post(client: Client) -> Post:
    """`post(sender, send_to, payload, X_Message_Id=…)`: POST /messages; a header of None is left out."""

    def send(sender: Registered, send_to: str, payload: bytes = b"payload", **headers: str | None) -> Any:
        known = {
            "X_Api_Key": sender.key,
            "X_Sent_By": sender.name,
            "X_Send_To": send_to,
            "X_Message_Id": str(uuid.uuid4()),
            **headers,
        }
        named = {name.replace("_", "-"): value for name, value in known.items() if value is not None}
        return client.generic("POST", "/messages", payload, content_type="text/plain", headers=named)

    return send


@dataclass
class Edge:
    """The recipients, as the engine's HTTP client sees them: what was posted, and what comes back."""

    posted: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    answers: dict[str, list[http.Answer | Exception]] = field(default_factory=dict)
    # Of the last call of each endpoint.
    terms: dict[str, object] = field(default_factory=dict)
    until: dict[str, float | None] = field(default_factory=dict)

    def will(self, url: str, *answers: http.Answer | Exception | int) -> None:
        """The next answers of that endpoint; after them 202."""
        made = [http.Answer(each, {}, b"") if isinstance(each, int) else each for each in answers]
        self.answers.setdefault(url, []).extend(made)

    async def post(
        self,
        session: object,
        url: str,
        body: bytes,
        headers: dict[str, str],
        terms: object = None,
        until: float | None = None,
    ) -> http.Answer:
        self.posted.append((url, body, headers))
        self.terms[url] = terms
        self.until[url] = until
        await asyncio.sleep(0)
        left = self.answers.get(url)
        answer = left.pop(0) if left else http.Answer(202, {}, b"")
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch) -> Edge:
    played = Edge()
    monkeypatch.setattr(http, "post", played.post)
    return played


@pytest.fixture
def engine(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that ends when nothing is due now. Needs a database with transactions."""
    monkeypatch.setattr(engine_module, "LINGER", timedelta(0))
    monkeypatch.setattr(claim, "seconds_since_crash", lambda: math.inf)  # PostgreSQL may be new
    made = Engine()
    yield made
    made.stop()
    assert made._has_rested.wait(10)  # a pump that a bell began uses the connection to its end
    made._database.thread.submit(lambda: connection.close()).result()
    made._database.thread.shutdown()
    if made._loop is not None:
        if made._session is not None:
            asyncio.run_coroutine_threadsafe(made._session.close(), made._loop).result(5)
        made._loop.call_soon_threadsafe(made._loop.stop)
        while made._loop.is_running():
            pass
        made._loop.close()


def metric(name: str, **labels: str) -> float:
    """The value of a sample in this process, added up over the labels that are not given; 0 where there is none."""
    return sum(
        sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
