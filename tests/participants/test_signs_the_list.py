"""The signed list: a JWS that anybody verifies offline, whose version only grows, and that is made anew each day."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from dmr_project import server
from participants import listing, registry, signed_list, signing_keys
from participants.models import Change, ListKey, Participant
from participants.signing_keys import SigningKeyUnreadable, base64url
from tests import factories
from tests.factories import Registered
from tests.relay.test_documented_verification import needs

LIST, KEYS = "/api/v1/participants/list", "/.well-known/dmr-registry-keys"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "participant-list.md"
NOON = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[time_machine.Traveller]:
    monkeypatch.setattr(signing_keys, "REFRESH_SECONDS", -1.0)  # this clock does not move that of the refresh
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def reader(db: None, clock: time_machine.Traveller) -> Registered:
    return factories.participant("reader")


def decoded(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def fetched(client: Client, reader: Registered) -> tuple[dict[str, str], dict[str, Any]]:
    """The document, and its payload."""
    answer = client.get(LIST, headers=reader.auth)
    assert answer.status_code == 200
    document: dict[str, str] = answer.json()
    return document, decoded(document["payload"])


def test_says_what_the_registry_publishes(client: Client, reader: Registered) -> None:
    suspended = factories.participant("police")
    registry.set_status([suspended.row], Participant.Status.SUSPENDED, actor="tests")
    document, said = fetched(client, reader)
    assert decoded(document["protected"]) == {
        "alg": "EdDSA",
        "kid": ListKey.objects.get().key_id,
        "typ": "dmr-participant-list+jws",
    }
    assert said["version"] == listing.position().number
    assert (said["issuedAt"], said["expiresAt"]) == ("2026-05-04T12:00:00.000Z", "2026-05-11T12:00:00.000Z")
    assert said["participants"] == client.get("/centops/public/participants", headers=reader.auth).json()
    assert said["count"] == 2


def test_the_version_grows_with_each_change_and_stays_without(
    client: Client, reader: Registered, clock: time_machine.Traveller
) -> None:
    _, first = fetched(client, reader)
    registry.issue_key(reader.row, actor="tests")
    assert fetched(client, reader)[1] == first
    registry.remove_participant(factories.participant().row, actor="tests")
    _, second = fetched(client, reader)
    assert second["version"] > first["version"]
    assert second["participants"] == first["participants"]


def test_is_made_anew_each_day(client: Client, reader: Registered, clock: time_machine.Traveller) -> None:
    _, first = fetched(client, reader)
    clock.shift(timedelta(hours=11))
    assert fetched(client, reader)[1] == first
    clock.shift(timedelta(hours=2))
    _, second = fetched(client, reader)
    assert (second["version"], second["issuedAt"]) == (first["version"], "2026-05-05T00:00:00.000Z")
    assert second["expiresAt"] == "2026-05-12T00:00:00.000Z"


def test_every_process_makes_the_same(client: Client, reader: Registered, clock: time_machine.Traveller) -> None:
    one = signed_list.Shelf().document()
    clock.shift(timedelta(hours=3))
    assert signed_list.Shelf().document() == one


def test_answers_304_to_who_has_it(client: Client, reader: Registered, clock: time_machine.Traveller) -> None:
    for address in (LIST, KEYS):
        first = client.get(address, headers=reader.auth)
        again = client.get(address, headers={**reader.auth, "If-None-Match": first["ETag"]})
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    tag = client.get(LIST, headers=reader.auth)["ETag"]
    clock.shift(DAY)
    assert client.get(LIST, headers={**reader.auth, "If-None-Match": tag}).status_code == 200


def test_many_that_ask_cost_little(
    client: Client, reader: Registered, django_assert_max_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_keys, "REFRESH_SECONDS", 60.0)
    fetched(client, reader)  # makes the key, which the registry's version counts
    fetched(client, reader)
    with django_assert_max_num_queries(2):
        fetched(client, reader)


def test_a_rotated_key_is_published_before_it_signs_and_as_long_as_its_lists_are_good(
    client: Client, reader: Registered, clock: time_machine.Traveller
) -> None:
    def kid() -> str:
        return str(decoded(fetched(client, reader)[0]["protected"])["kid"])

    def published() -> set[str]:
        return {key["kid"] for key in client.get(KEYS).json()["keys"]}

    old = kid()
    new = signed_list.keys.rotate(actor="anna", reason="yearly").key_id
    assert kid() == old
    assert published() == {old, new}
    clock.shift(DAY)
    assert kid() == new
    clock.shift(signed_list.LIFETIME)
    assert published() == {old, new}, "a list of the last moment is good until now"
    clock.shift(DAY)
    assert published() == {new}
    replaced = signed_list.keys.replace(actor="anna", reason="leak").key_id
    assert (kid(), published()) == (replaced, {replaced})
    assert set(Change.objects.filter(kind="listkey", actor="anna").values_list("action", flat=True)) == {
        "rotate", "retire", "replace", "revoke",
    }  # fmt: skip


def test_the_private_key_shows_nowhere(client: Client, reader: Registered) -> None:
    raw = signed_list.keys.unsealed(signed_list.keys.ensure()).private_bytes_raw()
    seen = [client.get(KEYS).content, client.get(LIST, headers=reader.auth).content]
    seen.append(repr(list(Change.objects.values())).encode())
    seen.append(repr(list(ListKey.objects.values())).encode())
    for form in (raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), base64url(raw).encode()):
        assert not any(form in each for each in seen)


@pytest.mark.django_db(transaction=True)  # it closes its connection
def test_a_start_encrypts_it_anew_or_says_what_to_do(settings: Any) -> None:
    server.prepare_database(is_production=False)
    old, key_id = settings.SECRET_KEY, ListKey.objects.get().key_id
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another secret key", [old]
    server.prepare_database(is_production=False)
    settings.SECRET_KEY_FALLBACKS = []
    assert signed_list.Shelf().document().key_id == key_id
    settings.SECRET_KEY = "a third one"
    with pytest.raises(SigningKeyUnreadable, match=r"manage\.py list_key rotate --now"):
        signed_list.Shelf().document()


@pytest.mark.django_db
def test_the_command_rotates_it(admin_user: User) -> None:
    out = StringIO()
    call_command("list_key", "rotate", "--user", "admin", "--reason", "yearly", stdout=out)
    call_command("list_key", "list", stdout=out)
    said = out.getvalue().splitlines()
    assert "is published, and signs from" in said[0]
    assert [line.split()[1] for line in said[1:]] == ["next", "signing"]
    assert Change.objects.get(kind="listkey", action="rotate").actor == "admin"


# -- the documented examples --

PYTHON = """
import json
for case in json.load(open("cases.json")):
    try:
        print(verify(case["document"], case["keys"], case["known"])["version"])
    except Refused as why:
        print(f"refused: {why}")
"""
NODE = """
for (const one of JSON.parse(require("fs").readFileSync("cases.json", "utf8"))) {
  try {
    console.log(verify(one.document, one.keys, one.known).version);
  } catch (why) {
    console.log(`refused: ${why.message}`);
  }
}
"""


def example(language: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    (found,) = [part.split("```", 1)[0] for part in text.split(f"```{language}\n")[1:]]
    return found


def run_python(folder: Path) -> list[str]:
    (folder / "verify.py").write_text(example("python") + PYTHON, encoding="utf-8")
    return run([sys.executable, "verify.py"], folder)


def run_node(folder: Path) -> list[str]:
    (folder / "verify.js").write_text(example("js") + NODE, encoding="utf-8")
    return run([needs("node", "nodejs"), "verify.js"], folder)


def run(command: list[str], folder: Path) -> list[str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def resigned(document: dict[str, str], **changed: Any) -> dict[str, str]:
    """By the real key: with another header (`typ`, `alg`), or another payload."""
    header, said = decoded(document["protected"]), decoded(document["payload"])
    for name, value in changed.items():
        (header if name in header else said)[name] = value
    protected, payload = (base64url(json.dumps(each).encode()) for each in (header, said))
    signer = signing_keys.Keyring(signed_list.keys).signer()
    signature = base64url(signer.sign(f"{protected}.{payload}".encode()))
    return {"payload": payload, "protected": protected, "signature": signature}


@pytest.mark.django_db
@pytest.mark.parametrize("verify", [run_python, run_node])
def test_examples_accept_the_list_and_refuse_everything_else(verify: Any, client: Client, tmp_path: Path) -> None:
    reader = factories.participant("reader")
    document, said = fetched(client, reader)
    keys, version = client.get(KEYS).json(), said["version"]
    others = client.get("/.well-known/jwks.json").json()
    past = (datetime.now(timezone.utc) - timedelta(seconds=5)).isoformat()
    shorter = base64url(json.dumps({**said, "participants": []}).encode())
    cases: list[tuple[dict[str, str], dict[str, Any], int, str]] = [
        (document, keys, 0, str(version)),
        (document, keys, version, str(version)),
        (resigned(document), keys, version, str(version)),
        (document, keys, version + 1, "older than what I have"),
        (resigned(document, expiresAt=past), keys, 0, "it has expired"),
        (resigned(document, typ="JWT"), keys, 0, "it is something else"),
        (resigned(document, alg="none"), keys, 0, "it is something else"),
        (document, others, 0, "signed by a key that I do not know"),
        (document, {"keys": []}, 0, "signed by a key that I do not know"),
        ({**document, "payload": shorter}, keys, 0, "the signature does not hold"),
        ({**document, "signature": base64url(b"x" * 64)}, keys, 0, "the signature does not hold"),
        ({**document, "signature": ""}, keys, 0, "the signature does not hold"),
    ]
    written = [{"document": each[0], "keys": each[1], "known": each[2]} for each in cases]
    (tmp_path / "cases.json").write_text(json.dumps(written), encoding="utf-8")
    answers = verify(tmp_path)
    assert answers == [each[3] if each[3] == str(version) else f"refused: {each[3]}" for each in cases]
