"""Polls that wait: on the event loop, in a bounded number of places, woken by one look for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from relay.api import inbox
from relay.inbox import waiting
from relay.inbox.waiting import Place, Polls
from tests import factories
from tests.relay.conftest import metric


class Looks:
    """What is found, and who was looked for."""

    def __init__(self) -> None:
        self.something: set[int] = set()
        self.asked: list[set[int]] = []
        self.error: Exception | None = None

    async def __call__(self, recipient_ids: Collection[int]) -> set[int]:
        self.asked.append(set(recipient_ids))
        if self.error is not None:
            raise self.error
        return self.something & set(recipient_ids)


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> Polls:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.01)
    return Polls()


def run(scene: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(scene(), 10)

    return asyncio.run(bounded())


def place_of(polls: Polls, recipient_id: int, seconds: float = 5) -> Place:
    found = polls.take(recipient_id, seconds)
    assert found is not None
    return found


def present() -> asyncio.Future[None]:
    """A client that stays."""
    return asyncio.get_running_loop().create_future()


async def start(polls: Polls, place: Place, looks: Looks) -> asyncio.Task[bool]:
    task = asyncio.ensure_future(polls.wait(place, looks, present()))
    await asyncio.sleep(0)
    return task


def test_who_has_something_is_woken_and_nobody_else(polls: Polls) -> None:
    looks = Looks()

    async def scene() -> None:
        one = await start(polls, place_of(polls, 1), looks)
        other = await start(polls, place_of(polls, 2, 0.3), looks)
        await asyncio.sleep(0.05)
        assert not one.done()
        looks.something = {1}
        began = time.monotonic()
        assert await one is True
        assert time.monotonic() - began < 0.25
        assert await other is False

    run(scene)
    assert {1, 2} in looks.asked, "one look for both"


def test_nobody_waits_nobody_looks(polls: Polls) -> None:
    looks = Looks()

    async def scene() -> None:
        assert await (await start(polls, place_of(polls, 1, 0.05), looks)) is False
        await asyncio.sleep(0.05)
        before = len(looks.asked)
        await asyncio.sleep(0.1)
        assert len(looks.asked) == before
        looks.something = {1}
        assert await (await start(polls, place_of(polls, 1), looks)) is True

    run(scene)


def test_a_client_that_hangs_up_is_not_woken(polls: Polls) -> None:
    looks = Looks()
    before = metric("dmr_inbox_polls_total", result="gone")

    async def scene() -> None:
        gone = present()
        task = asyncio.ensure_future(polls.wait(place_of(polls, 1), looks, gone))
        await asyncio.sleep(0.03)
        gone.set_result(None)
        looks.something = {1}
        assert await task is False

    run(scene)
    assert metric("dmr_inbox_polls_total", result="gone") == before + 1


def test_when_the_process_ends_everybody_is_answered(polls: Polls) -> None:
    async def scene() -> None:
        looks = Looks()
        tasks = [await start(polls, place_of(polls, number, 25), looks) for number in range(5)]
        await asyncio.sleep(0.03)
        began = time.monotonic()
        polls.close()
        assert await asyncio.gather(*tasks) == [False] * 5
        assert time.monotonic() - began < 1
        assert polls.take(99, 25) is None

    run(scene)


def test_a_look_that_fails_costs_nobody_its_place(polls: Polls) -> None:
    looks = Looks()

    async def scene() -> None:
        looks.error = OperationalError("the database is away")
        task = await start(polls, place_of(polls, 1), looks)
        await asyncio.sleep(0.05)
        assert not task.done()
        looks.error, looks.something = None, {1}
        assert await task is True

    run(scene)


def test_looking_takes_a_bounded_share_of_the_time(polls: Polls) -> None:
    looks = Looks()

    async def slowly(recipient_ids: Collection[int]) -> set[int]:
        await asyncio.sleep(0.02)
        return await looks(recipient_ids)

    async def scene() -> None:
        await polls.wait(place_of(polls, 1, 0.5), slowly, present())

    run(scene)
    assert len(looks.asked) <= 4, "0.02 s of looking, then 0.2 s of none"


def test_places_are_bounded(polls: Polls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", 5)
    taken = [polls.take(1, 5), polls.take(1, 5)]
    assert None not in taken
    assert polls.take(1, 5) is None, "one participant has two"
    taken += [place_of(polls, number) for number in (2, 3, 4)]
    assert polls.take(5, 5) is None, "all are taken"
    assert metric("dmr_inbox_waiting") == 5
    for place in taken:
        assert place is not None
        polls.leave(place)
        polls.leave(place)
    assert metric("dmr_inbox_waiting") == 0
    assert polls.take(5, 5) is not None


@pytest.mark.django_db
def test_who_finds_no_place_is_told_when_to_come_again(
    client: Client, polls: Polls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "polls", polls)
    recipient = factories.participant(delivery_mode="pull")
    before = metric("dmr_inbox_polls_total", result="turned_away")
    environ: dict[str, Any] = {"dmr.can_wait": True}

    def poll() -> Any:
        return client.get("/api/v1/inbox?wait=25", headers=recipient.auth, **environ)

    for _ in range(2):
        answer = poll()
        assert answer.json() == {"messages": [], "nextPollSeconds": 0}
        assert answer.wsgi_request.META["dmr.wait"].recipient_id == recipient.row.pk
    held = answer.wsgi_request.META["dmr.wait"]
    answer = poll()
    assert "dmr.wait" not in answer.wsgi_request.META
    assert 3 <= answer.json()["nextPollSeconds"] == int(answer["Retry-After"]) <= 8
    assert metric("dmr_inbox_polls_total", result="turned_away") == before + 1
    environ["dmr.place"] = held  # who waits already keeps its place
    assert poll().wsgi_request.META["dmr.wait"] is held
