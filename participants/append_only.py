"""What makes the audit log append-only in the database itself: triggers, on PostgreSQL and on SQLite.

They refuse to change an entry that is in the chain, and to delete one that no Archive stands for. A migration that
alters the table of entries on SQLite rebuilds it, which drops its triggers: it must call create() again (a test sees
to it). A migration that has to alter entries calls drop() first, and has to chain them anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

MESSAGE = "the audit log is append-only"
ENTRIES = "participants_change"
ARCHIVES = "participants_archive"

_POSTGRESQL = (
    f"""
    CREATE OR REPLACE FUNCTION participants_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_TABLE_NAME = '{ENTRIES}' AND TG_OP = 'UPDATE' THEN
            IF OLD.number IS NULL THEN RETURN NEW; END IF;
        ELSIF TG_TABLE_NAME = '{ENTRIES}' AND TG_OP = 'DELETE' THEN
            IF OLD.number <= (SELECT max(number) FROM {ARCHIVES}) THEN RETURN OLD; END IF;
        END IF;
        RAISE EXCEPTION '{MESSAGE}' USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    *(
        statement
        for table in (ENTRIES, ARCHIVES)
        for statement in (
            f"CREATE TRIGGER {table}_rows BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION participants_append_only()",
            f"CREATE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION participants_append_only()",
        )
    ),
)
_SQLITE = tuple(
    f"CREATE TRIGGER {table}_{operation} BEFORE {operation} ON {table} {condition} "
    f"BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END"
    for table, operation, condition in (
        (ENTRIES, "update", "WHEN OLD.number IS NOT NULL"),
        (ENTRIES, "delete", f"WHEN coalesce(OLD.number > (SELECT max(number) FROM {ARCHIVES}), 1)"),
        (ARCHIVES, "update", ""),
        (ARCHIVES, "delete", ""),
    )
)


def create(connection: BaseDatabaseWrapper) -> None:
    _execute(connection, _POSTGRESQL if connection.vendor == "postgresql" else _SQLITE)


def drop(connection: BaseDatabaseWrapper) -> None:
    """The function stays, since CREATE OR REPLACE makes it anew."""
    if connection.vendor == "postgresql":
        names = [(f"{table}_{what}", table) for table in (ENTRIES, ARCHIVES) for what in ("rows", "truncate")]
        _execute(connection, [f"DROP TRIGGER IF EXISTS {name} ON {table}" for name, table in names])
    else:
        names = [(f"{table}_{what}", table) for table in (ENTRIES, ARCHIVES) for what in ("update", "delete")]
        _execute(connection, [f"DROP TRIGGER IF EXISTS {name}" for name, _ in names])


@contextmanager
def lifted(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Without the triggers; for tests, which empty tables and forge entries."""
    drop(connection)
    try:
        yield
    finally:
        create(connection)


def _execute(connection: BaseDatabaseWrapper, statements: Any) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
