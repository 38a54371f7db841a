"""dmr_project.express: a plain message is accepted without Django, and nobody can tell; all else is Django's."""

from __future__ import annotations

import asyncio
import ipaddress
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError

from dmr_project.express import is_plain
from participants import keys, registry
from participants.models import ApiKey, Participant
from relay import insert, limits
from relay.insert import Row, Stored
from relay.models import Delivery, Message
from tests import factories
from tests.conftest import Wakes
from tests.factories import Registered
from tests.wiring.conftest import Exchange, Web, message

pytestmark = pytest.mark.django_db(transaction=True)

# What two messages with the same content may differ in.
OF_ONE = {"id", "message_id", "written_id", "accepted_at", "expires_at", "due_at"}


@pytest.fixture
def pair(web: Web) -> tuple[Registered, Registered]:
    """A sender and a recipient that this process knows from a message before."""
    sender, recipient = factories.participant("sender-bot"), factories.participant("recipient-bot")
    assert web.post(message(sender, recipient)).status == 202
    assert web.asked_django == 1
    return sender, recipient


def columns(row: Message | Delivery) -> dict[str, Any]:
    return {
        each.attname: getattr(row, each.attname) for each in row._meta.concrete_fields if each.attname not in OF_ONE
    }


def with_django(web: Web, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Exchange:
    with monkeypatch.context() as without:
        without.setattr("dmr_project.express.is_plain", lambda _: False)
        return web.post(headers)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_answers_and_stores_what_django_would(
    web: Web, pair: tuple[Registered, Registered], monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(settings, "TRUSTED_PROXIES", (ipaddress.ip_network("192.0.2.0/24"),))
    more = {
        "X-Message-Id-Ref": str(uuid.uuid4()),
        "X-Model-Type": "a/b",
        "Content-Type": "text/csv",
        "X-Conversation-Id": "case-1",
        "TTL": "60",
        "X-Forwarded-Proto": scheme,
    }
    quick, slow = message(*pair) | more, message(*pair) | more
    found = web.post(quick)
    assert (found.status, web.asked_django) == (202, 1)
    expected = with_django(web, slow, monkeypatch)
    assert web.asked_django == 2
    for each in (found, expected):
        assert each.headers.pop("ratelimit").startswith('"messages";r=')
    assert found.headers == expected.headers
    assert found.json().keys() == expected.json().keys()
    assert found.json()["messageId"] == quick["X-Message-Id"]
    one, other = (Message.objects.get(written_id=each["X-Message-Id"]) for each in (quick, slow))
    assert columns(one) == columns(other)
    assert (one.expires_at - one.accepted_at).total_seconds() == 60
    assert columns(one.deliveries.get()) == columns(other.deliveries.get())


def test_wakes_a_pump_and_counts(
    web: Web, pair: tuple[Registered, Registered], wakes: Wakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[object] = []
    monkeypatch.setattr("dmr_project.express.count_answer", counted.append)
    monkeypatch.setattr("relay.counting.accepted", lambda room_id, kind: counted.append(kind))
    monkeypatch.setattr("relay.counting.took_to_accept", lambda request, seconds: counted.append(request))
    monkeypatch.setattr("relay.stored_bytes.note", lambda sender_id, size: counted.append((sender_id, size)))
    before = wakes.count
    assert web.is_quick(message(*pair), b"12345")
    assert wakes.count == before + 1
    assert set(counted) == {202, "Chatbot", "one", (pair[0].row.pk, 5)}


def test_one_that_cannot_be_noted_is_accepted_and_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise RuntimeError("no room for a metric")

    async def told(if_new: Callable[[], None]) -> Stored | None:
        one = insert._OnLoop(Row({}, 1, "", 1), stored=Stored.NEW, if_new=if_new)
        one.tell()  # for all of a batch, one after the other
        await asyncio.wait_for(one.done, 5)
        return one.stored

    assert asyncio.run(told(fails)) is Stored.NEW
    assert "stored_not_noted" in caplog.text


def test_refuses_as_django_does(web: Web, pair: tuple[Registered, Registered]) -> None:
    sender, recipient = pair
    for headers, status in (
        ({**message(sender, recipient), "X-Api-Key": "nobody's"}, 401),
        ({**message(sender, recipient), "X-Sent-By": recipient.name}, 403),
        ({**message(sender, recipient), "X-Message-Id": "4711"}, 400),
    ):
        assert web.post(headers).status == status


def test_a_key_that_was_revoked_is_refused_at_once(web: Web, pair: tuple[Registered, Registered]) -> None:
    assert web.is_quick(message(*pair))
    registry.revoke_key(ApiKey.objects.get(participant=pair[0].row), actor="tests")
    assert web.post(message(*pair)).status == 401


def test_a_sender_that_is_suspended_is_refused_at_once(web: Web, pair: tuple[Registered, Registered]) -> None:
    assert web.is_quick(message(*pair))
    registry.set_status([pair[0].row], Participant.Status.SUSPENDED, actor="tests")
    assert web.post(message(*pair)).status == 403
    assert Message.objects.count() == 2


def test_a_repeat_gets_the_first_answer_and_another_message_none(
    web: Web, pair: tuple[Registered, Registered]
) -> None:
    headers = message(*pair)
    first, again = web.post(headers), web.post(headers)
    assert (first.status, first.json()) == (again.status, again.json())
    assert web.post(headers, b"something else").status == 409
    assert Delivery.objects.count() == 2


def test_a_message_that_django_looks_at_again_is_off_the_rate_once(
    web: Web, pair: tuple[Registered, Registered], monkeypatch: pytest.MonkeyPatch
) -> None:
    spent: list[Any] = []
    monkeypatch.setattr(limits, "spend", lambda *given: spent.append(given))
    headers = message(*pair)
    assert web.is_quick(headers)
    web.post(headers)
    assert web.asked_django == 2
    assert not spent


@pytest.mark.parametrize("what", ["X-Send-To", "a query", "a cookie", "a large body", "the key's use", "no tokens"])
def test_leaves_to_django_what_is_out_of_the_ordinary(
    web: Web, pair: tuple[Registered, Registered], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Each of these is accepted all the same."""
    headers, payload, query = message(*pair), b"payload", ""
    if what == "X-Send-To":
        headers["X-Send-To"] = "somebody-else"  # a dead letter at once
    elif what == "a query":
        query = "a=b"
    elif what == "a cookie":
        headers["Cookie"] = "a=b"
    elif what == "a large body":
        payload = b"x" * 70_000
    elif what == "the key's use":
        keys._noted.clear()  # it is to be written down again
    else:
        limits.forget()
    before = web.asked_django
    assert web.post(headers, payload, query).status == 202
    assert web.asked_django == before + 1


def test_what_lies_elsewhere_is_not_plain() -> None:
    environ = {"PATH_INFO": "/messages", "REQUEST_METHOD": "POST", "QUERY_STRING": ""}
    assert is_plain(environ)
    for more in ({"PATH_INFO": "/messages/"}, {"REQUEST_METHOD": "PUT"}, {"dmr.body_error": "x"}):
        assert not is_plain(environ | more)


def test_a_database_that_is_away_is_asked_no_oftener(
    web: Web, pair: tuple[Registered, Registered], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert web.is_quick(message(*pair))
    asked: list[int] = []

    def away(rows: Sequence[Row] = ()) -> list[Stored]:
        asked.append(len(rows))
        raise OperationalError("away")

    with monkeypatch.context() as broken:
        broken.setattr(insert, "_store_rows", away)
        broken.setattr("participants.directory.registry_version", away)
        assert web.post(message(*pair)).status == 503
    assert asked == [1, 0]
    assert web.is_quick(message(*pair))
