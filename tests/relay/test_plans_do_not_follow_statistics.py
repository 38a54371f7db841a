"""Claiming and settling go by keys and by the index of what is due to a recipient, also where statistics mislead.

They do after a quiet time: nothing is pending when PostgreSQL takes them, and then a backlog comes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from relay.delivery import claim, settle
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.models import Delivery
from tests import factories

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="it is about PostgreSQL's planner"),
]
BY_KEY = {"delivery_due", "relay_delivery_pkey", "delivery_conversation"}  # the last within a conversation alone


@pytest.fixture
def after_a_quiet_time() -> Iterator[None]:
    """Many deliveries, all ended, and statistics that say so; the connection as a pump has it."""
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    Delivery.objects.filter(pk=delivery.pk).update(state="delivered", ended_at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO relay_delivery (message_id, recipient_id, recipient_name, sender_id, conversation, state,
                due_at, attempts, expires_at, accepted_at, ended_at, last_error)
            SELECT message_id, recipient_id, recipient_name, sender_id, conversation, state, due_at, attempts,
                expires_at, accepted_at, ended_at, last_error
            FROM relay_delivery, generate_series(1, 50000)
            """
        )
        cursor.execute("VACUUM ANALYZE relay_delivery")
    claim.prepare_connection()
    yield
    with connection.cursor() as cursor:
        for setting in ("enable_sort", "enable_incremental_sort", "jit"):
            cursor.execute(f"RESET {setting}")


@contextmanager
def explained() -> Iterator[list[set[str]]]:
    """Of each statement within that changes deliveries: the indexes by which it reads them."""
    found: list[set[str]] = []

    def explain(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        if "UPDATE relay_delivery" in sql:
            execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters, many, context)
            (said,) = context["cursor"].fetchone()
            found.append(set(read_by(said if isinstance(said, list) else json.loads(said))))
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(explain):
        yield found


def read_by(plan: Any) -> Iterator[str]:
    """Names of indexes, and of what is read without one."""
    if isinstance(plan, list):
        for each in plan:
            yield from read_by(each)
    elif isinstance(plan, dict):
        if plan.get("Relation Name") == "relay_delivery" and "Scan" in plan["Node Type"]:
            yield plan.get("Index Name", plan["Node Type"])
        elif plan.get("Node Type") == "Bitmap Index Scan":
            yield plan["Index Name"]
        for each in plan.values():
            yield from read_by(each)


def test_a_claim_reads_each_recipients_few_oldest(after_a_quiet_time: None) -> None:
    sender = factories.participant()
    for _ in range(3):
        factories.message(sender, factories.participant().name)
    with explained() as plans:
        claimed = claim.claim(100)
    assert len(claimed) == 3
    assert plans
    assert all(plan <= BY_KEY for plan in plans), plans


def test_settling_reads_what_it_settles(after_a_quiet_time: None) -> None:
    sender, recipient = factories.participant(), factories.participant()
    factories.message(sender, recipient.name)
    (claimed,) = claim.claim(100)
    with explained() as plans:
        settle.settle([Attempted(claimed, Outcome(True, 202, "", 0.01), timezone.now())])
    assert plans == [{"relay_delivery_pkey"}]
    assert Delivery.objects.get(pk=claimed.id).state == "delivered"
