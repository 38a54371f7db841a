"""Contacts are told 30, 7 and 1 days before a key expires, each time once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.urls import reverse

from dmr_project.lib import sealing
from participants import claims, key_notices, keys, registry
from participants.models import ApiKey, Mail, Participant
from tests import factories
from tests.factories import Registered

START = datetime(2026, 3, 2, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def bot_with_key(days: int = 90, **fields: Any) -> tuple[Registered, ApiKey]:
    bot = factories.participant(**{"contact_email": "mari@amet.test", **fields})
    key, _ = registry.issue_key(bot.row, actor="tests", expires_at=START + days * DAY)
    return bot, key


def told() -> list[str]:
    return list(Mail.objects.order_by("id").values_list("to", flat=True))


def text() -> str:
    mail = Mail.objects.latest("id")
    return sealing.unseal(mail.sealed_text, f"mail to {mail.to}").decode()


@pytest.mark.parametrize(
    ("lifetime", "left", "noticed", "expected"),
    [
        (90, 31, None, None),
        (90, 30, None, 30),
        (90, 30, 30, None),
        (90, 8, 30, None),
        (90, 7, 30, 7),
        (90, 5, None, 7),
        (90, 1, 7, 1),
        (90, 0.5, None, 1),
        (90, 0.5, 1, None),
        (90, 6, 7, None),
        (90, 0, 7, None),
        (90, -1, None, None),
        (30, 30, None, None),
        (30, 7, None, 7),
        (7, 6, None, None),
        (7, 1, None, 1),
        (1, 0.5, None, None),
    ],
)
def test_which_notice_is_due(lifetime: float, left: float, noticed: int | None, expected: int | None) -> None:
    assert key_notices.due(lifetime * DAY, left * DAY, noticed) == expected


@pytest.mark.django_db
def test_each_notice_goes_out_once(clock: time_machine.Traveller) -> None:
    _bot, key = bot_with_key()
    days = []
    for hour in range(0, 91 * 24, 6):
        clock.move_to(START + timedelta(hours=hour))
        before = Mail.objects.count()
        for _ in range(2):  # as after a restart
            key_notices.send()
        if Mail.objects.count() > before:
            assert Mail.objects.count() == before + 1
            days.append(90 - hour / 24)
    assert days == [30, 7, 1]
    key.refresh_from_db()
    assert key.noticed_days == 1


@pytest.mark.django_db
def test_after_missed_days_the_most_urgent_goes_out_alone(clock: time_machine.Traveller) -> None:
    bot_with_key()
    for left in (5, 5, 0.5, 0.5, -1):
        clock.move_to(START + (90 - left) * DAY)
        key_notices.send()
    assert told() == ["mari@amet.test"] * 2


@pytest.mark.django_db
def test_it_says_which_until_when_and_from_where_it_is_used(clock: time_machine.Traveller) -> None:
    bot, key = bot_with_key(technical_email="tonu@amet.test")
    claims.offer(bot.row, actor="tests", language="en")
    Mail.objects.all().delete()
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=START, last_used_from="198.51.100.7")
    clock.move_to(START + 61 * DAY)
    assert key_notices.send() == 1
    assert told() == ["mari@amet.test", "tonu@amet.test"]
    said = text()
    for part in (bot.name, key.hint, "31.05.2026", "198.51.100.7", "02.03.2026", "/api/v1/keys"):
        assert part in said, part
    assert Mail.objects.latest("id").subject == f"A key of {bot.name} expires on 31.05.2026"


@pytest.mark.django_db
def test_who_has_no_address_is_told_once_it_has_one(clock: time_machine.Traveller) -> None:
    bot, _key = bot_with_key(contact_email="")
    clock.move_to(START + 85 * DAY)
    assert key_notices.send() == 0
    Participant.objects.filter(pk=bot.row.pk).update(technical_email="tonu@amet.test")
    assert key_notices.send() == 1
    assert told() == ["tonu@amet.test"]


@pytest.mark.django_db
def test_nobody_is_told_of_what_is_over(clock: time_machine.Traveller) -> None:
    _, revoked = bot_with_key()
    registry.revoke_key(revoked, actor="tests")
    gone, _ = bot_with_key()
    registry.remove_participant(gone.row, actor="tests")
    bot_with_key(days=10_000)
    clock.move_to(START + 89.5 * DAY)
    assert key_notices.send() == 0


@pytest.mark.django_db
@pytest.mark.parametrize(("used_days_ago", "mails"), [(None, 0), (3, 0), (0.5, 1)])
def test_a_key_with_a_successor_is_told_of_only_while_it_is_in_use(
    clock: time_machine.Traveller, used_days_ago: float | None, mails: int
) -> None:
    bot, key = bot_with_key()
    registry.issue_key(bot.row, actor="tests", predecessor=key)
    for left in (30, 7, 0.9):
        now = START + (90 - left) * DAY
        clock.move_to(now)
        used_at = None if used_days_ago is None else now - used_days_ago * DAY
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=used_at)
        key_notices.send()
    assert len(told()) == mails


@pytest.mark.django_db
def test_many_that_expire_at_once_are_all_told(
    clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_notices, "MOST", 2)
    for _ in range(5):
        bot_with_key()
    clock.move_to(START + 61 * DAY)
    assert [key_notices.send() for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.django_db
def test_staff_list_those_that_expire_soon(admin_client: Client) -> None:
    bot, other = factories.participant(), factories.participant()
    for who, days in ((bot, 6), (other, 20)):
        ends = datetime.now(timezone.utc) + days * DAY
        registry.issue_key(who.row, actor="tests", key=f"{who.name}-{keys.generate()[:20]}", expires_at=ends)
    url = reverse("admin:participants_apikey_changelist")
    for query, names in (("?expires=7", {bot.name}), ("?expires=30", {bot.name, other.name})):
        rows = admin_client.get(url + query).context["cl"].queryset
        assert {row.participant.name for row in rows} == names
