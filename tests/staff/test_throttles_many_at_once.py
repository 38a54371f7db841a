"""A thousand guesses at once are no more than the same ones in a row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from staff import throttle

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
