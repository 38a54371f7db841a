"""What every test stands on: settings of its own, a database that forgets, and nothing that reaches a broker."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings

from tests.integration.fixtures import own_product, product, sink, unstarted_product  # noqa: F401
from tests.isolation import redis_databases, with_database

STAFF_KEY = "staff-key-of-the-tests"

# -- before Django reads its settings: a data folder, and with Redis a database number, for this process alone --
if settings.configured:
    raise pytest.UsageError("Unset DJANGO_SETTINGS_MODULE and leave out --ds: tests load the settings themselves.")
DATA_DIR = Path(tempfile.mkdtemp(prefix="dmr-tests-"))
atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)
for name in [name for name in os.environ if name.startswith("DMR_")]:
    del os.environ[name]
_of_this_process = {"DMR_DATA_DIR": str(DATA_DIR), "DMR_ADMIN_API_KEY": STAFF_KEY}
if os.environ.get("REDIS_URL"):
    _of_this_process["REDIS_URL"] = with_database(os.environ["REDIS_URL"], redis_databases()[0])
_inherited = dict(os.environ)
os.environ.update(_of_this_process, DJANGO_SETTINGS_MODULE="dmr_project.settings")
django.setup()
assert settings.DATA_DIR == DATA_DIR
# Each of these costs a test client or an account more than all the rest of a test.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
settings.WHITENOISE_AUTOREFRESH = True  # static files are looked up when asked for, and not listed for each client
# The workers of pytest-xdist inherit our environment, and have to come past here themselves.
os.environ.clear()
os.environ.update(_inherited)


class Wakes:
    """Counts the wake-ups that would have gone to the broker."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


_OF_A_DATABASE = {"db", "transactional_db", "product", "own_product", "unstarted_product"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database-only", action="store_true", help="leave out tests that know no database")


@pytest.hookimpl(tryfirst=True)  # before what is slow is left out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What starts a product of its own is slow, but for the invariants.

    And the second of the two runs need not repeat what would be the same in both.
    """
    for item in items:
        is_invariant = "invariants" in item.path.parts
        if "own_product" in getattr(item, "fixturenames", ()) and not is_invariant:
            item.add_marker(pytest.mark.slow)
    if not config.getoption("--database-only"):
        return
    kept = [item for item in items if uses_a_database(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def uses_a_database(item: pytest.Item) -> bool:
    if item.get_closest_marker("any_database") is not None:
        return False
    fixtures = set(getattr(item, "fixturenames", ()))
    return item.get_closest_marker("django_db") is not None or bool(fixtures & _OF_A_DATABASE)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> None:
    """SQLite in a file, as in the product: in memory it locks differently, and other threads see less."""
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        from django.db import connections

        name = str(DATA_DIR / "test.sqlite3")
        database.setdefault("TEST", {})["NAME"] = connections["default"].settings_dict["TEST"]["NAME"] = name


@pytest.fixture(scope="session", autouse=True)
def the_log_can_be_emptied() -> Iterator[None]:
    """What empties all tables after a test with real transactions may empty the append-only ones.

    On PostgreSQL it deletes their few rows: to truncate them all takes half a second.
    """
    from django.db import connection

    from participants import append_only

    operations: Any = type(connection.ops)
    flush, truncations = operations.execute_sql_flush, operations.sql_flush

    def deletions(self: Any, style: Any, tables: list[str], **more: bool) -> list[str]:
        return [f"DELETE FROM {self.quote_name(each)}" for each in tables]

    def lifted(self: Any, statements: list[str]) -> None:
        with append_only.lifted(self.connection):
            flush(self, statements)

    operations.execute_sql_flush = lifted
    if connection.vendor == "postgresql":
        operations.sql_flush = deletions
    yield
    operations.execute_sql_flush, operations.sql_flush = flush, truncations


def forget_the_database() -> None:
    """What a process remembers of it."""
    from django.core.cache import cache

    from dmr_project.lib import storage
    from participants import directory, keys, listing, signed_list
    from participants.api import centops, public_keys
    from participants.api import listing as listing_api
    from participants.guesses import guesses
    from participants.join.attempts import attempts
    from relay import counting, limits
    from relay.delivery_keys import Keyring
    from relay.inbox import leases

    directory.forget()
    centops._listed.clear()
    listing.forget()
    signed_list.shelf = signed_list.Shelf()
    listing_api.answers = listing_api.Answers()
    public_keys.sets.forget()
    keys._noted.clear()
    guesses.forget()
    attempts.forget()
    limits.forget()
    counting.forget()
    storage.forget()
    leases.keyring = Keyring()
    cache.clear()


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """What a process remembers of the database does not outlive the test that wrote it."""
    forget_the_database()
    yield
    forget_the_database()


@pytest.fixture(autouse=True)
def wakes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Wakes:
    """Records wake-ups instead of publishing them, but for a test marked `real_wake`."""
    from relay.delivery import wake

    recorder = Wakes()
    if request.node.get_closest_marker("real_wake") is None:
        monkeypatch.setattr(wake, "pump", recorder)
    return recorder


@pytest.fixture(autouse=True)
def nothing_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread writes down what senders have stored: it would do so in the middle of a test's transaction."""
    from relay import stored_bytes

    monkeypatch.setattr(stored_bytes, "start", lambda: None)


@pytest.fixture(autouse=True)
def no_thread_notes_failures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is counted is noted when a test says failures.flush()."""
    from participants import failures

    monkeypatch.setattr(failures, "start", lambda: None)
    failures._counted.clear()
    yield
    failures._counted.clear()


@pytest.fixture
def staff_key() -> str:
    return STAFF_KEY


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Callable[..., object]) -> Callable[[], object]:
    """`with committed():` runs, at its end, what waits for the commit."""
    return lambda: django_capture_on_commit_callbacks(execute=True)
