"""A thousand guesses at once are no more than the same ones in a row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from staff import throttle
from staff.models import Guesser

THREADS = 8


@pytest.mark.django_db(transaction=True)
def test_guesses_at_once_are_counted_one_by_one() -> None:
    keys = [throttle.of_address("198.51.100.7"), throttle.of_account("anna")]

    def guess(number: int) -> int:
        try:
            return throttle.take(keys if number % 2 else keys[::-1])
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as threads:
        waits = list(threads.map(guess, range(40)))
    # The free ones, and the first that is not: only after it there is a pause.
    assert waits.count(0) == throttle.PATIENCE["account"].free + 1


@pytest.mark.django_db
def test_a_count_that_is_forgiven_meanwhile_begins_anew() -> None:
    """Somebody comes in between the two statements of an attempt by the same account."""
    keys = [throttle.of_address("198.51.100.7"), throttle.of_account("anna")]
    assert throttle.take(keys) == 0
    forgiven = []

    def forgive_once(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("SELECT") and "staff_guesser" in sql and not forgiven:
            forgiven.append(keys[1])
            throttle.forgive(forgiven)
        return execute(sql, *rest)

    with connection.execute_wrapper(forgive_once):
        assert throttle.take(keys) == 0
    assert forgiven
    assert sorted(Guesser.objects.values_list("failures", flat=True)) == [1, 2]
