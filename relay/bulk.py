"""Many messages and deliveries in a few statements, so that what a statement costs is shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connection, models

from relay.models import Delivery, Message

ROWS = 500  # of one statement: PostgreSQL takes 65,535 values in one, SQLite 32,766


def insert_messages(messages: Sequence[Message]) -> list[Message]:
    """Stores those whose id their sender has not used before, gives them their keys, and returns them.

    In the order of their ids, so that two batches with the same ones cannot wait for each other for ever. Call
    it in a transaction.
    """
    by_id = {(each.sender_id, each.message_id): each for each in messages}
    ordered = [by_id[key] for key in sorted(by_id, key=lambda key: (key[0], key[1].int))]
    stored = []
    conflict = "ON CONFLICT (sender_id, message_id) DO NOTHING RETURNING id, sender_id, message_id"
    for pk, sender_id, message_id in _insert(Message, ordered, conflict):
        message = by_id[sender_id, UUID(str(message_id))]
        message.pk = pk
        stored.append(message)
    return stored


def insert_deliveries(deliveries: Sequence[Delivery]) -> None:
    """Stores them as they are ordered: within a conversation the order of the keys is that of delivery.

    Their messages are stored already. Call it in a transaction.
    """
    for each in deliveries:
        each.message_id = each.message.pk
    list(_insert(Delivery, deliveries, "RETURNING id"))


def _insert(model: type[models.Model], rows: Sequence[models.Model], more: str) -> Iterator[tuple[Any, ...]]:
    fields = _fields(model)
    columns = ", ".join(str(field.column) for field in fields)
    place = f"({', '.join(['%s'] * len(fields))})"
    for begin in range(0, len(rows), ROWS):
        some = rows[begin : begin + ROWS]
        places = ", ".join([place] * len(some))
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {model._meta.db_table} ({columns}) VALUES {places} {more}",
                [value for row in some for value in _values(row, fields)],
            )
            yield from cursor.fetchall()


@lru_cache(maxsize=2)
def _fields(model: type[models.Model]) -> tuple[models.Field[Any, Any], ...]:
    """All but the key, which the database makes."""
    return tuple(field for field in model._meta.concrete_fields if not field.primary_key)


def _values(row: models.Model, fields: tuple[models.Field[Any, Any], ...]) -> Sequence[Any]:
    """As the database takes them: PostgreSQL's driver takes Python's own, SQLite's less."""
    plain: Sequence[Any] = attrgetter(*(field.attname for field in fields))(row)
    if connection.vendor == "postgresql":
        return plain
    return [field.get_db_prep_save(value, connection) for field, value in zip(fields, plain, strict=True)]
