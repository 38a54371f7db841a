"""The character NUL is refused before a database that takes none of it sees it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path",
    [
        "/admin/relay/delivery/?recipient=%00",
        "/admin/participants/participant/?name__startswith=a%00b",
        "/admin/observability/instance/?state=%00",
    ],
)
def test_in_an_address(admin_client: Client, path: str) -> None:
    answer = admin_client.get(path)
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")


def test_in_a_cookie(client: Client) -> None:
    answer = client.get("/admin/", headers={"Cookie": 'sessionid="' + r"\000" * 8 + '"'})
    assert answer.status_code == 400


@pytest.mark.parametrize("method", ["post", "put", "delete"])
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics"])
def test_other_methods_of_open_addresses_are_a_problem(path: str, method: str) -> None:
    client: Any = Client(enforce_csrf_checks=True)
    answer = getattr(client, method)(path)
    assert (answer.status_code, answer["Content-Type"]) == (405, "application/problem+json")
