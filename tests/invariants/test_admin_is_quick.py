"""Every page of the admin asks the database few questions, however many rows there are, and counts no big table."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from staff import roles
from tests import many
from tests.pages import addresses
from tests.staff.people import browser, person

ROWS = 130  # more than fit on any page
MOST_QUERIES = 20
# Tables that grow with traffic: no page counts all of one.
BIG = (
    "relay_delivery", "relay_message", "relay_attempt", "participants_change", "updates_report",
    "updates_targetevent",
)  # fmt: skip
COUNT_OF_ALL = re.compile(rf'SELECT COUNT\(\*\) AS "__count" FROM "({"|".join(BIG)})"(?! WHERE)')

pytestmark = pytest.mark.django_db


# Of PostgreSQL: what bounds a transaction, or sets something for it, asks for nothing.
NO_QUESTION = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE SAVEPOINT", "SELECT set_config(")


def asked(client: Client, address: str) -> list[str]:
    """The statements by which the page asked for something, or wrote it."""
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(address, follow=True)
    assert answer.status_code == 200, f"{address}: {answer.status_code}"
    return [each["sql"] for each in queries if not each["sql"].startswith(NO_QUESTION)]


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
