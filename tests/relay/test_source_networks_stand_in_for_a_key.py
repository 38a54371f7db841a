"""An unmodified client of the first generation is believed by its address, where staff have set that."""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from participants import names
from tests import factories

pytestmark = pytest.mark.django_db


def post(client: Client, sent_by: str, send_to: str, address: str = "10.1.2.3", **headers: str) -> Any:
    named = {"X-Sent-By": sent_by, "X-Send-To": send_to, "X-Message-Id": str(uuid.uuid4()), **headers}
    return client.post("/messages", b"x", content_type="text/plain", headers=named, REMOTE_ADDR=address)


@pytest.mark.parametrize(
    ("address", "status"), [("10.1.2.3", 202), ("::ffff:10.1.2.3", 202), ("10.1.3.3", 401), ("127.0.0.1", 401)]
)
def test_the_address_decides(client: Client, address: str, status: int) -> None:
    bot = factories.participant(source_networks="192.168.0.0/24, 10.1.2.0/24")
    other = factories.participant()
    assert post(client, bot.name, other.name, address).status_code == status


def test_it_is_off_unless_staff_set_it(client: Client) -> None:
    bot, other = factories.participant(), factories.participant()
    assert post(client, bot.name, other.name).status_code == 401


def test_nobody_speaks_for_another_in_the_same_network(client: Client) -> None:
    bot, other = factories.participant(source_networks="10.1.2.0/24"), factories.participant()
    assert post(client, other.name, bot.name).status_code == 401
    assert post(client, "Classifier", bot.name).status_code == 401


def test_a_forwarded_address_is_not_believed(client: Client) -> None:
    bot, other = factories.participant(source_networks="10.1.2.0/24"), factories.participant()
    answer = post(client, bot.name, other.name, "203.0.113.9", **{"X-Forwarded-For": "10.1.2.3"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("address", "forwarded", "status"),
    [
        ("10.1.2.5", "10.1.2.3", 202),  # our proxy says who
        ("10.1.2.5", "10.1.2.3, 203.0.113.9", 401),  # the first is what its client says
        ("10.1.2.5", "", 401),  # it forgets to say who: it could be anybody
        ("10.1.2.6", "203.0.113.9", 401),  # a proxy that we were not told of
        ("10.1.2.6", "10.1.2.6, 203.0.113.9", 401),
    ],
)
def test_nobody_is_believed_by_the_address_of_a_proxy(
    client: Client, monkeypatch: pytest.MonkeyPatch, address: str, forwarded: str, status: int
) -> None:
    monkeypatch.setattr(settings, "TRUSTED_PROXIES", (ipaddress.ip_network("10.1.2.5"),))
    bot, other = factories.participant(source_networks="10.1.2.0/24"), factories.participant()
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert post(client, bot.name, other.name, address, **headers).status_code == status


def test_a_wrong_key_is_not_helped_by_the_address(client: Client) -> None:
    bot, other = factories.participant(source_networks="10.1.2.0/24"), factories.participant()
    assert post(client, bot.name, other.name, **{"X-Api-Key": "wrong-wrong-wrong"}).status_code == 401


def test_reading_needs_a_key(client: Client) -> None:
    bot, other = factories.participant(source_networks="10.1.2.0/24"), factories.participant()
    message_id = post(client, bot.name, other.name).json()["messageId"]
    answer = client.get(f"/messages/{message_id}", headers={"X-Sent-By": bot.name}, REMOTE_ADDR="10.1.2.3")
    assert answer.status_code == 401


@pytest.mark.parametrize("text", ["0.0.0.0/0", "10.0.0.0/8", "::/0", "10.1.2.3/24", "somewhere", "10.1.2.0/24,"])
def test_networks_are_narrow_and_well_written(text: str) -> None:
    with pytest.raises(ValidationError):
        names.validate_networks(text)


def test_the_list_of_participants_shows_it_loudly(admin_client: Client) -> None:
    factories.participant("old-bot", source_networks="10.1.2.0/24")
    factories.participant("new-bot")
    url = reverse("admin:participants_participant_changelist")
    assert "from 10.1.2.0/24" in admin_client.get(url, {"q": "old-bot"}).content.decode()
    assert "from 10" not in admin_client.get(url, {"q": "new-bot"}).content.decode()
    found = admin_client.get(url, {"source_networks__isempty": "0"}).context["cl"].result_list
    assert [row.name for row in found] == ["old-bot"]
