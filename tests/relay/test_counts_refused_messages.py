"""dmr_messages_refused_total counts messages that were not accepted, and nothing else that is refused."""

from __future__ import annotations

import uuid

import pytest
from django.test import Client

from tests import factories
from tests.relay.conftest import Post, metric

pytestmark = pytest.mark.django_db
REFUSED = "dmr_messages_refused_total"


def test_what_is_asked_of_messages_is_none(client: Client) -> None:
    bot = factories.participant()
    before = metric(REFUSED)
    for path, status in (
        (f"/messages/{uuid.uuid4()}", 404),
        ("/api/v1/inbox", 409),
        ("/api/v1/inbox?limit=0", 400),
        ("/api/v1/dead-letters?limit=x", 400),
    ):
        assert client.get(path, headers=bot.auth).status_code == status, path
    assert client.post("/api/v1/inbox/ack", "{}", "application/json", headers=bot.auth).status_code == 400
    assert metric(REFUSED) == before


def test_each_address_counts_its_own(client: Client, post: Post) -> None:
    bot = factories.participant()
    before = metric(REFUSED, code="invalid-header"), metric(REFUSED, code="broken-batch")
    assert post(bot, bot.name, X_Message_Id="none").status_code == 400
    batch = client.generic("POST", "/api/v1/messages/batch", b"{}", "application/octet-stream", headers=bot.auth)
    assert batch.status_code == 400
    assert (metric(REFUSED, code="invalid-header"), metric(REFUSED, code="broken-batch")) == (
        before[0] + 1,
        before[1] + 1,
    )
