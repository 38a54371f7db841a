"""dmr_project.rsgi: a body above 64 KiB is read for a known caller alone, and then nothing is different."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dmr_project.large_bodies import MOST, MOST_OF_ONE, Places
from dmr_project.rsgi import LARGE_BYTES
from participants.authentication import known_name
from participants.guesses import MOST_BAD_KEYS, guesses
from relay.inbox.waiting import polls
from relay.models import Message
from tests import factories
from tests.wiring.conftest import Exchange, Web, message

pytestmark = pytest.mark.django_db(transaction=True)

LARGE = b"x" * (LARGE_BYTES + 1)


def test_it_is_read_for_who_has_a_key_and_not_for_a_stranger(web: Web) -> None:
    sender, recipient = factories.participant(), factories.participant()
    found = web.post(message(sender, recipient), LARGE)
    assert (found.status, found.is_read) == (202, True)
    assert Message.objects.get().payload_size == len(LARGE)
    refused = web.post({**message(sender, recipient), "X-Api-Key": "nobody's"}, LARGE)
    assert (refused.status, refused.is_read) == (401, False)


def test_with_it_nobody_guesses_on(web: Web) -> None:
    sender, recipient = factories.participant(), factories.participant()
    for _ in range(MOST_BAD_KEYS):
        guesses.note_bad("192.0.2.7")
    with CaptureQueriesContext(connection) as seen:
        known = known_name({"HTTP_X_API_KEY": sender.key, "REMOTE_ADDR": "192.0.2.7"})
    assert (known, seen.captured_queries) == (None, [])
    found = web.post(message(sender, recipient), LARGE)
    assert (found.status, found.is_read) == (429, False)


@pytest.mark.parametrize(("forwarded", "status"), [("10.1.2.3", 202), ("10.1.3.3", 401)])
def test_who_is_believed_by_address_may_be_behind_a_proxy(
    web: Web, monkeypatch: pytest.MonkeyPatch, forwarded: str, status: int
) -> None:
    monkeypatch.setattr(settings, "TRUSTED_PROXIES", (ipaddress.ip_network("192.0.2.0/24"),))
    sender, recipient = factories.participant(source_networks="10.1.2.0/24"), factories.participant()
    headers = message(sender, recipient) | {"X-Forwarded-For": forwarded}
    del headers["X-Api-Key"]
    found = web.post(headers, LARGE)
    assert (found.status, found.is_read) == (status, status == 202), found.said


def test_a_poll_with_one_waits_and_leaves_its_place(web: Web) -> None:
    recipient = factories.participant(delivery_mode="pull")
    found = web.ask("GET", "/api/v1/inbox", {"X-Api-Key": recipient.key}, LARGE, "wait=1")
    assert (found.status, found.json()["messages"]) == (200, [])
    assert not polls.keys()


def test_who_sends_them_slowly_keeps_nobody_else_waiting(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, quick = factories.participant(), factories.participant()
    monkeypatch.setattr("dmr_project.rsgi._large", Places())

    async def send() -> tuple[int, int]:
        arrives = asyncio.Event()
        stalled = [Exchange(LARGE, arrives) for _ in range(2 * MOST)]
        sending = [asyncio.ensure_future(web.respond(each, message(slow, quick), LARGE)) for each in stalled]
        while sum(each.is_read for each in stalled) < MOST_OF_ONE:
            await asyncio.sleep(0.01)
        other = Exchange(LARGE)
        await asyncio.wait_for(web.respond(other, message(quick, slow), LARGE), 10)
        being_read = sum(each.is_read for each in stalled)
        arrives.set()
        await asyncio.wait_for(asyncio.gather(*sending), 60)
        assert {each.status for each in stalled} == {202}
        return other.status, being_read

    assert asyncio.run(send()) == (202, MOST_OF_ONE)


def test_callers_together_have_no_more_places_than_there_are() -> None:
    async def fill() -> tuple[int, int]:
        places, done, inside = Places(), asyncio.Event(), 0

        async def hold(caller: str) -> None:
            nonlocal inside
            async with places.one_of(caller):
                inside += 1
                await done.wait()

        holding = [asyncio.ensure_future(hold(f"bot-{number % 10}")) for number in range(5 * MOST)]
        for _ in range(10):
            await asyncio.sleep(0)
        found = inside
        done.set()
        await asyncio.gather(*holding)
        return found, len(places._own)

    assert asyncio.run(fill()) == (MOST, 0)
