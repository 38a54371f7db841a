"""The hot path's INSERT: messages with one delivery each, of many requests in one statement and one commit.

A statement costs the database as much as the row that it brings, and a commit waits for the disk: so whoever comes
while one is under way waits for it, and then one of those who wait stores the rows of all. A request that is alone
waits for nobody. For those who wait on an event loop a thread of ours does what they may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection, models, transaction

from dmr_project.lib import storage
from participants import directory
from relay.models import Delivery, Message

logger = logging.getLogger(__name__)

MOST_ROWS = 64
MOST_BYTES = 4 * 1024 * 1024  # of payload in one statement, beyond the first row's

Result = TypeVar("Result")


class Stored(Enum):
    NEW = "new"
    REPEAT = "repeat"  # the sender has used the message's id before: nothing is stored
    OUTDATED = "outdated"  # the registry has changed since it was read: nothing is stored


@dataclass(frozen=True)
class Row:
    """A message and its one delivery. `message`: values by column, all that Message has but the key."""

    message: dict[str, Any]
    recipient_id: int
    recipient_name: str
    version: int  # of the registry by which sender and recipient were looked up


@dataclass
class _Waiting:
    """A request's row, on its way into the database; its thread waits."""

    row: Row
    stored: Stored | None = None
    error: Exception | None = None
    leads: bool = False  # it is to store what waits
    told: threading.Event = field(default_factory=threading.Event)

    def lead(self) -> None:
        self.leads = True
        self.told.set()

    def tell(self) -> None:
        self.told.set()


@dataclass
class _OnLoop(_Waiting):
    """The same, awaited on an event loop."""

    if_new: Callable[[], None] = lambda: None
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def __post_init__(self) -> None:
        self.done = self.loop.create_future()

    def lead(self) -> None:
        _thread.submit(_store_waiting)

    def tell(self) -> None:
        try:
            if self.stored is Stored.NEW:
                self.if_new()
        except Exception:  # it is stored all the same, and others wait to be told of theirs
            logger.exception("stored_not_noted")
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            self.loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self.done.done():  # nobody has given it up
            self.done.set_result(None)


_lock = threading.Lock()
_waiting: list[_Waiting] = []
_is_storing = False
_thread = ThreadPoolExecutor(1, thread_name_prefix="storing")


def store(row: Row) -> Stored:
    """Stores the row, perhaps with others'. Durable on return, unless a transaction is open."""
    mine = _Waiting(row)
    if connection.in_atomic_block:  # nobody else may be told of what this transaction may still undo
        _store_batch([mine])
    else:
        _store_with_others(mine)
    if mine.error is not None:
        raise mine.error
    assert mine.stored is not None
    return mine.stored


async def store_on_loop(row: Row, if_new: Callable[[], None]) -> Stored:
    """The same for who must not block its thread. `if_new` is called on another thread once the row is stored.

    Even where the caller has been cancelled meanwhile.
    """
    mine = _OnLoop(row, if_new=if_new)
    if _join(mine):
        mine.lead()
    await mine.done
    if mine.error is not None:
        raise mine.error
    assert mine.stored is not None
    return mine.stored


def _store_with_others(mine: _Waiting) -> None:
    mine.leads = _join(mine)
    if not mine.leads:
        mine.told.wait()
    if mine.leads:
        _store_waiting()


def _join(mine: _Waiting) -> bool:
    """Joins those who wait. True where nobody is storing, so that this one is to lead."""
    global _is_storing
    with _lock:
        _waiting.append(mine)
        leads, _is_storing = not _is_storing, True
    return leads


def _store_waiting() -> None:
    """Stores what waits now, our own row with it, and lets the first of those who came since do the same."""
    global _is_storing
    with _lock:
        batch = _take()
    try:
        _store_batch(batch)
    finally:
        with _lock:
            _is_storing = bool(_waiting)
            if _waiting:
                _waiting[0].lead()
        for each in batch:
            each.tell()


def _take() -> list[_Waiting]:
    """From the front of those who wait, each sender's message id once: a repeat waits for the next turn."""
    taken: list[_Waiting] = []
    left: list[_Waiting] = []
    seen: set[tuple[object, object]] = set()
    size = 0
    for each in _waiting:
        message = each.row.message
        key = (message["sender_id"], message["message_id"])
        size += message["payload_size"]
        if taken and (key in seen or len(taken) >= MOST_ROWS or size > MOST_BYTES):
            left.append(each)
        else:
            seen.add(key)
            taken.append(each)
    _waiting[:] = left
    # In one order everywhere: two processes that store the same messages cannot wait for each other for ever.
    return sorted(taken, key=lambda each: (each.row.message["sender_id"], each.row.message["message_id"].int))


def _store_batch(batch: Sequence[_Waiting]) -> None:
    """Gives each its outcome or its error; what cannot be stored together is tried one by one."""
    try:
        for each, stored in zip(batch, _reconnecting(lambda: _store_rows([each.row for each in batch])), strict=True):
            each.stored = stored
    except Exception as error:
        if len(batch) == 1 or isinstance(error, (OperationalError, InterfaceError)):
            for each in batch:
                each.error = error
        else:
            for each in batch:
                _store_batch([each])


def _reconnecting(work: Callable[[], Result]) -> Result:
    """Does `work` again where the connection was lost since it was last used: storing twice stores once.

    Or where it is read-only: a new one may lead to another server, or to the same after it was made writable.
    """
    if connection.in_atomic_block:
        return work()
    # Django would ask the server with a query of its own, each time, whether the connection still stands.
    connection.health_check_done = True  # type: ignore[attr-defined]
    try:
        return work()
    except (OperationalError, InterfaceError) as error:
        if connection.connection is not None and connection.is_usable() and not storage.is_read_only(error):
            raise  # it stands: this is about something else
        connection.close()
        return work()


def _store_rows(rows: Sequence[Row]) -> list[Stored]:
    stored, version = _on_postgresql(rows) if connection.vendor == "postgresql" else _on_sqlite(rows)
    return [
        Stored.NEW if place in stored else Stored.REPEAT if row.version == version else Stored.OUTDATED
        for place, row in enumerate(rows)
    ]


def _on_postgresql(rows: Sequence[Row]) -> tuple[set[int], int]:
    """The places of the rows that were stored, and the registry's version, in one statement.

    It has two parameters, however many rows: all values in one JSON array, and the payloads' bytes one after the
    other. (The driver takes much longer over arrays, and parses anew a statement whose length varies.)
    """
    given: list[dict[str, Any]] = []
    begins = 1
    for place, row in enumerate(rows, start=1):
        more = {"place": place, "begins": begins, "version": row.version}
        to = {"recipient_id": row.recipient_id, "recipient_name": row.recipient_name}
        given.append({**row.message, **more, **to, "payload": None})
        begins += row.message["payload_size"]
    payloads = b"".join(row.message["payload"] for row in rows)
    with connection.cursor() as cursor:
        cursor.execute(_statement(), [payloads, json.dumps(given, default=str)])
        found = [row[0] for row in cursor.fetchall()]
    # Places count from 1; what is not above 0 is the version, negative.
    return {place - 1 for place in found if place > 0}, next(-place for place in found if place <= 0)


@lru_cache(maxsize=1)
def _statement() -> str:
    columns = _columns(Message)
    names = ", ".join(columns)
    sources = ", ".join(
        "substring(payloads.bytes FROM begins FOR payload_size)" if c == "payload" else c for c in columns
    )
    types = {str(each.column): str(each.db_type(connection)) for each in Message._meta.concrete_fields}
    typed = ", ".join(f"{column} {types[column]}" for column in columns if column != "payload")
    into, values = zip(*_delivery_values().items(), strict=True)
    return f"""
        WITH registry AS (
            SELECT COALESCE((SELECT number FROM participants_registryversion WHERE id = 1), 0) AS number
        ), payloads AS (
            SELECT %s::bytea AS bytes
        ), given AS (
            SELECT * FROM json_to_recordset(%s::json)
                AS given(place int, begins int, version bigint, recipient_id bigint, recipient_name text, {typed})
        ), stored AS (
            INSERT INTO relay_message ({names})
            SELECT {sources} FROM given JOIN registry ON registry.number = given.version, payloads ORDER BY place
            ON CONFLICT (sender_id, message_id) DO NOTHING RETURNING id, sender_id, message_id
        ), under_way AS (
            INSERT INTO relay_delivery (message_id, {", ".join(into)})
            SELECT stored.id, {", ".join(values)}
            FROM stored JOIN given USING (sender_id, message_id) ORDER BY stored.id
        )
        SELECT place FROM stored JOIN given USING (sender_id, message_id)
        UNION ALL SELECT -number FROM registry
    """


def _on_sqlite(rows: Sequence[Row]) -> tuple[set[int], int]:
    """The same, in one transaction."""
    columns = _columns(Message)
    into, values = zip(*_delivery_values().items(), strict=True)
    stored: set[int] = set()
    with transaction.atomic(), connection.cursor() as cursor:
        version = directory.registry_version()
        for place, row in enumerate(rows):
            if row.version != version:
                continue
            cursor.execute(
                f"INSERT INTO relay_message ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) "
                "ON CONFLICT (sender_id, message_id) DO NOTHING RETURNING id",
                _for_sqlite(row.message, columns),
            )
            inserted = cursor.fetchone()
            if inserted is None:
                continue
            cursor.execute(
                f"INSERT INTO relay_delivery (message_id, {', '.join(into)}) SELECT given.id, {', '.join(values)} "
                "FROM relay_message AS given, (SELECT %s AS recipient_id, %s AS recipient_name) WHERE given.id = %s",
                [row.recipient_id, row.recipient_name, inserted[0]],
            )
            stored.add(place)
    return stored, version


@lru_cache(maxsize=2)
def _columns(model: type[models.Model]) -> tuple[str, ...]:
    """All columns but the key, which the database makes; each is named as its attribute."""
    return tuple(str(each.column) for each in model._meta.concrete_fields if not each.primary_key)


@lru_cache(maxsize=1)
def _delivery_values() -> dict[str, str]:
    """What a new delivery's columns hold, in SQL: what its message says, else the model's defaults."""
    values = {
        "recipient_id": "recipient_id",
        "recipient_name": "recipient_name",
        "sender_id": "given.sender_id",
        "conversation": "given.conversation",
        "due_at": "given.accepted_at",
        "accepted_at": "given.accepted_at",
        "expires_at": "given.expires_at",
    }
    for each in Delivery._meta.concrete_fields:
        column, default = str(each.column), each.get_default()
        if column not in values and column != "message_id" and not each.primary_key and default is not None:
            values[column] = str(int(default)) if isinstance(default, int) else f"'{default}'"
    return values


def _for_sqlite(message: dict[str, Any], columns: tuple[str, ...]) -> list[Any]:
    """The values as SQLite takes them; PostgreSQL's driver takes Python's."""
    fields = {str(each.column): each for each in Message._meta.concrete_fields}
    return [fields[column].get_db_prep_save(message[column], connection) for column in columns]
