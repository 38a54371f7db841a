"""Django's backend for PostgreSQL, but for one error that it takes for a mistake of ours.

A server that takes no writes (a standby, or one that protects itself) says so as an internal error. It is about the
database as a whole, as one that is away, and passes as that does: so it is told as `storage.ReadOnly`. A session may
stay read-only after its database has become writable; it is not used again.
"""

from __future__ import annotations

from functools import cached_property
from types import TracebackType

from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from psycopg.errors import ReadOnlySqlTransaction

from dmr_project.lib import storage


class _Errors(DatabaseErrorWrapper):
    """What turns the driver's errors into Django's, for each statement."""

    def __init__(self, wrapper: DatabaseWrapper) -> None:
        super().__init__(wrapper)
        self._connection = wrapper

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, ReadOnlySqlTransaction):
            self._connection.close_at = 0.0  # at the end of what is under way
            raise storage.ReadOnly(*error.args).with_traceback(traceback) from error
        super().__exit__(kind, error, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        return _Errors(self)
