"""Keeping PostgreSQL's planner to the indexes that a statement was written for, whatever its statistics say.

The partial indexes of what is pending, leased or dead hold a few rows or very many. Statistics that were taken while
they held none make all of them look alike: a statement then reads all that is pending by any of them, and sorts it.
And what was planned while a table was nearly empty reads all of it, until PostgreSQL takes statistics again.
For the pump see delivery.claim.prepare_connection; SQLite has no such statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

# What has to be sorted or read whole after all looks so costly then that it would be compiled first.
OFF = ("enable_sort", "enable_incremental_sort", "enable_seqscan", "jit")


@contextmanager
def in_index_order() -> Iterator[None]:
    """A transaction in which rows are read by an index that has them in the order asked for.

    Where one is open already, what follows in that is planned so as well.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"set_config('{each}', 'off', true)" for each in OFF))
        yield
