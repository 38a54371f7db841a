"""While an outage lasts, and for a while after it, nothing alarms about the affected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from observability import alerts
from observability.models import Alert
from participants import outages
from participants.outages import LINGER
from tests import factories
from tests.observability.conftest import Agent, Clock

pytestmark = pytest.mark.django_db


def watch(clock: Clock, span: timedelta) -> None:
    """As beat does it: every 5 s."""
    until = clock.now + span
    while clock.now < until:
        clock.pass_(seconds=5)
        outages.keep_time()
        alerts.evaluate()


def about(agent: Agent) -> list[Alert]:
    return list(Alert.objects.filter(participant=agent.row))


def test_one_that_is_away_raises_none(agent: Agent, new_agent: Callable[..., Agent], clock: Clock) -> None:
    other = new_agent()
    agent.check_in()
    other.check_in()
    factories.outage(agent.registered, seconds=900)
    watch(clock, timedelta(seconds=900))
    assert about(agent) == []
    assert len(about(other)) == 1
    watch(clock, LINGER - timedelta(seconds=10))
    assert about(agent) == [], "it has time to come back"
    watch(clock, timedelta(seconds=20))
    (alert,) = about(agent)
    assert alert.kind == Alert.Kind.SILENCE


def test_one_that_comes_back_in_time_raises_none_at_all(agent: Agent, clock: Clock) -> None:
    agent.check_in()
    row = factories.outage(agent.registered, seconds=None)
    watch(clock, timedelta(minutes=20))
    outages.end(row, actor="anna")
    watch(clock, timedelta(minutes=5))
    agent.check_in()
    clock.pass_(seconds=5)
    alerts.evaluate()
    assert about(agent) == []


def test_what_alarmed_before_is_closed(agent: Agent, clock: Clock) -> None:
    agent.check_in(health="down")
    watch(clock, timedelta(seconds=10))
    (alert,) = about(agent)
    factories.outage(agent.registered)
    watch(clock, timedelta(seconds=5))
    alert.refresh_from_db()
    assert alert.reason == "not watched: in an outage that was announced"


def test_the_fleet_says_so(agent: Agent, admin_client: Client) -> None:
    agent.check_in()
    url = reverse("admin:observability_instance_changelist")
    assert "in an outage" not in admin_client.get(url).content.decode()
    factories.outage(agent.registered)
    assert "in an outage" in admin_client.get(url).content.decode()
