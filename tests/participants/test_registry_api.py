"""The registry in the network's existing contract, as its clients call it. Source: CONTRACTS.md, section 2."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from participants import life, registry
from participants.api import centops
from participants.models import ApiKey, Membership, Participant
from tests import factories

pytestmark = pytest.mark.django_db
PROBLEM = "application/problem+json"


@pytest.fixture
def staff(client: Client, staff_key: str) -> Callable[..., Any]:
    """`staff("POST", "institutions", {…})`."""

    def call(method: str, path: str, body: object = None) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        return client.generic(
            method, f"/centops/admin/{path}", data, "application/json", headers={"X-Api-Key": staff_key}
        )

    return call


@pytest.fixture
def fields() -> dict[str, object]:
    return {
        "name": "tax-bot",
        "institutionId": str(factories.institution().public_id),
        "host": "http://bot1:8080/dmr-api/messages",
        "type": "Chatbot",
        "status": "Active",
    }


def test_institution_lives_and_goes(staff: Callable[..., Any]) -> None:
    made = staff("POST", "institutions", {"name": "Tax Board", "status": "Active"})
    assert made.status_code == 201
    shape = made.json()
    assert set(shape) == {"id", "name", "status"}
    path = f"institutions/{uuid.UUID(shape['id'])}"
    assert made["Location"] == f"{settings.PUBLIC_URL}/centops/admin/{path}"
    assert staff("GET", path).json() == shape
    assert shape in staff("GET", "institutions").json()
    changed = staff("PUT", path, {"name": "Tax and Customs Board", "status": "Disabled"})
    assert (changed.status_code, changed.json()["status"]) == (200, "Disabled")
    gone = staff("DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert [staff(method, path).status_code for method in ("GET", "DELETE")] == [404, 404]
    assert staff("POST", "institutions", {"name": "Tax and Customs Board", "status": "Active"}).status_code == 201


def test_participant_lives_and_goes(staff: Callable[..., Any], client: Client, fields: dict[str, object]) -> None:
    made = staff("POST", "participants", fields)
    assert made.status_code == 201
    shape = made.json()
    key = shape.pop("apiKey")
    assert 12 <= len(key) <= 50
    assert {**fields, "id": shape["id"]} == shape
    path = f"participants/{shape['id']}"
    assert staff("GET", path).json() == shape, "the key is shown once"
    assert shape in staff("GET", "participants").json()
    assert client.get("/centops/public/participants", headers={"X-Api-Key": key}).status_code == 200
    assert Membership.objects.get(participant__name="tax-bot").room.name == "national"
    changed = staff("PUT", path, {**fields, "host": "http://bot2/messages", "apiKey": "chosen-key-12"})
    assert changed.json() == {**shape, "host": "http://bot2/messages"}
    for each in (key, "chosen-key-12"):
        assert client.get("/centops/public/participants", headers={"X-Api-Key": each}).status_code == 200
    gone = staff("DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert staff("GET", path).status_code == 404
    assert client.get("/centops/public/participants", headers={"X-Api-Key": key}).status_code == 401
    assert staff("POST", "participants", fields).status_code == 201, "its name is free again"


def test_only_a_hash_of_the_key_is_stored(staff: Callable[..., Any], fields: dict[str, object]) -> None:
    key = staff("POST", "participants", fields).json()["apiKey"]
    row = ApiKey.objects.get(participant__name="tax-bot")
    assert key not in {str(value) for value in vars(row).values()}
    assert len(row.digest) == 64


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "bot"}, "name"),
        ({"name": "a" * 51}, "name"),
        ({"name": None}, "name"),
        ({"name": 5}, "name"),
        ({"name": "Classifier"}, "name"),
        ({"host": "bot"}, "host"),
        ({"host": None}, "host"),
        ({"type": "Robot"}, "type"),
        ({"type": None}, "type"),
        ({"status": "Suspended"}, "status"),
        ({"status": "Deleted"}, "status"),
        ({"institutionId": str(uuid.uuid4())}, "institutionId"),
        ({"institutionId": "none"}, "institutionId"),
        ({"apiKey": "short"}, "apiKey"),
        ({"apiKey": "a" * 51}, "apiKey"),
        ({"apiKey": "chosen-key-\u00e4\u00f6"}, "apiKey"),
    ],
)
def test_bad_field_is_named(
    staff: Callable[..., Any], fields: dict[str, object], changes: dict[str, object], field: str
) -> None:
    answer = staff("POST", "participants", {**fields, **changes})
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == PROBLEM
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert not Participant.objects.filter(name=str(changes.get("name", "tax-bot"))).exists()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff", b'{"name": NaN}', b"[" * 100_000])
def test_bad_json_is_400(client: Client, staff_key: str, body: bytes) -> None:
    for path in ("institutions", "participants"):
        answer = client.post(
            f"/centops/admin/{path}", body, content_type="application/json", headers={"X-Api-Key": staff_key}
        )
        assert answer.status_code == 400
        assert answer["Content-Type"] == PROBLEM


def test_duplicate_names_and_dependants_are_409(staff: Callable[..., Any], fields: dict[str, object]) -> None:
    assert staff("POST", "participants", fields).status_code == 201
    again = staff("POST", "participants", fields)
    assert (again.status_code, again.json()["type"]) == (409, "urn:problem-type:dmr:name-taken")
    kept = staff("DELETE", f"institutions/{fields['institutionId']}")
    assert (kept.status_code, kept.json()["type"]) == (409, "urn:problem-type:dmr:still-in-use")
    chosen = {**fields, "name": "tax-bot-2", "apiKey": "the-very-same-key"}
    assert staff("POST", "participants", chosen).status_code == 201
    assert staff("POST", "participants", {**chosen, "name": "tax-bot-3"}).status_code == 409
    assert not Participant.objects.filter(name="tax-bot-3").exists()


def test_our_own_entry_cannot_go(staff: Callable[..., Any]) -> None:
    registry.ensure_own_entries()
    (own,) = [each for each in staff("GET", "participants").json() if each["name"] == "dmr-relay"]
    assert staff("DELETE", f"participants/{own['id']}").status_code == 403


def test_list_has_active_ones_by_type_and_the_relay(client: Client) -> None:
    one = factories.participant("bot-one")
    factories.participant("the-classifier", type="Classifier")
    suspended = factories.participant("bot-suspended")
    registry.set_status([suspended.row], "Suspended", actor="tests")

    def listed(query: str = "") -> list[str]:
        answer = client.get(f"/centops/public/participants{query}", headers=one.auth)
        assert answer.status_code == 200
        return [each["name"] for each in answer.json()]

    assert listed() == ["bot-one", "dmr-relay", "the-classifier"]
    assert listed("?type=Chatbot") == ["bot-one"]
    assert listed("?type=Dmr&type=Classifier") == ["dmr-relay", "the-classifier"]
    assert listed("?type=chatbot") == ["bot-one"]
    assert client.get("/centops/public/participants?type=Robot", headers=one.auth).status_code == 400
    (relay,) = client.get("/centops/public/participants?type=Dmr", headers=one.auth).json()
    assert relay["host"] == "http://127.0.0.1:8000/messages"
    assert set(relay) == {"id", "name", "institutionId", "host", "type", "status"}


def test_list_is_answered_by_304_until_something_changes(
    client: Client, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    one = factories.participant()
    first = client.get("/centops/public/participants", headers=one.auth)
    tag = first["ETag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}"):
        with django_assert_max_num_queries(4):
            again = client.get("/centops/public/participants", headers={**one.auth, "If-None-Match": known})
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", tag)
    narrowed = client.get("/centops/public/participants?type=Dmr", headers={**one.auth, "If-None-Match": tag})
    assert narrowed.status_code == 200
    factories.participant()
    changed = client.get("/centops/public/participants", headers={**one.auth, "If-None-Match": tag})
    assert changed.status_code == 200
    assert changed["ETag"] != tag
    assert len(changed.json()) == len(first.json()) + 1


def test_public_details(client: Client) -> None:
    one = factories.participant()
    institution = one.row.institution
    shape = client.get(f"/centops/public/participants/{one.row.public_id}", headers=one.auth).json()
    assert shape["institutionId"] == str(institution.public_id)
    path = f"/centops/public/institutions/{str(institution.public_id).upper()}"
    assert client.get(path, headers=one.auth).json()["name"] == institution.name
    assert client.get(f"{path}/participants", headers=one.auth).json() == [shape]
    assert institution.name in [
        each["name"] for each in client.get("/centops/public/institutions", headers=one.auth).json()
    ]
    for path in ("participants", "institutions"):
        assert client.get(f"/centops/public/{path}/{uuid.uuid4()}", headers=one.auth).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_participant_says_its_own_state(client: Client, method: str) -> None:
    one = factories.participant()

    def say(body: bytes) -> Any:
        return client.generic(
            method, "/centops/public/participants/my/state", body, "application/json", headers=one.auth
        )

    for state in ("Disabled", "Active"):
        answer = say(json.dumps(state).encode())
        assert (answer.status_code, answer.json()) == (200, {"id": str(one.row.public_id), "status": state})
    for body in (b'"Suspended"', b'"Deleted"', b'"active"', b"Active", b'{"status": "Active"}', b""):
        assert say(body).status_code == 400, body
    registry.set_status([one.row], "Suspended", actor="tests")
    assert say(b'"Active"').status_code == 403


def test_a_put_does_not_lift_a_suspension_that_came_meanwhile(
    staff: Callable[..., Any], fields: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = staff("POST", "participants", fields).json()
    read = centops.read_participant

    def read_slowly(*args: Any) -> Participant:
        row = read(*args)
        life.suspend([row], actor="anna", reason="it floods")
        return row

    monkeypatch.setattr(centops, "read_participant", read_slowly)
    moved = staff("PUT", f"participants/{made['id']}", {**fields, "host": "http://elsewhere.invalid/messages"})
    assert (moved.status_code, moved.json()["status"]) == (200, "Disabled")
    row = Participant.objects.get(public_id=made["id"])
    assert (row.status, row.host) == ("Suspended", "http://elsewhere.invalid/messages")


def test_suspension_shows_as_disabled_and_survives_a_put(
    staff: Callable[..., Any], client: Client, fields: dict[str, object]
) -> None:
    """The contract knows no suspension: a client that sends back what it was given must not lift it."""
    shape = staff("POST", "participants", fields).json()
    row = Participant.objects.get(name="tax-bot")
    registry.set_status([row], "Suspended", actor="tests")
    path = f"participants/{shape['id']}"
    seen = staff("GET", path).json()
    assert seen["status"] == "Disabled"
    assert staff("PUT", path, seen).status_code == 200
    row.refresh_from_db()
    assert row.status == "Suspended"
    assert staff("PUT", path, {**seen, "status": "Active"}).status_code == 200
    row.refresh_from_db()
    assert row.status == "Active"
