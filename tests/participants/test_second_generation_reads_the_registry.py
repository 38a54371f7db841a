"""`/centops/clients` and `/centops/integration/clients`, as clients of the second generation ask."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.test import Client

from participants import registry
from participants.models import Participant
from tests import factories

pytestmark = pytest.mark.django_db


def credential(name: str, secret: str) -> str:
    return base64.b64encode(f"{name}:{secret}".encode()).decode()


def get(client: Client, path: str, authorization: str) -> Any:
    return client.get(f"/centops/{path}", headers={"Authorization": authorization})


@pytest.fixture
def bots() -> list[factories.Registered]:
    return [factories.participant(f"bot number {number}") for number in range(3)]


def test_lists_the_active_ones_with_their_times(client: Client, bots: list[factories.Registered]) -> None:
    bots[1].row.status = Participant.Status.SUSPENDED
    registry.update(bots[1].row, actor="tests")
    answer = get(client, "clients", credential(bots[0].name, bots[0].key))
    assert answer.status_code == 200
    rows = {row["name"]: row for row in answer.json()["response"]}
    assert {bots[0].name, bots[2].name} <= rows.keys()
    assert bots[1].name not in rows
    row = rows[bots[0].name]
    assert set(row) == {"id", "name", "authentication_certificate", "created_at", "updated_at"}
    assert row["id"] == str(bots[0].row.public_id)
    assert row["updated_at"] >= row["created_at"]


def test_a_change_moves_the_time_of_updating(client: Client, bots: list[factories.Registered]) -> None:
    auth = credential(bots[0].name, bots[0].key)

    def updated() -> str:
        rows = get(client, "clients", auth).json()["response"]
        return next(row["updated_at"] for row in rows if row["name"] == bots[2].name)

    before = updated()
    bots[2].row.host = "http://elsewhere.invalid/messages"
    registry.update(bots[2].row, actor="tests")
    assert updated() > before


def test_pages_hold_everybody_once(client: Client, bots: list[factories.Registered], staff_key: str) -> None:
    seen: list[str] = []
    for page in range(1, 5):
        answer = get(client, f"integration/clients?page={page}&pageSize=2", credential("staff", staff_key))
        body = answer.json()["response"]
        assert (body["page"], body["pageSize"], body["totalPages"]) == (page, 2, 2)
        seen += [item["name"] for item in body["items"]]
    assert sorted(seen) == sorted(Participant.objects.values_list("name", flat=True))
    keys = {"clientId", "name", "authenticationCertificate", "createdAt", "updatedAt"}
    assert (
        set(get(client, "integration/clients", credential("staff", staff_key)).json()["response"]["items"][0]) == keys
    )


@pytest.mark.parametrize("query", ["page=0", "page=x", "pageSize=1001", "pageSize=-1", "page=99999999999999999999"])
def test_says_what_is_wrong_with_a_page(client: Client, bots: list[factories.Registered], query: str) -> None:
    answer = get(client, f"integration/clients?{query}", credential(bots[0].name, bots[0].key))
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["detail"]


@pytest.mark.parametrize("path", ["clients", "integration/clients"])
def test_refuses_whoever_is_not_who_the_secret_says(
    client: Client, bots: list[factories.Registered], path: str
) -> None:
    wrong = [
        credential(bots[1].name, bots[0].key),
        credential(bots[0].name, "no such key at all"),
        credential("staff", bots[0].key),
        bots[0].key,
        "Basic",
        "\u00e4",
    ]
    assert [get(client, path, each).status_code for each in wrong] == [401] * len(wrong)
    assert client.get(f"/centops/{path}").status_code == 401
    assert client.get(f"/centops/{path}", headers=bots[0].auth).status_code == 200
