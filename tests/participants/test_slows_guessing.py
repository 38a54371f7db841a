"""Keys that nobody has: after a hundred from one address it is not looked up any more, for a minute."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from prometheus_client import REGISTRY

from participants import directory, guesses
from participants.guesses import MOST_BAD_KEYS, WINDOW_SECONDS, Guesses
from tests import factories

PATH = "/centops/public/participants"


def ask(client: Client, key: str, address: str = "192.0.2.1") -> Any:
    return client.get(PATH, headers={"X-Api-Key": key}, REMOTE_ADDR=address)


@pytest.mark.django_db
def test_guessing_from_one_address_ends_in_429_without_a_look_up(
    client: Client, django_assert_num_queries: Any
) -> None:
    known, new = factories.participant(), factories.participant()
    assert ask(client, known.key).status_code == 200
    for number in range(MOST_BAD_KEYS):
        assert ask(client, f"guess-number-{number}").status_code == 401
    before = REGISTRY.get_sample_value("dmr_bad_keys_total", {"result": "not looked up"}) or 0.0
    directory.current()
    with django_assert_num_queries(1):  # the registry's version
        answer = ask(client, "another guess")
    assert answer.status_code == 429
    assert answer.json()["type"] == "urn:problem-type:dmr:too-many-bad-keys"
    assert answer["Retry-After"] == "60"
    assert REGISTRY.get_sample_value("dmr_bad_keys_total", {"result": "not looked up"}) == before + 1
    assert ask(client, new.key).status_code == 429, "a right guess is no better"
    assert ask(client, known.key).status_code == 200, "neighbours go on"
    assert ask(client, new.key, "192.0.2.2").status_code == 200


@pytest.mark.parametrize(
    ("guesser", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("", "", True),
    ],
)
def test_addresses_of_one_subscriber_are_one(guesser: str, other: str, is_same: bool) -> None:
    made = Guesses()
    for _ in range(MOST_BAD_KEYS):
        made.note_bad(guesser)
    assert made.is_guess(other, "digest") is is_same


def test_it_ends_after_a_minute() -> None:
    now = 1000.0
    made = Guesses(lambda: now)
    for _ in range(MOST_BAD_KEYS):
        made.note_bad("192.0.2.1")
    assert made.is_guess("192.0.2.1", "digest")
    now += WINDOW_SECONDS
    assert not made.is_guess("192.0.2.1", "digest")
    made.note_bad("192.0.2.1")
    assert not made.is_guess("192.0.2.1", "digest")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "MOST_REMEMBERED", 10)
    made = Guesses()
    for number in range(35):
        made.note_bad(f"192.0.2.{number}")
        made.note_good(f"digest {number}")
    assert len(made._bad) <= 10
    assert len(made._good) <= 10
