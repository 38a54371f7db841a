"""A message may be looked at twice, by the registry as last seen and as it is now; what it tells is counted once."""

from __future__ import annotations

import pytest
from django.test import Client

from participants import directory, failures
from participants.guesses import MOST_BAD_KEYS, guesses
from participants.models import Change
from tests import factories
from tests.relay.conftest import Post, metric

pytestmark = pytest.mark.django_db


def test_a_refused_key(post: Post) -> None:
    bot = factories.participant()
    directory.current()
    assert post(bot, bot.name, X_Api_Key="nobody's-key").status_code == 401
    failures.flush()
    assert [row.after["times"] for row in Change.objects.filter(action="key refused")] == [1]


def test_a_guess_too_many(post: Post) -> None:
    bot = factories.participant()
    directory.current()
    for _ in range(MOST_BAD_KEYS):
        guesses.note_bad("127.0.0.1")
    before = metric("dmr_bad_keys_total", result="not looked up")
    assert post(bot, bot.name, X_Api_Key="nobody's-key").status_code == 429
    assert metric("dmr_bad_keys_total", result="not looked up") == before + 1


@pytest.mark.parametrize(("message_id", "status"), [("0b6f5f0e-5c0f-4a55-8a54-0c7f7a3c2a11", 202), ("no-id", 400)])
def test_a_message_without_a_key(client: Client, message_id: str, status: int) -> None:
    bot = factories.participant(source_networks="10.1.2.0/24")
    directory.current()
    before = metric("dmr_keyless_requests_total")
    headers = {"X-Sent-By": bot.name, "X-Send-To": bot.name, "X-Message-Id": message_id}
    answer = client.post("/messages", b"x", content_type="text/plain", headers=headers, REMOTE_ADDR="10.1.2.3")
    assert answer.status_code == status
    assert metric("dmr_keyless_requests_total") == before + 1
