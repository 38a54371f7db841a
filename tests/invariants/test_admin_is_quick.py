"""Every page of the admin asks the database few questions, however many rows there are, and counts no big table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from participants.models import Participant
from staff import roles
from tests import many
from tests.staff.people import browser, person
from updates.models import Rollout

ROWS = 130  # more than fit on any page
MOST_QUERIES = 20
# Tables that grow with traffic: no page counts all of one.
BIG = (
    "relay_delivery", "relay_message", "relay_attempt", "participants_change", "updates_report",
    "updates_targetevent",
)  # fmt: skip
COUNT_OF_ALL = re.compile(rf'SELECT COUNT\(\*\) AS "__count" FROM "({"|".join(BIG)})"(?! WHERE)')
FORMS = ("participants.institution", "participants.participant", "participants.room", "auth.user")

pytestmark = pytest.mark.django_db


def addresses(request: Any) -> Iterator[str]:
    """Of each type of page: of every admin its list, the pages of its first and its last row, and its history."""
    yield reverse("admin:index")
    for each in admin.site._registry.values():
        name = f"admin:{each.opts.app_label}_{each.opts.model_name}"
        for query in ("", "?q=bot", "?p=2", "?o=1"):
            yield reverse(f"{name}_changelist") + query
        if each.opts.label_lower in FORMS:
            yield reverse(f"{name}_add")
        rows = each.get_queryset(request).order_by("pk")
        first, last = rows.first(), rows.last()
        assert first is not None, f"tests/many.py makes no {each.opts.label_lower}"
        assert last is not None
        for row in (first, last):
            yield reverse(f"{name}_change", args=[row.pk])
        yield reverse(f"{name}_history", args=[first.pk])
    bot = Participant.objects.get(name="bot-0")
    for page in ("participants_participant_life", "participants_participant_issue_key",
                 "participants_endpointterms_of", "observability_instance_overview"):  # fmt: skip
        yield reverse(f"admin:{page}", args=[bot.pk])
    yield reverse("admin:participants_outage_calendar")
    yield reverse("admin:updates_rollout_change", args=[Rollout.objects.earliest("pk").pk]) + "?p=2"
    yield reverse("admin:relay_delivery_changelist") + "?dead=open&recipient=bot-0"


def asked(client: Client, address: str) -> list[str]:
    """The statements that the page took."""
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(address, follow=True)
    assert answer.status_code == 200, f"{address}: {answer.status_code}"
    return [each["sql"] for each in queries]


def test_few_questions_and_no_count_of_all() -> None:
    many.fill(ROWS)
    user = person(*roles.EVERYBODY)
    client, request = browser(user), RequestFactory().get("/admin/")
    request.user = user
    found: dict[str, Any] = {address: asked(client, address) for address in addresses(request)}
    assert len(found) > 150
    assert [
        f"{address}: {len(statements)}, such as {max(statements, key=statements.count)}"
        for address, statements in found.items()
        if len(statements) >= MOST_QUERIES
    ] == []
    assert [address for address, statements in found.items() if any(map(COUNT_OF_ALL.search, statements))] == []


def test_a_count_of_all_would_be_seen() -> None:
    assert COUNT_OF_ALL.search('SELECT COUNT(*) AS "__count" FROM "relay_delivery"')
    assert not COUNT_OF_ALL.search('SELECT COUNT(*) AS "__count" FROM "participants_room"')
