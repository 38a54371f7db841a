"""A claim takes a few rows of each recipient, wherever it begins its round, and another claim does not stop it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection

from relay.delivery import claim
from tests import factories

pytestmark = pytest.mark.django_db


def test_a_round_comes_to_each_recipient_once() -> None:
    """Also where it begins in the middle, and there is room for more."""
    sender, *recipients = (factories.participant() for _ in range(4))
    for recipient in recipients:
        for _ in range(3 * claim.ROWS_OF_EACH):
            factories.message(sender, recipient.name)
    first, second, third = sorted(each.row.pk for each in recipients)
    for after in (0, first - 1, first, second, third, third + 1):
        claimed = claim.claim(1000, after=after)
        counts = {pk: sum(each.recipient_id == pk for each in claimed) for pk in (first, second, third)}
        assert set(counts.values()) == {claim.ROWS_OF_EACH}, after
        claim.hand_back(claimed)


def test_a_round_begins_where_the_one_before_ended() -> None:
    sender, *recipients = (factories.participant() for _ in range(4))
    for recipient in recipients:
        factories.message(sender, recipient.name)
    first, second, third = sorted(each.row.pk for each in recipients)
    assert {each.recipient_id for each in claim.claim(2, after=first)} == {second, third}
    assert {each.recipient_id for each in claim.claim(2, after=first)} == {first}


@pytest.mark.parametrize(("conflicts", "taken"), [(0, 1), (2, 1), (claim.MOST_TRIES, 0)])
def test_a_claim_that_meets_another_looks_again(conflicts: int, taken: int) -> None:
    """Else its pump would end, and what is due would wait for the sweep."""
    factories.message(factories.participant(), factories.participant().name, conversation="c1")
    left = [conflicts]

    def meet(execute: Any, sql: str, *arguments: Any) -> Any:
        if "WITH RECURSIVE waiting" in sql and left[0]:
            left[0] -= 1
            raise IntegrityError("one_in_flight_per_conversation")
        return execute(sql, *arguments)

    with connection.execute_wrapper(meet):
        assert len(claim.claim(100)) == taken
