"""The overview of a participant: its keys, rooms, traffic, deliveries, versions, alerts and outages on one screen."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from observability import overview
from observability.models import Component
from participants import outages, registry
from participants.models import Outage
from relay.models import Breaker
from staff import roles
from tests import factories, many
from tests.factories import Registered
from tests.staff.people import browser, person

pytestmark = pytest.mark.django_db


def page_of(row: Any, client: Client | None = None) -> Any:
    client = client or browser(person(*roles.EVERYBODY))
    answer = client.get(reverse("admin:observability_instance_overview", args=[row.pk]))
    assert answer.status_code == 200
    return answer


@pytest.fixture
def pair() -> tuple[Registered, Registered]:
    return factories.participant("bot-of-trees"), factories.participant("bot-of-roads")


def test_everything_is_on_one_screen(pair: tuple[Registered, Registered]) -> None:
    trees, roads = pair
    now = timezone.now()
    factories.room("forest", trees, roads)
    to_it = factories.delivery(roads, trees, state="dead", ended_at=now, last_error="503 from its endpoint")
    from_it = factories.delivery(trees, roads, state="delivered", delivered_at=now, ended_at=now)
    Breaker.objects.create(recipient=trees.row, state="parked", failures=9, opened_at=now, last_error="410 Gone")
    Component.objects.create(participant=trees.row, name="ruuter", health="down", since=now)
    outage = Outage(kind="planned", begins_at=now, ends_at=now + timedelta(days=1), text_en="New database")
    outages.announce(outage, actor="mari", participants=[trees.row])
    text = page_of(trees.row).content.decode()
    for expected in (
        "bot-of-trees", trees.row.host, "forest", "national", trees.key[:4], "503 from its endpoint", "410 Gone",
        to_it.message.written_id[:8], from_it.message.written_id[:8], "bot-of-roads", "New database",
    ):  # fmt: skip
        assert expected in text, expected


def test_the_day_is_counted(pair: tuple[Registered, Registered]) -> None:
    trees, roads = pair
    now = timezone.now()
    factories.delivery(roads, trees, state="delivered", attempts=1, ended_at=now)
    factories.delivery(roads, trees, state="delivered", attempts=4, ended_at=now)
    factories.delivery(roads, trees, state="dead", attempts=10, ended_at=now)
    factories.delivery(roads, trees)
    factories.delivery(roads, trees, accepted_at=now - timedelta(hours=25))
    factories.delivery(trees, roads)
    day = overview.day_of(trees.row, now)
    assert day == overview.Day(received=4, delivered=2, waiting=1, failed=1, at_first=1, sent=1)
    assert not day.is_more
    assert (overview.backlog_of(trees.row), overview.dead_letters_to(trees.row)) == (2, 1)


def test_no_more_is_counted_than_anybody_needs(
    pair: tuple[Registered, Registered], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "MOST_COUNTED", 2)
    for _ in range(5):
        factories.delivery(*pair)
    day = overview.day_of(pair[1].row, timezone.now())
    assert (day.received, day.is_more) == (3, True)


def test_each_part_is_for_who_may_see_it(pair: tuple[Registered, Registered]) -> None:
    viewer = browser(person(roles.VIEWER))
    assert "API keys" not in page_of(pair[0].row, viewer).content.decode().split("<main")[1]
    operator = browser(person(roles.OPERATOR))
    assert "API keys" in page_of(pair[0].row, operator).content.decode().split("<main")[1]
    nobody = browser(person())
    url = reverse("admin:observability_instance_overview", args=[pair[0].row.pk])
    assert nobody.get(url).status_code == 403


def test_a_participant_that_nothing_is_known_of() -> None:
    row = factories.participant(rooms=[]).row
    text = page_of(row).content.decode()
    assert "Its agent was never heard of." in text
    assert "can neither send nor receive" in text


def test_whoever_is_gone_has_none() -> None:
    row = factories.participant().row
    registry.remove_participant(row, actor="test")
    client = browser(person(*roles.EVERYBODY))
    assert client.get(reverse("admin:observability_instance_overview", args=[row.pk])).status_code == 404


def test_its_page_in_the_registry_leads_here() -> None:
    many.fill(2)
    row = overview.participants().get(name="bot-0")
    page = browser(person(roles.VIEWER)).get(reverse("admin:participants_participant_change", args=[row.pk]))
    assert reverse("admin:observability_instance_overview", args=[row.pk]) in page.content.decode()
