"""The gauges that /metrics reads from the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from observability import alerts, collectors
from participants import registry
from relay.models import Breaker
from tests import factories
from tests.observability.conftest import Agent, Clock

pytestmark = pytest.mark.django_db


def gauges(client: Client) -> dict[tuple[str, ...], float]:
    """By name and label values in the order of their names."""
    collectors.forget()
    text = client.get("/metrics").content.decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_participants_by_state_and_type(new_agent: Callable[..., Agent], client: Client) -> None:
    new_agent()
    registry.set_status([new_agent().row], "Suspended", actor="test")
    new_agent(type="Classifier")
    found = gauges(client)
    assert found["dmr_participants", "Active", "Chatbot"] == 1
    assert found["dmr_participants", "Suspended", "Chatbot"] == 1
    assert found["dmr_participants", "Active", "Classifier"] == 1
    assert found["dmr_participants", "Active", "Dmr"] == 1
    assert found["dmr_fleet_readable",] == 1


def test_instances_by_state_and_version(new_agent: Callable[..., Agent], client: Client, clock: Clock) -> None:
    new_agent()
    new_agent().check_in(release=None)
    new_agent().check_in(health="down")
    found = gauges(client)
    assert found["dmr_fleet_instances", "never_heard", "unknown"] == 1
    assert found["dmr_fleet_instances", "ok", "unknown"] == 1
    assert found["dmr_fleet_instances", "down", "1.0.0"] == 1
    clock.pass_(minutes=5)
    assert gauges(client)["dmr_fleet_instances", "silent", "1.0.0"] == 1


def test_only_the_newest_versions_are_named(new_agent: Callable[..., Agent], client: Client) -> None:
    for number in range(collectors.MOST_VERSIONS + 3):
        new_agent().check_in(release={"version": f"1.{number}.0", "manifestDigest": "d"})
    found = gauges(client)
    assert found["dmr_fleet_instances", "ok", "other"] == 3
    assert ("dmr_fleet_instances", "ok", "1.22.0") in found
    assert ("dmr_fleet_instances", "ok", "1.2.0") not in found


def test_open_alerts_and_rollouts_are_there_even_at_zero(agent: Agent, client: Client, clock: Clock) -> None:
    found = gauges(client)
    assert (found["dmr_alerts_open", "health"], found["dmr_alerts_open", "silence"]) == (0, 0)
    assert found["dmr_rollouts", "running"] == 0
    agent.check_in(health="down")
    alerts.evaluate()
    assert gauges(client)["dmr_alerts_open", "health"] == 1


class TestBacklog:
    def test_the_oldest_that_is_due(self, client: Client, clock: Clock) -> None:
        sender, first, second = (factories.participant() for _ in range(3))
        assert gauges(client)["dmr_oldest_due_seconds",] == 0
        factories.delivery(sender, first)
        clock.pass_(seconds=90)
        factories.delivery(sender, second)
        found = gauges(client)
        assert found["dmr_oldest_due_seconds",] == 90
        assert found["dmr_deliveries_pending",] == 2

    def test_what_is_held_or_not_due_yet_does_not_count(self, client: Client, clock: Clock) -> None:
        sender, held, later = (factories.participant() for _ in range(3))
        factories.delivery(sender, held)
        registry.set_status([held.row], "Suspended", actor="test")
        delivery = factories.delivery(sender, later)
        delivery.due_at = clock.now.replace(year=2030)
        delivery.save()
        clock.pass_(seconds=90)
        found = gauges(client)
        assert found["dmr_oldest_due_seconds",] == 0
        assert found["dmr_deliveries_pending",] == 2

    def test_what_waits_behind_a_breaker_or_in_its_conversation_does_not_count(
        self, client: Client, clock: Clock
    ) -> None:
        sender, failing, slow = (factories.participant() for _ in range(3))
        factories.delivery(sender, failing)
        Breaker.objects.create(recipient=failing.row, state="open", probe_at=clock.now)
        later = clock.now.replace(year=2030)
        factories.delivery(sender, slow, conversation="c", due_at=later)
        factories.delivery(sender, slow, conversation="c")
        clock.pass_(seconds=90)
        assert gauges(client)["dmr_oldest_due_seconds",] == 0
        factories.delivery(sender, slow, conversation="d")
        clock.pass_(seconds=10)
        assert gauges(client)["dmr_oldest_due_seconds",] == 10

    def test_what_waits_to_be_fetched_does_not_count(self, client: Client, clock: Clock) -> None:
        factories.delivery(factories.participant(), factories.participant(delivery_mode="pull"))
        clock.pass_(seconds=90)
        found = gauges(client)
        assert found["dmr_oldest_due_seconds",] == 0
        assert found["dmr_deliveries_pending",] == 1

    def test_is_counted_no_further_than_it_matters(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collectors, "MOST_COUNTED", 2)
        sender, recipient = factories.participant(), factories.participant()
        for _ in range(4):
            factories.delivery(sender, recipient)
        assert gauges(client)["dmr_deliveries_pending",] == 2


def test_it_is_read_once_in_a_few_seconds(agent: Agent, django_assert_num_queries: Any) -> None:
    first = collectors.exposition()
    with django_assert_num_queries(0):
        assert collectors.exposition() == first


def test_without_a_database_the_other_metrics_are_still_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(collectors, "participants", fail)
    found = gauges(client)
    assert found["dmr_fleet_readable",] == 0
    assert ("dmr_rollouts", "running") not in found
    assert any(key[0].startswith("python_") or key[0].startswith("dmr_") for key in found)
