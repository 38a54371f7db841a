"""The fleet page: every Instance, how it is, what it runs, and how its messages fare."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from observability import alerts
from observability.models import Alert
from observability.traffic import Traffic, traffic_of
from participants import registry
from relay.models import Breaker, Delivery, Message
from tests import factories
from tests.observability.conftest import NOON, Agent, Clock
from updates.models import Release

pytestmark = pytest.mark.django_db
FLEET = reverse("admin:observability_instance_changelist")


@pytest.fixture
def page(client: Client, staff: Any) -> Callable[..., Any]:
    """The rows of the fleet page by name, as text in columns."""

    def get(**query: Any) -> Any:
        client.force_login(staff)
        response = client.get(FLEET, query)
        assert response.status_code == 200, response
        return response

    return get


def names(response: Any) -> list[str]:
    return [row.name for row in response.context["cl"].result_list]


def release(version: str, sequence: int, staff: Any, state: str = "published") -> Release:
    now = "2026-03-01T00:00:00Z"
    approver = type(staff).objects.get_or_create(username="approver")[0]
    return Release.objects.create(
        version=version, sequence=sequence, severity="optional", manifest=version.encode(), digest=version,
        state=state, author=staff, approver=approver, approved_at=now, published_at=now,
    )  # fmt: skip


def test_every_present_chatbot_is_shown_and_nothing_else(
    new_agent: Callable[..., Agent], page: Callable[..., Any]
) -> None:
    new_agent(name="never-heard")
    new_agent(name="sorter", type="Classifier")
    gone = new_agent(name="gone-bot")
    registry.remove_participant(gone.row, actor="test")
    assert names(page()) == ["never-heard"]


def test_the_worst_stand_first_and_in_words(
    new_agent: Callable[..., Agent], page: Callable[..., Any], clock: Clock
) -> None:
    silent, late = new_agent(name="b-silent"), new_agent(name="c-late")
    fine, down = new_agent(name="a-fine"), new_agent(name="d-down")
    new_agent(name="e-never")
    silent.check_in()
    clock.pass_(seconds=40)
    late.check_in()
    clock.pass_(seconds=50)
    fine.check_in()
    down.check_in(health="down")
    response = page()
    assert names(response) == ["b-silent", "d-down", "c-late", "e-never", "a-fine"]
    text = response.content.decode()
    for words in ("Down: its agent is silent", "Down, says its agent", "Late: its agent missed check-ins"):
        assert words in text
    assert "50 s ago" in text


class TestFilters:
    @pytest.fixture(autouse=True)
    def fleet(self, new_agent: Callable[..., Agent], clock: Clock, staff: Any) -> None:
        release("1.0.0", 1, staff)
        release("1.1.0", 2, staff)
        release("1.2.0", 3, staff, state="withdrawn")
        self.ministry = factories.institution("Ministry of Trees")
        new_agent(name="bot-old", institution=self.ministry).check_in(
            release={"version": "1.0.0", "manifestDigest": "d"}
        )
        new_agent(name="bot-new").check_in(release={"version": "1.1.0", "manifestDigest": "d"})
        new_agent(name="bot-ahead").check_in(release={"version": "1.2.0", "manifestDigest": "d"})
        new_agent(name="bot-sick").check_in(health="degraded", release=None)
        new_agent(name="bot-never")

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"state": "ok"}, ["bot-ahead", "bot-new", "bot-old"]),
            ({"state": "degraded"}, ["bot-sick"]),
            ({"state": "never_heard"}, ["bot-never"]),
            ({"state": "unwell"}, ["bot-sick"]),
            ({"version": "1.1.0"}, ["bot-new"]),
            ({"behind": "yes"}, ["bot-old"]),
            ({"q": "trees"}, ["bot-old"]),
            ({"q": "bot-s"}, ["bot-sick"]),
            ({"institution__id__exact": "x"}, ["bot-sick", "bot-never", "bot-ahead", "bot-new", "bot-old"]),
        ],
    )
    def test_narrow(self, query: dict[str, str], expected: list[str], page: Callable[..., Any]) -> None:
        assert names(page(**query)) == expected

    def test_by_institution(self, page: Callable[..., Any]) -> None:
        assert names(page(institution__id__exact=self.ministry.pk)) == ["bot-old"]

    @pytest.mark.parametrize("column", range(5))
    def test_sorts(self, column: int, page: Callable[..., Any]) -> None:
        assert len(names(page(o=column))) == len(names(page(o=f"-{column}"))) == 5

    def test_says_what_is_behind_what(self, page: Callable[..., Any]) -> None:
        response = page()
        assert "<small>behind 1.1.0</small>" in response.content.decode()
        assert response.context["fleet"].behind == 1
        assert response.context["fleet"].total == 5

    def test_without_a_published_release_nothing_is_behind(self, page: Callable[..., Any]) -> None:
        Release.objects.update(state="withdrawn")
        assert names(page(behind="yes")) == []
        assert "No release is published" in page().content.decode()


class TestTraffic:
    def test_counts_the_last_hour_only(self, clock: Clock) -> None:
        sender, recipient = factories.participant(), factories.participant()
        factories.delivery(sender, recipient, state="delivered", attempts=1)
        clock.pass_(minutes=61)
        factories.delivery(sender, recipient, state="delivered", attempts=1)
        factories.delivery(sender, recipient, state="delivered", attempts=2)
        factories.delivery(sender, recipient, state="dead", attempts=1, last_error="answered 400")
        factories.delivery(sender, recipient)
        found = traffic_of([sender.row.pk, recipient.row.pk])
        assert found[sender.row.pk].sent == 4
        assert found[recipient.row.pk] == Traffic(received=4, sent=0, failed=2, backlog=1)

    def test_an_old_backlog_counts(self, clock: Clock) -> None:
        sender, recipient = factories.participant(), factories.participant()
        factories.delivery(sender, recipient)
        clock.pass_(hours=5)
        assert traffic_of([recipient.row.pk])[recipient.row.pk] == Traffic(backlog=1)

    def test_of_nobody(self) -> None:
        assert traffic_of([]) == {}

    def test_a_breaker_that_is_not_closed_is_named(self, page: Callable[..., Any]) -> None:
        failing = factories.participant()
        Breaker.objects.create(recipient=failing.row, state="open", probe_at=NOON)
        assert "0, breaker open" in page().content.decode()

    def test_a_huge_backlog_is_counted_no_further(
        self, monkeypatch: pytest.MonkeyPatch, page: Callable[..., Any]
    ) -> None:
        monkeypatch.setattr("observability.traffic.MOST_COUNTED", 1)
        monkeypatch.setattr("observability.admin.fleet.MOST_COUNTED", 1)
        sender, recipient = factories.participant(), factories.participant()
        for _ in range(5):
            factories.delivery(sender, recipient)
        assert traffic_of([recipient.row.pk])[recipient.row.pk].backlog == 2
        assert "over 1" in page().content.decode()


def fill(count: int) -> None:
    """So many Instances, each with vital signs and a delivery."""
    from observability.models import VitalSigns

    institution = factories.institution()
    rows = factories.Participant.objects.bulk_create(
        [factories.Participant(name=f"bot-{number:05}", institution=institution) for number in range(count)]
    )
    VitalSigns.objects.bulk_create(
        [
            VitalSigns(participant=row, last_heard_at=NOON, told_at=NOON, sequence=1, agent_version="1", health="ok",
                       release_version="1.0.0", inventory_digest="", period=30, late_at=NOON, silent_at=NOON)
            for row in rows
        ]
    )  # fmt: skip
    registered = [factories.Registered(row, "") for row in rows[:5]]
    for each in registered:
        message = Message.objects.create(
            sender=each.row, message_id=each.row.public_id, sent_by=each.name, send_to=each.name, content_type="",
            payload=b"", payload_size=0, digest="", accepted_at=NOON, expires_at=NOON + timedelta(days=1),
        )  # fmt: skip
        Delivery.objects.create(
            message=message, recipient=each.row, recipient_name=each.name, due_at=NOON, accepted_at=NOON,
            expires_at=NOON + timedelta(days=1),
        )  # fmt: skip


def test_the_number_of_queries_does_not_grow_with_the_fleet(page: Callable[..., Any], staff: Any) -> None:
    release("1.1.0", 2, staff)
    fill(10)
    page()
    with CaptureQueriesContext(connection) as few:
        assert len(names(page())) == 10
    fill_more = factories.institution()
    factories.Participant.objects.bulk_create(
        [factories.Participant(name=f"more-{number:05}", institution=fill_more) for number in range(190)]
    )
    with CaptureQueriesContext(connection) as many:
        assert len(names(page())) == 100
    assert len(many) == len(few)
    assert len(few) <= 29  # of which 11 are the log-in, and 3 on PostgreSQL are about how to count


def test_5000_instances_are_paged(page: Callable[..., Any]) -> None:
    fill(5000)
    response = page(p=50)
    assert len(names(response)) == 100
    assert response.context["cl"].result_count == 5000


class TestOneInstance:
    def test_shows_what_is_known(self, agent: Agent, client: Client, staff: Any, clock: Clock) -> None:
        agent.check_in(components=[{"name": "opensearch", "version": "2.1", "digest": None, "health": "down"}])
        clock.pass_(minutes=2)
        alerts.evaluate()
        client.force_login(staff)
        text = client.get(reverse("admin:observability_instance_change", args=[agent.row.pk])).content.decode()
        for words in (
            "opensearch",
            "Down: its agent is silent",
            "1 d 1 h",
            "8.0 GiB",
            "is down: its agent is silent",
        ):
            assert words in text

    def test_one_that_was_never_heard_of(self, agent: Agent, client: Client, staff: Any) -> None:
        client.force_login(staff)
        url = reverse("admin:observability_instance_change", args=[agent.row.pk])
        assert "Never heard of" in client.get(url).content.decode()

    @pytest.mark.parametrize("key", ["0", "999999", "x"])
    def test_one_that_is_not_there(self, key: str, client: Client, staff: Any) -> None:
        client.force_login(staff)
        assert client.get(reverse("admin:observability_instance_change", args=[key])).status_code == 302

    def test_nothing_can_be_written(self, agent: Agent, client: Client, staff: Any) -> None:
        client.force_login(staff)
        for action in ("change", "delete"):
            url = reverse(f"admin:observability_instance_{action}", args=[agent.row.pk])
            assert client.post(url, {"name": "other"}).status_code == 403
        assert client.get(reverse("admin:observability_instance_add")).status_code == 403


class TestAlertsPage:
    def test_lists_and_filters(self, agent: Agent, client: Client, staff: Any, clock: Clock) -> None:
        agent.check_in(health="down")
        alerts.evaluate()
        agent.check_in(health="ok")
        alerts.evaluate()
        agent.check_in(health="degraded")
        alerts.evaluate()
        client.force_login(staff)
        url = reverse("admin:observability_alert_changelist")
        for query, count in (({}, 2), ({"open": "yes"}, 1), ({"open": "no"}, 1), ({"kind__exact": "silence"}, 0),
                             ({"participant__institution__id__exact": agent.row.institution_id}, 2),
                             ({"q": "tallinn"}, 2)):  # fmt: skip
            assert client.get(url, query).context["cl"].result_count == count
        text = client.get(url, {"open": "yes"}).content.decode()
        assert "Open, warning" in text
        assert "is degraded, says its agent" in text
        alert = Alert.objects.open().get()
        page = client.get(reverse("admin:observability_alert_change", args=[alert.pk])).content.decode()
        assert "not told yet" in page
        assert client.post(reverse("admin:observability_alert_delete", args=[alert.pk])).status_code == 403


def test_staff_without_the_permission_see_nothing(client: Client, django_user_model: Any) -> None:
    client.force_login(django_user_model.objects.create_user("new", is_staff=True))
    assert client.get(FLEET).status_code == 403
