"""schemathesis asks every operation of the OpenAPI document what it promises, and finds nothing.

An operation that is new in the document is asked too: nothing has to be entered here, but (in world.py) what its
address names where no example says it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pytest
import schemathesis
import time_machine
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from drf_spectacular.generators import SchemaGenerator
from rest_framework.response import Response
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.config._checks import POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES
from schemathesis.core.failures import FailureGroup
from schemathesis.generation.hypothesis.builder import HypothesisTestConfig, HypothesisTestMode, create_test

from participants.api.my import DeliveryMode
from tests.api.world import NOW, STAFF_KEY, World, with_known_addresses
from tests.conftest import forget_the_database

# A minute long: the fast tests have it once, and the slow ones on PostgreSQL.
pytestmark = [pytest.mark.django_db, *([pytest.mark.slow] if os.environ.get("DATABASE_URL") else [])]

SEED = 1918
# Drawn for each operation, besides the examples of the document and the cases at the bounds of its shapes.
MANY, FEW = 10, 2
# Only these are asked for where they are not in the document: HEAD and the like are for the server.
METHODS = ["get", "post", "put", "patch", "delete"]
# What a schema cannot say, and so 400 may be the answer to what keeps to it.
MORE_THAN_A_SHAPE = {
    "POST /api/v1/agent/check-in": "each component has a name of its own, of printable characters",
    "POST /api/v1/keys": "some scopes contain others",
    "POST /api/v1/public-keys": "a key is a point of its curve, or a modulus; its end lies ahead",
    "POST /api/v1/messages/batch": "records follow one another",
    "POST /api/v1/outages": "staff name whose it is, a participant does not; it ends after it begins, and soon",
    "POST /centops/admin/participants": "a host is a URL",
    "PUT /centops/admin/participants/{public_id}": "a host is a URL",
}
PARTS = 6  # of the operations, so that several processes share them


@lru_cache(maxsize=2)
def load(number: int) -> Any:
    generation = {
        "max-examples": number,
        "deterministic": True,
        "database": "none",
        "with-security-parameters": False,
        "allow-extra-parameters": False,  # headers and queries may bear more than we know
    }
    phases = {"coverage": {"unexpected-methods": METHODS}}
    answers = [*POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES, "400"]
    lenient = [
        {"include-name": name, "checks": {"positive_data_acceptance": {"expected-statuses": answers}}}
        for name in MORE_THAN_A_SHAPE
    ]
    config = SchemathesisConfig.from_dict(
        {"seed": SEED, "generation": generation, "phases": phases, "operations": lenient}
    )
    document = with_known_addresses(SchemaGenerator().get_schema(request=None, public=True))
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.app = get_wsgi_application()
    return schema


@pytest.fixture(autouse=True)
def connection_stays_open() -> Iterator[None]:
    """As for Django's own test client: the connection that a request would close is the test's."""
    ends = (request_started, request_finished)
    for each in ends:
        each.disconnect(close_old_connections)
    yield
    for each in ends:
        each.connect(close_old_connections)


def ask_all(ask: Callable[[Case], None], *, at_bounds: bool, part: int = 0, parts: int = 1, only: str = "") -> None:
    """Each operation of the part in many ways; at the end all that was found."""
    schema = load(MANY if at_bounds else FEW)
    modes = [HypothesisTestMode.EXAMPLES, HypothesisTestMode.FUZZING]
    if at_bounds:
        modes.append(HypothesisTestMode.COVERAGE)
    found: dict[str, BaseException] = {}
    operations = [result.ok() for result in schema.get_all_operations()]
    assert MORE_THAN_A_SHAPE.keys() <= {each.label for each in operations}
    operations = [each for each in operations if each.label.startswith(only)][part::parts]
    assert operations
    for operation in operations:
        settings = schema.config.get_hypothesis_settings(operation=operation, phase="fuzzing")
        config = HypothesisTestConfig(project=schema.config, modes=modes, settings=settings, seed=SEED)
        try:
            create_test(operation=operation, test_func=ask, config=config)()
        except (Exception, FailureGroup) as error:
            found[operation.label] = error
    assert not found, "\n\n".join(f"== {label}\n{error}" for label, error in found.items())


@pytest.fixture(autouse=True)
def at_the_time_of_the_examples() -> Iterator[None]:
    with time_machine.travel(NOW):
        yield


@contextmanager
def undone() -> Iterator[None]:
    """Each case finds the same world."""
    forget_the_database()
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def call(case: Case, key: str) -> int:
    with undone():
        return int(case.call_and_validate(headers={"X-Api-Key": key} if key else {}).status_code)


def schemes(case: Case) -> set[str]:
    return {name for each in case.operation.definition.raw.get("security", ()) for name in each}


@pytest.mark.parametrize("part", range(PARTS))
def test_for_who_may(part: int) -> None:
    world = World()

    def ask(case: Case) -> None:
        allowed = schemes(case)
        is_for_participants = not allowed or bool(allowed & {"ApiKey", "ApiKeyOrSourceNetwork"})
        world.note(case.operation.label, call(case, world.key(case) if is_for_participants else STAFF_KEY))

    ask_all(ask, at_bounds=True, part=part, parts=PARTS)
    world.check_that_examples_hold()


def test_for_staff() -> None:
    World()

    def ask(case: Case) -> None:
        status = call(case, STAFF_KEY)
        assert status in (400, 403, 404) or not schemes(case) or "StaffKey" in schemes(case), "it is for participants"

    ask_all(ask, at_bounds=False)


def test_for_nobody() -> None:
    World()

    def ask(case: Case) -> None:
        status = call(case, "")
        assert status in (401, 404) or not schemes(case)

    ask_all(ask, at_bounds=False)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (lambda: Response({"mode": "carrier pigeon"}), "Response violates schema"),
        (lambda: Response({}, status=418), "Undocumented HTTP status code"),
        (lambda: 1 / 0, "Server error"),
    ],
)
def test_what_does_not_hold_is_found(
    answer: Callable[[], Response], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    load(FEW)  # as the document is before that
    monkeypatch.setattr(DeliveryMode, "get", lambda *_: answer())
    with pytest.raises(AssertionError, match=found):
        ask_all(
            lambda case: world.note("", call(case, world.key(case))), at_bounds=False, only="GET /api/v1/my/delivery"
        )
