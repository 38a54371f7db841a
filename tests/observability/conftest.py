"""What the tests of observability share: an agent that checks in, and time that stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from django.test import Client

from observability import collectors
from observability.models import VitalSigns
from tests import factories
from tests.factories import Registered

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)
CHECK_IN = "/api/v1/agent/check-in"
PERIOD = 30


class Clock:
    """Time that moves when it is told to."""

    def __init__(self, traveller: time_machine.Traveller) -> None:
        self.traveller = traveller
        self.now = NOON

    def pass_(self, **spans: float) -> datetime:
        self.now += timedelta(**spans)
        self.traveller.move_to(self.now)
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield Clock(traveller)


@pytest.fixture(autouse=True)
def steady_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its jitter."""
    monkeypatch.setattr("updates.agent_protocol.JITTER", 0.0)


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    collectors.forget()
    yield
    collectors.forget()


def said(sequence: int = 1, **fields: Any) -> dict[str, Any]:
    """A check-in as an agent sends it."""
    return {
        "sequence": sequence,
        "agentVersion": "0.1.0",
        "release": {"version": "1.0.0", "manifestDigest": "sha256:" + "a" * 64},
        "health": "ok",
        "components": [{"name": "bot", "version": "1.0.0", "digest": "sha256:" + "b" * 64, "health": "ok"}],
        "measures": {"uptimeSeconds": 90_000, "load1": 0.25, "memoryUsedBytes": 2**30, "diskFreeBytes": 2**33},
        **fields,
    }


class Agent:
    """The agent of one participant."""

    def __init__(self, client: Client, registered: Registered) -> None:
        self.client, self.registered, self.sequence = client, registered, 0

    @property
    def row(self) -> Any:
        return self.registered.row

    @property
    def signs(self) -> VitalSigns:
        return VitalSigns.objects.get(participant=self.row)

    def post(self, body: Any) -> Any:
        return self.client.post(CHECK_IN, body, content_type="application/json", headers=self.registered.auth)

    def check_in(self, **fields: Any) -> Any:
        self.sequence += 1
        response = self.post(said(fields.pop("sequence", self.sequence), **fields))
        assert response.status_code == 200, response.content
        return response


@pytest.fixture
def new_agent(client: Client, db: None) -> Callable[..., Agent]:
    return lambda **fields: Agent(client, factories.participant(**fields))


@pytest.fixture
def agent(new_agent: Callable[..., Agent]) -> Agent:
    return new_agent(name="bot-tallinn")


@pytest.fixture
def staff(django_user_model: Any) -> Any:
    return django_user_model.objects.create_superuser("mari", email="mari@core.test", password="x" * 12)


@pytest.fixture
def outbox(staff: Any, mailoutbox: list[Any]) -> list[Any]:
    """Mails to `staff`."""
    return mailoutbox
