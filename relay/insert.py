"""The hot path's INSERT: a message and its one delivery. One statement on PostgreSQL, one transaction on SQLite."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.db import connection, models, transaction

from relay.models import Delivery, Message

# A repeat is the sender's right and no error: it must not abort a transaction, nor be logged by the database.
_CONFLICT = "ON CONFLICT (sender_id, message_id) DO NOTHING RETURNING id"


def message_and_delivery(message: Message, delivery: Delivery) -> bool:
    """Stores both, or neither where the sender has used the message's id before (False). Durable on return,
    unless a transaction is open.
    """
    if connection.vendor == "postgresql":
        return _in_one_statement(message, delivery)
    return _in_one_transaction(message, delivery)


def _in_one_statement(message: Message, delivery: Delivery) -> bool:
    values = [getattr(message, name) for name in _columns(Message)]
    values += [getattr(delivery, name) for name in _columns(Delivery, but="message_id")]
    with connection.cursor() as cursor:
        cursor.execute(_statement(), values)
        return cursor.fetchone() is not None


@lru_cache(maxsize=1)
def _statement() -> str:
    messages, deliveries = _columns(Message), _columns(Delivery, but="message_id")
    # In a SELECT nothing tells PostgreSQL the types of its parameters.
    types = {each.column: each.db_type(connection) for each in Delivery._meta.concrete_fields}
    typed = ", ".join(f"%s::{types[column]}" for column in deliveries)
    return f"""
        WITH stored AS (
            INSERT INTO relay_message ({", ".join(messages)}) VALUES ({_places(messages)}) {_CONFLICT}
        )
        INSERT INTO relay_delivery (message_id, {", ".join(deliveries)})
        SELECT stored.id, {typed} FROM stored RETURNING message_id
    """


def _in_one_transaction(message: Message, delivery: Delivery) -> bool:
    messages, deliveries = _columns(Message), _columns(Delivery, but="message_id")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO relay_message ({', '.join(messages)}) VALUES ({_places(messages)}) {_CONFLICT}",
            _values(message, messages),
        )
        stored = cursor.fetchone()
        if stored is None:
            return False
        cursor.execute(
            f"INSERT INTO relay_delivery (message_id, {', '.join(deliveries)}) VALUES (%s, {_places(deliveries)})",
            [stored[0], *_values(delivery, deliveries)],
        )
    return True


@lru_cache(maxsize=4)
def _columns(model: type[models.Model], but: str = "") -> tuple[str, ...]:
    """All columns but the key, which the database makes; each is named as its attribute."""
    return tuple(
        str(each.column) for each in model._meta.concrete_fields if not each.primary_key and each.column != but
    )


def _places(columns: tuple[str, ...]) -> str:
    return ", ".join(["%s"] * len(columns))


def _values(row: models.Model, columns: tuple[str, ...]) -> list[Any]:
    """The row's values as SQLite takes them; PostgreSQL's driver takes Python's."""
    fields = {each.column: each for each in row._meta.concrete_fields}
    return [fields[column].get_db_prep_save(getattr(row, fields[column].attname), connection) for column in columns]
