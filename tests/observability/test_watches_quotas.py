"""Staff are told of senders that store too much, and see who stores how much."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from observability import alerts
from observability.models import Alert
from participants import registry
from relay import stored_bytes
from relay.models import StoredBytes
from tests import factories
from tests.factories import Registered
from tests.observability.test_measures_the_fleet import gauges

pytestmark = pytest.mark.django_db
LIST = "admin:relay_storedbytes_changelist"


@pytest.fixture(autouse=True)
def quota(settings: Any) -> None:
    settings.STORED_BYTES_PER_PARTICIPANT = 1000


def stores(size: int, **fields: Any) -> Registered:
    made = factories.participant(**fields)
    StoredBytes.objects.create(participant=made.row, size=size)
    return made


def test_an_alert_opens_worsens_and_closes(client: Client) -> None:
    sender = stores(899)
    assert alerts.evaluate() == 0
    steps = [(1, "warning", "has used 90 % of its quota"), (100, "critical", "has reached its quota")]
    for more, level, message in steps:
        stored_bytes.add({sender.row.pk: more})
        assert alerts.evaluate() == 1
        alert = Alert.objects.get()
        assert (alert.kind, alert.level, alert.participant) == ("quota", level, sender.row)
        assert message in alert.message
        assert alerts.evaluate() == 0
    assert gauges(client)["dmr_alerts_open", "quota"] == 1
    stored_bytes.add({sender.row.pk: -500})
    assert alerts.evaluate() == 1
    alert = Alert.objects.get()
    assert (alert.is_open, alert.reason) == (False, "recovered")
    assert "room in its quota again" in alert.changes.get(step="recovered").message


def test_only_who_may_send_and_has_a_quota_raises_one() -> None:
    registry.set_status([stores(2000).row], "Suspended", actor="tests")
    stores(2000, stored_bytes_limit=0)
    stores(2000, stored_bytes_limit=3000)
    assert alerts.evaluate() == 0
    stores(5, stored_bytes_limit=5)
    assert alerts.evaluate() == 1


def test_what_all_store_is_a_gauge(client: Client) -> None:
    stores(300)
    stores(500)
    stores(-10)
    assert gauges(client)["dmr_stored_payload_bytes",] == 790


def test_staff_see_who_stores_how_much(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    rows = [stores(size).row for size in (100, 950, 1000)]
    free = stores(10**12, stored_bytes_limit=0).row
    with django_assert_max_num_queries(10):
        answer = admin_client.get(reverse(LIST))
    shown = [row.participant for row in answer.context["cl"].result_list]
    assert shown == [free, rows[2], rows[1], rows[0]], "the most first"
    page = answer.content.decode()
    for text in ("no limit", "100 % of 1000", "95 % of 1000", "10 % of 1000"):
        assert text in page
    for value, expected in (("100", {rows[2]}), ("90", {rows[1], rows[2]}), ("50", {rows[1], rows[2]})):
        found = admin_client.get(reverse(LIST), {"filled": value}).context["cl"].result_list
        assert {row.participant for row in found} == expected
